"""The doors of a recorder: each passes its calls on and has the answers kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from errno import EIO
from typing import TYPE_CHECKING

from bpflens.abi.rows import FOLLOWS, FileRow
from bpflens.errors import BpflensError, Unsupported
from bpflens.port import fdinfo
from bpflens.port.cassette import GIVES_FD, changes, request
from bpflens.port.doors import (
    BpfPort,
    BulkPort,
    Clock,
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
from bpflens.port.recording import Answer

if TYPE_CHECKING:
    from bpflens.port.cassette import Recorder


class RecordedBpf:
    """bpf(2) through a recorder."""

    def __init__(self, inner: BpfPort, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        fds = self._recorder.fds
        asked = request(cmd, attr, size, mem, fds, self._recorder.where)
        before = [bytes(buffer) for buffer in asked.buffers]
        answer: Answer = {}
        try:
            result = self._inner.bpf(cmd, attr, size, mem)
            if cmd in GIVES_FD:
                fds[result] = answer["fd"] = self._name(result) or asked.key
            else:
                answer["value"] = result
            return result
        except OSError as error:
            answer["errno"] = error.errno or EIO
            raise
        finally:
            after = [bytearray(mem.read(attr, size)), *asked.buffers[1:]]
            out = [changes(old, new) for old, new in zip(before, after, strict=True)]
            if any(out):
                answer["out"] = out
            if answer.keys() - {"out"}:  # it came to an end: an interrupt is no answer
                self._recorder.keep(asked.key, asked.words, answer)

    def _name(self, fd: int) -> str:
        """The object behind a new fd, so that it is the same by whichever way it was opened."""
        try:
            kind, id = fdinfo.identify(self._recorder.host.fdinfo(fd)) or ("", 0)
        except OSError:
            return ""
        return f"{kind} {id}" if kind else ""

    def close(self, fd: int) -> None:
        self._recorder.fds.pop(fd, None)
        self._inner.close(fd)


class RecordedHost:
    """The host's files through a recorder."""

    def __init__(self, inner: HostPort, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder

    def read(self, path: str, most: int = 0) -> bytes:
        return self._recorder.ask(f"read {path}", lambda: self._inner.read(path, most), bytes.hex)

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        def listed() -> list[tuple[str, bool]]:
            names = self._inner.listdir(path)
            if path != f"/proc/{self._recorder.pid}/fd":
                return names
            return [(name, folder) for name, folder in names if name not in self._ours()]

        return self._recorder.ask(f"listdir {path}", listed, list)

    def _ours(self) -> set[str]:
        """The fds by which we look: who looks at the recording has others."""
        return {str(fd) for fd in self._recorder.fds}

    def readlink(self, path: str) -> str:
        if path == "/proc/self":
            return self._inner.readlink(path)  # who looks at the recording is another
        return self._recorder.ask(f"readlink {path}", lambda: self._inner.readlink(path), str)

    def identity(self, path: str) -> tuple[str, int]:
        return self._recorder.ask(f"identity {path}", lambda: self._inner.identity(path), list)

    def open(self, path: str) -> int:
        fd = self._recorder.ask(f"open {path}", lambda: self._inner.open(path), lambda _: 0)
        self._recorder.fds[fd] = f"path {path}"
        return fd

    def fdinfo(self, fd: int) -> bytes:
        key = f"fdinfo {self._recorder.fds.get(fd, fd)}"
        return self._recorder.ask(key, lambda: self._inner.fdinfo(fd), bytes.hex)

    def clock(self) -> Clock:
        return self._recorder.ask("clock", self._inner.clock, list)

    def close(self) -> None:
        self._inner.close()


class RecordedNet:
    """Netlink through a recorder."""

    def __init__(self, inner: NetPort, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        return self._recorder.ask(
            f"netlink {protocol} {request.hex()}{self._recorder.where}",
            lambda: self._inner.dump(protocol, request),
            lambda messages: [message.hex() for message in messages],
        )

    @contextmanager
    def entered(self, way: Way) -> Iterator[None]:
        inside = self._inner.entered(way)
        self._recorder.ask(f"setns {way.path}", inside.__enter__, lambda _: 0)
        before, self._recorder.where = self._recorder.where, f" in {way.path}"
        try:
            yield
        finally:
            self._recorder.where = before
            inside.__exit__(None, None, None)


class RecordedMounts:
    """Mounts through a recorder. The calls that a walk takes are not kept."""

    def __init__(self, inner: MountPort, bpf: BpfPort, recorder: Recorder) -> None:
        self._inner = inner
        self._bpf = bpf
        self._recorder = recorder

    def pins(self, bpf: BpfPort, mount: Mount) -> PinFiles:
        return self._recorder.ask(
            f"pins {mount.reach}", lambda: self._inner.pins(self._bpf, mount), list
        )

    def pin(self, bpf: BpfPort, path: str, mount: Mount | None = None) -> PinFile:
        return self._inner.pin(self._bpf, path, mount)  # the walk of its mount is kept

    def get(self, bpf: BpfPort, path: str, write: bool, mount: Mount) -> int:
        fd = self._inner.get(self._bpf, path, write, mount)
        kind, id = fdinfo.identify(self._recorder.host.fdinfo(fd)) or ("path", below(mount, path))
        self._recorder.fds[fd] = f"{kind} {id}"
        return fd

    def unpin(self, bpf: BpfPort, seen: PinFile, mount: Mount | None = None) -> None:
        self._inner.unpin(self._bpf, seen, mount)

    def tree(self, mount: Mount) -> list[tuple[str, int]]:
        return self._recorder.ask(f"tree {mount.reach}", lambda: self._inner.tree(mount), list)

    def folder(self, mount: Mount, path: str) -> int:
        where = below(mount, path)
        fd = self._recorder.ask(
            f"open {where}", lambda: self._inner.folder(mount, path), lambda _: 0
        )
        self._recorder.fds[fd] = f"path {where}"
        return fd


def _without(data: bytes, ours: Collection[tuple[int, int]]) -> bytes:
    """Rows of files without those of these fds, by which we look."""
    kept, at = bytearray(), 0
    while at < len(data):
        row = FileRow.decode(data[at : at + FileRow.__size__])
        end = at + FileRow.__size__ + FOLLOWS.get(row.kind, 0)
        if (row.pid, row.fd) not in ours:
            kept += data[at:end]
        at = end
    return bytes(kept)


class RecordedBulk:
    """Bulk reads through a recorder.

    What other calls tell too is left to them. The calls that a bulk read takes are not kept.
    """

    def __init__(self, inner: BulkPort, bpf: BpfPort, recorder: Recorder) -> None:
        self._inner = inner
        self._bpf = bpf
        self._recorder = recorder

    def programs(self, bpf: BpfPort, after: int, maps: bool, keep: str | None) -> Rows:
        raise Unsupported("a recording keeps what the plain calls tell")

    def files(self, bpf: BpfPort, keep: str | None) -> Rows:
        def others() -> Rows:
            rows = self._inner.files(self._bpf, keep)
            ours = {(self._recorder.pid, fd) for fd in self._recorder.fds}
            return rows._replace(data=_without(rows.data, ours))

        return self._rows("bulk files", others)

    def cgroups(self, bpf: BpfPort, keep: str | None) -> Rows:
        return self._rows("bulk cgroups", lambda: self._inner.cgroups(self._bpf, keep))

    def tasks(self, bpf: BpfPort, keep: str | None) -> Rows:
        return self._rows("bulk tasks", lambda: self._inner.tasks(self._bpf, keep))

    def _rows(self, key: str, read: Callable[[], Rows]) -> Rows:
        try:
            rows = read()
        except BpflensError as error:
            self._recorder.keep(key, key, {"refused": str(error)})
            raise
        self._recorder.keep(key, key, {"value": [rows.data.hex(), rows.reader]})
        return rows
