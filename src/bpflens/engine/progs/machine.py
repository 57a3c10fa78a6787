"""The machine that a path of a program runs on: registers, memory, and helpers that are known."""

from __future__ import annotations

import errno
from bisect import bisect_right
from typing import TYPE_CHECKING

from bpflens.abi.enums import MapFlag, MapType, ProgType
from bpflens.engine.call import err
from bpflens.engine.progs.code import Functions, is_pseudo_call
from bpflens.engine.progs.facts import (
    ARGS,
    CTX_SIZES,
    CTX_WRITABLE,
    GPL_ONLY,
    LOOKUP,
    MAY_HAVE_PRIVATE_STACKS,
    NEEDS_MAP,
    ONLY_FOR,
    PLAIN_VALUES,
    SCALARS,
    TAIL_CALL,
    return_range,
)
from bpflens.engine.progs.target import returns_value
from bpflens.engine.progs.values import M64, OTHER, UNKNOWN, UNSET
from bpflens.errors import FormatError
from bpflens.insn import Insn
from bpflens.insn import opcodes as op

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.engine.maps.base import Map
    from bpflens.engine.progs.log import Log
    from bpflens.engine.progs.prog import Prog

FRAMES = 8
"""MAX_CALL_FRAMES."""
_PRIVATE = 64
"""BPF_PRIV_STACK_MIN_SIZE."""


class Dead(Exception):
    """A path ends in an error that Linux may not see."""


class Path:
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

    __slots__ = ("complete", "depths", "insns", "returns", "seen", "throws")

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.insns = 0
        self.depths: dict[int, int] = {}
        """Function (where it begins) → bytes of stack that it uses."""
        self.returns: set[int] = set()
        """Known return values."""
        self.complete = True
        """Whether all that Linux may see was seen."""
        self.throws = False
        """Whether the program throws exceptions."""


def constant(base: object, insn: Insn) -> object:
    """What a load finds, which is known in global data that nobody can write any more.

    check_mem_access(), bpf_map_direct_read().
    """
    if not isinstance(base, tuple) or base[0] != "value":
        return OTHER
    used, start = base[1], base[2] + insn.off
    fixed = used.flags & MapFlag.RDONLY_PROG and used.frozen and not used.writers
    if used.type != MapType.ARRAY or not fixed:
        return OTHER
    data = used.lookup(bytes(4))[start : start + op.SIZE_BYTES[insn.code & 0x18]]
    return int.from_bytes(data, "little", signed=insn.code & 0xE0 == op.MEMSX) & M64


class Machine:
    """What instructions work on; errors are those of the path that they are found on."""

    def __init__(
        self,
        insns: Sequence[Insn],
        made: Prog,
        maps: dict[int, Map],
        functions: Functions,
        log: Log,
    ) -> None:
        self.insns = insns
        self.leaks = made.leaks
        self.functions = functions
        self.release = made.engine.release
        self.types = made.engine.vmlinux.types
        self.returns = returns_value(made)
        self.log = log
        self.type = type = made.type
        self.gpl = made.gpl
        self.maps = maps
        self.arena = any(used.type == MapType.ARENA for used in maps.values())
        attach = made.attach_type
        self.range = return_range(type, attach)
        self.result = Result()
        self.opaque = any(
            (insn.code == op.HELPER_CALL and insn.src == op.PSEUDO_KFUNC_CALL)
            or insn.code == op.MAY_GOTO
            or (insn.code == op.LD_IMM64 and insn.src == op.PSEUDO_FUNC)
            for insn in insns
        )
        """Iterators, exceptions and callbacks change where control goes."""
        self.private_stacks = (
            self.release.private_stacks
            and type in MAY_HAVE_PRIVATE_STACKS
            and Insn(op.HELPER_CALL, imm=TAIL_CALL) not in insns
        )
        """Whether a function that uses much stack has one of its own: bpf_enable_priv_stack()."""
        self.lookups = 0
        self.todo: list[Path] = []

    def function_at(self, at: int) -> int:
        """Where the function of an instruction begins."""
        starts = self.functions.starts
        return starts[bisect_right(starts, at) - 1]

    def throws(self, insn: Insn) -> bool:
        """Whether a call of the kernel is one that never returns: is_bpf_throw_kfunc()."""
        try:
            return not insn.off and self.types.type_name(insn.imm) == "bpf_throw"
        except FormatError:
            return False

    def refuse(self, path: Path, code: int, words: str = "") -> None:
        """An error, if the path is possible for sure. The path ends here either way."""
        if not path.doubt:
            self.log.add(words or f"invalid instruction {path.at}")
            raise err(code)
        self.result.complete = False
        raise Dead

    def read(self, path: Path, reg: int) -> object:
        """The content of a register: check_reg_arg(SRC_OP)."""
        value = path.regs[reg] if reg < 11 else UNSET
        if reg > 10:
            self.refuse(path, errno.EINVAL)
        if value is UNSET:
            self.refuse(path, errno.EACCES, f"R{reg} !read_ok")
        return value

    def write(self, path: Path, reg: int, value: object) -> None:
        """check_reg_arg(DST_OP)."""
        if reg > 10:
            self.refuse(path, errno.EINVAL)
        if reg == 10:
            self.refuse(path, errno.EACCES, "frame pointer is read only")
        path.regs[reg] = value

    def memory(self, path: Path, insn: Insn, base: object, how: str = "r") -> None:
        """check_mem_access(), for pointers that are known, and for what is surely none."""
        size = op.SIZE_BYTES[insn.code & 0x18]
        if isinstance(base, int) or base is UNKNOWN:
            self.refuse(path, errno.EACCES)
        if not isinstance(base, tuple):
            return
        bad = False
        if base[0] == "fp":
            self.stack(path, base[1] + insn.off, size, aligned=True)
        elif base[0] == "ctx":
            start = base[1] + insn.off
            # elsewhere even a negative offset may pass: tp_prog_is_valid_access() compares unsigned
            end = CTX_SIZES.get(self.type)
            bad = end is not None and not 0 <= start <= end - size
            if "w" in how and self.type in CTX_WRITABLE:
                low, high = CTX_WRITABLE[self.type]
                bad = bad or not low <= start < high
        elif base[0] == "value":
            used, start = base[1], base[2] + insn.off
            bad = not 0 <= start <= used.value_size - size and used.type != MapType.ARENA
            bad = bad or ("w" in how and bool(used.flags & MapFlag.RDONLY_PROG))
            bad = bad or ("r" in how and bool(used.flags & MapFlag.WRONLY_PROG))
        elif base[0] == "map":
            bad = "w" in how
        else:  # a value that may not be there, or a context that was moved
            bad = base[0] == "null" or self.type != ProgType.SYSCALL
        if bad:
            self.refuse(path, errno.EACCES)

    def stack(self, path: Path, start: int, size: int, aligned: bool = False) -> None:
        """check_stack_access_within_bounds(); slots are only reached at multiples of the size."""
        if (aligned and start % size) or not -op.STACK_LIMIT <= start <= -size:
            self.refuse(path, errno.EACCES)
        if path.doubt:
            return
        function = self.function_at(path.at)
        depths = self.result.depths
        depths[function] = max(depths.get(function, 0), -start)

    def check_depth(self, function: int = 0, above: int = 0, depth: int = 1) -> None:
        """check_max_stack_depth(): all functions of a chain share 512 bytes."""
        if depth > FRAMES:
            raise err(self.release.deep_calls)
        step, least = self.release.stack_steps
        used = max(-(-self.result.depths.get(function, 0) // step) * step, least)
        if used < _PRIVATE or not self.private_stacks:
            above += used
        if above > op.STACK_LIMIT:
            raise err(errno.EACCES)
        starts = self.functions.starts
        at = bisect_right(starts, function)
        end = starts[at] if at < len(starts) else len(self.insns)
        callees = {
            n + 1 + self.insns[n].imm for n in range(function, end) if is_pseudo_call(self.insns[n])
        }
        for callee in callees:
            if callee == self.functions.on_throw:
                raise err(errno.EINVAL)
            self.check_depth(callee, above, depth + 1)

    def helper(self, path: Path, number: int) -> object:
        """check_helper_call(), for the helpers that are known here; returns what r0 holds then."""
        if self.type not in ONLY_FOR.get(number, (self.type,)):
            self.refuse(path, errno.EINVAL)
        if number in GPL_ONLY and not self.gpl:
            self.refuse(path, errno.EINVAL)
        for reg in range(1, 1 + ARGS.get(number, 0)):
            self.read(path, reg)
        needed = NEEDS_MAP.get(number)
        second = path.regs[2]
        known = needed and isinstance(second, tuple) and second[0] == "map"
        if known and second[1].type != needed:  # type: ignore[index]
            self.refuse(path, errno.EINVAL)
        if number == LOOKUP:
            return self.lookup(path)
        if number == TAIL_CALL:
            return UNSET
        if number in SCALARS:
            return UNKNOWN
        if number not in ARGS:
            path.doubt = True
        return OTHER

    def lookup(self, path: Path) -> object:
        """map_lookup_elem: a map, and a key of its size."""
        where, key = path.regs[1], path.regs[2]
        if isinstance(where, int) or where is UNKNOWN:
            self.refuse(path, errno.EACCES)
        if not isinstance(where, tuple):
            return OTHER
        if where[0] != "map":
            self.refuse(path, errno.EACCES, f"R1 type={where[0]} expected=map_ptr")
        used = where[1]
        if isinstance(key, tuple) and key[0] == "fp":
            self.stack(path, key[1], used.key_size)
        if used.type not in PLAIN_VALUES:
            return OTHER
        self.lookups += 1
        return ("null", used, self.lookups)
