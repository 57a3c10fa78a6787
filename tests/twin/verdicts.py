"""Random programs that go deeper than those of the stories: what do both verifiers say?

They are loaded and closed again, never attached or run.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

from bpflens.abi.attrs import MapCreate, ProgLoad
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.engine import Engine
from bpflens.insn import Insn, encode
from bpflens.insn import opcodes as op
from bpflens.insn.build import (
    R0,
    R1,
    R2,
    R3,
    R6,
    R10,
    Operand,
    Reg,
    add,
    alu,
    atomic,
    call,
    exit_,
    jump_if,
    ld_map_fd,
    ld_map_value,
    load,
    mov,
    neg,
    store,
)  # fmt: skip
from bpflens.linux.syscall import LinuxBpf
from bpflens.port.calls import Calls
from bpflens.port.doors import BpfPort

MAPS = (MapType.HASH, MapType.ARRAY, MapType.LRU_HASH, MapType.PERCPU_HASH)
TYPES = {
    ProgType.SOCKET_FILTER: 0,
    ProgType.XDP: 0,
    ProgType.SCHED_CLS: 0,
    ProgType.CGROUP_SKB: 0,
    ProgType.CGROUP_SOCK: AttachType.CGROUP_INET_SOCK_CREATE,
    ProgType.RAW_TRACEPOINT: 0,
    ProgType.TRACEPOINT: 0,
    ProgType.KPROBE: 0,
    ProgType.CGROUP_SOCK_ADDR: AttachType.CGROUP_INET4_BIND,
    ProgType.SK_LOOKUP: AttachType.SK_LOOKUP,
    ProgType.CGROUP_DEVICE: 0,
    ProgType.PERF_EVENT: 0,
}
HELPERS = (1, 2, 3, 5, 6, 7, 8, 12, 14, 15, 25, 26, 27, 35, 125)
REGS = (R0, R1, R2, R3, R6, R10)
ARITHMETIC = (
    *(op.ADD, op.SUB, op.MUL, op.OR, op.AND, op.XOR, op.LSH, op.RSH, op.ARSH, op.DIV, op.MOD),
)
COMPARISONS = (op.JEQ, op.JNE, op.JGT, op.JSGT, op.JLT, op.JSET, op.JGE)
SIZES = (op.W, op.DW, op.B, op.H)

Code = list[Insn]
Places = list[tuple[int, int]]


class Writer:
    """Writes programs; `places` are the slots that a map's fd goes into."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def reg(self) -> Reg:
        return self.random.choice(REGS)

    def operand(self, *numbers: int) -> Operand:
        return self.random.choice((*numbers, self.reg()))

    def write(self) -> tuple[Code, Places]:
        code: Code = []
        places: Places = []
        for _ in range(self.random.randrange(1, 9)):
            self.piece(code, places)
        if self.random.random() < 0.9:
            code.append(mov(R0, self.random.choice((0, 1, 2))))
        return [*code, exit_()], places

    def piece(self, code: Code, places: Places) -> None:
        pick = self.random.choice
        which = self.random.randrange(12)
        if which == 0:
            code.append(mov(self.reg(), pick((0, 1, 5, -1, 64, 1 << 20)), bits=pick((32, 64))))
        elif which == 1:
            code.append(mov(self.reg(), self.reg()))
        elif which == 2:
            right = self.operand(0, 1, 3, 7, -8, 31, 63)
            code.append(alu(pick(ARITHMETIC), self.reg(), right, bits=pick((32, 64, 64))))
        elif which == 3:
            at = pick((0, 4, 8, -8, -16, -4, 48))
            code.append(load(pick(SIZES), self.reg(), self.reg(), at))
        elif which == 4:
            base = pick((R10, R10, self.reg()))
            at = pick((-8, -16, -4, -1, 0, -512, -520))
            code.append(store(pick(SIZES[:3]), base, at, self.operand(0, 1)))
        elif which == 5:
            code.append(call(pick(HELPERS)))
        elif which == 6:
            right = self.operand(0, 1, 5, -1)
            far = pick((0, 1, 1, 2))
            code.append(jump_if(pick(COMPARISONS), self.reg(), right, far, bits=pick((64, 64, 32))))
        elif which == 7:
            places.append((len(code), self.random.randrange(len(MAPS))))
            code += ld_map_fd(self.reg(), 0)
        elif which == 8:
            places.append((len(code), MAPS.index(MapType.ARRAY)))
            code += ld_map_value(self.reg(), 0, pick((0, 0, 4, 7)))
        elif which == 9:
            self.look_up(code, places)
        elif which == 10:
            code += [mov(R6, R1), call(7), mov(R1, R6), neg(self.reg())]
        else:
            kind = pick((op.ADD, op.ADD | op.FETCH, op.XCHG, op.CMPXCHG))
            code.append(atomic(kind, pick((op.W, op.DW)), R10, pick((-8, -16)), self.reg()))

    def look_up(self, code: Code, places: Places) -> None:
        pick = self.random.choice
        code += [store(op.W, R10, -4, 0), mov(R2, R10), add(R2, -4)]
        places.append((len(code), self.random.randrange(len(MAPS))))
        code += [*ld_map_fd(R1, 0), call(1)]
        if self.random.random() < 0.7:
            code.append(jump_if(op.JEQ, R0, 0, 1))
        code.append(load(pick((op.DW, op.W)), pick((R3, R0)), R0, pick((0, 0, 4, 8))))


class Judge:
    """One kernel with the maps that programs use."""

    def __init__(self, port: BpfPort) -> None:
        self.calls = Calls(port)
        self.maps = [
            self.calls.map_create(
                MapCreate(
                    map_type=type, key_size=4, value_size=8,
                    max_entries=1 if type == MapType.ARRAY else 4,
                )
            )
            for type in MAPS
        ]  # fmt: skip

    def verdict(self, type: int, attach: int, code: Code, places: Places) -> int:
        """0, or the errno."""
        placed = list(code)
        for at, which in places:
            placed[at] = placed[at]._replace(imm=self.maps[which])
        attr = ProgLoad(prog_type=type, expected_attach_type=attach)
        try:
            self.calls.close(self.calls.prog_load(attr, encode(placed)))
        except OSError as refused:
            return refused.errno or -1
        return 0

    def close(self) -> None:
        for fd in self.maps:
            self.calls.close(fd)


def verdicts(seed: int, count: int) -> Iterator[tuple[int, int, Code]]:
    """(Linux's errno, the engine's errno, the program), of `count` programs."""
    writer = Writer(seed)
    live, twin = Judge(LinuxBpf()), Judge(Engine(policy="linux").task())
    try:
        for _ in range(count):
            type, attach = writer.random.choice(list(TYPES.items()))
            code, places = writer.write()
            yield (
                live.verdict(type, attach, code, places),
                twin.verdict(type, attach, code, places),
                code,
            )
    finally:
        live.close()


def tally(seed: int, count: int) -> tuple[Counter[str], list[Code]]:
    """How often they agree, and the programs that only the engine refused."""
    seen: Counter[str] = Counter()
    wrong = []
    for linux, engine, code in verdicts(seed, count):
        seen["both take" if not linux and not engine else ""] += 1
        if linux and engine:
            seen["both refuse"] += 1
            seen["with another errno"] += linux != engine
        elif linux:
            seen["only Linux refuses"] += 1
        elif engine:
            seen["only the engine refuses"] += 1
            wrong.append(code)
    del seen[""]
    return seen, wrong
