"""A process that makes surroundings, and lives in them until the test ends."""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from bpflens.testing.bench import NOBODY
from tests.hostile import calls

Part = Callable[[], Iterator[Any]]
"""What a process does: it makes its surroundings, yields what the test must know (JSON), and goes
on with what it does all the time, if anything."""

CONTAINER = calls.CLONE_NEWNS | calls.CLONE_NEWNET


class Actor(NamedTuple):
    """A process that is at its work."""

    pid: int
    told: Any

    def path(self, path: str) -> str:
        """What it has at this path, for us. (Plain, as only a test may.)"""
        return f"/proc/{self.pid}/root{path}"

    def inode(self, kind: str) -> int:
        """Of its namespace `net` or `mnt`."""
        return os.stat(f"/proc/{self.pid}/ns/{kind}").st_ino


@contextmanager
def acting(part: Part, namespaces: int = CONTAINER, *, user: bool = False) -> Iterator[Actor]:
    """The process, forked; with `user`, nobody's, who is root in a user namespace of his own where
    he has others of his own. It is gone afterwards."""
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        _act(part, namespaces, user, parent, writer)
    os.close(writer)
    try:
        with open(reader, "rb") as file:
            line = file.readline()
        word, told = json.loads(line) if line else ("failed", "it ended")
        if word != "ready":
            raise RuntimeError(f"hostile surroundings could not be made:\n{told}")
        yield Actor(pid, told)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _act(part: Part, namespaces: int, user: bool, parent: int, writer: int) -> None:
    try:
        if user and namespaces:
            calls.root_of_a_user_namespace(NOBODY, namespaces)
        elif user:
            calls.become(NOBODY)
        else:
            calls.unshare(namespaces)
        calls.die_with(parent)
        doing = part()
        _tell(writer, "ready", next(doing))
        for _ in doing:
            pass
        while True:
            signal.pause()
    except BaseException:
        with suppress(OSError):
            _tell(writer, "failed", traceback.format_exc())
    finally:
        os._exit(1)


def _tell(writer: int, word: str, told: Any) -> None:
    os.write(writer, json.dumps([word, told]).encode() + b"\n")
