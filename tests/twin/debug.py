"""Programs with debug information, and what of it can be wrong; maps by index of fd_array."""

from __future__ import annotations

import struct

from bpflens.abi.attrs import BtfLoad, ProgLoad
from bpflens.abi.enums import Cmd, ProgType
from bpflens.btf.build import BtfBuilder
from bpflens.insn import Insn, encode
from bpflens.insn import opcodes as op
from bpflens.insn.build import R0, R1, R2, call_relative, exit_, ld_imm64, mov
from tests.twin.choices import Choices
from tests.twin.steps import Buffer, Named, Step

STATIC, GLOBAL = 4, 5
"""IDs of functions in the BTF that `functions_btf` loads."""
_TYPES = (ProgType.SCHED_CLS, ProgType.XDP, ProgType.RAW_TRACEPOINT, ProgType.TRACEPOINT)


class Debug(Choices):
    """Steps around func_info, line_info and fd_array."""

    def functions_btf(self) -> Step:
        """BTF with two functions, and strings for lines."""
        made = BtfBuilder()
        number = made.add_int("int", 4, 1)
        word = made.add_int("unsigned long", 8)
        proto = made.add_func_proto(number, [("context", word)])
        made.add_func("still", proto, linkage=0)
        made.add_func("world", proto, linkage=1)
        if self.rarely(0.2):
            made.add_decl_tag("exception_callback:" + ("world", "none")[self.rarely(0.2)], STATIC)
        for text in ("file.c", "int a = 1;", "return a;"):
            made.string(text)
        data = made.build()
        record = BtfLoad(btf_size=len(data))
        step = self.step(
            Cmd.BTF_LOAD, record, names=[Named(0, "ptr", 0)], buffers=[Buffer(data)], makes="btf"
        )
        step.ignore = [(-1, 28, 4)]
        self.made("btf", record, STATIC)
        return step

    def debug_load(self) -> Step:
        """A program of one to three functions, told about in func_info and line_info."""
        insns, starts, names = self.functions()
        array = self.fd_array()
        if array.names and self.rarely(0.7):
            at = self.pick(0, 0, 1, len(array.names))
            insns[0:0] = ld_imm64(R2, at, pseudo=self.pick(5, 5, 6))
            starts = [0, *[start + 2 for start in starts[1:]]]
        funcs = self.records([(start, self.pick(STATIC, GLOBAL)) for start in starts], "<II")
        lines = self.records(self.lines(insns, starts), "<IIII")
        found = [t.step for t in self.things if t.kind == "btf" and t.type == STATIC]
        attr = ProgLoad(
            prog_type=self.pick(*_TYPES),
            insn_cnt=len(insns),
            func_info_rec_size=funcs[0],
            func_info_cnt=funcs[1],
            line_info_rec_size=lines[0],
            line_info_cnt=lines[1],
            fd_array_cnt=self.pick(0, 0, len(array.names), len(array.names) + 1),
        )
        fields = ((8, 0), (16, 1), (80, 2), (96, 3), (120, 4))
        for at, buffer in fields:
            self.pointer(names, at, buffer)
        names.append(Named(72, "fd", found[-1] if found else 10**6))
        if self.rarely(0.1):
            attr.line_info_cnt = 0
        if self.rarely(0.1):
            attr.func_info_cnt = 0
        step = self.step(Cmd.PROG_LOAD, attr, names=names, makes="prog", buffers=[
            Buffer(encode(insns)), Buffer(b"GPL\0"), Buffer(funcs[2]), Buffer(lines[2]), array,
        ])  # fmt: skip
        step.ignore = [(-1, 140, 4)]
        self.made("prog", attr)
        return step

    def functions(self) -> tuple[list[Insn], list[int], list[Named]]:
        """Functions that call each other in turn, where each begins."""
        insns: list[Insn] = []
        starts = []
        count = self.pick(1, 1, 2, 3)
        for number in range(count):
            starts.append(len(insns))
            if self.rarely(0.2):
                insns += ld_imm64(R0, 1 << 40)
            if self.rarely(0.2):  # dead
                insns += [mov(R0, 1), Insn(op.JMP | op.JEQ, dst=0, off=1, imm=1), mov(R0, 2)]
            if number + 1 < count:
                insns += [mov(R1, 7), call_relative(2), mov(R0, 0), exit_()]
            else:
                insns += [mov(R0, 0), exit_()]
        if self.rarely(0.1):
            insns += [mov(R0, 0), exit_()]
            starts.append(len(insns) - 2)
        return insns, starts, []

    def lines(self, insns: list[Insn], starts: list[int]) -> list[tuple[int, ...]]:
        """Lines of functions' first instructions and of some others."""
        chosen = [
            at for at, insn in enumerate(insns) if insn.code and (at in starts or self.rarely(0.4))
        ]
        if self.rarely(0.1):
            chosen.append(self.pick(0, 1, 2, len(insns), len(insns) - 1))
        if self.rarely(0.05) and chosen:
            chosen.remove(self.random.choice(chosen))
        return [
            (at, self.pick(1, 5, 9, 9, 30, 3000) if self.rarely() else 1, 9, 10 * at << 10)
            for at in chosen
        ]

    def records(self, rows: list[tuple[int, ...]], layout: str) -> tuple[int, int, bytes]:
        """Their size, number and bytes; now and then longer ones, or something else in them."""
        size = struct.calcsize(layout)
        more = 0
        if self.rarely(0.15):
            more = self.pick(4, 8, 252 - size, 256 - size, 2, -4)
        data = bytearray()
        for row in rows:
            data += struct.pack(layout, *row).ljust(size + max(more, 0), b"\0")
        if data and more > 0 and self.rarely(0.2):
            data[-1] = 1
        if data and self.rarely(0.1):
            at = self.random.randrange(len(data) // 4) * 4
            data[at : at + 4] = self.pick(0, 1, 2, 3, 4, 6, 99).to_bytes(4, "little")
        return size + more, len(rows), bytes(data) or bytes(8)

    def fd_array(self) -> Buffer:
        """Maps for the program, mostly."""
        found = [t.step for t in self.things if t.kind in ("map", "map", "btf")][-6:]
        count = self.pick(0, 1, 2) if found else 0
        buffer = Buffer(bytes(4 * count + 8))
        buffer.names = [Named(4 * n, "fd", self.random.choice(found)) for n in range(count)]
        if self.rarely(0.1):
            buffer.names.append(Named(4 * count, "fd", self.pick(-1, 10**6)))
        return buffer
