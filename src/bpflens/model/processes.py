"""A process by its pid: what it runs, for whom, in which cgroup, unit or container."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from bpflens.model.parts import Missing, Reason

if TYPE_CHECKING:
    from bpflens.port.doors import HostPort

_TICK = 10_000_000
"""Nanoseconds in the unit of starttime: USER_HZ is 100 wherever BPF is."""

_STARTTIME = 19
"""Its place in /proc/PID/stat behind the command's name (proc_pid_stat(5): the 22nd field)."""

_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?=[./]|$)")
"""The ID that Docker, containerd, CRI-O and Podman give a container, as they name its cgroup:
docker-ID.scope, cri-containerd-ID.scope, crio-ID, libpod-ID.scope, /docker/ID, /kubepods/podUID/ID
or, with systemd, kubepods-podUID.slice:cri-containerd:ID."""

_UNIT = re.compile(r"/([^/]+\.(?:service|scope))(?=/|$)")


class ProcessFacts(NamedTuple):
    """A process. `missing` has the reason where a field is None and that is not known."""

    pid: int
    comm: str
    """The name of its command: 15 bytes, which it may choose."""
    uid: int
    """The user for whom it acts (effective)."""
    start: int
    """When it started, in nanoseconds since boot: a pid comes again, with it it does not."""
    cgroup: str | None
    """The path of its cgroup (v2) from the root."""
    unit: str | None
    """The systemd unit whose cgroup it is in: the innermost service or scope."""
    container: str | None
    """The ID of the container, where the cgroup's name tells one."""
    missing: dict[str, str]

    @property
    def words(self) -> str:
        """`pid 812 (nginx)`."""
        return f"pid {self.pid} ({self.comm})"


def read(host: HostPort, pid: int, before: int | None = None) -> ProcessFacts | Missing:
    """The process that has this pid; Missing where there is none any more.

    `before`: it was seen at this time (nanoseconds since boot). One that started later is another.
    """
    gone = Missing(Reason.GONE, f"process {pid} has ended")
    try:
        comm, start = _stat(host.read(f"/proc/{pid}/stat"))
        if before is not None and start > before:
            return gone
        uid = _uid(host.read(f"/proc/{pid}/status"))
    except (FileNotFoundError, ProcessLookupError):
        return gone
    except OSError as error:
        return Missing(Reason.DENIED, f"/proc/{pid}: {error.strerror}")
    except (ValueError, IndexError):
        return Missing(Reason.FAILED, f"/proc/{pid} is not understood")
    missing: dict[str, str] = {}
    cgroup = _cgroup(host, pid)
    if isinstance(cgroup, Missing):
        missing = dict.fromkeys(("cgroup", "unit", "container"), str(cgroup))
        return ProcessFacts(pid, comm, uid, start, None, None, None, missing)
    return ProcessFacts(pid, comm, uid, start, cgroup, unit(cgroup), container(cgroup), missing)


def _stat(text: bytes) -> tuple[str, int]:
    """The command's name, which may hold blanks and brackets, and the time of the start."""
    head, _, tail = text.rpartition(b")")
    comm = head.partition(b"(")[2].decode(errors="surrogateescape")
    return comm, int(tail.split()[_STARTTIME]) * _TICK


def _uid(status: bytes) -> int:
    at = status.index(b"\nUid:")
    return int(status[at + 5 :].split(None, 2)[1])


def _cgroup(host: HostPort, pid: int) -> str | Missing:
    """The line of the unified hierarchy in /proc/PID/cgroup (cgroups(7))."""
    try:
        text = host.read(f"/proc/{pid}/cgroup")
    except OSError as error:
        return Missing(Reason.DENIED, f"/proc/{pid}/cgroup: {error.strerror}")
    for line in text.decode(errors="surrogateescape").split("\n"):
        if line.startswith("0::"):
            return line[3:]
    return Missing(Reason.UNSUPPORTED, "no unified cgroup hierarchy is mounted")


def unit(cgroup: str) -> str | None:
    """The innermost systemd unit in a cgroup's path."""
    found = _UNIT.findall(cgroup)
    return found[-1] if found else None


def container(cgroup: str) -> str | None:
    """The innermost container in a cgroup's path."""
    found = _CONTAINER.findall(cgroup)
    return found[-1] if found else None


def users(host: HostPort) -> dict[int, str]:
    """The names of the users in the host's /etc/passwd; empty where there is none."""
    try:
        text = host.read("/etc/passwd").decode(errors="surrogateescape")
    except OSError:
        return {}
    found: dict[int, str] = {}
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdecimal():
            found.setdefault(int(fields[2]), fields[0])
    return found
