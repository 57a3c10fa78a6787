"""Instructions as records, and as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Literal, NamedTuple

from bpflens.errors import FormatError
from bpflens.insn import opcodes as op

SIZE = 8
"""Bytes of one slot."""

ByteOrder = Literal["little", "big"]
_SLOT = {"little": Struct("<BBhi"), "big": Struct(">BBhi")}


class Insn(NamedTuple):
    """One 8-byte slot, its fields as in `struct bpf_insn` (RFC 9669 section 3).

    A 64-bit immediate load takes two slots and so two records. That way a position in a list is the
    number that jumps, line information and bpftool mean, and any bytes survive a round trip.
    """

    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0


class Step(NamedTuple):
    """A whole instruction: its first slot, and its 64-bit immediate (unsigned) if it has one."""

    at: int
    insn: Insn
    wide: int | None


def decode(data: bytes | bytearray | memoryview, order: ByteOrder = "little") -> list[Insn]:
    """The slots in `data`, in byte order `order` of the machine that runs the program.

    Any bytes decode; `FormatError` where the length is no multiple of 8.
    """
    if len(data) % SIZE:
        whole = len(data) // SIZE * SIZE
        raise FormatError(f"{len(data) - whole} bytes left over after the last instruction", whole)
    slots = _SLOT[order].iter_unpack(data)
    if order == "little":
        return [Insn(code, regs & 15, regs >> 4, off, imm) for code, regs, off, imm in slots]
    # The registers are C bit fields, so their nibbles change places on big-endian machines.
    return [Insn(code, regs >> 4, regs & 15, off, imm) for code, regs, off, imm in slots]


def encode(insns: Iterable[Insn], order: ByteOrder = "little") -> bytes:
    """The bytes of `insns`; `ValueError` where a field is out of its range."""
    pack = _SLOT[order].pack
    low, high = (0, 4) if order == "little" else (4, 0)
    out = bytearray()
    for index, (code, dst, src, off, imm) in enumerate(insns):
        try:
            if (dst | src) & ~15:
                raise ValueError(f"no register r{dst if dst & ~15 else src}")
            out += pack(code, dst << low | src << high, off, imm)
        except Exception as error:
            raise ValueError(f"instruction {index} cannot be encoded: {error}") from error
    return bytes(out)


def is_wide(insns: Sequence[Insn], index: int) -> bool:
    """Whether the instruction at `index` takes two slots, and both are there."""
    return insns[index].code == op.LD_IMM64 and index + 1 < len(insns)


def steps(insns: Sequence[Insn]) -> Iterator[Step]:
    """Whole instructions in order, each with the index of its first slot.

    A 64-bit immediate load cut off at the end has `wide` None.
    """
    index, end = 0, len(insns)
    while index < end:
        insn = insns[index]
        if insn.code == op.LD_IMM64 and index + 1 < end:
            yield Step(
                index, insn, (insns[index + 1].imm & 0xFFFFFFFF) << 32 | insn.imm & 0xFFFFFFFF
            )
            index += 2
        else:
            yield Step(index, insn, None)
            index += 1
