"""What a check is given: the doors of a kernel, and a small world of its own to use them in.

A `Bench` for another kernel overrides what that kernel has. What it does not offer raises
`NotOffered`, and the check is skipped with that reason.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NamedTuple

from bpflens.abi.enums import Cmd
from bpflens.abi.infos import TokenInfo
from bpflens.port.calls import Calls
from bpflens.port.doors import BpfPort, Doors, HostPort
from bpflens.port.memory import Memory

TRACEPOINT = "sched_process_exec"
"""A tracepoint that every kernel has and that is hardly ever passed.

Linux rewrites its own code when a program comes to a tracepoint or goes: where all CPUs run through
that code all the time (sched_switch), an emulated machine sooner or later trips over it.
"""


NOBODY = 65534
"""A user who owns nothing."""


class NotOffered(Exception):
    """This bench has no such thing; the message says which, and why."""


class Cap(IntEnum):
    """The capabilities that bpf(2) looks at (include/uapi/linux/capability.h)."""

    NET_ADMIN = 12
    SYS_ADMIN = 21
    SYSLOG = 34
    PERFMON = 38
    BPF = 39


class Cgroup:
    """A cgroup of the bench; `fd` is its open folder."""

    def __init__(self, fd: int, id: int, path: str, name: str) -> None:
        self.fd = fd
        self.id = id
        self.path = path
        self.name = name
        """Its path from the root of the tree."""


class Guest(NamedTuple):
    """One who is root in a user namespace of its own and nobody elsewhere."""

    calls: Calls
    host: HostPort
    bpffs: int
    """An fd of the root of the bpffs that was made for it."""


class Bench(ABC):
    """One kernel, ready for checks. `clean` runs after each of them."""

    name: str
    """The kernel and its release, as the list of differences calls it: `linux 6.18`."""
    doors: Doors
    """The kernel's doors as root sees them."""
    cpus: int
    """Possible CPUs."""
    pid: int
    """The process that calls."""
    index_dir: str | None = None
    """Where bulk reads may keep what they need (`System.index_dir`)."""

    def __init__(self, name: str, doors: Doors, cpus: int) -> None:
        self.name = name
        self.doors = doors
        self.cpus = cpus
        self.renew()

    def renew(self) -> None:
        """Begin anew at the doors that there are now."""
        self.files = OpenFiles(self.doors.bpf)
        self.calls = Calls(self.files)
        self._at_end: list[Callable[[], None]] = []

    # --- other callers

    @abstractmethod
    def caller(self, uid: int = 0, caps: Iterable[int] = ()) -> Calls:
        """Calls with other credentials and the same open files: exactly these capabilities."""

    @contextmanager
    def no_more_files(self) -> Iterator[None]:
        """While this lasts, every call that would give a new fd fails for the lack of one."""
        raise NotOffered("no limit of open files")
        yield

    def as_guest(self, do: Callable[[Guest], None], allowed: TokenInfo | None = None) -> None:
        """Do something as root of a new user namespace, for which a bpffs was made that hands on
        what is `allowed`. Passes on what it raises."""
        raise NotOffered("no user namespaces")

    # --- files that are not BPF's

    def plain_file(self) -> int:
        """An fd of a file that means nothing to bpf(2)."""
        raise NotOffered("no plain files")

    def dup(self, fd: int) -> int:
        """Another number for the same open file."""
        raise NotOffered("no dup(2)")

    def fdinfo(self, fd: int) -> dict[str, str]:
        """/proc/PID/fdinfo of an fd, by the words in front of the colons."""
        lines = self.doors.host.fdinfo(fd).decode().splitlines()
        pairs = (line.partition(":") for line in lines)
        return {key.strip(): value.strip() for key, _, value in pairs}

    # --- places to attach to and to pin in

    def bpffs(self) -> str:
        """The path of an empty bpffs."""
        raise NotOffered("no bpffs")

    def folder(self, path: str) -> int:
        """An fd of a folder of a bpffs."""
        raise NotOffered("no bpffs")

    def unlink(self, path: str) -> None:
        """unlink(2) of a pin."""
        raise NotOffered("no bpffs")

    def cgroup(self, parent: Cgroup | None = None) -> Cgroup:
        """A new cgroup (version 2)."""
        raise NotOffered("no cgroups")

    def remove_cgroup(self, cgroup: Cgroup) -> None:
        """rmdir(2) of a cgroup; its open folder stays open."""
        raise NotOffered("no cgroups")

    def device(self) -> int:
        """The index of a new network device whose driver runs XDP itself."""
        raise NotOffered("no network devices")

    def remove_device(self, ifindex: int) -> None:
        """Take the device away."""
        raise NotOffered("no network devices")

    def netkit(self) -> tuple[int, int]:
        """The indexes of a new pair of netkit devices, the primary one first. Since: 6.7."""
        raise NotOffered("no netkit devices")

    def netns(self) -> int:
        """An fd of the network namespace that the bench is in."""
        raise NotOffered("no network namespaces")

    @contextmanager
    def elsewhere(self, name: str = "") -> Iterator[None]:
        """While this lasts, the caller is in another network namespace, a new one. It has a name
        (below /run/netns), or a process that is in it."""
        raise NotOffered("no other network namespaces")
        yield

    def tracepoint(self, group: str, name: str) -> int:
        """A perf event of a tracepoint."""
        raise NotOffered("no perf events")

    def probe(
        self, kind: str, name: str, offset: int = 0, *, back: bool = False, counter: int = 0
    ) -> int:
        """A perf event of a `kprobe` at a function, or a `uprobe` in a file; `back` for returns.

        `counter` is the offset of a uprobe's semaphore.
        """
        raise NotOffered("no perf events")

    def ticks(self) -> int:
        """A perf event of software, that nothing makes happen."""
        raise NotOffered("no perf events")

    def executable(self) -> str:
        """The path of a file that a probe can be put in, and that nothing runs."""
        raise NotOffered("no files")

    def socket(self, kind: str) -> int:
        """An fd of a new socket: `udp` (bound), `shared` (the same with SO_REUSEPORT), `tcp`
        (listening), `unix` or `xdp`."""
        raise NotOffered("no sockets")

    def bound_socket(self, kind: str, shared: bool = False) -> tuple[int, str]:
        """An fd of a new socket of a kind in `testing.sockets`, and what lists call it; `shared`:
        with SO_REUSEPORT."""
        raise NotOffered("no sockets")

    def stranger(self, *fds: int) -> int:
        """The pid of a new process of another user that has these files, by the same numbers."""
        raise NotOffered("no other processes")

    def choose_socket(self, socket: int, prog: int | None) -> None:
        """setsockopt(SO_ATTACH_REUSEPORT_EBPF), None detaches. Raises OSError."""
        raise NotOffered("no sockets")

    def fan_out(self, socket: int, prog: int) -> None:
        """setsockopt(PACKET_FANOUT, PACKET_FANOUT_DATA): a group of its own. Raises OSError."""
        raise NotOffered("this kernel has no groups of packet sockets")

    def filter_socket(self, socket: int, prog: int) -> None:
        """setsockopt(SO_ATTACH_BPF). Raises OSError."""
        raise NotOffered("no sockets")

    def set_xdp(self, ifindex: int, prog: int, flags: int = 0, expected: int | None = None) -> None:
        """Attach an XDP program by rtnetlink; -1 detaches. Raises OSError."""
        raise NotOffered("no rtnetlink that changes anything")

    def change_net(self, request: bytes) -> None:
        """Send an rtnetlink request that is only acknowledged. Raises OSError."""
        raise NotOffered("no rtnetlink that changes anything")

    def set_event(self, event: int, prog: int) -> None:
        """ioctl(PERF_EVENT_IOC_SET_BPF). Raises OSError."""
        raise NotOffered("no perf events")

    # --- memory

    def map_memory(
        self, fd: int, length: int, write: bool = False, offset: int = 0
    ) -> tuple[memoryview, Callable[[], None]]:
        """mmap(2) of a map, shared: the memory, and what unmaps it. Raises OSError."""
        raise NotOffered("no mmap(2)")

    @contextmanager
    def mapped(
        self, fd: int, length: int, write: bool = False, offset: int = 0
    ) -> Iterator[memoryview]:
        """The memory while it is mapped."""
        memory, unmap = self.map_memory(fd, length, write, offset)
        try:
            yield memory
        finally:
            unmap()

    # --- the end

    def at_end(self, do: Callable[[], None]) -> None:
        """Do it when the check is over, before its files are closed."""
        self._at_end.append(do)

    def clean(self) -> None:
        """Give back what a check took."""
        while self._at_end:
            self._at_end.pop()()
        self.files.close_all()

    @abstractmethod
    def close(self) -> None:
        """Leave the kernel as it was found."""


_GIVE_FILES = frozenset(
    {
        Cmd.MAP_CREATE,
        Cmd.PROG_LOAD,
        Cmd.OBJ_GET,
        Cmd.PROG_GET_FD_BY_ID,
        Cmd.MAP_GET_FD_BY_ID,
        Cmd.BTF_GET_FD_BY_ID,
        Cmd.LINK_GET_FD_BY_ID,
        Cmd.RAW_TRACEPOINT_OPEN,
        Cmd.BTF_LOAD,
        Cmd.LINK_CREATE,
        Cmd.ENABLE_STATS,
        Cmd.ITER_CREATE,
        Cmd.TOKEN_CREATE,
    }
)


class OpenFiles:
    """`BpfPort` that remembers what is open, so that a check need not close anything."""

    def __init__(self, port: BpfPort, fds: list[int] | None = None) -> None:
        self.port = port
        self.fds: list[int] = [] if fds is None else fds

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        result = self.port.bpf(cmd, attr, size, mem)
        if cmd in _GIVE_FILES:
            self.fds.append(result)
        return result

    def close(self, fd: int) -> None:
        self.port.close(fd)
        if fd in self.fds:
            self.fds.remove(fd)

    def beside(self, port: BpfPort) -> OpenFiles:
        """The same list for another caller that shares the files."""
        return OpenFiles(port, self.fds)

    def close_all(self) -> None:
        """Close what is left, the youngest first."""
        while self.fds:
            self.port.close(self.fds.pop())


def eventually(happened: Callable[[], bool], what: str) -> None:
    """Wait for what a kernel does behind the caller's back: after a grace period, in a worker.

    It takes Linux some ten milliseconds as a rule; what has not happened after seconds never will.
    """
    for _ in range(1000):
        if happened():
            return
        time.sleep(0.005)
    raise AssertionError(f"has not happened: {what}")
