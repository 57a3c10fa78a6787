"""What the texts of iterators have in common. Pure."""

from __future__ import annotations

import re
import sys

from bpflens.abi.record import Record
from bpflens.btf.parse import Btf
from bpflens.errors import Unsupported
from bpflens.linux.kerneltypes import Kernel

WORDS = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}
"""Bytes → the word of the assembler."""


def kernel_of(btf: Btf) -> Kernel:
    """The types of a kernel for which we can assemble. Raises Unsupported."""
    if sys.byteorder != "little" or btf.pointer_size != 8:
        raise Unsupported("iterators are made only for 64-bit little-endian kernels")
    return Kernel(btf)


def expand(text: str) -> str:
    """`PROBE place size`: the memory at r3 into a place on the stack; `unsure` if it faults."""
    return re.sub(
        r"PROBE (\w+) (\w+)",
        r"r1 = r10\nr1 += \1\nr2 = \2\ncall probe_read_kernel\nif r0 != 0 goto unsure",
        text,
    )


def zeros(start: int, end: int) -> str:
    """Zeros on the stack, from `start` up to `end`, both multiples of 8."""
    return "".join(f"*(u64 *)(r10 {at}) = 0\n" for at in range(start, end, 8))


def on_stack(record: type[Record], start: int) -> dict[str, int]:
    """Where the fields of a record are that begins at `start`."""
    return {name: start + field.offset for name, field in record.__layout__.items()}
