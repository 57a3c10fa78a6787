"""One instruction as text, in the words of `kernel/bpf/disasm.c`, so that people can diff.

bpftool, the verifier's log and this module print the same line for the same slot. Names enter
through callbacks, as there: who knows addresses, maps or subprograms says what a call or a wide
load refers to. Where releases differ the newest wording counts; bpftool 7.1 (Linux 6.1) prints
signed division, sign-extending moves and loads, bswap, gotol, may_goto, casts, load-acquire,
store-release and nospec wrongly or as BUG_xx, since it does not know them.
"""

from __future__ import annotations

from collections.abc import Callable

from bpflens.insn import opcodes as op
from bpflens.insn.code import Insn
from bpflens.insn.helpers import helper_name

CallName = Callable[[Insn], str | None]
"""What a call goes to; None for unknown. Asked where the slot has no helper id."""
ImmName = Callable[[Insn, int], str]
"""What a wide load loads, from its first slot and its whole value."""


def plain_imm(insn: Insn, wide: int) -> str:
    """The value in hex: what the verifier prints."""
    return f"{wide:#x}"


def map_imm(insn: Insn, wide: int) -> str:
    """Maps and subprograms as bpftool shows them (print_imm() in xlated_dumper.c)."""
    low, high = insn.imm & 0xFFFF_FFFF, wide >> 32
    match insn.src:
        case op.PSEUDO_MAP_FD:
            return f"map[id:{low}]"
        case op.PSEUDO_MAP_VALUE:
            return f"map[id:{low}][0]+{high}"
        case op.PSEUDO_MAP_IDX_VALUE:
            return f"map[idx:{low}]+{high}"
        case op.PSEUDO_FUNC:
            return f"subprog[{insn.imm:+d}]"
    return plain_imm(insn, wide)


def text(
    insn: Insn, wide: int | None = None, *, call: CallName | None = None, imm: ImmName = map_imm
) -> str:
    """The line for one instruction, as `(bf) r6 = r1`; `wide` is its 64-bit immediate.

    What is no instruction reads BUG_xx, xx being its code.
    """
    kind = op.class_of(insn.code)
    if kind in (op.ALU, op.ALU64):
        words = _arithmetic(insn)
    elif kind in (op.JMP, op.JMP32):
        words = _call(insn, call) if op.op_of(insn.code) == op.CALL else _jump(insn)
    elif kind == op.LD:
        words = _load_immediate_or_packet(insn, wide, imm)
    else:
        words = _MEMORY[kind](insn)
    return f"({insn.code:02x}) {words}" if words else f"{_BUGS[kind]}{insn.code:02x}"


_BUGS = {
    op.LD: "BUG_ld_",
    op.LDX: "BUG_ldx_",
    op.ST: "BUG_st_",
    op.STX: "BUG_",
    op.ALU: "BUG_",
    op.ALU64: "BUG_",
    op.JMP: "BUG_",
    op.JMP32: "BUG_",
}


def _arithmetic(insn: Insn) -> str | None:
    code, dst, src, off, imm = insn
    r = "r" if op.class_of(code) == op.ALU64 else "w"
    operation, from_register = op.op_of(code), code & op.X
    if operation == op.END:
        kind = "bswap" if r == "r" else "be" if from_register else "le"
        return f"r{dst} = {kind}{imm} r{dst}"
    if operation == op.NEG:
        return f"{r}{dst} = -{r}{dst}"
    if code == op.MOV64_X and off == op.ADDR_SPACE_CAST:
        return f"r{dst} = addr_space_cast(r{src}, {imm >> 16 & 0xFFFF}, {imm & 0xFFFF})"
    if code == op.MOV64_X and off == op.ADDR_PERCPU:
        return f"r{dst} = &(void __percpu *)(r{src})"
    if operation not in op.ALU_SIGNS:
        return None
    sign = op.ALU_SIGNS[operation]
    if off == 1:
        sign = op.SIGNED_ALU_SIGNS.get(operation, sign)
    if not from_register:
        return f"{r}{dst} {sign} {imm}"
    cast = op.SIGN_EXTENSIONS.get(off, "") if operation == op.MOV else ""
    return f"{r}{dst} {sign} {cast}{r}{src}"


def _call(insn: Insn, name: CallName | None) -> str:
    if insn.code & op.X:
        return f"callx r{insn.dst}"
    known = helper_name(insn.imm) if not insn.src else None
    if known is None and name is not None:
        known = name(insn)
    if insn.src == op.PSEUDO_CALL:
        return f"call pc{insn.imm:+d}" if known is None else f"call pc{known}"
    if known is None:
        known = "kernel-function" if insn.src == op.PSEUDO_KFUNC_CALL else "unknown"
    return f"call {known}#{insn.imm}"


def _jump(insn: Insn) -> str | None:
    code, dst, src, off, imm = insn
    match code:
        case op.GOTO:
            return f"goto pc{off:+d}"
        case op.GOTOL:
            return f"gotol pc{imm:+d}"
        case op.GOTOX:
            return f"gotox r{dst}"
        case op.MAY_GOTO if src == 0:
            return f"may_goto pc{off:+d}"
        case op.RETURN:
            return "exit"
    sign = op.JUMP_SIGNS.get(op.op_of(code))
    if sign is None:
        return None
    r = "r" if op.class_of(code) == op.JMP else "w"
    right = f"{r}{src}" if code & op.X else f"{imm & 0xFFFF_FFFF:#x}"
    return f"if {r}{dst} {sign} {right} goto pc{off:+d}"


def _load_immediate_or_packet(insn: Insn, wide: int | None, name: ImmName) -> str | None:
    size = op.SIZE_NAMES[op.size_of(insn.code)]
    match op.mode_of(insn.code):
        case op.ABS:
            return f"r0 = *({size} *)skb[{insn.imm}]"
        case op.IND:
            return f"r0 = *({size} *)skb[r{insn.src} + {insn.imm}]"
    if insn.code == op.LD_IMM64 and wide is not None:
        return f"r{insn.dst} = {name(insn, wide)}"
    return None


def _load(insn: Insn) -> str | None:
    names = {op.MEM: op.SIZE_NAMES, op.MEMSX: op.SIGNED_SIZE_NAMES}.get(op.mode_of(insn.code), {})
    size = names.get(op.size_of(insn.code))
    return size and f"r{insn.dst} = *({size} *)(r{insn.src} {insn.off:+d})"


def _store_immediate(insn: Insn) -> str | None:
    match op.mode_of(insn.code):
        case op.MEM:
            size = op.SIZE_NAMES[op.size_of(insn.code)]
            return f"*({size} *)(r{insn.dst} {insn.off:+d}) = {insn.imm}"
        case 0xC0:
            return "nospec"
    return None


def _store(insn: Insn) -> str | None:
    size = op.SIZE_NAMES[op.size_of(insn.code)]
    match op.mode_of(insn.code):
        case op.MEM:
            return f"*({size} *)(r{insn.dst} {insn.off:+d}) = r{insn.src}"
        case op.ATOMIC:
            return _atomic(insn, size)
        case op.PROBE_ATOMIC:  # an atomic on arena memory, which may fault
            words = _atomic(insn, size)
            return words and f"probe {words}"
    return None


def _atomic(insn: Insn, size: str) -> str | None:
    _, dst, src, off, operation = insn
    at = f"({size} *)(r{dst} {off:+d})"
    bits = "64" if size == "u64" else ""
    match operation:
        case op.CMPXCHG:
            return f"r0 = atomic{bits}_cmpxchg({at}, r0, r{src})"
        case op.XCHG:
            return f"r{src} = atomic{bits}_xchg({at}, r{src})"
        case op.LOAD_ACQ:
            return f"r{dst} = load_acquire(({size} *)(r{src} {off:+d}))"
        case op.STORE_REL:
            return f"store_release({at}, r{src})"
    name = op.ATOMIC_NAMES.get(operation & ~op.FETCH)
    if name is None:
        return None
    if operation & op.FETCH:
        return f"r{src} = atomic{bits}_fetch_{name}({at}, r{src})"
    return f"lock *{at} {op.ALU_SIGNS[operation]} r{src}"


_MEMORY = {op.LDX: _load, op.ST: _store_immediate, op.STX: _store}
