"""A small kernel that answers from lists: what the tests of the rooms above the doors look at.

It keeps the rules of the boundary that the callers depend on: every byte goes through `Memory`,
an info is as long as this kernel knows (`told`), arrays by pointer and count, keys and values of
their true size, hash batches by whole buckets. Everything else is left out.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from bpflens.abi.attrs import ATTRS
from bpflens.abi.enums import Cmd
from bpflens.errors import Unsupported
from bpflens.model.system import System
from bpflens.port import fdinfo
from bpflens.port.calls import CallNotFound, Calls
from bpflens.port.doors import BpfPort, Clock, Doors, PinFile, PinFiles, Rows, Unread, Way
from bpflens.port.memory import Memory
from bpflens.port.mountinfo import Mount
from tests.unit.scripted_objects import Link, Object, Table, fail


class Kernel:
    """A `BpfPort`; `doors` has the other two beside it."""

    def __init__(self, *objects: Object) -> None:
        self.objects = list(objects)
        self.host = Host(self)
        self.log: list[Cmd] = []
        """Every command that was asked for, in order."""
        self.refused: dict[Cmd, int] = {}
        """Command → the errno that it always answers."""
        self.closed_objects: dict[int, int] = {}
        """ID of an object that is there but cannot be opened → the errno."""
        self.before: Callable[[Cmd], None] | None = None
        """Is called before a command is answered: what others do to this machine meanwhile."""
        self.fds: dict[int, Object] = {}

    @property
    def doors(self) -> Doors:
        return Doors(self, self.host, self.host, Mounts(self.host))

    def system(self, port: BpfPort | None = None) -> System:
        """This kernel as its objects, also behind a wrapper around its first door."""
        return System(Doors(port or self, self.host, self.host, Mounts(self.host)))

    def counts(self) -> Counter[str]:
        """How often each command was asked for since the log was cleared."""
        return Counter(cmd.name for cmd in self.log)

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        word = Cmd(cmd)
        self.log.append(word)
        if self.before:
            self.before(word)
        if word in self.refused:
            raise fail(self.refused[word])
        asked = ATTRS[word].decode(mem.read(attr, size))
        try:
            return self._answer(word, asked, mem)
        finally:
            mem.write(attr, asked.encode()[:size])

    def close(self, fd: int) -> None:
        if self.fds.pop(fd, None) is None:
            raise fail(errno.EBADF)

    def _answer(self, cmd: Cmd, asked: Any, mem: Memory) -> int:
        noun, _, verb = cmd.name.lower().partition("_")
        match verb:
            case "get_next_id":
                asked.next_id = self._next_id(noun, asked.start_id)
                return 0
            case "get_fd_by_id":
                return self._open(self._by_id(noun, getattr(asked, f"{noun}_id")))
        match cmd:
            case Cmd.OBJ_GET:
                return self._pinned(asked.pathname, asked.file_flags, mem)
            case Cmd.OBJ_GET_INFO_BY_FD:
                self._info(asked, mem)
            case Cmd.MAP_LOOKUP_ELEM:
                self._table(asked.map_fd).lookup(asked, mem)
            case Cmd.MAP_GET_NEXT_KEY:
                self._table(asked.map_fd).next_key(asked, mem)
            case Cmd.MAP_LOOKUP_BATCH:
                self._table(asked.map_fd).lookup_batch(asked, mem)
            case _:
                raise fail(errno.EINVAL)
        return 0

    def _next_id(self, noun: str, start: int) -> int:
        later = [o.id for o in self.objects if o.noun == noun and o.id > start]
        if not later:
            raise fail(errno.ENOENT)
        return min(later)

    def _by_id(self, noun: str, id: int) -> Object:
        if id in self.closed_objects:
            raise fail(self.closed_objects[id])
        for each in self.objects:
            if each.noun == noun and each.id == id:
                return each
        raise fail(errno.ENOENT)

    def _open(self, found: Object) -> int:
        fd = next(n for n in range(3, 1 << 20) if n not in self.fds)
        self.fds[fd] = found
        return fd

    def _pinned(self, address: int, flags: int, mem: Memory) -> int:
        path = next(bytes(buffer) for at, buffer in mem.pinned() if at == address)
        found = self.host.pins.get(path.rstrip(b"\0").decode(errors="surrogateescape"), 2)
        if isinstance(found, int):
            raise fail(found)
        if isinstance(found, Link) and flags:
            raise fail(errno.EINVAL)
        return self._open(found)

    def _info(self, asked: Any, mem: Memory) -> None:
        if asked.bpf_fd not in self.fds:
            raise fail(errno.EBADF)
        found = self.fds[asked.bpf_fd]
        given = mem.read(asked.info, asked.info_len)
        # bpf_check_uarg_tail_zero(): a longer struct is fine as long as it asks for nothing
        if any(given[found.told :]):
            raise fail(errno.E2BIG)
        asked.info_len = min(asked.info_len, found.told)
        told = found.tell(given[: found.told], mem).encode()
        mem.write(asked.info, told[: asked.info_len])

    def _table(self, fd: int) -> Table:
        found = self.fds.get(fd)
        if not isinstance(found, Table):
            raise fail(errno.EBADF)
        return found


class Bulk:
    """A `BulkPort` of a machine on which no process but ours has a file that matters."""

    def files(self, bpf: BpfPort, keep: str | None) -> Rows:
        return Rows(b"", 0)

    def programs(self, bpf: BpfPort, after: int, maps: bool, keep: str | None) -> Rows:
        raise Unsupported("nothing else is offered in bulk")

    def cgroups(self, bpf: BpfPort, keep: str | None) -> Rows:
        raise Unsupported("nothing else is offered in bulk")

    def tasks(self, bpf: BpfPort, keep: str | None) -> Rows:
        raise Unsupported("nothing else is offered in bulk")


class Host:
    """The files and the network of the machine: a `HostPort` and a `NetPort`."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.files: dict[str, bytes | int] = {
            "/sys/devices/system/cpu/possible": b"0-1\n",
            "/proc/sys/kernel/osrelease": b"6.18.0-scripted\n",
            "/proc/self/mountinfo": b"26 25 0:24 / /sys/fs/bpf rw - bpf bpf rw\n",
        }
        """Path → content, or the errno that reading it answers."""
        self.pins: dict[str, Object | int] = {}
        """Path in a bpffs → the object there, or the errno that opening it answers."""
        self.links = {
            "/proc/self": "1",
            "/proc/self/ns/pid": "pid:[4026531836]",
            "/proc/self/ns/net": "net:[4026531840]",
            "/proc/self/ns/mnt": "mnt:[4026531841]",
        }
        self.unreadable: set[str] = set()
        self.messages: list[bytes] = []
        self.seconds = iter(range(1_000, 1 << 31))
        """Since boot: each look at the clock takes the next."""

    def read(self, path: str, most: int = 0) -> bytes:
        content = self.files.get(path, errno.ENOENT)
        if isinstance(content, int):
            raise fail(content)
        return content

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        if path in self.unreadable:
            raise fail(errno.EACCES)
        root = path.rstrip("/") + "/"
        below = [p.removeprefix(root) for p in (*self.pins, *self.files) if p.startswith(root)]
        return sorted({(p.partition("/")[0], "/" in p) for p in below})

    def readlink(self, path: str) -> str:
        if path in self.links:
            return self.links[path]
        raise fail(errno.ENOENT)

    def identity(self, path: str) -> tuple[str, int]:
        raise fail(errno.ENOENT)

    def open(self, path: str) -> int:
        raise fail(errno.ENOENT)

    def entered(self, way: Way) -> AbstractContextManager[None]:
        raise fail(errno.EPERM)

    def fdinfo(self, fd: int) -> bytes:
        found = self.kernel.fds.get(fd)
        if found is None:
            raise fail(errno.ENOENT)
        line = f"{found.noun}_id:\t{found.id}\n".encode()
        return b"pos:\t0\nflags:\t02000002\n" + found.fdinfo + line

    def clock(self) -> Clock:
        since_boot = next(self.seconds)
        return Clock((1_700_000_000 + since_boot) * 10**9, since_boot * 10**9)

    def close(self) -> None:
        return

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        return self.messages


class Mounts:
    """A `MountPort` over the pins of a `Host`."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def pins(self, bpf: BpfPort, mount: Mount) -> PinFiles:
        found = PinFiles([], [])
        waiting = [mount.path]
        while waiting:
            folder = waiting.pop()
            try:
                entries = self.host.listdir(folder)
            except OSError as error:
                why = error.strerror or ""
                found.unread.append(Unread(self._below(mount, folder), error.errno or 0, why))
                continue
            paths = [(f"{folder.rstrip('/')}/{name}", inner) for name, inner in entries]
            waiting += [path for path, is_folder in reversed(paths) if is_folder]
            for path in (path for path, is_folder in paths if not is_folder):
                try:
                    found.found.append(self._pin(bpf, path, self._below(mount, path)))
                except CallNotFound:
                    continue
                except OSError as error:
                    why = error.strerror or ""
                    found.unread.append(Unread(self._below(mount, path), error.errno or 0, why))
        return found

    def _below(self, mount: Mount, path: str) -> str:
        return path.removeprefix(mount.path).lstrip("/")

    def _pin(self, bpf: BpfPort, where: str, path: str) -> PinFile:
        fd = Calls(bpf).pinned(where)
        try:
            kind, id = fdinfo.identify(self.host.fdinfo(fd)) or ("", 0)
        finally:
            bpf.close(fd)
        paths = [*self.host.pins]
        return PinFile(path, kind, id, "0:24", paths.index(where) + 1, 0)

    def pin(self, bpf: BpfPort, path: str, mount: Mount | None = None) -> PinFile:
        return self._pin(bpf, path, path)

    def get(self, bpf: BpfPort, path: str, write: bool, mount: Mount) -> int:
        raise fail(errno.ENOENT)

    def unpin(self, bpf: BpfPort, seen: PinFile, mount: Mount | None = None) -> None:
        raise fail(errno.EROFS)

    def tree(self, mount: Mount) -> list[tuple[str, int]]:
        raise fail(errno.ENOENT)

    def folder(self, mount: Mount, path: str) -> int:
        raise fail(errno.ENOENT)
