"""Builders say in Python what the assembler says in text."""

from __future__ import annotations

import pytest

from bpflens.insn import Insn, encode
from bpflens.insn import build as b
from bpflens.insn import opcodes as op
from bpflens.insn.asm import assemble
from bpflens.insn.build import R0, R1, R2, R6, R10


def test_a_program() -> None:
    built = [
        b.mov(R6, R1),
        b.store(op.W, R10, -4, 0),
        *b.ld_map_fd(R1, 5),
        b.mov(R2, R10),
        b.add(R2, -4),
        b.call(1),
        b.jump_if(op.JEQ, R0, 0, 3),
        *b.ld_map_value(R1, 7, 8),
        b.atomic(op.ADD, op.DW, R0, 0, R1),
        b.mov(R0, 0, bits=32),
        b.exit_(),
    ]
    text = """
        r6 = r1
        *(u32 *)(r10 -4) = 0
        r1 = map_fd 5
        r2 = r10
        r2 += -4
        call map_lookup_elem
        if r0 == 0 goto out
        r1 = map_value 7 + 8
        lock *(u64 *)(r0 +0) += r1
        out: w0 = 0
        exit
    """
    assert encode(built) == assemble(text)


def test_records_hold_plain_numbers() -> None:
    assert repr(b.mov(R6, R1)) == "Insn(code=191, dst=6, src=1, off=0, imm=0)"


@pytest.mark.parametrize("value", [-(1 << 63) - 1, 1 << 64])
def test_a_wide_value_has_64_bits(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit 64 bits"):
        b.ld_imm64(R1, value)


def test_the_last_wide_values() -> None:
    assert b.ld_imm64(R1, -1) == b.ld_imm64(R1, (1 << 64) - 1)
    assert b.ld_imm64(R1, -1) == (Insn(0x18, 1, imm=-1), Insn(0, imm=-1))


@pytest.mark.parametrize("value", [-(1 << 31) - 1, 1 << 32])
def test_other_values_have_32_bits(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit 32 bits"):
        b.mov(R1, value)
