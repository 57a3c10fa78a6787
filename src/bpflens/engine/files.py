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

    __slots__ = ("creds", "fds", "mode", "name", "node")

    def __init__(self, node: Node, mode: int, creds: Creds, name: str = "") -> None:
        self.node = node
        self.mode = mode
        self.creds = creds
        """Who opened it; raw dumps ask this one, not the caller."""
        self.name = name or node.anon
        self.fds = 0

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
        """Close one fd; with the last one of a description the object loses a reference."""
        file = self.files.pop(fd, None)
        if file is None:
            raise err(errno.EBADF)
        heapq.heappush(self._free, fd)
        file.fds -= 1
        if not file.fds:
            file.node.closed(file)
            file.node.drop()

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
