"""A side runs steps on one kernel and tells what came of them."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Sequence
from dataclasses import dataclass, field

from bpflens.abi.enums import Cmd
from bpflens.errors import ENOTSUPP
from bpflens.port.doors import BpfPort
from bpflens.port.memory import Memory
from tests.twin.guarded import Guarded
from tests.twin.steps import BAD, CLOSED, Step

_INFO_ID = {"map": 4, "prog": 4, "link": 4, "btf": 12}


@dataclass
class Outcome:
    """What a call gave back."""

    error: int
    result: int
    attr: bytes
    buffers: list[bytes] = field(default_factory=list)


class Side:
    """One kernel, and what the steps of a story made there."""

    def __init__(
        self,
        ports: Sequence[BpfPort],
        types: dict[int, int],
        surroundings: dict[int, int],
        guarded: Guarded | None = None,
        pid: int = 1,
    ) -> None:
        self.port = ports[0]
        self.ports = ports
        """For each of `CALLERS`, its door."""
        self.types = types
        """Which of `NAMED_TYPES` → its ID."""
        self.guarded = guarded
        self.pid = pid
        self.fds: dict[int, int] = dict(surroundings)
        self.around = surroundings
        self.ids: dict[tuple[str, int], int] = {}
        """(kind, step) → ID."""

    def fill(self, step: Step, mem: Memory) -> tuple[bytearray, list[bytearray]]:
        """The attr and the buffers with the numbers of this side."""
        buffers = []
        for given in step.buffers:
            data = bytearray(given.data)
            for name in given.names:
                self.put(data, name.offset, name.kind, name.of, mem, [])
            buffers.append(data)
        attr = bytearray(step.attr)
        for name in step.names:
            self.put(attr, name.offset, name.kind, name.of, mem, buffers)
        return attr, buffers

    def put(
        self, data: bytearray, at: int, kind: str, of: int, mem: Memory, buffers: list[bytearray]
    ) -> None:
        """Write what a name stands for."""
        if kind == "ptr":
            address = mem.pin(buffers[of]) if 0 <= of < len(buffers) else BAD
            data[at : at + 8] = address.to_bytes(8, "little")
        elif kind == "pid":
            data[at : at + 4] = self.pid.to_bytes(4, "little")
        elif kind == "type":
            data[at : at + 4] = self.types.get(of, 0).to_bytes(4, "little")
        elif kind.startswith("before "):
            before = self.ids.get((kind.removeprefix("before "), of), 0x7FFFFFF0) - 1
            data[at : at + 4] = before.to_bytes(4, "little")
        elif kind == "fd":
            data[at : at + 4] = self.fds.get(of, CLOSED).to_bytes(4, "little")
        else:
            data[at : at + 4] = self.ids.get((kind, of), 0x7FFFFFF0).to_bytes(4, "little")

    def run(self, step: Step) -> Outcome:
        """Make the call; a failure is an outcome too."""
        if step.close is not None:
            fd = self.fds.pop(step.close, None)
            if fd is not None:
                self.port.close(fd)
            return Outcome(0, 0, b"")
        mem = self.guarded or Memory()
        attr, buffers = self.fill(step, mem)
        size = len(attr) if step.size < 0 else step.size
        at = BAD if step.bad_attr else mem.pin(attr)
        error = result = 0
        try:
            result = self.ports[step.caller].bpf(step.cmd, at, size, mem)
        except OSError as failed:
            error = failed.errno or -1
        if self.guarded:
            self.guarded.fetch()
        if not error and step.makes:
            self.fds[step.number] = result
            self.learn(step, result)
            result = 0
        return Outcome(error, result, bytes(attr), [bytes(buffer) for buffer in buffers])

    def learn(self, step: Step, fd: int) -> None:
        """Which ID the new object got."""
        offset = _INFO_ID.get(step.makes)
        if offset is None:
            return
        mem = Memory()
        info = bytearray(16)
        attr = bytearray(
            fd.to_bytes(4, "little")
            + (16).to_bytes(4, "little")
            + mem.pin(info).to_bytes(8, "little")
        )
        self.port.bpf(Cmd.OBJ_GET_INFO_BY_FD, mem.pin(attr), 16, mem)
        self.ids[(step.makes, step.number)] = int.from_bytes(info[offset : offset + 4], "little")

    def forget(self, step: Step) -> None:
        """Close what only this side made."""
        self.port.close(self.fds.pop(step.number))

    def clean(self) -> None:
        """Close everything that steps made."""
        for step, fd in list(self.fds.items()):
            if step >= 0:
                with contextlib.suppress(OSError):
                    self.port.close(fd)
        self.fds = dict(self.around)
        self.ids.clear()


_WALKS = {0, errno.ENOENT, errno.ENOSPC}
_CONTENTS = (errno.EINVAL, errno.EPROTO, errno.EAFNOSUPPORT, errno.ERANGE)
"""What Linux says of a packet or a context that a program would be run on."""
SPOILED = ("off of", "src of", "dst of", "imm of", "helper", "odd code")
"""Notes of programs that were broken at random: Linux may see deeper than the engine does."""


def deeper(step: Step, a: Outcome, b: Outcome) -> bool:
    """Whether Linux refused a program that the engine's verifier, which is structural, took."""
    known = step.note.startswith(SPOILED)
    return step.cmd == Cmd.PROG_LOAD and known and a.error != 0 and b.error == 0


def runs(step: Step, a: Outcome, b: Outcome) -> bool:
    """Whether Linux began to run a program for a test: the engine, which runs none, says so."""
    if step.cmd != Cmd.PROG_TEST_RUN or b.error != ENOTSUPP:
        return False
    takes, gives = (
        any(step.attr[at + 4 * which : at + 4 * which + 4] for at in (8, 40)) for which in (0, 1)
    )
    if takes and a.error in _CONTENTS:
        return True
    return a.error == 0 or (gives and a.error in (errno.EFAULT, errno.ENOSPC))


def compare(step: Step, live: Side, twin: Side, a: Outcome, b: Outcome) -> str:
    """The first difference between what Linux (a) and the engine (b) did; "" if there is none."""
    if step.unordered and {a.error, b.error} <= _WALKS:
        return ""
    if a.error != b.error:
        return f"errno: linux {a.error}, engine {b.error}"
    if a.result != b.result:
        return f"result: linux {a.result}, engine {b.result}"
    if step.loose or a.error == errno.EFAULT:  # a copy may stop anywhere before the bad byte
        return ""
    known = [{(k, v): s for (k, s), v in side.ids.items()} for side in (live, twin)]
    for at in range(-1, len(a.buffers)):
        left = bytearray(a.attr if at < 0 else a.buffers[at])
        right = bytearray(b.attr if at < 0 else b.buffers[at])
        given = step.names if at < 0 else step.buffers[at].names
        for name in given:
            size = 8 if name.kind == "ptr" else 4
            for data in (left, right):
                data[name.offset : name.offset + size] = bytes(
                    len(data[name.offset : name.offset + size])
                )
        for ids in step.ids:
            if ids.buffer != at:
                continue
            for n in range(ids.count):
                where = ids.offset + n * ids.stride
                for data, table in ((left, known[0]), (right, known[1])):
                    value = int.from_bytes(data[where : where + 4], "little")
                    if (ids.kind, value) in table and len(data) >= where + 4:
                        made = 0x40000000 + table[(ids.kind, value)] & 0xFFFFFFFF
                        data[where : where + 4] = made.to_bytes(4, "little")
        for buffer, offset, size in step.ignore:
            if buffer == at:
                for data in (left, right):
                    piece = len(data[offset : offset + size])
                    data[offset : offset + piece] = bytes(piece)
        if left != right:
            where = next(i for i, (x, y) in enumerate(zip(left, right, strict=True)) if x != y)
            what = "attr" if at < 0 else f"buffer {at}"
            return (
                f"{what} at byte {where}: linux {left[where : where + 24].hex()}, "
                f"engine {right[where : where + 24].hex()}"
            )
    return ""
