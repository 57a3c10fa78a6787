"""A tracer: doors around doors that tell every call, decoded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from bpflens.errors import BpflensError
from bpflens.port import spell
from bpflens.port.doors import (
    BpfPort,
    BulkPort,
    Clock,
    Doors,
    HostPort,
    MountPort,
    NetPort,
    PinFile,
    PinFiles,
    Rows,
    Way,
)
from bpflens.port.memory import Memory
from bpflens.port.mountinfo import Mount, below

Write = Callable[[str], None]
T = TypeVar("T")


def traced(doors: Doors, write: Write) -> Doors:
    """The same doors; `write` gets a line for each call that goes through them."""
    return Doors(
        TracedBpf(doors.bpf, write),
        TracedHost(doors.host, write),
        TracedNet(doors.net, write),
        TracedMounts(doors.mounts, write),
        TracedBulk(doors.bulk, write) if doors.bulk else None,
    )


class TracedBpf:
    """Tells bpf(2) and close(2): the attr as it is after the call, then the result."""

    def __init__(self, inner: BpfPort, write: Write) -> None:
        self._inner = inner
        self._write = write

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        try:
            result = self._inner.bpf(cmd, attr, size, mem)
        except OSError as error:
            self._tell(cmd, attr, size, mem, spell.error(error.errno or 0))
            raise
        self._tell(cmd, attr, size, mem, str(result))
        return result

    def _tell(self, cmd: int, attr: int, size: int, mem: Memory, result: str) -> None:
        self._write(f"{spell.call(cmd, attr, size, mem)} = {result}")

    def close(self, fd: int) -> None:
        _told(self._write, f"close({fd})", lambda: self._inner.close(fd), lambda _: "0")


class TracedHost:
    """Tells what is read of the host's files."""

    def __init__(self, inner: HostPort, write: Write) -> None:
        self._inner = inner
        self._write = write

    def read(self, path: str, most: int = 0) -> bytes:
        return _told(self._write, f'read("{path}")', lambda: self._inner.read(path, most), _bytes)

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        return _told(self._write, f'listdir("{path}")', lambda: self._inner.listdir(path), _names)

    def readlink(self, path: str) -> str:
        return _told(self._write, f'readlink("{path}")', lambda: self._inner.readlink(path), str)

    def identity(self, path: str) -> tuple[str, int]:
        return _told(
            self._write,
            f'stat("{path}")',
            lambda: self._inner.identity(path),
            lambda found: f"device {found[0]} inode {found[1]}",
        )

    def open(self, path: str) -> int:
        return _told(self._write, f'open("{path}")', lambda: self._inner.open(path), str)

    def fdinfo(self, fd: int) -> bytes:
        return _told(self._write, f"fdinfo({fd})", lambda: self._inner.fdinfo(fd), _bytes)

    def clock(self) -> Clock:
        return self._inner.clock()

    def close(self) -> None:
        self._inner.close()


class TracedNet:
    """Tells netlink requests."""

    def __init__(self, inner: NetPort, write: Write) -> None:
        self._inner = inner
        self._write = write

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        return _told(
            self._write,
            f"netlink({protocol}, [{len(request)}])",
            lambda: self._inner.dump(protocol, request),
            lambda answers: f"{len(answers)} messages",
        )

    def entered(self, way: Way) -> AbstractContextManager[None]:
        self._write(f'setns("{way.path}")')
        return self._inner.entered(way)


class TracedMounts:
    """Tells what is done below a mount; the bpf(2) calls that it takes are told before."""

    def __init__(self, inner: MountPort, write: Write) -> None:
        self._inner = inner
        self._write = write

    def pins(self, bpf: BpfPort, mount: Mount) -> PinFiles:
        return _told(
            self._write,
            f'pins("{mount.reach}")',
            lambda: self._inner.pins(bpf, mount),
            lambda read: f"{len(read.found)} pins",
        )

    def pin(self, bpf: BpfPort, path: str, mount: Mount | None = None) -> PinFile:
        return _told(
            self._write,
            f'pin("{below(mount, path)}")',
            lambda: self._inner.pin(bpf, path, mount),
            lambda found: f"{found.kind} {found.id}",
        )

    def get(self, bpf: BpfPort, path: str, write: bool, mount: Mount) -> int:
        return _told(
            self._write,
            f'get("{below(mount, path)}")',
            lambda: self._inner.get(bpf, path, write, mount),
            str,
        )

    def unpin(self, bpf: BpfPort, seen: PinFile, mount: Mount | None = None) -> None:
        _told(
            self._write,
            f'unlink("{below(mount, seen.path)}")',
            lambda: self._inner.unpin(bpf, seen, mount),
            lambda _: "0",
        )

    def tree(self, mount: Mount) -> list[tuple[str, int]]:
        return _told(self._write, f'tree("{mount.reach}")', lambda: self._inner.tree(mount), _names)

    def folder(self, mount: Mount, path: str) -> int:
        return _told(
            self._write,
            f'open("{below(mount, path)}")',
            lambda: self._inner.folder(mount, path),
            str,
        )


class TracedBulk:
    """Tells what was read in bulk; the calls that it takes go through the `BpfPort` and are told
    before."""

    def __init__(self, inner: BulkPort, write: Write) -> None:
        self._inner = inner
        self._write = write

    def programs(self, bpf: BpfPort, after: int, maps: bool, keep: str | None) -> Rows:
        return self._rows(
            f"bulk(programs, after={after})", lambda: self._inner.programs(bpf, after, maps, keep)
        )

    def files(self, bpf: BpfPort, keep: str | None) -> Rows:
        return self._rows("bulk(files)", lambda: self._inner.files(bpf, keep))

    def cgroups(self, bpf: BpfPort, keep: str | None) -> Rows:
        return self._rows("bulk(cgroups)", lambda: self._inner.cgroups(bpf, keep))

    def tasks(self, bpf: BpfPort, keep: str | None) -> Rows:
        return self._rows("bulk(tasks)", lambda: self._inner.tasks(bpf, keep))

    def _rows(self, what: str, read: Callable[[], Rows]) -> Rows:
        try:
            rows = read()
        except BpflensError as error:
            self._write(f"{what} = {error}")
            raise
        self._write(f"{what} = {len(rows.data)} bytes")
        return rows


def _told(write: Write, call: str, make: Callable[[], T], result: Callable[[T], str]) -> T:
    try:
        value = make()
    except OSError as error:
        write(f"{call} = {spell.error(error.errno or 0)}")
        raise
    write(f"{call} = {result(value)}")
    return value


def _bytes(data: bytes) -> str:
    return f"{len(data)} bytes"


def _names(entries: list[tuple[str, bool]] | list[tuple[str, int]]) -> str:
    return f"{len(entries)} names"
