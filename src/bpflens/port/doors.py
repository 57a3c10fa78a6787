"""What a kernel offers its callers: four small doors, and for some kernels a fifth.

Every kernel (Linux, the engine, a replay) and every wrapper around one (tracer, recorder, fault
injection) is a set of objects of these shapes. Failures are plain `OSError`, as a system call
fails; `bpflens.port.calls` gives them names.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from bpflens.port.memory import Memory
from bpflens.port.mountinfo import Mount


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
    """The files in which a kernel tells more than bpf(2) does: procfs, sysfs.

    Paths are those of our own mount namespace, on file systems that root alone mounts. What lies on
    a mount that others may have made is reached by `MountPort`.
    """

    def read(self, path: str, most: int = 0) -> bytes:
        """The whole content of a file. Raises OSError; EFBIG for one of more than `most` bytes (0:
        no limit)."""
        ...

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        """The names in a directory, sorted, each with "is a directory". Raises OSError."""
        ...

    def readlink(self, path: str) -> str:
        """Where a symbolic link points. Raises OSError."""
        ...

    def identity(self, path: str) -> tuple[str, int]:
        """The device (`major:minor`) and the inode number of what a path leads to. Raises
        OSError."""
        ...

    def open(self, path: str) -> int:
        """An fd of a device or of our own namespace, for a call that takes one; read-only.

        `BpfPort.close` closes it. Raises OSError.
        """
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


class PinFile(NamedTuple):
    """A file of a bpffs, and the object that it pins."""

    path: str
    """Below the directory that is mounted; where a path was given: that."""
    kind: str
    """As `port.fdinfo.identify` has it: `program`, `map`, `link`."""
    id: int
    device: str
    """Of the file system, `major:minor`; with `inode` it is the same by whatever path."""
    inode: int
    folder: int
    """The inode number of its directory: hard links of one file have the same `inode`."""

    @property
    def name(self) -> str:
        """Its name in its directory."""
        return self.path.rstrip("/").rpartition("/")[2]

    def is_same_pin(self, other: PinFile) -> bool:
        """Whether both are one entry of one directory, by whatever paths."""
        return self[3:] == other[3:] and self.name == other.name


class Unread(NamedTuple):
    """A part of a bpffs that was not read."""

    path: str
    """Below the directory that is mounted; empty: all of it."""
    errno: int
    """0: a limit of ours was reached (`bpflens.limits`)."""
    why: str


class PinFiles(NamedTuple):
    """The pins of a bpffs, and what was not read."""

    found: list[PinFile]
    unread: list[Unread]


class MountPort(Protocol):
    """Mounted file systems of the types bpf and cgroup2, in whichever mount namespace.

    A user may own directories of a bpffs, mount what he likes in a mount namespace of his own, and
    change both while they are read. So a mount is given as mountinfo has it; that it is the one
    which is reached is checked, no symbolic link is followed, no other mount is entered, and
    nothing that may not answer is waited for. Where this cannot be: OSError, whose words say why.
    """

    def pins(self, bpf: BpfPort, mount: Mount) -> PinFiles:
        """Every file of a bpffs that pins an object, sorted by path within a directory.

        `bpf` is the door beside this one, through which each is opened. Raises OSError for the
        mount itself.
        """
        ...

    def pin(self, bpf: BpfPort, path: str, mount: Mount | None = None) -> PinFile:
        """What is pinned at a path below a mount; without one, at a path of our own mount namespace
        that the user gave, whose directories may be reached by symbolic links. Raises OSError:
        ELOOP for a symbolic link, EINVAL for what is not in a bpffs."""
        ...

    def get(self, bpf: BpfPort, path: str, write: bool, mount: Mount) -> int:
        """OBJ_GET of a path below a mount: an fd that `BpfPort.close` closes. Raises OSError."""
        ...

    def unpin(self, bpf: BpfPort, seen: PinFile, mount: Mount | None = None) -> None:
        """Remove the pin that `pin` found. Raises OSError: ESTALE where another file or object is
        there now, EIO where one came between the check and the removal, and was removed."""
        ...

    def tree(self, mount: Mount) -> list[tuple[str, int]]:
        """The directory that is mounted (as the empty name) and every one below it, by its path
        from there, with its inode number; parents first. One that vanishes meanwhile is left out.
        Raises OSError for the mount itself."""
        ...

    def folder(self, mount: Mount, path: str) -> int:
        """A readable fd of a directory below a mount, which `BpfPort.close` closes. Raises OSError:
        ENOENT where it is gone."""
        ...


class Way(NamedTuple):
    """A file that stands for a network namespace."""

    path: str
    """`/proc/812/ns/net`, `/run/netns/blue`, `/proc/812/fd/5`."""
    inode: int = 0
    """The namespace; 0: whichever it is."""
    mount: Mount | None = None
    """The mount by which, where it is one."""


class NetPort(Protocol):
    """Netlink requests."""

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        """Send one dump request (a whole nlmsg) and return the nlmsgs that answer it.

        NLMSG_DONE is not among them; NLMSG_ERROR becomes OSError.
        """
        ...

    def entered(self, way: Way) -> AbstractContextManager[None]:
        """While this lasts, every call through the doors beside this one is made in the network
        namespace that a file stands for. Raises OSError; ESTALE where the file is another now."""
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
    mounts: MountPort
    bulk: BulkPort | None = None
