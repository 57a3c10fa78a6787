"""Whatever object file comes in: its programs, or a FormatError."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bpflens.btf.elf import is_elf, section
from bpflens.btf.parse import Btf
from bpflens.insn import encode
from bpflens.insn.build import R0, R1, call_relative, exit_, ld_imm64, mov
from bpflens.insn.tag import tag
from bpflens.model.objectprogram import BpfObject
from bpflens.snapshot.match import keys
from tests.fuzz.test_btf_fuzz import BASE_DATA, allowed, damaged, random_ext, random_types
from tests.unit.objects import Function, elf


def check_elf(data: bytes) -> None:
    """What `btf dump file:` and `prog match` read of an object."""
    if is_elf(data):
        allowed(_types, data)
    allowed(_programs, data)


def _programs(data: bytes) -> None:
    for program in BpfObject(data).programs():
        keys(program.insns, program)
        tag(encode(program.insns))


def _types(data: bytes) -> None:
    found = section(data, ".BTF")
    if found is not None:
        Btf.parse(bytes(found))


def random_object(chance: random.Random) -> bytes:
    """An object with programs that call, load and refer to sections, damaged."""
    loads = [*ld_imm64(R1, chance.choice([0, 1 << 40])), call_relative(-1), mov(R0, 0), exit_()]
    called = chance.choice(["helped", "kf", ".text", "counts"])
    main = Function("xdp", "main", loads, {0: chance.choice(["counts", "bss", "kf"]), 2: called})
    helped = Function(".text", "helped", [call_relative(-1), mov(R0, 0), exit_()], {0: "last"})
    last = Function(".text", "last", [mov(R0, 1), exit_()])
    types = BASE_DATA if chance.random() < 0.7 else random_types(chance)
    data = {".maps": bytes(32), ".bss": bytes(16), ".BTF": types, ".BTF.ext": random_ext(chance)}
    for name in (".BTF", ".BTF.ext"):
        if chance.random() < 0.2:
            del data[name]
    whole = elf(
        main,
        helped,
        last,
        data=data,
        objects={"counts": (".maps", 0), "bss": (".bss", 8)},
        externs=["kf"],
        order="little" if chance.random() < 0.8 else "big",
    )
    return damaged(chance, whole)


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_damaged_objects_give_programs_or_format_errors(chance: random.Random) -> None:
    check_elf(random_object(chance))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_behind_the_magic_number(data: bytes) -> None:
    check_elf(b"\x7fELF" + data)
