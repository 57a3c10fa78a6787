"""The printer: every form both ways, what is no instruction, and the names that come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.insn import Insn, decode, encode, steps
from bpflens.insn import opcodes as op
from bpflens.insn.asm import assemble_insns
from bpflens.insn.text import map_imm, plain_imm, text

slots = st.builds(
    Insn,
    st.integers(0, 255),
    st.integers(0, 10),
    st.integers(0, 10),
    st.integers(-(1 << 15), (1 << 15) - 1),
    st.integers(-(1 << 31), (1 << 31) - 1),
)

PRINTED = {
    "(bf) r6 = r1": Insn(0xBF, 6, 1),
    "(b4) w0 = -1": Insn(0xB4, 0, imm=-1),
    "(3f) r1 s/= r2": Insn(0x3F, 1, 2, 1),
    "(94) w1 s%= 7": Insn(0x94, 1, 0, 1, 7),
    "(bf) r1 = (s8)r2": Insn(0xBF, 1, 2, 8),
    "(bc) w1 = (s16)w2": Insn(0xBC, 1, 2, 16),
    "(d4) r1 = le16 r1": Insn(0xD4, 1, imm=16),
    "(dc) r1 = be64 r1": Insn(0xDC, 1, imm=64),
    "(d7) r1 = bswap32 r1": Insn(0xD7, 1, imm=32),
    "(87) r1 = -r1": Insn(0x87, 1),
    "(bf) r1 = addr_space_cast(r2, 1, 0)": Insn(0xBF, 1, 2, 1, 0x10000),
    "(bf) r1 = addr_space_cast(r2, 65535, 65535)": Insn(0xBF, 1, 2, 1, -1),
    "(bf) r1 = &(void __percpu *)(r2)": Insn(0xBF, 1, 2, -1),
    "(69) r1 = *(u16 *)(r2 -3)": Insn(0x69, 1, 2, -3),
    "(91) r1 = *(s8 *)(r2 +1)": Insn(0x91, 1, 2, 1),
    "(62) *(u32 *)(r10 -8) = -1": Insn(0x62, 10, 0, -8, -1),
    "(7b) *(u64 *)(r10 -8) = r1": Insn(0x7B, 10, 1, -8),
    "(28) r0 = *(u16 *)skb[12]": Insn(0x28, imm=12),
    "(40) r0 = *(u32 *)skb[r6 + 4]": Insn(0x40, 0, 6, imm=4),
    "(db) lock *(u64 *)(r1 +8) |= r2": Insn(0xDB, 1, 2, 8, 0x40),
    "(c3) r2 = atomic_fetch_and((u32 *)(r1 +8), r2)": Insn(0xC3, 1, 2, 8, 0x51),
    "(db) r2 = atomic64_xchg((u64 *)(r1 +8), r2)": Insn(0xDB, 1, 2, 8, 0xE1),
    "(db) r0 = atomic64_cmpxchg((u64 *)(r1 +8), r0, r2)": Insn(0xDB, 1, 2, 8, 0xF1),
    "(d3) r2 = load_acquire((u8 *)(r1 +8))": Insn(0xD3, 2, 1, 8, 0x100),
    "(cb) store_release((u16 *)(r1 +8), r2)": Insn(0xCB, 1, 2, 8, 0x110),
    "(fb) probe lock *(u64 *)(r1 +0) += r2": Insn(0xFB, 1, 2),
    "(05) goto pc+3": Insn(0x05, off=3),
    "(06) gotol pc-70000": Insn(0x06, imm=-70000),
    "(0d) gotox r3": Insn(0x0D, 3),
    "(e5) may_goto pc+2": Insn(0xE5, off=2),
    "(25) if r1 > 0xffffffff goto pc+1": Insn(0x25, 1, off=1, imm=-1),
    "(d6) if w1 s<= 0xfffffffe goto pc-1": Insn(0xD6, 1, off=-1, imm=-2),
    "(4d) if r1 & r2 goto pc+1": Insn(0x4D, 1, 2, 1),
    "(85) call bpf_map_lookup_elem#1": Insn(0x85, imm=1),
    "(85) call unknown#-7": Insn(0x85, imm=-7),
    "(85) call kernel-function#99": Insn(0x85, 0, 2, imm=99),
    "(85) call pc+7": Insn(0x85, 0, 1, imm=7),
    "(8d) callx r1": Insn(0x8D, 1),
    "(c2) nospec": Insn(0xC2),
    "(95) exit": Insn(0x95),
    "BUG_e4": Insn(0xE4),
    "BUG_ef": Insn(0xEF),
    "BUG_f6": Insn(0xF6),
    "BUG_96": Insn(0x96),
    "BUG_ld_18": Insn(0x18),
    "BUG_ld_60": Insn(0x60),
    "BUG_ldx_59": Insn(0x59),
    "BUG_ldx_99": Insn(0x99),
    "BUG_st_02": Insn(0x02),
    "BUG_db": Insn(0xDB, imm=0x30),
    "BUG_e5": Insn(0xE5, src=1),
}


@pytest.mark.parametrize("line", PRINTED)
def test_line(line: str) -> None:
    assert text(PRINTED[line]) == line


def test_every_code_prints() -> None:
    for code in range(256):
        assert f"{code:02x}" in text(Insn(code), 0)


@pytest.mark.parametrize(
    ("src", "shown"),
    [
        (0, "0x800000007"),
        (op.PSEUDO_MAP_FD, "map[id:7]"),
        (op.PSEUDO_MAP_VALUE, "map[id:7][0]+8"),
        (op.PSEUDO_BTF_ID, "0x800000007"),
        (op.PSEUDO_FUNC, "subprog[+7]"),
        (op.PSEUDO_MAP_IDX, "0x800000007"),
        (op.PSEUDO_MAP_IDX_VALUE, "map[idx:7]+8"),
    ],
)
def test_wide_load(src: int, shown: str) -> None:
    insn = Insn(0x18, 1, src, imm=7)
    assert text(insn, 0x8_0000_0007) == f"(18) r1 = {shown}"
    assert text(insn, 0x8_0000_0007, imm=plain_imm) == "(18) r1 = 0x800000007"


def test_names_come_in_by_callbacks() -> None:
    assert text(Insn(0x85, imm=99999), call=lambda insn: "bpf_x") == "(85) call bpf_x#99999"
    assert text(Insn(0x85, 0, 1, 5, 2), call=lambda insn: "+5#f") == "(85) call pc+5#f"
    assert text(Insn(0x85, 0, 1, 5, 2), call=lambda insn: None) == "(85) call pc+2"
    assert text(Insn(0x85, imm=1), call=lambda insn: "other").endswith("bpf_map_lookup_elem#1")
    assert text(Insn(0x18, 1), 5, imm=lambda insn, wide: f"<{wide}>") == "(18) r1 = <5>"


def is_no_instruction(insn: Insn) -> bool:
    """Whether a slot prints as the instruction next to it, as in the kernel, but is refused there.

    That is nospec of other sizes, negation and bswap that name a register, le17, a 32-bit call.
    """
    swaps = op.op_of(insn.code) == op.END and op.class_of(insn.code) in (op.ALU, op.ALU64)
    return insn.code in (0xCA, 0xD2, 0xDA, 0x8C, 0x8F, 0xDF, 0x86, 0x8E) or (
        swaps and insn.imm not in (16, 32, 64)
    )


@given(slots)
def test_what_prints_assembles_to_the_same_text(insn: Insn) -> None:
    line = text(insn, 0 if insn.code == op.LD_IMM64 else None)
    if "BUG" in line or "probe" in line or is_no_instruction(insn):
        return
    again = assemble_insns(line)
    assert text(again[0], 0 if insn.code == op.LD_IMM64 else None) == line


@given(st.lists(slots.filter(lambda insn: insn.code != op.LD_IMM64), max_size=20))
def test_text_of_normal_programs_assembles_to_the_same_bytes(insns: list[Insn]) -> None:
    program = []
    for insn in insns:
        line = text(insn)
        if "BUG" not in line and "probe" not in line and not is_no_instruction(insn):
            program += assemble_insns(line)
    listing = "\n".join(text(step.insn, step.wide) for step in steps(program))
    assert encode(assemble_insns(listing)) == encode(program)


@given(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2, 4, 6]))
def test_wide_loads_assemble_to_the_same_bytes(value: int, src: int) -> None:
    low, high = value & 0xFFFFFFFF, value >> 32
    if src in (op.PSEUDO_MAP_FD, op.PSEUDO_FUNC):
        high = 0
    data = bytes([0x18, src << 4 | 1, 0, 0]) + low.to_bytes(4, "little") + bytes(4)
    data += high.to_bytes(4, "little")
    insns = decode(data)
    line = text(insns[0], high << 32 | low, imm=map_imm)
    assert encode(assemble_insns(line)) == data
