"""The structural verifier.

It refuses only what Linux refuses for sure. On every path that is surely possible it checks that
registers are written before they are read, that r10 is not written, that the stack is used inside
its 512 bytes, that memory is not reached through plain numbers, that reserved fields are zero, that
helpers exist, that map values are checked for NULL and used within their size, that a call chain
has stack enough, and that a constant return value is one that the program type may return.

It does not check: which helpers and kfuncs a program type may call (but for a few), the types and
ranges of their arguments (but for maps and keys), packets, most of the context, alignment outside
the stack, pointers that went through memory, most pointer leaks, locks, references, iterators,
loops that end late, or a branch after a comparison whose outcome it cannot be sure of: a path
beyond such a comparison is followed, but an error found there is not one.

What no path reaches is dead code for Linux too, which knows no less of a register than this.
"""

from __future__ import annotations

import errno
from typing import Any

from bpflens.engine.progs.code import distance, is_pseudo_call
from bpflens.engine.progs.machine import FRAMES, Dead, Machine, Path, Result, constant
from bpflens.engine.progs.values import M64, OTHER, UNKNOWN, UNSET, compute, decide, shift
from bpflens.insn import Insn
from bpflens.insn import opcodes as op
from bpflens.insn.helpers import HELPERS

_CASTS = (1, 1 << 16)
"""From an arena's addresses to the kernel's, and back."""
_LIMIT = 20_000
"""Instructions to simulate; beyond, the program is taken."""
EQUAL = (op.JEQ, op.JNE)


class Verifier(Machine):
    """Follows the paths through one program."""

    def run(self) -> Result:
        """Raise what Linux answers to a bad program; else what was found out."""
        try:
            self.follow()
            self.check_depth()
        finally:
            self.log.add(
                f"processed {self.result.insns} insns (limit 1000000) max_states_per_insn 0 "
                "total_states 0 peak_states 0 mark_read 0"
            )
        return self.result

    def follow(self) -> None:
        """do_check(): every path, from the first instruction on."""
        self.enter(0, self.opaque, ("ctx", 0), UNSET)
        if self.functions.on_throw:
            self.enter(self.functions.on_throw, doubt=True)
        if not self.release.lazy_functions:
            for start in self.functions.globals:
                self.enter(start, self.opaque)
        visited: set[object] = set()
        while self.todo:
            path = self.todo.pop()
            while path is not None:
                key = (path.at, tuple(path.regs), path.calls, path.doubt)
                if key in visited:
                    break
                visited.add(key)
                self.result.insns += 1
                if self.result.insns > _LIMIT:
                    self.result.complete = False
                    return
                following = self.step(path)
                if len(following) == 2:
                    self.todo.append(following[1])
                if not following:
                    break
                path = following[0]

    def enter(self, at: int, doubt: bool, first: object = OTHER, others: object = OTHER) -> None:
        """Follow a function by itself, from registers of which nothing need be known."""
        regs = [UNSET, first, *[others] * 4, *[UNSET] * 4, ("fp", 0)]
        self.todo.append(Path(at, regs, doubt, (), frozenset()))

    # --- one instruction

    def step(self, path: Path) -> list[Path]:
        """do_check() of one instruction; returns where it may go."""
        at = path.at
        insn = self.insns[at]
        self.result.seen.add(at)
        try:
            return _CLASSES[insn.code & 7](self, path, insn)
        except Dead:
            return []

    def on(self, path: Path, by: int = 1) -> list[Path]:
        path.at += by
        return [path]

    def alu(self, path: Path, insn: Insn) -> list[Path]:
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
            right = imm & M64 if wide else imm & 0xFFFFFFFF
        left = self.read(path, dst)
        if operation in (op.DIV, op.MOD) and not code & op.X and not imm:
            self.refuse(path, errno.EINVAL)
        shifts = operation in (op.LSH, op.RSH, op.ARSH) and not code & op.X
        if shifts and not 0 <= imm < (64 if wide else 32):
            self.refuse(path, errno.EINVAL)
        self.write(path, dst, self.combine(path, operation, left, right, wide))
        return self.on(path)

    def combine(
        self, path: Path, operation: int, left: object, right: object, wide: bool
    ) -> object:
        """adjust_reg_min_max_vals(): with pointers only sums and differences make sense."""
        pointer = left if isinstance(left, tuple) else right
        if not isinstance(pointer, tuple):
            return compute(operation, left, right, wide)
        both = isinstance(left, tuple) and isinstance(right, tuple)
        if both or not wide:
            if operation != op.SUB or not self.leaks:
                self.refuse(path, errno.EACCES, "pointer arithmetic prohibited")
            return OTHER
        other = right if pointer is left else left
        moves = operation == op.ADD or (operation == op.SUB and pointer is left)
        if pointer[0] == "map":  # only `+= 0`
            moves = operation == op.ADD and other in (0, OTHER)
        if not moves or pointer[0] == "null":
            self.refuse(path, errno.EACCES, f"pointer arithmetic on {pointer[0]} prohibited")
        return shift(operation, pointer, other)

    def mov(self, path: Path, insn: Insn, wide: bool) -> list[Path]:
        code, dst, src, off, imm = insn
        if code & op.X:
            known = (0, 8, 16, 32, op.ADDR_SPACE_CAST) if wide else (0, 8, 16)
            if off not in known or (imm and off != op.ADDR_SPACE_CAST):
                self.refuse(path, errno.EINVAL)
            if off == op.ADDR_SPACE_CAST and (not self.arena or imm not in _CASTS):
                self.refuse(path, errno.EINVAL)
            value = self.read(path, src)
            if off or (not wide and not isinstance(value, int)):
                value = OTHER
            elif isinstance(value, int) and not wide:
                value &= 0xFFFFFFFF
        else:
            if src or off:
                self.refuse(path, errno.EINVAL)
            value = imm & M64 if wide else imm & 0xFFFFFFFF
        self.write(path, dst, value)
        return self.on(path)

    def load(self, path: Path, insn: Insn) -> list[Path]:
        """BPF_LDX."""
        base = self.read(path, insn.src)
        self.memory(path, insn, base)
        self.write(path, insn.dst, constant(base, insn))
        return self.on(path)

    def store(self, path: Path, insn: Insn) -> list[Path]:
        """BPF_ST and BPF_STX; atomics are taken as they are, but for their registers."""
        code, dst, src, _off, imm = insn
        if code & 7 == op.ST:
            if src:
                self.refuse(path, errno.EINVAL)
            self.memory(path, insn, self.read(path, dst), "w")
            return self.on(path)
        if code & 0xE0 == op.ATOMIC:
            return self.atomic(path, insn)
        if imm:
            self.refuse(path, errno.EINVAL)
        self.read(path, src)
        self.memory(path, insn, self.read(path, dst), "w")
        return self.on(path)

    def atomic(self, path: Path, insn: Insn) -> list[Path]:
        """check_atomic()."""
        if insn.imm not in _ATOMICS:
            self.refuse(path, errno.EINVAL)
        if insn.imm == op.LOAD_ACQ:
            self.memory(path, insn, self.read(path, insn.src))
            self.write(path, insn.dst, OTHER)
            return self.on(path)
        if insn.imm != op.STORE_REL and insn.code & 0x18 not in (op.W, op.DW):
            self.refuse(path, errno.EINVAL)
        self.read(path, insn.src)
        base = self.read(path, insn.dst)
        if isinstance(base, tuple) and base[0] == "ctx":
            self.refuse(path, errno.EACCES)
        self.memory(path, insn, base, "rw")
        if insn.imm == op.CMPXCHG:
            self.read(path, 0)
            self.write(path, 0, OTHER)
        elif insn.imm & op.FETCH and insn.imm != op.STORE_REL:
            self.write(path, insn.src, OTHER)
        return self.on(path)

    def wide(self, path: Path, insn: Insn) -> list[Path]:
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
        high = self.insns[path.at + 1].imm & 0xFFFFFFFF
        used = self.maps.get(path.at)
        if insn.src == 0:
            value = high << 32 | insn.imm & 0xFFFFFFFF
        elif insn.src == op.PSEUDO_FUNC:
            self.enter(path.at + 1 + insn.imm, doubt=True)  # a helper or kfunc will call it
        elif used:
            by_value = insn.src in (op.PSEUDO_MAP_VALUE, op.PSEUDO_MAP_IDX_VALUE)
            value = ("value", used, high) if by_value else ("map", used)
        self.write(path, insn.dst, value)
        return self.on(path, 2)

    def jump(self, path: Path, insn: Insn) -> list[Path]:
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

    def go(self, path: Path, off: int) -> list[Path]:
        """An unconditional jump; the same state twice on one path never ends."""
        if off < 0 and not path.doubt:
            key = (path.at, tuple(path.regs), path.calls)
            if key in path.trail:
                self.refuse(path, errno.EINVAL)
            path.trail |= {key}
        return self.on(path, 1 + off)

    def fork(self, path: Path, off: int) -> Path:
        return Path(path.at + 1 + off, list(path.regs), path.doubt, path.calls, path.trail)

    def condition(self, path: Path, insn: Insn) -> list[Path]:
        """check_cond_jmp_op()."""
        code, dst, src, off, imm = insn
        if code & op.X:
            if imm:
                self.refuse(path, errno.EINVAL)
            right = self.read(path, src)
        else:
            if src:
                self.refuse(path, errno.EINVAL)
            right = imm & M64
        left = self.read(path, dst)
        narrow = code & 7 == op.JMP32
        if isinstance(left, tuple) and right == 0 and not narrow and code & 0xF0 in EQUAL:
            return self.null_check(path, left, code & 0xF0 == op.JEQ, off)
        taken = decide(code & 0xF0, left, right, narrow)
        if taken is not None:
            return self.go(path, off) if taken else self.on(path)
        sure = left is UNKNOWN and isinstance(right, int) and not narrow and 0 < right < 1 << 31
        path.doubt = path.doubt or not sure
        for reg, value in enumerate(path.regs):
            if value is UNKNOWN:  # copies share what a comparison teaches
                path.regs[reg] = OTHER
        other = self.fork(path, off)
        return [*self.on(path), other]

    def null_check(self, path: Path, pointer: tuple[Any, ...], equal: bool, off: int) -> list[Path]:
        """mark_ptr_or_null_regs(): on one way the value is there, on the other it is 0."""
        if pointer[0] == "value":
            return self.on(path) if equal else self.go(path, off)
        path.doubt = path.doubt or pointer[0] not in ("ctx", "null")
        other = self.fork(path, off)
        if pointer[0] == "null":
            zero, there = (other, path) if equal else (path, other)
            for reg in range(11):
                if path.regs[reg] == pointer:
                    zero.regs[reg] = 0
                    there.regs[reg] = ("value", pointer[1], 0)
        return [*self.on(path), other]

    def call(self, path: Path, insn: Insn) -> list[Path]:
        """check_helper_call(), check_func_call(), check_kfunc_call()."""
        if insn.code & op.X or insn.code & 7 != op.JMP:
            self.refuse(path, errno.EINVAL)
        if is_pseudo_call(insn):
            if insn.dst or insn.off:
                self.refuse(path, errno.EINVAL)
            return self.call_function(path, path.at + 1 + insn.imm)
        if insn.dst or (insn.off and insn.src != op.PSEUDO_KFUNC_CALL):
            self.refuse(path, errno.EINVAL)
        if insn.src == op.PSEUDO_KFUNC_CALL:
            if self.throws(insn):
                self.result.throws = True
                return []
            result: object = OTHER
        elif insn.src:
            self.refuse(path, errno.EINVAL)
        else:
            if insn.imm not in HELPERS or insn.imm == 0:
                self.refuse(path, errno.EINVAL)
            result = self.helper(path, insn.imm)
        for reg in range(1, 6):
            path.regs[reg] = UNSET
        path.regs[0] = result
        return self.on(path)

    def call_function(self, path: Path, start: int) -> list[Path]:
        """check_func_call(): a global function is verified by itself, for any arguments."""
        if start in self.functions.globals:
            self.enter(start, path.doubt)
            path.regs[:6] = [OTHER, *[UNSET] * 5]
            return self.on(path)
        if len(path.calls) + 1 >= FRAMES:
            self.refuse(path, self.release.deep_calls)
        path.calls = (*path.calls, (path.at + 1, tuple(path.regs[6:11])))
        for reg in (0, 6, 7, 8, 9):
            path.regs[reg] = UNSET
        for reg in range(1, 6):
            if isinstance(path.regs[reg], tuple):
                path.regs[reg] = OTHER  # the caller's stack
        path.regs[10] = ("fp", 0)
        path.at = start
        return [path]

    def leave(self, path: Path, insn: Insn) -> list[Path]:
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
        if self.function_at(path.at) or not self.returns:
            return []  # of a function that was entered by itself, or of one without a value
        value = self.read(path, 0)
        if isinstance(value, tuple) and not self.leaks:
            self.refuse(path, errno.EACCES, "R0 leaks addr as return value")
        if isinstance(value, int):
            self.result.returns.add(value)
        if isinstance(value, int) and self.range and not self.opaque:
            low, high = self.range
            if not low <= value <= high:
                self.refuse(path, errno.EINVAL)
        return []


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
