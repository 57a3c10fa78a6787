"""The structural verifier.

It refuses only what Linux refuses for sure. On every path that is surely possible it checks that
registers are written before they are read, that r10 is not written, that the stack is used inside
its 512 bytes, that memory is not reached through plain numbers, that reserved fields are zero, that
helpers exist, and that a constant return value is one that the program type may return.

It does not check: which helpers and kfuncs a program type may call, the types and ranges of their
arguments, access to context, packets and map values, alignment, pointer leaks, locks, references,
iterators, loops that end late, or a branch after a comparison whose outcome it cannot be sure of:
a path beyond such a comparison is followed, but an error found there is not one.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.enums import AttachType, ProgType
from bpflens.engine.call import err
from bpflens.engine.progs.code import distance, is_pseudo_call
from bpflens.insn import Insn
from bpflens.insn import opcodes as op
from bpflens.insn.helpers import HELPERS

if TYPE_CHECKING:
    from collections.abc import Sequence

_M64 = (1 << 64) - 1
_LIMIT = 20_000
"""Instructions to simulate; beyond, the program is taken."""
_FRAMES = 8
"""MAX_CALL_FRAMES."""

# What a register holds: nothing yet, a number that Linux knows nothing about, something else,
# a pointer into the stack (with its offset), or a known number: an int.
UNSET, UNKNOWN, OTHER = "unset", "unknown", "other"

_SCALARS = {5: 0, 7: 0, 8: 0, 14: 0, 15: 0, 125: 0}
"""Helpers that return a number of which nothing is known, and how many arguments they read."""
_ARGS = _SCALARS | {1: 2, 2: 4, 3: 2, 12: 3, 35: 0}

_RETURNS = {
    ProgType.CGROUP_SOCK: (0, 1),
    ProgType.SOCK_OPS: (0, 1),
    ProgType.CGROUP_DEVICE: (0, 1),
    ProgType.CGROUP_SYSCTL: (0, 1),
    ProgType.CGROUP_SOCKOPT: (0, 1),
    ProgType.SK_LOOKUP: (0, 1),
    ProgType.NETFILTER: (0, 1),
}
"""check_return_code(): what a program may return, where that does not depend on more."""
_ONLY_ONE = (
    *(AttachType.CGROUP_UDP4_RECVMSG, AttachType.CGROUP_UDP6_RECVMSG),
    *range(AttachType.CGROUP_INET4_GETPEERNAME, AttachType.CGROUP_INET6_GETSOCKNAME + 1),
    *range(AttachType.CGROUP_UNIX_RECVMSG, AttachType.CGROUP_UNIX_GETSOCKNAME + 1),
)
_BINDS = (AttachType.CGROUP_INET4_BIND, AttachType.CGROUP_INET6_BIND)


def return_range(type: int, attach: int) -> tuple[int, int] | None:
    """The values that a program may return; None for any."""
    if type == ProgType.CGROUP_SKB:
        return (0, 3) if attach == AttachType.CGROUP_INET_EGRESS else (0, 1)
    if type == ProgType.CGROUP_SOCK_ADDR:
        if attach in _ONLY_ONE:
            return (1, 1)
        return (0, 3) if attach in _BINDS else (0, 1)
    if type == ProgType.TRACING and attach in (AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT):
        return (0, 0)
    if type == ProgType.TRACING and attach == AttachType.TRACE_ITER:
        return (0, 1)
    return _RETURNS.get(ProgType(type))


class _Path:
    """A state of the machine on one path."""

    __slots__ = ("at", "calls", "doubt", "regs", "trail")

    def __init__(
        self,
        at: int,
        regs: list[object],
        doubt: bool,
        calls: tuple[tuple[int, tuple[object, ...]], ...],
        trail: frozenset[object],
    ) -> None:
        self.at = at
        self.regs = regs
        self.doubt = doubt
        self.calls = calls
        """Where to return to, and the caller's registers r6 to r10."""
        self.trail = trail
        """States at the targets of backward jumps on the way here."""


class Result:
    """What simulation found out."""

    __slots__ = ("exact", "insns", "returns", "seen")

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.insns = 0
        self.returns: set[int] = set()
        """Known return values."""
        self.exact = True
        """Whether all that was seen is just what Linux sees."""


class Verifier:
    """Follows the paths through one program."""

    def __init__(self, insns: Sequence[Insn], type: int, attach: int) -> None:
        self.insns = insns
        self.range = return_range(type, attach)
        self.result = Result()
        self.opaque = any(
            (insn.code == op.HELPER_CALL and insn.src == op.PSEUDO_KFUNC_CALL)
            or insn.code == op.MAY_GOTO
            or (insn.code == op.LD_IMM64 and insn.src == op.PSEUDO_FUNC)
            for insn in insns
        )
        """Iterators, exceptions and callbacks change where control goes."""

    def run(self) -> Result:
        """Raise what Linux answers to a bad program; else what was found out."""
        regs: list[object] = [UNSET] * 11
        regs[1] = OTHER
        regs[10] = ("fp", 0)
        todo = [_Path(0, regs, self.opaque, (), frozenset())]
        visited: set[object] = set()
        while todo:
            path = todo.pop()
            while path is not None:
                key = (path.at, tuple(path.regs), path.calls, path.doubt)
                if key in visited:
                    break
                visited.add(key)
                self.result.insns += 1
                if self.result.insns > _LIMIT:
                    self.result.exact = False
                    return self.result
                following = self.step(path)
                if len(following) == 2:
                    todo.append(following[1])
                if not following:
                    break
                path = following[0]
        return self.result

    # --- errors

    def refuse(self, path: _Path, code: int) -> None:
        """An error, if the path is possible for sure. The path ends here either way."""
        if not path.doubt:
            raise err(code)
        self.result.exact = False
        raise _Dead

    def read(self, path: _Path, reg: int) -> object:
        """The content of a register: check_reg_arg(SRC_OP)."""
        value = path.regs[reg] if reg < 11 else UNSET
        if reg > 10:
            self.refuse(path, errno.EINVAL)
        if value is UNSET:
            self.refuse(path, errno.EACCES)
        return value

    def write(self, path: _Path, reg: int, value: object) -> None:
        """check_reg_arg(DST_OP)."""
        if reg > 10:
            self.refuse(path, errno.EINVAL)
        if reg == 10:
            self.refuse(path, errno.EACCES)
        path.regs[reg] = value

    # --- one instruction

    def step(self, path: _Path) -> list[_Path]:
        """do_check() of one instruction; returns where it may go."""
        at = path.at
        insn = self.insns[at]
        self.result.seen.add(at)
        try:
            return _CLASSES[insn.code & 7](self, path, insn)
        except _Dead:
            return []

    def on(self, path: _Path, by: int = 1) -> list[_Path]:
        path.at += by
        return [path]

    def alu(self, path: _Path, insn: Insn) -> list[_Path]:
        """check_alu_op()."""
        code, dst, src, off, imm = insn
        wide = code & 7 == op.ALU64
        operation = code & 0xF0
        if operation in (op.NEG, op.END):
            if operation == op.NEG and (code & op.X or src or off or imm):
                self.refuse(path, errno.EINVAL)
            if operation == op.END and (
                src or off or imm not in (16, 32, 64) or (wide and code & op.X)
            ):
                self.refuse(path, errno.EINVAL)
            value = self.read(path, dst)
            if isinstance(value, tuple):
                self.refuse(path, errno.EACCES)
            self.write(path, dst, UNKNOWN if value is UNKNOWN and wide else OTHER)
            return self.on(path)
        if operation == op.MOV:
            return self.mov(path, insn, wide)
        if code & op.X:
            if imm or off > 1 or (off == 1 and operation not in (op.DIV, op.MOD)) or off < 0:
                self.refuse(path, errno.EINVAL)
            right = self.read(path, src)
        else:
            if src or off > 1 or (off == 1 and operation not in (op.DIV, op.MOD)) or off < 0:
                self.refuse(path, errno.EINVAL)
            right = imm & _M64 if wide else imm & 0xFFFFFFFF
        left = self.read(path, dst)
        if operation in (op.DIV, op.MOD) and not code & op.X and not imm:
            self.refuse(path, errno.EINVAL)
        shifts = operation in (op.LSH, op.RSH, op.ARSH) and not code & op.X
        if shifts and not 0 <= imm < (64 if wide else 32):
            self.refuse(path, errno.EINVAL)
        self.write(path, dst, _compute(operation, left, right, wide, off))
        return self.on(path)

    def mov(self, path: _Path, insn: Insn, wide: bool) -> list[_Path]:
        code, dst, src, off, imm = insn
        if code & op.X:
            known = (0, 8, 16, 32, op.ADDR_SPACE_CAST) if wide else (0, 8, 16)
            if off not in known or (imm and off != op.ADDR_SPACE_CAST):
                self.refuse(path, errno.EINVAL)
            value = self.read(path, src)
            if off or (not wide and not isinstance(value, int)):
                value = OTHER
            elif isinstance(value, int) and not wide:
                value &= 0xFFFFFFFF
        else:
            if src or off:
                self.refuse(path, errno.EINVAL)
            value = imm & _M64 if wide else imm & 0xFFFFFFFF
        self.write(path, dst, value)
        return self.on(path)

    def load(self, path: _Path, insn: Insn) -> list[_Path]:
        """BPF_LDX."""
        self.memory(path, insn, self.read(path, insn.src), insn.src)
        self.write(path, insn.dst, OTHER)
        return self.on(path)

    def store(self, path: _Path, insn: Insn) -> list[_Path]:
        """BPF_ST and BPF_STX; atomics are taken as they are, but for their registers."""
        code, dst, src, _off, imm = insn
        if code & 7 == op.ST:
            if src:
                self.refuse(path, errno.EINVAL)
            self.memory(path, insn, self.read(path, dst), dst)
            return self.on(path)
        if code & 0xE0 == op.ATOMIC:
            return self.atomic(path, insn)
        if imm:
            self.refuse(path, errno.EINVAL)
        self.read(path, src)
        self.memory(path, insn, self.read(path, dst), dst)
        return self.on(path)

    def atomic(self, path: _Path, insn: Insn) -> list[_Path]:
        """check_atomic()."""
        if insn.imm not in _ATOMICS:
            self.refuse(path, errno.EINVAL)
        if insn.imm == op.LOAD_ACQ:
            self.memory(path, insn, self.read(path, insn.src), insn.src)
            self.write(path, insn.dst, OTHER)
            return self.on(path)
        if insn.imm != op.STORE_REL and insn.code & 0x18 not in (op.W, op.DW):
            self.refuse(path, errno.EINVAL)
        self.read(path, insn.src)
        self.memory(path, insn, self.read(path, insn.dst), insn.dst)
        if insn.imm == op.CMPXCHG:
            self.read(path, 0)
            self.write(path, 0, OTHER)
        elif insn.imm & op.FETCH and insn.imm != op.STORE_REL:
            self.write(path, insn.src, OTHER)
        return self.on(path)

    def memory(self, path: _Path, insn: Insn, base: object, reg: int) -> None:
        """check_mem_access(), for what is surely stack and for what is surely no pointer."""
        if isinstance(base, tuple):
            start = base[1] + insn.off
            size = op.SIZE_BYTES[insn.code & 0x18]
            if not start >= -op.STACK_LIMIT or start + size > 0:
                self.refuse(path, errno.EACCES)
        elif isinstance(base, int) or base is UNKNOWN:
            self.refuse(path, errno.EACCES)

    def wide(self, path: _Path, insn: Insn) -> list[_Path]:
        """BPF_LD: a 64-bit number, or a load from the packet."""
        if insn.code != op.LD_IMM64:
            if insn.dst or insn.off or (insn.code & 0xE0 == op.ABS and insn.src):
                self.refuse(path, errno.EINVAL)
            self.read(path, 6)
            if insn.code & 0xE0 == op.IND:
                self.read(path, insn.src)
            for reg in range(1, 6):
                path.regs[reg] = UNSET
            path.regs[0] = OTHER
            path.doubt = True  # only for some program types, which is checked nowhere here
            return self.on(path)
        if insn.off:
            self.refuse(path, errno.EINVAL)
        value: object = OTHER
        if insn.src == 0:
            high = self.insns[path.at + 1].imm
            value = (high & 0xFFFFFFFF) << 32 | insn.imm & 0xFFFFFFFF
        self.write(path, insn.dst, value)
        return self.on(path, 2)

    def jump(self, path: _Path, insn: Insn) -> list[_Path]:
        """BPF_JMP and BPF_JMP32."""
        operation = insn.code & 0xF0
        if operation == op.CALL:
            return self.call(path, insn)
        if operation == op.EXIT:
            return self.leave(path, insn)
        if operation == op.JA:
            if insn.code == op.GOTO and (insn.imm or insn.src or insn.dst):
                self.refuse(path, errno.EINVAL)
            if insn.code == op.GOTOL and (insn.off or insn.src or insn.dst):
                self.refuse(path, errno.EINVAL)
            return self.go(path, distance(insn))
        if insn.code == op.MAY_GOTO:
            other = self.fork(path, insn.off)
            return [*self.on(path), other]
        return self.condition(path, insn)

    def go(self, path: _Path, off: int) -> list[_Path]:
        """An unconditional jump; the same state twice on one path never ends."""
        if off < 0:
            key = (path.at, tuple(path.regs), path.calls)
            if key in path.trail:
                self.refuse(path, errno.EINVAL)
            path.trail |= {key}
        return self.on(path, 1 + off)

    def fork(self, path: _Path, off: int) -> _Path:
        return _Path(path.at + 1 + off, list(path.regs), path.doubt, path.calls, path.trail)

    def condition(self, path: _Path, insn: Insn) -> list[_Path]:
        """check_cond_jmp_op()."""
        code, dst, src, off, imm = insn
        if code & op.X:
            if imm:
                self.refuse(path, errno.EINVAL)
            right = self.read(path, src)
        else:
            if src:
                self.refuse(path, errno.EINVAL)
            right = imm & _M64
        left = self.read(path, dst)
        narrow = code & 7 == op.JMP32
        taken = _decide(code & 0xF0, left, right, narrow)
        if taken is not None:
            return self.go(path, off) if taken else self.on(path)
        sure = left is UNKNOWN and isinstance(right, int) and not narrow and 0 < right < 1 << 31
        if not sure:
            path.doubt = True
            self.result.exact = False
        for reg, value in enumerate(path.regs):
            if value is UNKNOWN:  # copies share what a comparison teaches
                path.regs[reg] = OTHER
        other = self.fork(path, off)
        return [*self.on(path), other]

    def call(self, path: _Path, insn: Insn) -> list[_Path]:
        """check_helper_call(), check_func_call(), check_kfunc_call()."""
        if insn.code & op.X or insn.code & 7 != op.JMP:
            self.refuse(path, errno.EINVAL)
        if is_pseudo_call(insn):
            if insn.dst or insn.off:
                self.refuse(path, errno.EINVAL)
            if len(path.calls) + 1 >= _FRAMES:
                self.refuse(path, errno.E2BIG)
            frame = tuple(path.regs[6:11])
            path.calls = (*path.calls, (path.at + 1, frame))
            for reg in (0, 6, 7, 8, 9):
                path.regs[reg] = UNSET
            for reg in range(1, 6):
                if isinstance(path.regs[reg], tuple):
                    path.regs[reg] = OTHER  # the caller's stack
            path.regs[10] = ("fp", 0)
            return self.on(path, 1 + insn.imm)
        if insn.dst or (insn.off and insn.src != op.PSEUDO_KFUNC_CALL):
            self.refuse(path, errno.EINVAL)
        if insn.src == op.PSEUDO_KFUNC_CALL:
            result: object = OTHER
        elif insn.src:
            self.refuse(path, errno.EINVAL)
        else:
            if insn.imm not in HELPERS or insn.imm == 0:
                self.refuse(path, errno.EINVAL)
            for reg in range(1, 1 + _ARGS.get(insn.imm, 0)):
                self.read(path, reg)
            result = UNKNOWN if insn.imm in _SCALARS else OTHER
            if insn.imm not in _ARGS:
                path.doubt = True
                self.result.exact = False
        for reg in range(1, 6):
            path.regs[reg] = UNSET
        path.regs[0] = result
        return self.on(path)

    def leave(self, path: _Path, insn: Insn) -> list[_Path]:
        """BPF_EXIT: back to the caller, or out."""
        if insn.imm or insn.src or insn.dst or insn.code != op.RETURN:
            self.refuse(path, errno.EINVAL)
        if path.calls:
            back, saved = path.calls[-1]
            path.calls = path.calls[:-1]
            path.regs[1:6] = [UNSET] * 5
            path.regs[6:11] = saved
            path.at = back
            return [path]
        value = self.read(path, 0)
        if isinstance(value, int):
            self.result.returns.add(value)
        if isinstance(value, int) and self.range and not self.opaque:
            low, high = self.range
            if not low <= value <= high:
                self.refuse(path, errno.EINVAL)
        return []


class _Dead(Exception):
    """A path ends in an error that Linux may not see."""


_CLASSES = {
    op.LD: Verifier.wide,
    op.LDX: Verifier.load,
    op.ST: Verifier.store,
    op.STX: Verifier.store,
    op.ALU: Verifier.alu,
    op.ALU64: Verifier.alu,
    op.JMP: Verifier.jump,
    op.JMP32: Verifier.jump,
}
_ATOMICS = {
    kind | fetch for kind in op.ATOMIC_NAMES for fetch in (0, op.FETCH)
} | {op.XCHG, op.CMPXCHG, op.LOAD_ACQ, op.STORE_REL}  # fmt: skip


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def _compute(operation: int, left: object, right: object, wide: bool, off: int) -> object:
    """The result where both sides are known; a moved stack pointer; else something."""
    bits = 64 if wide else 32
    mask = (1 << bits) - 1
    if isinstance(left, tuple) and isinstance(right, int) and wide:
        if operation == op.ADD:
            return (left[0], left[1] + _signed(right, 64))
        if operation == op.SUB:
            return (left[0], left[1] - _signed(right, 64))
    if not isinstance(left, int) or not isinstance(right, int):
        return OTHER
    left &= mask
    right &= mask
    if operation == op.ARSH:
        return _signed(left, bits) >> (right & bits - 1) & mask
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


def _decide(operation: int, left: object, right: object, narrow: bool) -> bool | None:
    """Whether a jump is taken, where both sides are known: is_branch_taken()."""
    if not isinstance(left, int) or not isinstance(right, int):
        return None
    bits = 32 if narrow else 64
    mask = (1 << bits) - 1
    a, b = left & mask, right & mask
    sa, sb = _signed(a, bits), _signed(b, bits)
    return {
        op.JEQ: a == b, op.JNE: a != b, op.JGT: a > b, op.JGE: a >= b, op.JLT: a < b,
        op.JLE: a <= b, op.JSET: bool(a & b), op.JSGT: sa > sb, op.JSGE: sa >= sb,
        op.JSLT: sa < sb, op.JSLE: sa <= sb,
    }[operation]  # fmt: skip
