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
import sys
from collections.abc import Callable
from errno import EIO
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from bpflens.abi.attrs import ATTRS
from bpflens.abi.enums import AttachType, Cmd
from bpflens.port import spell
from bpflens.port.doors import (
    Doors,
)
from bpflens.port.memory import Memory
from bpflens.port.recording import FORMAT, Answer, check
from bpflens.privatefile import write

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

T = TypeVar("T")


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
    digest = blake2b(_bytes(f"bpf {cmd} {size}{where}"), digest_size=12)
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
                        digest.update(_bytes(f"fd {field.offset} {fds[number]}"))
        digest.update(content)
        at += 1
    return Request(digest.hexdigest(), spell.call(cmd, attr, size, mem), buffers)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # paths are in it


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
        from bpflens.port.recorded import (
            RecordedBpf,
            RecordedBulk,
            RecordedHost,
            RecordedMounts,
            RecordedNet,
        )

        self.doors = Doors(
            RecordedBpf(inner.bpf, self),
            RecordedHost(inner.host, self),
            RecordedNet(inner.net, self),
            RecordedMounts(inner.mounts, inner.bpf, self),
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
            self.keep(key, key, {"errno": error.errno or EIO})
            raise
        self.keep(key, key, {"value": plain(value)})
        return value

    def shorten(self, path: str, content: bytes) -> None:
        """Keep this of a file that was read, and not the whole of it."""
        key = f"read {path}"
        if "value" in self._answers.get(key, [{}])[-1]:
            self._answers[key] = [{"value": content.hex()}]

    def save(self, path: str, head: dict[str, str]) -> None:
        """Write the recording (`privatefile.write`). Raises OSError, Unsupported."""
        lines = [json.dumps({"format": FORMAT} | head).encode() + b"\n"]
        lines += [
            json.dumps({"key": key, "ask": self._words[key], "answers": answers}).encode() + b"\n"
            for key, answers in self._answers.items()
        ]
        check(lines)
        text = b"".join(lines)
        # mtime 0: the same recording is the same file
        write(path, gzip.compress(text, mtime=0) if path.endswith(".gz") else text)
