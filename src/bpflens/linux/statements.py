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


NUMBER = """
    call get_current_task_btf
    r3 = r0
    NEXT task_thread_pid
    TAKE more pid_level 4
    r3 = r8
    NEXT task_group_leader
    NEXT task_thread_pid
    r1 = *(u32 *)(r10 +more)
    if r1 > 32 goto done
    r1 *= sizeof_upid
    r3 += r1
    TAKE pid pid_number 4
"""
"""pid_nr_ns(): `pid` is the number of the process of r8 in the PID namespace of who reads;
MAX_PID_NS_LEVEL is 32."""
NUMBER_MEMBERS = {
    "task": ("task_struct", {"group_leader": "group_leader", "thread_pid": "thread_pid"}),
    "pid": ("pid", {"level": "level", "number": "numbers"}),
}
"""What `NUMBER` has to know, as `Kernel.places` takes it; and `sizeof_upid`."""


def kernel_of(btf: Btf) -> Kernel:
    """The types of a kernel for which we can assemble. Raises Unsupported."""
    if sys.byteorder != "little" or btf.pointer_size != 8:
        raise Unsupported("iterators are made only for 64-bit little-endian kernels")
    return Kernel(btf)


def expand(text: str) -> str:
    """The statements that come often. `PROBE place size`: the memory at r3 into a place on the
    stack; `unsure` if it faults. NEXT follows the pointer at a distance from r3, TAKE copies what
    lies there; FROM does so from another register."""
    text = re.sub(r"FROM (\w+) ", r"r3 = \1\nTAKE ", text)
    text = re.sub(r"TAKE (\w+) (\w+) (\w+)", r"r3 += \2\nPROBE \1 \3", text)
    text = re.sub(r"NEXT (\w+)", r"r3 += \1\nPROBE word 8\nr3 = *(u64 *)(r10 +word)", text)
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
