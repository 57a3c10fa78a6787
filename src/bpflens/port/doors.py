"""What a kernel offers its callers: three small doors, and for some kernels a fourth.

Every kernel (Linux, the engine, a replay) and every wrapper around one (tracer, recorder, fault
injection) is a set of objects of these shapes. Failures are plain `OSError`, as a system call
fails; `bpflens.port.calls` gives them names.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from bpflens.port.memory import Memory


class BpfPort(Protocol):
    """The bpf(2) system call and close(2)."""

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        """Call bpf(cmd, attr, size) and return its result.

        `attr` is an address; it and every address inside must be pinned in `mem` for the call to
        reach what it names. The kernel writes its answers there. Raises OSError.
        """
        ...

    def close(self, fd: int) -> None:
        """Close a file descriptor that `bpf` returned. Raises OSError."""
        ...


class Clock(NamedTuple):
    """The two clocks of a machine, read together, in nanoseconds."""

    realtime: int
    boottime: int


class HostPort(Protocol):
    """The files in which a kernel tells more than bpf(2) does: procfs, sysfs, bpffs."""

    def read(self, path: str) -> bytes:
        """The whole content of a file. Raises OSError."""
        ...

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        """The names in a directory, sorted, each with "is a directory". Raises OSError."""
        ...

    def readlink(self, path: str) -> str:
        """Where a symbolic link points. Raises OSError."""
        ...

    def tree(self, path: str) -> list[tuple[str, int]]:
        """The directory `path` (as the empty name) and every one below it, by its path from there,
        with its inode number; parents first. One that vanishes meanwhile is left out. Raises
        OSError for `path` itself."""
        ...

    def open(self, path: str) -> int:
        """An fd of a directory or of a namespace's file, for a call that takes one; read-only.

        `BpfPort.close` closes it. Raises OSError.
        """
        ...

    def unlink(self, path: str) -> None:
        """Remove a pin. Raises OSError."""
        ...

    def fdinfo(self, fd: int) -> bytes:
        """/proc/PID/fdinfo of a file descriptor that the `BpfPort` beside this one returned."""
        ...

    def clock(self) -> Clock:
        """Wall clock and time since boot (CLOCK_REALTIME, CLOCK_BOOTTIME)."""
        ...

    def close(self) -> None:
        """Give back what this door holds."""
        ...


class NetPort(Protocol):
    """Netlink requests."""

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        """Send one dump request (a whole nlmsg) and return the nlmsgs that answer it.

        NLMSG_DONE is not among them; NLMSG_ERROR becomes OSError.
        """
        ...

    def entered(self, netns: str) -> AbstractContextManager[None]:
        """While this lasts, every call through the doors beside this one is made in the network
        namespace that a file stands for (/proc/PID/ns/net). Raises OSError."""
        ...


class Rows(NamedTuple):
    """What the bulk door gives: whole rows (`abi.rows`), ascending by ID."""

    data: bytes
    reader: int = 0
    """The ID of the program that wrote them, where one did: it is gone and is not to be shown."""


class BulkPort(Protocol):
    """Many objects at once, where a kernel has a faster way than one call after another.

    Nobody has to have this door: what it tells, the others tell too. It says what it cannot do
    here by raising (Unsupported, Denied, OSError), and then they are used.
    """

    def programs(self, bpf: BpfPort, after: int, maps: bool, keep: str | None) -> Rows:
        """A row of each program with an ID above `after`; `maps`: with the IDs of its maps.

        `bpf` is the door beside this one, through which every call goes. `keep` is a folder for
        what the next process need not work out again.
        """
        ...

    def files(self, bpf: BpfPort, keep: str | None) -> Rows:
        """A row (`FileRow`) of each open file of each process that has to do with BPF: objects,
        iterators, perf events with a program, sockets with a program."""
        ...

    def cgroups(self, bpf: BpfPort, keep: str | None) -> Rows:
        """A row (`CgroupRow`) of each cgroup that has programs of its own attached."""
        ...

    def tasks(self, bpf: BpfPort, keep: str | None) -> Rows:
        """A row (`TaskRow`) of each process, also of one that hides itself from us."""
        ...


class Doors(NamedTuple):
    """The doors of one kernel."""

    bpf: BpfPort
    host: HostPort
    net: NetPort
    bulk: BulkPort | None = None
