"""Open files: descriptions, and the table of a task that names them by number."""

from __future__ import annotations

import errno
import heapq
from typing import TYPE_CHECKING, ClassVar, TypeVar

from bpflens.engine.call import err

if TYPE_CHECKING:
    from bpflens.engine.creds import Creds

O_RDONLY, O_WRONLY, O_RDWR = 0, 1, 2
O_CLOEXEC = 0o2000000


class Node:
    """What a file can be open on. The base is a file that means nothing to bpf(2)."""

    __slots__ = ()

    anon: ClassVar[str] = "/dev/null"
    """What readlink of /proc/PID/fd/N says."""
    mnt_id: ClassVar[int] = 15
    """The mount that its inode is in, as fdinfo tells: of anonymous inodes."""
    inode: int = 1057
    """All anonymous inodes are one."""

    def hold(self) -> None:
        """One more file, or pin, or other kernel object refers to this."""

    def drop(self) -> None:
        """One less does."""

    def closed(self, file: File) -> None:
        """The last fd of `file` was closed; `drop` follows."""

    def fdinfo(self, file: File) -> str:
        """The lines after the generic ones."""
        return ""


N = TypeVar("N", bound=Node)


class File:
    """A file description: what dup, fork and SCM_RIGHTS share."""

    __slots__ = ("_name", "creds", "fds", "mode", "node")

    def __init__(self, node: Node, mode: int, creds: Creds, name: str = "") -> None:
        self.node = node
        self.mode = mode
        self.creds = creds
        """Who opened it; raw dumps ask this one, not the caller."""
        self._name = name
        self.fds = 0
        """How many fds, and messages on their way, have it."""

    @property
    def name(self) -> str:
        """What readlink of /proc/PID/fd/N says."""
        return self._name or self.node.anon

    def put(self) -> None:
        """One fd, or message, less has it; with the last one the object loses a reference."""
        self.fds -= 1
        if not self.fds:
            self.node.closed(self)
            self.node.drop()

    @property
    def readable(self) -> bool:
        return self.mode != O_WRONLY

    @property
    def writable(self) -> bool:
        return self.mode != O_RDONLY


class FdTable:
    """fd numbers of a task; the lowest free one is given out first."""

    __slots__ = ("_free", "_top", "files", "limit")

    def __init__(self, limit: int = 1024) -> None:
        self.files: dict[int, File] = {}
        self.limit = limit
        """RLIMIT_NOFILE."""
        self._free: list[int] = []
        self._top = 0

    def add(self, file: File) -> int:
        """Give `file` a number; EMFILE at the limit. The caller has taken the reference."""
        if self._free:
            fd = heapq.heappop(self._free)
        elif self._top < self.limit:
            fd = self._top
            self._top += 1
        else:
            raise err(errno.EMFILE)
        file.fds += 1
        self.files[fd] = file
        return fd

    def full(self) -> bool:
        """Whether the next `add` would fail."""
        return not self._free and self._top >= self.limit

    def get(self, fd: int, kind: type[N], wrong: int = errno.EINVAL) -> N:
        """What `fd` is open on; EBADF if it is not, `wrong` if it is of another kind."""
        file = self.files.get(fd)
        if file is None:
            raise err(errno.EBADF)
        node = file.node
        if not isinstance(node, kind):
            raise err(wrong)
        return node

    def file(self, fd: int) -> File:
        """The description behind `fd`; EBADF if it is not open."""
        file = self.files.get(fd)
        if file is None:
            raise err(errno.EBADF)
        return file

    def close(self, fd: int) -> None:
        """Close one fd: `File.put`."""
        file = self.files.pop(fd, None)
        if file is None:
            raise err(errno.EBADF)
        heapq.heappush(self._free, fd)
        file.put()

    def dup(self, fd: int) -> int:
        """A second number for the same description."""
        return self.add(self.file(fd))

    def copy(self) -> FdTable:
        """The table of a forked child: other numbers' table, same descriptions."""
        child = FdTable(self.limit)
        child.files = dict(self.files)
        child._free = list(self._free)
        child._top = self._top
        for file in self.files.values():
            file.fds += 1
        return child
