"""The structural checks on instructions that need no simulation (verifier.c), and rewriting."""

from __future__ import annotations

import errno
import itertools
from typing import TYPE_CHECKING, NamedTuple

from bpflens.engine.call import err
from bpflens.insn import Insn
from bpflens.insn import opcodes as op

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZES = (op.W, op.H, op.B, op.DW)
_COMPARE = (
    op.JEQ, op.JGT, op.JGE, op.JSET, op.JNE, op.JSGT, op.JSGE, op.JLT, op.JLE, op.JSLT, op.JSLE,
)  # fmt: skip


def _known_codes() -> frozenset[int]:
    """bpf_opcode_in_insntable(): the public instruction table of core.c."""
    codes = set()
    for cls in (op.ALU, op.ALU64):
        for operation in (*op.ALU_SIGNS,):
            codes |= {cls | operation | op.K, cls | operation | op.X}
        codes.add(cls | op.NEG)
    codes |= {op.ALU | op.END | op.K, op.ALU | op.END | op.X, op.ALU64 | op.END | op.K}
    for cls in (op.JMP, op.JMP32):
        for compare in _COMPARE:
            codes |= {cls | compare | op.K, cls | compare | op.X}
        codes.add(cls | op.JA)
    codes |= {op.HELPER_CALL, op.RETURN, op.MAY_GOTO}
    for size in _SIZES:
        codes |= {op.STX | size | op.MEM, op.ST | size | op.MEM, op.LDX | size | op.MEM}
        codes.add(op.STX | size | op.ATOMIC)
    for size in (op.W, op.H, op.B):
        codes |= {op.LDX | size | op.MEMSX, op.LD | size | op.ABS, op.LD | size | op.IND}
    codes.add(op.LD_IMM64)
    return frozenset(codes)


KNOWN = _known_codes()


def is_jump(insn: Insn) -> bool:
    """Whether control may go elsewhere than to the next instruction, and comes from a jump."""
    cls, operation = insn.code & 7, insn.code & 0xF0
    return cls in (op.JMP, op.JMP32) and operation not in (op.CALL, op.EXIT)


def is_conditional(insn: Insn) -> bool:
    """Whether both ways are possible."""
    return is_jump(insn) and insn.code & 0xF0 != op.JA


def distance(insn: Insn) -> int:
    """How far a jump goes, counted from the next instruction."""
    return insn.imm if insn.code == op.GOTOL else insn.off


def is_pseudo_call(insn: Insn) -> bool:
    """A call of another function of the program."""
    return insn.code == op.HELPER_CALL and insn.src == op.PSEUDO_CALL


class Functions(NamedTuple):
    """The functions of a program, each told by where it begins."""

    starts: list[int]
    globals: frozenset[int]
    """Those that are verified by themselves: subprog_is_global()."""
    on_throw: int
    """The one that runs when an exception is thrown, or 0."""


def subprogs(insns: Sequence[Insn], on_throw: int) -> list[int]:
    """Where functions begin: add_subprog_and_kfunc(). Raises EINVAL."""
    count = len(insns)
    if on_throw >= count:
        raise err(errno.EINVAL)
    starts = {0, on_throw}
    for at, insn in enumerate(insns):
        is_func = insn.code == op.LD_IMM64 and insn.src == op.PSEUDO_FUNC
        if is_pseudo_call(insn) or is_func:
            to = at + 1 + insn.imm
            if not 0 <= to < count:
                raise err(errno.EINVAL)
            starts.add(to)
    return sorted(starts)


def check_subprogs(insns: Sequence[Insn], starts: Sequence[int]) -> None:
    """check_subprogs(): jumps stay inside their function, which does not fall off its end."""
    bounds = [*starts, len(insns)]
    for start, end in itertools.pairwise(bounds):
        for at in range(start, end):
            insn = insns[at]
            if is_jump(insn) and not start <= at + 1 + distance(insn) < end:
                raise err(errno.EINVAL)
        last = insns[end - 1]
        if last.code not in (op.RETURN, op.GOTO, op.GOTOL):
            raise err(errno.EINVAL)


def check_flow(insns: Sequence[Insn], on_throw: int) -> None:
    """check_cfg(): every instruction can be reached, and no jump lands inside of another."""
    second = {at + 1 for at, insn in enumerate(insns) if insn.code == op.LD_IMM64}
    seen: set[int] = set()
    todo = [0, on_throw]
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        if not 0 <= at < len(insns):
            raise err(errno.EINVAL)
        seen.add(at)
        insn = insns[at]
        if insn.code == op.LD_IMM64:
            seen.add(at + 1)
            todo.append(at + 2)
            if insn.src == op.PSEUDO_FUNC:
                todo.append(at + 1 + insn.imm)
        elif insn.code == op.RETURN:
            continue
        elif is_jump(insn):
            to = at + 1 + distance(insn)
            if to in second:
                raise err(errno.EINVAL)
            todo.append(to)
            if is_conditional(insn):
                todo.append(at + 1)
        else:
            todo.append(at + 1)
            if is_pseudo_call(insn):
                todo.append(at + 1 + insn.imm)
    if len(seen) != len(insns):
        raise err(errno.EINVAL)


def shrink(insns: list[Insn], seen: set[int]) -> tuple[list[Insn], list[int]]:
    """Take out what is never run: opt_hard_wire_dead_code_branches(), opt_remove_dead_code(),
    opt_remove_nops(). Returns the instructions and, for each old index, the new one."""
    wired = list(insns)
    for at, insn in enumerate(insns):
        if at in seen and is_conditional(insn) and insn.code != op.MAY_GOTO:
            if at + 1 not in seen:
                wired[at] = Insn(op.GOTO, off=insn.off)
            elif at + 1 + insn.off not in seen:
                wired[at] = Insn(op.GOTO, off=0)
    keep = [at in seen for at in range(len(wired))]
    wired = _without(wired, keep)[0]
    places = _places(keep)
    keep = [not (insn.code == op.GOTO and insn.off == 0) for insn in wired]
    if all(keep):
        return wired, places
    later = _places(keep)
    return _without(wired, keep)[0], [later[place] for place in places]


def _places(keep: list[bool]) -> list[int]:
    places, new = [], 0
    for kept in keep:
        places.append(new)
        new += kept
    return [*places, new]


def _without(insns: list[Insn], keep: list[bool]) -> tuple[list[Insn], list[int]]:
    """The instructions that are kept, their jumps and calls adjusted."""
    if all(keep):
        return insns, list(range(len(insns) + 1))
    places = _places(keep)
    out = []
    for at, insn in enumerate(insns):
        if not keep[at]:
            continue
        if is_jump(insn):
            to = places[at + 1 + distance(insn)] - places[at] - 1
            insn = insn._replace(imm=to) if insn.code == op.GOTOL else insn._replace(off=to)
        elif is_pseudo_call(insn) or (insn.code == op.LD_IMM64 and insn.src == op.PSEUDO_FUNC):
            insn = insn._replace(imm=places[at + 1 + insn.imm] - places[at] - 1)
        out.append(insn)
    return out, places
