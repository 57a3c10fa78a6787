"""Recordings: a real machine's answers in a file, on which the whole tool runs elsewhere.

An answer is kept by what was asked: command, attr, the content of every buffer that the attr
points at, and which object an fd stands for. Addresses and fd numbers differ from run to run, so
in a request they are replaced by what they mean: "the buffer that field 8 points at", "an fd of
program 12". What is kept of an answer is what the kernel changed.

The file is JSON lines, gzip-compressed where its name ends in .gz: a head, then one line for each
request, in words for people and as a digest for the replay.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from bpflens.abi.attrs import ATTRS
from bpflens.abi.enums import AttachType, Cmd
from bpflens.abi.rows import FOLLOWS, FileRow
from bpflens.errors import BpflensError, Unsupported
from bpflens.port import fdinfo, spell
from bpflens.port.doors import BpfPort, BulkPort, Clock, Doors, HostPort, NetPort, Rows
from bpflens.port.memory import Memory

FORMAT = "bpflens-cassette/1"

GIVES_FD = frozenset(
    {
        Cmd.MAP_CREATE,
        Cmd.PROG_LOAD,
        Cmd.OBJ_GET,
        Cmd.PROG_GET_FD_BY_ID,
        Cmd.MAP_GET_FD_BY_ID,
        Cmd.RAW_TRACEPOINT_OPEN,
        Cmd.BTF_LOAD,
        Cmd.BTF_GET_FD_BY_ID,
        Cmd.LINK_CREATE,
        Cmd.LINK_GET_FD_BY_ID,
        Cmd.ENABLE_STATS,
        Cmd.ITER_CREATE,
        Cmd.TOKEN_CREATE,
    }
)
"""Commands that return a new fd."""

BY_NAME = frozenset(
    {
        Cmd.PROG_GET_FD_BY_ID,
        Cmd.MAP_GET_FD_BY_ID,
        Cmd.BTF_GET_FD_BY_ID,
        Cmd.LINK_GET_FD_BY_ID,
        Cmd.OBJ_GET,
    }
)
"""Commands that look an object up: what a recording does not hold was not there."""

STRUCT_MAX = 4096
"""Buffers up to this size may be structs that hold addresses; larger ones are data."""

MAX_FILE = 1 << 30

T = TypeVar("T")
Answer = dict[str, Any]


class Request(NamedTuple):
    """A call without addresses and fd numbers: its digest, its words, the buffers it reaches."""

    key: str
    words: str
    buffers: list[bytearray]


def request(
    cmd: int, attr: int, size: int, mem: Memory, fds: dict[int, str], where: str = ""
) -> Request:
    """What a call asks, in the network namespace `where`; `buffers` begins with a copy of the
    attr."""
    pinned = dict(mem.pinned())
    first = bytearray(mem.read(attr, size))
    buffers = [first]
    digest = blake2b(f"bpf {cmd} {size}{where}".encode(), digest_size=12)
    record = ATTRS.get(Cmd(cmd))
    at = 0
    while at < len(buffers):
        content = bytearray(buffers[at])
        if len(content) <= STRUCT_MAX:
            for offset in range(0, len(content) - 7, 8):
                address = int.from_bytes(content[offset : offset + 8], "little")
                target = pinned.get(address) if address else None
                if target is not None:
                    if not any(target is known for known in buffers):
                        buffers.append(target)
                    content[offset : offset + 8] = bytes(8)
                    digest.update(f"->{offset}:{len(target)}".encode())
        if at == 0 and record is not None and not _by_index(cmd, content):
            for field in record.__layout__.values():
                if field.kind == "Fd" and field.end <= size:
                    number = int.from_bytes(content[field.offset : field.end], "little")
                    if number in fds:
                        content[field.offset : field.end] = bytes(4)
                        digest.update(f"fd {field.offset} {fds[number]}".encode())
        digest.update(content)
        at += 1
    return Request(digest.hexdigest(), spell.call(cmd, attr, size, mem), buffers)


def _by_index(cmd: int, attr: bytes | bytearray) -> bool:
    """Whether a query is about a device: what else is an fd is the device's index then."""
    return cmd == Cmd.PROG_QUERY and int.from_bytes(attr[4:8], sys.byteorder) in _DEVICES


_DEVICES = frozenset(
    {
        AttachType.TCX_INGRESS,
        AttachType.TCX_EGRESS,
        AttachType.NETKIT_PRIMARY,
        AttachType.NETKIT_PEER,
    }
)


def changes(before: bytes, after: bytes | bytearray) -> list[tuple[int, str]]:
    """(offset, hex) of each run of bytes that differ, in whole 8-byte words.

    Words that are equal are left alone at replay: among them are the addresses.
    """
    step = 8 if len(after) <= STRUCT_MAX else 512
    runs: list[tuple[int, bytearray]] = []
    for at in range(0, len(after), step):
        piece = after[at : at + step]
        if piece != before[at : at + step]:
            if runs and runs[-1][0] + len(runs[-1][1]) == at:
                runs[-1][1].extend(piece)
            else:
                runs.append((at, bytearray(piece)))
    return [(at, data.hex()) for at, data in runs]


class Recorder:
    """Keeps what passes through a kernel's doors."""

    def __init__(self, inner: Doors) -> None:
        self.host = inner.host
        self.fds: dict[int, str] = {}
        """The object behind each open fd."""
        self.where = ""
        """The network namespace that was entered, as part of what is asked."""
        self._words: dict[str, str] = {}
        self._answers: dict[str, list[Answer]] = {}
        self.doors = Doors(
            RecordedBpf(inner.bpf, self),
            RecordedHost(inner.host, self),
            RecordedNet(inner.net, self),
            RecordedBulk(inner.bulk, inner.bpf, self) if inner.bulk else None,
        )

    @cached_property
    def pid(self) -> int:
        """Our own process; 0 where that is not told."""
        try:
            return int(self.host.readlink("/proc/self"))
        except (OSError, ValueError):
            return 0

    def keep(self, key: str, words: str, answer: Answer) -> None:
        """Note an answer; one that repeats the last to the same request is only counted."""
        self._words.setdefault(key, words)
        answers = self._answers.setdefault(key, [])
        if answers and {k: v for k, v in answers[-1].items() if k != "times"} == answer:
            answers[-1]["times"] = answers[-1].get("times", 1) + 1
        else:
            answers.append(answer)

    def ask(self, key: str, make: Callable[[], T], plain: Callable[[T], Any]) -> T:
        """Make a call, keep its result or errno under `key`, and pass it on."""
        try:
            value = make()
        except OSError as error:
            self.keep(key, key, {"errno": error.errno})
            raise
        self.keep(key, key, {"value": plain(value)})
        return value

    def shorten(self, path: str, content: bytes) -> None:
        """Keep this of a file that was read, and not the whole of it."""
        key = f"read {path}"
        if "value" in self._answers.get(key, [{}])[-1]:
            self._answers[key] = [{"value": content.hex()}]

    def save(self, path: str, head: dict[str, str]) -> None:
        """Write the recording. Raises OSError."""
        lines = [json.dumps({"format": FORMAT} | head)]
        lines += [
            json.dumps({"key": key, "ask": self._words[key], "answers": answers})
            for key, answers in self._answers.items()
        ]
        text = ("\n".join(lines) + "\n").encode()
        # A recording that could not be written whole must not stand where a good one was.
        unfinished = f"{path}.part"
        with open(unfinished, "wb") as file:
            # mtime 0: the same recording is the same file
            file.write(gzip.compress(text, mtime=0) if path.endswith(".gz") else text)
        os.replace(unfinished, path)


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
            answer["errno"] = error.errno
            raise
        finally:
            after = [bytearray(mem.read(attr, size)), *asked.buffers[1:]]
            out = [changes(old, new) for old, new in zip(before, after, strict=True)]
            if any(out):
                answer["out"] = out
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

    def read(self, path: str) -> bytes:
        return self._recorder.ask(f"read {path}", lambda: self._inner.read(path), bytes.hex)

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

    def tree(self, path: str) -> list[tuple[str, int]]:
        return self._recorder.ask(f"tree {path}", lambda: self._inner.tree(path), list)

    def open(self, path: str) -> int:
        fd = self._recorder.ask(f"open {path}", lambda: self._inner.open(path), lambda _: 0)
        self._recorder.fds[fd] = f"path {path}"
        return fd

    def unlink(self, path: str) -> None:
        self._inner.unlink(path)

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
    def entered(self, netns: str) -> Iterator[None]:
        inside = self._inner.entered(netns)
        self._recorder.ask(f"setns {netns}", inside.__enter__, lambda _: 0)
        before, self._recorder.where = self._recorder.where, f" in {netns}"
        try:
            yield
        finally:
            self._recorder.where = before
            inside.__exit__(None, None, None)


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
