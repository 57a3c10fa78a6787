"""A replay: a recording (`port.cassette`) as a kernel."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bpflens.abi.attrs import MapById
from bpflens.abi.enums import Cmd, MapFlag
from bpflens.abi.record import Record
from bpflens.abi.rows import FOLLOWS, CgroupRow, FileRow, TaskRow
from bpflens.errors import CassetteMiss, FormatError, Unsupported
from bpflens.port.cassette import BY_NAME, request
from bpflens.port.doors import BpfPort, Clock, Doors, PinFile, PinFiles, Rows, Unread, Way
from bpflens.port.memory import Memory
from bpflens.port.mountinfo import Mount, below
from bpflens.port.recording import Answer, damaged, load

WRITES = frozenset(
    {
        Cmd.MAP_UPDATE_ELEM,
        Cmd.MAP_DELETE_ELEM,
        Cmd.MAP_LOOKUP_AND_DELETE_ELEM,
        Cmd.MAP_UPDATE_BATCH,
        Cmd.MAP_DELETE_BATCH,
        Cmd.MAP_LOOKUP_AND_DELETE_BATCH,
        Cmd.MAP_FREEZE,
    }
)
"""Commands that change what a map holds."""


class Replay:
    """A recording as a kernel: `doors` answer as the recorded machine did.

    The same request asked again gets the next recorded answer, and the last one from then on.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._entries = load(path)
        self._answers: dict[str, list[Answer]] = {}
        """Those that were asked for."""
        self.line = 0
        """Of the file: that of the last answer."""
        self._turn: dict[str, tuple[int, int]] = {}
        """Request → (which of its answers is due, how often that was given)."""
        self.fds: dict[int, str] = {}
        self.where = ""
        """See `Recorder.where`."""
        bulk = any(key.startswith("bulk ") for key in self._entries)
        self.doors = Doors(
            ReplayedBpf(self),
            ReplayedHost(self),
            ReplayedNet(self),
            ReplayedMounts(self),
            ReplayedBulk(self) if bulk else None,
        )

    def answer(self, key: str) -> Answer | None:
        """The next answer to a request, or None where the recording has none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self.line = entry.line
        answers = self._answers.get(key)
        if answers is None:
            answers = self._answers[key] = entry.answers
        if not answers:
            return None
        at, given = self._turn.get(key, (0, 0))
        if given >= answers[at].get("times", 1) and at + 1 < len(answers):
            at, given = at + 1, 0
        self._turn[key] = at, given + 1
        return answers[at]

    def value(self, key: str) -> Any:
        """The value of a recorded file or netlink request. Raises OSError."""
        answer = self.answer(key)
        if answer is None:
            raise FileNotFoundError(errno.ENOENT, f"the recording {self.path} does not hold it")
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        return answer["value"]

    def pin_at(self, path: str) -> PinFile:
        """The pin at a path, from what walks of mounts found. Raises FileNotFoundError."""
        for key, entry in self._entries.items():
            kind, _, reach = key.partition(" ")
            if kind == "pins" and path.startswith(f"{reach.rstrip('/')}/"):
                self.line = entry.line
                for answer in entry.answers:
                    for each in answer.get("value", [[]])[0]:
                        found = _pin(each)
                        if f"{reach.rstrip('/')}/{found.path}" == path:
                            return found._replace(path=path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def new_fd(self, name: str) -> int:
        """A number for an fd of the object `name`: the lowest that is free."""
        number = 3
        while number in self.fds:
            number += 1
        self.fds[number] = name
        return number


class ReplayedBpf:
    """bpf(2) from a recording."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        with _sound(self._replay):
            return self._bpf(cmd, attr, size, mem)

    def _bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        asked = request(cmd, attr, size, mem, self._replay.fds, self._replay.where)
        answer = self._replay.answer(asked.key)
        if answer is None:
            if cmd in WRITES or (cmd == Cmd.MAP_GET_FD_BY_ID and not _reads(attr, size, mem)):
                raise Unsupported(
                    f"{self._replay.path} is a recording: it can be looked at, not changed"
                )
            if cmd == Cmd.OBJ_GET:
                path = bytes(asked.buffers[1]).rstrip(b"\0").decode(errors="surrogateescape")
                return self._replay.new_fd(_name(self._replay.pin_at(path)))
            if cmd in BY_NAME:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            raise CassetteMiss(
                f"the recording {self._replay.path} does not hold the answer to {asked.words}"
            )
        for at, runs in enumerate(answer.get("out", ())):
            for offset, data in runs:
                content = bytes.fromhex(data)
                if offset + len(content) > len(asked.buffers[at]):
                    raise ValueError("more was written than there was room for")
                if at == 0:
                    mem.write(attr + offset, content)
                else:
                    asked.buffers[at][offset : offset + len(content)] = content
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        if "fd" in answer:
            return self._replay.new_fd(answer["fd"])
        return int(answer["value"])

    def close(self, fd: int) -> None:
        if self._replay.fds.pop(fd, None) is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


class ReplayedHost:
    """The host's files from a recording."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def read(self, path: str, most: int = 0) -> bytes:
        with _sound(self._replay):
            return bytes.fromhex(self._replay.value(f"read {path}"))

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        with _sound(self._replay):
            found = self._replay.value(f"listdir {path}")
            return [(_entry(path, str(n)), bool(is_dir)) for n, is_dir in found]

    def readlink(self, path: str) -> str:
        with _sound(self._replay):
            return _link(path, str(self._replay.value(f"readlink {path}")))

    def identity(self, path: str) -> tuple[str, int]:
        with _sound(self._replay):
            device, inode = self._replay.value(f"identity {path}")
            return str(device), int(inode)

    def open(self, path: str) -> int:
        with _sound(self._replay):
            self._replay.value(f"open {path}")
        return self._replay.new_fd(f"path {path}")

    def fdinfo(self, fd: int) -> bytes:
        with _sound(self._replay):
            return bytes.fromhex(self._replay.value(f"fdinfo {self._replay.fds.get(fd, fd)}"))

    def clock(self) -> Clock:
        with _sound(self._replay):
            return Clock(*map(int, self._replay.value("clock")))

    def close(self) -> None:
        return


class ReplayedNet:
    """Netlink from a recording."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        with _sound(self._replay):
            key = f"netlink {protocol} {request.hex()}{self._replay.where}"
            return [bytes.fromhex(message) for message in self._replay.value(key)]

    @contextmanager
    def entered(self, way: Way) -> Iterator[None]:
        with _sound(self._replay):
            self._replay.value(f"setns {way.path}")
        before, self._replay.where = self._replay.where, f" in {way.path}"
        try:
            yield
        finally:
            self._replay.where = before


class ReplayedMounts:
    """Mounts from a recording."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def pins(self, bpf: BpfPort, mount: Mount) -> PinFiles:
        with _sound(self._replay):
            found, unread = self._replay.value(f"pins {mount.reach}")
            return PinFiles([_pin(each) for each in found], [_unread(*each) for each in unread])

    def pin(self, bpf: BpfPort, path: str, mount: Mount | None = None) -> PinFile:
        with _sound(self._replay):
            return self._replay.pin_at(below(mount, path))._replace(path=path)

    def get(self, bpf: BpfPort, path: str, write: bool, mount: Mount) -> int:
        with _sound(self._replay):
            return self._replay.new_fd(_name(self._replay.pin_at(below(mount, path))))

    def unpin(self, bpf: BpfPort, seen: PinFile, mount: Mount | None = None) -> None:
        raise Unsupported(f"{self._replay.path} is a recording: it can be looked at, not changed")

    def tree(self, mount: Mount) -> list[tuple[str, int]]:
        with _sound(self._replay):
            value = self._replay.value(f"tree {mount.reach}")
            return [(str(name), int(inode)) for name, inode in value]

    def folder(self, mount: Mount, path: str) -> int:
        where = below(mount, path)
        with _sound(self._replay):
            self._replay.value(f"open {where}")
        return self._replay.new_fd(f"path {where}")


def _name(pin: PinFile) -> str:
    """The object as `Recorder.fds` names it: the same by whichever way it is opened."""
    return f"{pin.kind} {pin.id}"


def _pin(value: Any) -> PinFile:
    path, kind, id, device, inode, folder = value
    return PinFile(str(path), str(kind), int(id), str(device), int(inode), int(folder))


def _unread(path: object, code: Any, why: object) -> Unread:
    return Unread(str(path), int(code), str(why))


class ReplayedBulk:
    """Bulk reads from a recording."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def programs(self, bpf: BpfPort, after: int, maps: bool, keep: str | None) -> Rows:
        raise Unsupported("a recording keeps what the plain calls tell")

    def files(self, bpf: BpfPort, keep: str | None) -> Rows:
        return self._rows("bulk files", FileRow)

    def cgroups(self, bpf: BpfPort, keep: str | None) -> Rows:
        return self._rows("bulk cgroups", CgroupRow)

    def tasks(self, bpf: BpfPort, keep: str | None) -> Rows:
        return self._rows("bulk tasks", TaskRow)

    def _rows(self, key: str, kind: type[Record]) -> Rows:
        with _sound(self._replay):
            answer = self._replay.answer(key)
            if answer is None or "refused" in answer:
                why = answer["refused"] if answer else "the recording does not hold it"
                raise Unsupported(str(why))
            data, reader = answer["value"]
            rows = Rows(bytes.fromhex(data), int(reader))
            if _end(rows.data, kind) != len(rows.data):
                raise ValueError("its last row is cut short")
            return rows


def _entry(folder: str, name: str) -> str:
    """A name in a directory. Raises ValueError for one that procfs does not have there."""
    match folder.split("/")[1:]:
        case ["proc"]:
            number = not name.isdecimal() or int(name) < 1 << 31
        case ["proc", _, "task" | "fd"] | ["proc", _, "task", _, "fd"]:
            number = name.isdecimal() and int(name) < 1 << 31
        case _:
            return name
    if not number:
        raise ValueError(f"{name[:80]!r} is no PID, thread or fd")
    return name


def _link(path: str, target: str) -> str:
    """Where a link points. Raises ValueError for one of procfs that leads to no namespace."""
    if "/ns/" in path and path.startswith("/proc/"):
        kind, _, number = target.partition(":[")
        if not kind or not number.endswith("]") or int(number[:-1]) >= 1 << 32:
            raise ValueError(f"{target[:80]!r} is no namespace")
    return target


def _end(data: bytes, kind: type[Record]) -> int:
    """Where the last row ends: no door gives a part of one."""
    at = 0
    while kind is FileRow and at + FileRow.__size__ <= len(data):
        (file,) = _KIND.unpack_from(data, at + FileRow.__layout__["kind"].offset)
        at += FileRow.__size__ + FOLLOWS.get(file, 0)
    return at if kind is FileRow else len(data) - len(data) % kind.__size__


_KIND = struct.Struct("=I")


def _reads(attr: int, size: int, mem: Memory) -> bool:
    """Whether a MAP_GET_FD_BY_ID wants no more than to read."""
    asked = MapById.decode(mem.read(attr, size))
    return bool(asked.open_flags & MapFlag.RDONLY)


@contextmanager
def _sound(replay: Replay) -> Iterator[None]:
    """Makes one error of all that can go wrong where an answer in the file is none."""
    try:
        yield
    except (OSError, FormatError):
        raise
    except (ArithmeticError, AttributeError, BufferError, LookupError, TypeError, ValueError) as e:
        raise damaged(replay.path, replay.line, f"its answer is none: {e!r}") from e
