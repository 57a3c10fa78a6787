"""What registers hold while the verifier follows a path, and how instructions change it."""

from __future__ import annotations

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


def compute(operation: int, left: object, right: object, wide: bool, off: int) -> object:
    """The result where both sides are known; a moved stack pointer; else something."""
    bits = 64 if wide else 32
    mask = (1 << bits) - 1
    if isinstance(left, tuple) and wide and operation in (op.ADD, op.SUB):
        if isinstance(right, int) and left[0] in ("fp", "ctx", "value"):
            by = signed(right, 64)
            return (*left[:-1], left[-1] + (by if operation == op.ADD else -by))
        return ("moved ctx",) if left[0] == "ctx" else OTHER
    if not isinstance(left, int) or not isinstance(right, int):
        return OTHER
    left &= mask
    right &= mask
    if operation == op.ARSH:
        return signed(left, bits) >> (right & bits - 1) & mask
    simple = _ALU.get(operation)
    # the kernel does not work out a division, and knows less than we do after a large shift
    return (
        simple(left, right & bits - 1 if operation in _SHIFTS else right) & mask
        if simple
        else OTHER
    )


_SHIFTS = (op.LSH, op.RSH)
_ALU = {
    op.ADD: lambda a, b: a + b,
    op.SUB: lambda a, b: a - b,
    op.MUL: lambda a, b: a * b,
    op.OR: lambda a, b: a | b,
    op.AND: lambda a, b: a & b,
    op.XOR: lambda a, b: a ^ b,
    op.LSH: lambda a, b: a << b,
    op.RSH: lambda a, b: a >> b,
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
