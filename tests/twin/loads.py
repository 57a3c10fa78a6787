"""Random steps that load programs and type information."""

from __future__ import annotations

import random

from bpflens.abi.attrs import BtfLoad, MapCreate, ProgLoad
from bpflens.abi.enums import Cmd
from bpflens.btf.build import BtfBuilder
from tests.twin.choices import Choices
from tests.twin.maps import T
from tests.twin.programs import Programs
from tests.twin.steps import Buffer, Named, Step
from tests.twin.types import Types


class Loads(Choices):
    """Writes steps with programs and types as `Programs` and `Types` write them."""

    def __init__(self, source: random.Random, cpus: int) -> None:
        super().__init__(source, cpus)
        self.programs = Programs(self.random)
        self.types = Types(self.random)

    def prog_load(self) -> Step:
        maps = [t.step for t in self.things if t.kind == "map"][-4:]
        arrays = [
            t.step
            for t in self.things
            if t.kind == "map" and isinstance(t.attr, MapCreate) and t.attr.map_type == T.ARRAY
        ][-4:]
        program = self.programs.write(maps, arrays)
        attr = ProgLoad(
            prog_type=program.type,
            insn_cnt=len(program.code) // 8,
            prog_name=self.random.choice((b"", b"prog", b"a.b_C9", b"y" * 15)),
            prog_flags=self.pick(0, 0, 0, 0, 1, 2, 8, 128),
            expected_attach_type=program.attach,
        )
        if self.rarely(0.05):
            attr.insn_cnt = self.pick(0, 1, 1_000_001)
        names: list[Named] = []
        self.pointer(names, 8, 0)
        self.pointer(names, 16, 1)
        buffers = [
            Buffer(program.code, program.names),
            Buffer(self.random.choice((b"GPL\0", b"GPL v2\0", b"x\0", b"\0", b"Dual MIT/GPL\0"))),
        ]
        raw = bytearray(attr.encode())
        if self.rarely(0.01):
            names.append(Named(112, "fd", self.fd(self.random.choice(("prog", "btf")))[0]))
        if self.rarely(0.06):
            field = self.pick(0, 24, 28, 44, 64, 68, 76, 88, 108, 120, 148)
            raw[field : field + 4] = self.pick(1, 2, 3, 16, 31, 64, 0x10000).to_bytes(4, "little")
        step = self.step(Cmd.PROG_LOAD, bytes(raw), names=names, buffers=buffers, makes="prog")
        step.note = program.note
        step.ignore = [(-1, 140, 4)]  # the length of a log in Linux's words
        self.made("prog", attr)
        return step

    def btf_load(self) -> Step:
        data = bytearray(self.types.write() if self.rarely(0.6) else self.few_types())
        if self.rarely(0.2):
            for _ in range(self.pick(1, 1, 2)):
                data[self.random.randrange(len(data))] = self.pick(0, 1, 2, 8, 13, 64, 255)
        if self.rarely(0.1):
            data += bytes(self.pick(1, 4))
        names: list[Named] = []
        self.pointer(names, 0, 0)
        record = BtfLoad(btf_size=len(data))
        if self.rarely(0.05):
            record.btf_size = self.pick(0, 4, 8, 23, 24, 25, 1 << 24, 1 << 25)
        if self.rarely(0.04):
            record.btf_log_level = self.pick(1, 16)
        buffers = [Buffer(bytes(data))]
        step = self.step(Cmd.BTF_LOAD, record, names=names, buffers=buffers, makes="btf")
        step.ignore = [(-1, 28, 4)]  # the length of a log in Linux's words
        self.made("btf", record)
        return step

    def few_types(self) -> bytes:
        """Types that go with maps, by numbers that `map_create` knows."""
        built = BtfBuilder()
        built.add_int("int", 4, 1)
        built.add_int("long", 8, 1)
        built.add_struct("pair", 8, [("a", 1, 0), ("b", 1, 32)])
        built.add_array(1, 2, 1)
        built.add_typedef("number", 1)
        lock = built.add_struct("bpf_spin_lock", 4, [("val", 1, 0)])
        built.add_struct("locked", 8, [("lock", lock, 0), ("n", 1, 32)])
        if self.rarely(0.3):
            built.add_enum("e", [("A", 1), ("B", 2)])
            built.add_ptr(3)
            built.add_func("f", built.add_func_proto(0, [("x", 1)]))
            built.add_var("v", 1)
        return built.build()
