"""Instructions and bytes are two views of the same thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.errors import FormatError
from bpflens.insn import Insn, Step, decode, encode, steps
from bpflens.insn.code import ByteOrder

PROGRAMS = st.integers(0, 40).flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n))
ORDERS: st.SearchStrategy[ByteOrder] = st.sampled_from(["little", "big"])


@given(PROGRAMS, ORDERS)
def test_any_bytes_survive_a_round_trip(data: bytes, order: ByteOrder) -> None:
    assert encode(decode(data, order), order) == data


@given(PROGRAMS)
def test_steps_cover_every_slot_once(data: bytes) -> None:
    insns = decode(data)
    slots = [
        slot
        for step in steps(insns)
        for slot in range(step.at, step.at + 1 + (step.wide is not None))
    ]
    assert slots == list(range(len(insns)))


def test_fields_are_those_of_struct_bpf_insn() -> None:
    data = bytes.fromhex("b7 21 feff 04030201")
    assert decode(data) == [Insn(0xB7, dst=1, src=2, off=-2, imm=0x01020304)]


def test_big_endian_machines_swap_the_register_nibbles() -> None:
    # struct bpf_insn declares dst_reg and src_reg as bit fields (include/uapi/linux/bpf.h).
    data = bytes.fromhex("b7 12 fffe 01020304")
    assert decode(data, "big") == [Insn(0xB7, dst=1, src=2, off=-2, imm=0x01020304)]


def test_a_partial_slot_is_refused_where_it_starts() -> None:
    with pytest.raises(FormatError) as caught:
        decode(bytes(19))
    assert caught.value.offset == 16


@pytest.mark.parametrize(
    "insn",
    [Insn(256), Insn(0, 16), Insn(0, 0, 16), Insn(0, -1), Insn(0, off=32768), Insn(0, imm=1 << 31)],
)
def test_a_field_out_of_range_is_refused(insn: Insn) -> None:
    with pytest.raises(ValueError, match="instruction 1 cannot be encoded"):
        encode([Insn(0), insn])


def test_a_wide_load_has_one_step_with_its_whole_value() -> None:
    low, high = Insn(0x18, 1, imm=-2), Insn(0, imm=1)
    assert list(steps([low, high, Insn(0x95)])) == [
        Step(0, low, 0x1_FFFF_FFFE),
        Step(2, Insn(0x95), None),
    ]


def test_a_wide_load_cut_off_has_no_value() -> None:
    assert list(steps([Insn(0x18)])) == [Step(0, Insn(0x18), None)]
