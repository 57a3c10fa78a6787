"""What registers hold while the verifier follows a path, and how instructions change it."""

from __future__ import annotations

from typing import Any

from bpflens.insn import opcodes as op

M64 = (1 << 64) - 1

# What a register holds: nothing yet, a number that Linux knows nothing about, something else, a
# known number (an int), or a pointer, which is a tuple: ("fp", offset), ("ctx", offset),
# ("moved ctx",), ("map", map), ("null", map, n) for a value that may not be there, and
# ("value", map, offset).
UNSET, UNKNOWN, OTHER = "unset", "unknown", "other"


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def shift(operation: int, pointer: tuple[Any, ...], by: object) -> object:
    """A pointer moved by a number."""
    if isinstance(by, int) and pointer[0] in ("fp", "ctx", "value"):
        step = signed(by, 64)
        return (*pointer[:-1], pointer[-1] + (step if operation == op.ADD else -step))
    return ("moved ctx",) if pointer[0] in ("ctx", "moved ctx") else OTHER


def compute(operation: int, left: object, right: object, wide: bool) -> object:
    """The result of arithmetic where both sides are known; else something."""
    bits = 64 if wide else 32
    mask = (1 << bits) - 1
    if not isinstance(left, int) or not isinstance(right, int):
        return OTHER
    left &= mask
    right &= mask
    # The kernel does not work out a division, and knows nothing after a shift that is too far.
    if operation not in _ALU or (operation in _SHIFTS and right >= bits):
        return OTHER
    if operation == op.ARSH:
        left = signed(left, bits)
    return _ALU[operation](left, right) & mask


_SHIFTS = (op.LSH, op.RSH, op.ARSH)
_ALU = {
    op.ADD: lambda a, b: a + b,
    op.SUB: lambda a, b: a - b,
    op.MUL: lambda a, b: a * b,
    op.OR: lambda a, b: a | b,
    op.AND: lambda a, b: a & b,
    op.XOR: lambda a, b: a ^ b,
    op.LSH: lambda a, b: a << b,
    op.RSH: lambda a, b: a >> b,
    op.ARSH: lambda a, b: a >> b,
}


def decide(operation: int, left: object, right: object, narrow: bool) -> bool | None:
    """Whether a jump is taken, where both sides are known: is_branch_taken()."""
    if not isinstance(left, int) or not isinstance(right, int):
        return None
    bits = 32 if narrow else 64
    mask = (1 << bits) - 1
    a, b = left & mask, right & mask
    sa, sb = signed(a, bits), signed(b, bits)
    return {
        op.JEQ: a == b, op.JNE: a != b, op.JGT: a > b, op.JGE: a >= b, op.JLT: a < b,
        op.JLE: a <= b, op.JSET: bool(a & b), op.JSGT: sa > sb, op.JSGE: sa >= sb,
        op.JSLT: sa < sb, op.JSLE: sa <= sb,
    }[operation]  # fmt: skip
