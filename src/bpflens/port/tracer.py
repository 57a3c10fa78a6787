"""A tracer: doors around doors that tell every call, decoded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from bpflens.errors import BpflensError
from bpflens.port import spell
from bpflens.port.doors import BpfPort, BulkPort, Clock, Doors, HostPort, NetPort, Rows
from bpflens.port.memory import Memory

Write = Callable[[str], None]
T = TypeVar("T")


def traced(doors: Doors, write: Write) -> Doors:
    """The same doors; `write` gets a line for each call that goes through them."""
    return Doors(
        TracedBpf(doors.bpf, write),
        TracedHost(doors.host, write),
        TracedNet(doors.net, write),
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

    def read(self, path: str) -> bytes:
        return _told(self._write, f'read("{path}")', lambda: self._inner.read(path), _bytes)

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        return _told(self._write, f'listdir("{path}")', lambda: self._inner.listdir(path), _names)

    def readlink(self, path: str) -> str:
        return _told(self._write, f'readlink("{path}")', lambda: self._inner.readlink(path), str)

    def tree(self, path: str) -> list[tuple[str, int]]:
        return _told(self._write, f'tree("{path}")', lambda: self._inner.tree(path), _names)

    def open(self, path: str) -> int:
        return _told(self._write, f'open("{path}")', lambda: self._inner.open(path), str)

    def unlink(self, path: str) -> None:
        _told(self._write, f'unlink("{path}")', lambda: self._inner.unlink(path), lambda _: "0")

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

    def entered(self, netns: str) -> AbstractContextManager[None]:
        self._write(f'setns("{netns}")')
        return self._inner.entered(netns)


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
