"""A replay: a recording (`port.cassette`) as a kernel."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bpflens import limits
from bpflens.abi.attrs import MapById
from bpflens.abi.enums import Cmd, MapFlag
from bpflens.errors import CassetteMiss, FormatError, Unsupported
from bpflens.port.cassette import BY_NAME, FORMAT, Answer, request
from bpflens.port.doors import BpfPort, Clock, Doors, PinFile, PinFiles, Rows, Unread, Way
from bpflens.port.memory import Memory
from bpflens.port.mountinfo import Mount, below

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
        self._answers = load(path)
        self._turn: dict[str, tuple[int, int]] = {}
        """Request → (which of its answers is due, how often that was given)."""
        self.fds: dict[int, str] = {}
        self.where = ""
        """See `Recorder.where`."""
        bulk = any(key.startswith("bulk ") for key in self._answers)
        self.doors = Doors(
            ReplayedBpf(self),
            ReplayedHost(self),
            ReplayedNet(self),
            ReplayedMounts(self),
            ReplayedBulk(self) if bulk else None,
        )

    def answer(self, key: str) -> Answer | None:
        """The next answer to a request, or None where the recording has none."""
        answers = self._answers.get(key)
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
        for key, answers in self._answers.items():
            kind, _, reach = key.partition(" ")
            if kind == "pins" and path.startswith(f"{reach.rstrip('/')}/"):
                for answer in answers:
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
        with _sound(self._replay.path):
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
        with _sound(self._replay.path):
            return bytes.fromhex(self._replay.value(f"read {path}"))

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        with _sound(self._replay.path):
            return [(str(n), bool(is_dir)) for n, is_dir in self._replay.value(f"listdir {path}")]

    def readlink(self, path: str) -> str:
        with _sound(self._replay.path):
            return str(self._replay.value(f"readlink {path}"))

    def identity(self, path: str) -> tuple[str, int]:
        with _sound(self._replay.path):
            device, inode = self._replay.value(f"identity {path}")
            return str(device), int(inode)

    def open(self, path: str) -> int:
        with _sound(self._replay.path):
            self._replay.value(f"open {path}")
        return self._replay.new_fd(f"path {path}")

    def fdinfo(self, fd: int) -> bytes:
        with _sound(self._replay.path):
            return bytes.fromhex(self._replay.value(f"fdinfo {self._replay.fds.get(fd, fd)}"))

    def clock(self) -> Clock:
        with _sound(self._replay.path):
            return Clock(*map(int, self._replay.value("clock")))

    def close(self) -> None:
        return


class ReplayedNet:
    """Netlink from a recording."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        with _sound(self._replay.path):
            key = f"netlink {protocol} {request.hex()}{self._replay.where}"
            return [bytes.fromhex(message) for message in self._replay.value(key)]

    @contextmanager
    def entered(self, way: Way) -> Iterator[None]:
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
        with _sound(self._replay.path):
            found, unread = self._replay.value(f"pins {mount.reach}")
            return PinFiles([_pin(each) for each in found], [_unread(*each) for each in unread])

    def pin(self, bpf: BpfPort, path: str, mount: Mount | None = None) -> PinFile:
        with _sound(self._replay.path):
            return self._replay.pin_at(below(mount, path))._replace(path=path)

    def get(self, bpf: BpfPort, path: str, write: bool, mount: Mount) -> int:
        with _sound(self._replay.path):
            return self._replay.new_fd(_name(self._replay.pin_at(below(mount, path))))

    def unpin(self, bpf: BpfPort, seen: PinFile, mount: Mount | None = None) -> None:
        raise Unsupported(f"{self._replay.path} is a recording: it can be looked at, not changed")

    def tree(self, mount: Mount) -> list[tuple[str, int]]:
        with _sound(self._replay.path):
            value = self._replay.value(f"tree {mount.reach}")
            return [(str(name), int(inode)) for name, inode in value]

    def folder(self, mount: Mount, path: str) -> int:
        where = below(mount, path)
        with _sound(self._replay.path):
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
        return self._rows("bulk files")

    def cgroups(self, bpf: BpfPort, keep: str | None) -> Rows:
        return self._rows("bulk cgroups")

    def tasks(self, bpf: BpfPort, keep: str | None) -> Rows:
        return self._rows("bulk tasks")

    def _rows(self, key: str) -> Rows:
        with _sound(self._replay.path):
            answer = self._replay.answer(key)
            if answer is None or "refused" in answer:
                why = answer["refused"] if answer else "the recording does not hold it"
                raise Unsupported(str(why))
            data, reader = answer["value"]
            return Rows(bytes.fromhex(data), int(reader))


def _reads(attr: int, size: int, mem: Memory) -> bool:
    """Whether a MAP_GET_FD_BY_ID wants no more than to read."""
    asked = MapById.decode(mem.read(attr, size))
    return bool(asked.open_flags & MapFlag.RDONLY)


@contextmanager
def _sound(path: str) -> Iterator[None]:
    """Makes one error of all that can go wrong where an answer in the file is none."""
    try:
        yield
    except (OSError, FormatError):
        raise
    except (ArithmeticError, AttributeError, BufferError, LookupError, TypeError, ValueError) as e:
        raise FormatError(f"{path} holds an answer that is damaged: {e}", 0) from e


def load(path: str) -> dict[str, list[Answer]]:
    """The answers of a recording, by request. Raises OSError, FormatError."""
    with open(path, "rb") as file:
        data = file.read(limits.RECORDING_BYTES.value)
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(limits.RECORDING_BYTES.value)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise FormatError(f"{path} is cut short or damaged: {error}", 0) from error
    answers: dict[str, list[Answer]] = {}
    offset = 0
    for number, line in enumerate(data.splitlines(keepends=True)):
        try:
            entry = json.loads(line)
            if number == 0:
                if entry["format"] != FORMAT:
                    raise FormatError(f"{path} is a recording of another format", 0)
            else:
                answers[entry["key"]] = entry["answers"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{path} is no recording of bpflens", offset) from error
        offset += len(line)
    if not offset:
        raise FormatError(f"{path} is empty", 0)
    return answers
