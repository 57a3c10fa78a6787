"""Runs of the command line, as root has them, and what may be said of each of them."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

LIMIT = 20.0
"""Seconds after which a command is said to hang. It takes a fraction of one."""
COMMAND = (sys.executable, "-m", "bpflens")


class Hung(AssertionError):
    """A command did not end."""


class Ran(NamedTuple):
    """What a run gave."""

    status: int
    stdout: str
    stderr: str


class Look(NamedTuple):
    """A document that a command printed."""

    status: int
    items: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    complete: bool
    stderr: str

    def one(self, **wanted: Any) -> dict[str, Any]:
        """The one item with these values."""
        found = [each for each in self.items if wanted.items() <= each.items()]
        shown = [json.dumps(each)[:200] for each in found or self.items]
        assert len(found) == 1, f"{wanted}: {shown}; {self.errors}"
        return found[0]

    def untold(self, *words: str | int) -> str:
        """The reason of the error that names all of these: what was not looked at, and why."""
        texts = [" ".join(str(part) for part in each.values()) for each in self.errors]
        found = [text for text in texts if all(str(word) in text for word in words)]
        assert found, f"no error names {words}: {texts}"
        return found[0]


def run(
    *arguments: str,
    command: Iterable[str] = COMMAND,
    before: Callable[[], None] | None = None,
    env: Mapping[str, str] = {},
    cwd: str | None = None,
    memory: int | None = None,
    limit: float = LIMIT,
) -> Ran:
    """Run a command; `before` runs in the child, `memory` is its address space in bytes.

    Raises Hung. Its output is read to the end: what it leaves behind may not keep that open.
    """

    def prepare() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        if before is not None:
            before()

    child = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # None where it does nothing: it may not run beside threads
        preexec_fn=prepare if memory or before else None,
        env={**os.environ, **env},
        cwd=cwd,
    )
    try:
        out, err = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        where = _waits(child.pid)
        raise Hung(f"{' '.join(arguments)} has not ended after {limit:g} s: {where}") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        for pipe in (child.stdout, child.stderr):
            if pipe:
                pipe.close()
        # one that waits for a FUSE daemon ends when that does: it is not waited for
        with suppress(subprocess.TimeoutExpired):
            child.wait(1)
    told = Ran(child.returncode, out.decode(errors="surrogateescape"), err.decode())
    assert "Traceback" not in told.stderr, told.stderr
    return told


def look(*arguments: str, **how: Any) -> Look:
    """Run a command with --json; its status, its errors and `complete` say the same."""
    ran = run(*arguments, "--json", **how)
    assert ran.stdout, f"status {ran.status}: {ran.stderr}"
    told = json.loads(ran.stdout)
    items = told.get("items", told.get("nodes"))  # `graph` has nodes
    found = Look(ran.status, items, told["errors"], told["complete"], ran.stderr)
    assert found.complete is not bool(found.errors), found.errors
    assert found.status == (0 if found.complete else 1)
    return found


def _waits(pid: int) -> str:
    """In which system call the processes of a session are."""
    told = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            if int(fields[3]) != pid:
                continue
            with open(f"/proc/{name}/wchan") as file:
                told.append(f"pid {name} is {fields[0]} in {file.read()}")
    return ", ".join(told)
