"""Random programs: harmless ones, and ones that the verifier refuses for a plain reason."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from bpflens.abi.enums import AttachType, ProgType
from bpflens.insn import Insn, encode
from bpflens.insn import opcodes as op
from bpflens.insn.build import (
    R0,
    R1,
    R2,
    R3,
    R6,
    R9,
    R10,
    Reg,
    alu,
    call,
    call_relative,
    exit_,
    jump,
    jump_if,
    ld_imm64,
    load,
    mov,
    store,
)
from tests.twin.steps import Named

SAFE_HELPERS = (5, 7, 8)
"""ktime_get_ns, get_prandom_u32, get_smp_processor_id: they only return a number."""

TYPES = (
    (ProgType.SOCKET_FILTER, 0),
    (ProgType.SOCKET_FILTER, 0),
    (ProgType.XDP, 0),
    (ProgType.XDP, AttachType.XDP),
    (ProgType.XDP, AttachType.XDP_DEVMAP),
    (ProgType.XDP, AttachType.XDP_CPUMAP),
    (ProgType.SCHED_CLS, 0),
    (ProgType.CGROUP_SKB, AttachType.CGROUP_INET_INGRESS),
    (ProgType.CGROUP_SKB, AttachType.CGROUP_INET_EGRESS),
    (ProgType.CGROUP_SOCK, AttachType.CGROUP_INET_SOCK_CREATE),
    (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_BIND),
    (ProgType.SK_LOOKUP, AttachType.SK_LOOKUP),
    (ProgType.RAW_TRACEPOINT, 0),
    (ProgType.TRACEPOINT, 0),
    (ProgType.KPROBE, 0),
    (ProgType.SYSCALL, 0),
)


@dataclass
class Program:
    """Bytes, and which of them are fds."""

    type: int
    attach: int
    code: bytes
    names: list[Named] = field(default_factory=list)
    note: str = ""


class Programs:
    """Writes programs."""

    def __init__(self, source: random.Random) -> None:
        self.random = source

    def write(self, maps: list[int], arrays: list[int]) -> Program:
        """A program of a random type; `maps` and `arrays` are steps that made such."""
        type, attach = self.random.choice(TYPES)
        if self.random.random() < 0.05:
            attach = self.random.choice(list(AttachType))
        names: list[Named] = []
        insns: list[Insn] = []
        for _ in range(self.random.randrange(5)):
            self.piece(insns, names, maps, arrays)
        insns += [mov(R0, self.random.choice((0, 0, 0, 1, 2, 5))), exit_()]
        if self.random.random() < 0.12:
            insns += [mov(R0, 1), exit_()]
            insns[0:0] = [call_relative(len(insns) - 2)]
            for name in names:
                name.offset += 8
        note = ""
        if self.random.random() < 0.25:
            note = self.spoil(insns)
        return Program(type, attach, encode(insns), names, note)

    def piece(
        self, insns: list[Insn], names: list[Named], maps: list[int], arrays: list[int]
    ) -> None:
        """A few instructions that leave everything as it was but r0, r2, r6 and the stack."""
        which = self.random.randrange(11)
        if which == 0:
            insns += [mov(R0, self.random.randrange(1 << 16)), alu(op.ADD, R0, 3)]
        elif which == 1:
            insns += [mov(R6, R10), store(op.DW, R6, -8, 7), load(op.DW, R2, R10, -8)]
        elif which == 2:
            insns += [*ld_imm64(R2, self.random.getrandbits(64))]
        elif which == 3 and maps:
            names.append(Named(8 * len(insns) + 4, "fd", self.random.choice(maps)))
            insns += [*ld_imm64(R2, 0, pseudo=1)]
        elif which == 4 and arrays:
            names.append(Named(8 * len(insns) + 4, "fd", self.random.choice(arrays)))
            offset = self.random.choice((0, 0, 0, 3, 100))
            insns += [*ld_imm64(R2, offset << 32, pseudo=2)]
        elif which == 5:
            insns += [mov(R6, R1), call(self.random.choice(SAFE_HELPERS)), mov(R1, R6)]
        elif which == 6:
            insns += [mov(R0, 5), jump_if(op.JEQ, R0, 5, 1), mov(R0, 6), jump(0)]
        elif which == 7:
            insns += [mov(R6, R1), call(7), mov(R1, R6), jump_if(op.JGT, R0, 100, 1), mov(R2, 1)]
        elif which == 8:
            insns += [mov(R3, -1, bits=32), alu(op.ARSH, R3, 4), alu(op.XOR, R3, R3)]
        elif which == 9:
            insns += [jump(1), jump(-2)] if self.random.random() < 0.1 else [jump(0)]
        else:
            insns += [mov(R2, 1), alu(op.LSH, R2, self.random.choice((1, 31, 63)))]

    def spoil(self, insns: list[Insn]) -> str:
        """Break something; returns what."""
        which = self.random.randrange(14)
        at = self.random.randrange(len(insns))
        if which == 0:
            insns.pop()
            return "no exit"
        if which == 1:
            insns.insert(0, mov(R0, R9))
            return "r9 not set"
        if which == 2:
            insns.insert(0, mov(R10, 1))
            return "r10 written"
        if which == 3:
            insns.insert(0, store(op.W, R10, self.random.choice((0, -513, -2, 4)), 1))
            return "stack"
        if which == 4:
            insns.insert(0, jump(self.random.choice((100, -2, -100))))
            return "jump out"
        if which == 5:
            insns.insert(0, Insn(self.random.choice((0xFF, 0x06, 0x8F, 0x35, 0x1C, 0xE4)), 1, 2))
            return "odd code"
        if which == 6:
            insns.insert(0, call(self.random.choice((0, 9999, 5))))
            return "helper"
        if which == 7:
            insns += [mov(R0, 0), exit_()]
            return "unreachable"
        if which == 8:
            insns.insert(0, load(op.W, R2, Reg(3), 0))
            return "load"
        if which == 9:
            insns[0:0] = [mov(R2, 7), load(op.W, R3, R2, 0)]
            return "number as address"
        if which == 10:
            insns[at] = insns[at]._replace(off=self.random.choice((1, -1, 300)))
            return f"off of {at}"
        if which == 11:
            insns[at] = insns[at]._replace(src=self.random.choice((0, 1, 5, 9, 10)))
            return f"src of {at}"
        if which == 12:
            insns[at] = insns[at]._replace(dst=self.random.choice((0, 3, 10)))
            return f"dst of {at}"
        insns[at] = insns[at]._replace(imm=self.random.choice((0, 1, -1, 64, 1000)))
        return f"imm of {at}"
