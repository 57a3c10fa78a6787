"""What is not seen in many surroundings: `doctor` says so where a command does, and nowhere else.

Each surrounding is made of namespaces, capabilities and mounts of its own.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bpflens.abi.enums import MapType, ProgType
from bpflens.snapshot.access import ABOUT
from bpflens.testing.bench import eventually
from bpflens.testing.builders import map as new_map
from bpflens.testing.builders import program
from bpflens.testing.on_linux import LinuxBench

COMMANDS = {
    "doctor": ("doctor",),
    "attach list": ("attach", "list"),
    "why": ("why", "map", "name:bpflens_seen"),
    "orphans": ("orphans",),
    "prog list": ("prog", "list", "--parts", "all"),
    "overview": (),
}

RUNNER = """
import contextlib, io, json, os, sys
sys.path[:0] = {path!r}
from bpflens.cli import main

def look():
    told = {{}}
    for name, words in {commands!r}.items():
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([*words, "--json"])
        told[name] = [status, out.getvalue(), err.getvalue()]
    return told

if {uid}:
    look()  # another user may not be able to read the modules
    os.setgroups([]), os.setresgid({uid}, {uid}, {uid}), os.setresuid({uid}, {uid}, {uid})
print(json.dumps(look()))
"""
"""Runs all commands in one process, and prints what they gave."""

FILTER = """
# Runs a command in which one system call answers EPERM (seccomp(2)).
import ctypes, os, struct, sys
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, int(sys.argv[1])), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, fprog, 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
"""
CALLS = {"setns": 308, "bpf": 321}
"""Numbers on x86-64."""


class Surrounding(NamedTuple):
    """Where the commands run: `enter` makes namespaces, `do` is done in them, and `drop` starts the
    commands with less."""

    enter: str = ""
    do: str = "true"
    drop: str = ""
    uid: int = 0
    blind: bool | None = None
    """Whether there is something that cannot be seen; None: that rests on what else is there."""


def hidepid(level: str, drop: str = "", blind: bool | None = None) -> Surrounding:
    return Surrounding(
        "unshare -m", f"mount -t proc -o hidepid={level} proc /proc", drop, blind=blind
    )


NO_PTRACE = "capsh --drop=cap_sys_ptrace --"
GROUP = "setpriv --clear-groups --regid 4711"
SURROUNDINGS = {
    "here": Surrounding(),
    "PID namespace": Surrounding("unshare -pf --mount-proc", blind=True),
    "PID namespace, and /proc of the first": Surrounding("unshare -pf", blind=True),
    "/proc of another PID namespace": Surrounding(
        "unshare -m",
        "mkdir $SCRATCH/p; unshare -pf mount -t proc proc $SCRATCH/p; "
        "mount --bind $SCRATCH/p /proc",
        blind=True,
    ),
    **{f"hidepid={level}": hidepid(level) for level in ("noaccess", "2", "4")},
    "hidepid=1 without CAP_SYS_PTRACE": hidepid("noaccess,gid=4712", NO_PTRACE, True),
    "hidepid=2 without CAP_SYS_PTRACE": hidepid("2,gid=4712", NO_PTRACE, True),
    "hidepid=4 without CAP_SYS_PTRACE": hidepid("4", NO_PTRACE, True),
    "hidepid=invisible in another group": hidepid(
        "invisible,gid=4712", f"{GROUP} {NO_PTRACE}", True
    ),
    "hidepid=invisible in that group": hidepid("invisible,gid=4711", f"{GROUP} {NO_PTRACE}", True),
    "hidepid=ptraceable": hidepid("ptraceable", NO_PTRACE, True),
    "subset=pid": Surrounding("unshare -m", "mount -t proc -o subset=pid proc /proc", blind=True),
    **{
        f"without {caps.upper()}": Surrounding(drop=f"capsh --drop={caps} --", blind=True)
        for caps in (
            "cap_sys_admin",
            "cap_sys_ptrace",
            "cap_perfmon,cap_sys_admin",
            "cap_bpf,cap_perfmon,cap_sys_admin",
            "cap_net_admin,cap_sys_admin",
        )
    },
    "without CAP_NET_ADMIN": Surrounding(drop="capsh --drop=cap_net_admin --"),
    "without CAP_SYSLOG": Surrounding(drop="capsh --drop=cap_syslog --"),
    "another user": Surrounding(uid=65534, blind=True),
    "user namespace": Surrounding("unshare -Ur", blind=True),
    "user and PID namespace": Surrounding("unshare -Urpf --mount-proc", blind=True),
    "cgroup namespace": Surrounding("unshare -C"),
    "network namespace": Surrounding("unshare -n"),
    "mount namespace": Surrounding("unshare -m"),
    "no cgroup2": Surrounding("unshare -m", "umount -l -a -t cgroup2 || true"),
    "no /sys": Surrounding("unshare -m", "mount -t tmpfs none /sys"),
    "no /proc": Surrounding("unshare -m", "mount -t tmpfs none /proc", blind=True),
    "a covered bpffs": Surrounding(
        "unshare -m",
        "mkdir $SCRATCH/b; mount -t bpf none $SCRATCH/b; mount -t tmpfs none $SCRATCH/b",
        blind=True,
    ),
    "setns refused": Surrounding(
        drop=f"{sys.executable} $SCRATCH/filter {CALLS['setns']}", blind=True
    ),
    "bpf refused": Surrounding(drop=f"{sys.executable} $SCRATCH/filter {CALLS['bpf']}", blind=True),
}


@pytest.fixture(scope="module")
def objects() -> Iterator[None]:
    """What the commands look at: a map, programs, a network namespace of another user."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for tool in ("unshare", "capsh", "setpriv"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    with ExitStack() as stack:
        bench = LinuxBench()
        stack.callback(bench.close)
        calls = bench.calls
        for fd in (
            new_map(calls, MapType.ARRAY, name="bpflens_seen"),
            program(calls, type=ProgType.SCHED_CLS),
            program(calls, type=ProgType.SOCKET_FILTER),
            program(calls, type=ProgType.CGROUP_SKB),
            program(calls, type=ProgType.KPROBE),
        ):
            stack.callback(calls.close, fd)
        words = "setpriv --reuid 65534 --regid 65534 --clear-groups unshare -Un sleep 600"
        other = stack.enter_context(subprocess.Popen(words.split()))
        stack.callback(other.kill)
        there = f"/proc/{other.pid}/ns/net"
        here = os.readlink("/proc/self/ns/net")
        eventually(lambda: os.readlink(there) != here, "it is elsewhere")
        yield


def looked(surrounding: Surrounding, scratch: Path) -> dict[str, tuple[int, Any, str]]:
    """(exit status, document, stderr) of each command there."""
    (scratch / "filter").write_text(FILTER)
    (scratch / "run").write_text(
        RUNNER.format(path=sys.path, commands=COMMANDS, uid=surrounding.uid)
    )
    # capsh runs a shell, the others a command.
    run = f"{sys.executable} {scratch}/run"
    if surrounding.drop.endswith("--"):
        run = f"{surrounding.drop} -c '{run}'"
    else:
        run = f"{surrounding.drop} {run}"
    done = subprocess.run(
        [*surrounding.enter.split(), "sh", "-c", f"set -e; {surrounding.do}; exec {run}"],
        env={**os.environ, "SCRATCH": str(scratch), "HOME": str(scratch)},
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return {
        name: (status, json.loads(out) if out else None, err)
        for name, (status, out, err) in json.loads(done.stdout).items()
    }


def unseen(name: str, status: int, document: Any) -> list[str]:
    """What a command says that it could not see."""
    if document is None:
        return [f"{name} ended with {status}"]
    told = [error["error"] for error in document["errors"]]
    for item in document["items"] if name == "prog list" else ():
        # What no kernel tells is not said by doctor, which asks what could be seen.
        told += (each for each in item["unseen"] if "Linux tells it nowhere" not in each)
    if not told and not document["complete"]:
        told = [f"{name} is not complete"]
    return told


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_the_doctor_says_what_the_commands_say(objects: None, tmp_path: Path, name: str) -> None:
    if name.endswith("refused") and platform.machine() != "x86_64":
        pytest.skip("needs x86-64: the filter has its numbers")
    tmp_path.chmod(0o755)
    surrounding = SURROUNDINGS[name]
    for attempt in (1, 2, 3):  # others come and go between two commands
        scratch = tmp_path / str(attempt)
        scratch.mkdir()
        found = looked(surrounding, scratch)
        status, checks, err = found.pop("doctor")
        assert (status, err) == (0, "")
        asked = [*ABOUT, *(f"list {noun}s" for noun in ("program", "map", "link"))]
        closed = {
            each["check"]: each["found"]
            for each in checks["items"]
            if each["check"] in asked and each["ok"] is not True
        }
        told = {
            command: unseen(command, status, document)
            for command, (status, document, _) in found.items()
        }
        if not any(told.values()) or closed:
            break
    assert closed or not any(told.values()), told
    if surrounding.blind is not None:
        assert bool(closed) == surrounding.blind
        assert any(told.values()) == surrounding.blind, found
