"""The assembler: what each form stands for, and what it refuses."""

from __future__ import annotations

import pytest

from bpflens.errors import FormatError
from bpflens.insn import Insn
from bpflens.insn.asm import assemble, assemble_insns

FORMS = {
    "r6 = r1": Insn(0xBF, 6, 1),
    "w6 = w1": Insn(0xBC, 6, 1),
    "r0 = -1": Insn(0xB7, 0, imm=-1),
    "w0 = 0x7fffffff": Insn(0xB4, 0, imm=0x7FFFFFFF),
    "w0 = 0xffffffff": Insn(0xB4, 0, imm=-1),
    "r1 += r2": Insn(0x0F, 1, 2),
    "r1 -= 5": Insn(0x17, 1, imm=5),
    "w1 *= w2": Insn(0x2C, 1, 2),
    "r1 /= r2": Insn(0x3F, 1, 2),
    "r1 s/= r2": Insn(0x3F, 1, 2, 1),
    "w1 s%= 7": Insn(0x94, 1, 0, 1, 7),
    "r1 |= r2": Insn(0x4F, 1, 2),
    "r1 &= 255": Insn(0x57, 1, imm=255),
    "r1 <<= 32": Insn(0x67, 1, imm=32),
    "r1 >>= 32": Insn(0x77, 1, imm=32),
    "r1 s>>= 32": Insn(0xC7, 1, imm=32),
    "r1 ^= r1": Insn(0xAF, 1, 1),
    "r1 %= 3": Insn(0x97, 1, imm=3),
    "r1 = -r1": Insn(0x87, 1),
    "w1 = -w1": Insn(0x84, 1),
    "r1 = (s8)r2": Insn(0xBF, 1, 2, 8),
    "w1 = (s16)w2": Insn(0xBC, 1, 2, 16),
    "r1 = (s32)r2": Insn(0xBF, 1, 2, 32),
    "r1 = le16 r1": Insn(0xD4, 1, imm=16),
    "r1 = be64 r1": Insn(0xDC, 1, imm=64),
    "r1 = bswap32 r1": Insn(0xD7, 1, imm=32),
    "r1 = addr_space_cast(r2, 1, 0)": Insn(0xBF, 1, 2, 1, 0x10000),
    "r1 = &(void __percpu *)(r2)": Insn(0xBF, 1, 2, -1),
    "r1 = *(u8 *)(r2 +3)": Insn(0x71, 1, 2, 3),
    "r1 = *(u16 *)(r2 -3)": Insn(0x69, 1, 2, -3),
    "r1 = *(u32 *)(r2 +0)": Insn(0x61, 1, 2),
    "r1 = *(u64 *)(r2)": Insn(0x79, 1, 2),
    "r1 = *(s8 *)(r2 +1)": Insn(0x91, 1, 2, 1),
    "r1 = *(s32 *)(r2 +1)": Insn(0x81, 1, 2, 1),
    "*(u64 *)(r10 -8) = r1": Insn(0x7B, 10, 1, -8),
    "*(u32 *)(r10 -8) = -1": Insn(0x62, 10, 0, -8, -1),
    "r0 = *(u16 *)skb[12]": Insn(0x28, imm=12),
    "r0 = *(u32 *)skb[r6 + 4]": Insn(0x40, 0, 6, imm=4),
    "lock *(u64 *)(r1 +8) += r2": Insn(0xDB, 1, 2, 8, 0x00),
    "lock *(u32 *)(r1 +8) ^= r2": Insn(0xC3, 1, 2, 8, 0xA0),
    "r2 = atomic64_fetch_or((u64 *)(r1 +8), r2)": Insn(0xDB, 1, 2, 8, 0x41),
    "r2 = atomic_fetch_and((u32 *)(r1 +8), r2)": Insn(0xC3, 1, 2, 8, 0x51),
    "r2 = atomic64_xchg((u64 *)(r1 +8), r2)": Insn(0xDB, 1, 2, 8, 0xE1),
    "r0 = atomic64_cmpxchg((u64 *)(r1 +8), r0, r2)": Insn(0xDB, 1, 2, 8, 0xF1),
    "r2 = load_acquire((u8 *)(r1 +8))": Insn(0xD3, 2, 1, 8, 0x100),
    "store_release((u16 *)(r1 +8), r2)": Insn(0xCB, 1, 2, 8, 0x110),
    "goto pc+3": Insn(0x05, off=3),
    "goto +3": Insn(0x05, off=3),
    "gotol pc-70000": Insn(0x06, imm=-70000),
    "gotox r3": Insn(0x0D, 3),
    "may_goto pc+2": Insn(0xE5, off=2),
    "if r1 == 0 goto pc+1": Insn(0x15, 1, off=1),
    "if w1 s<= -2 goto pc-1": Insn(0xD6, 1, off=-1, imm=-2),
    "if r1 & r2 goto pc+1": Insn(0x4D, 1, 2, 1),
    "if r1 > 0xffffffff goto pc+1": Insn(0x25, 1, off=1, imm=-1),
    "call 12": Insn(0x85, imm=12),
    "call map_lookup_elem": Insn(0x85, imm=1),
    "call bpf_map_lookup_elem": Insn(0x85, imm=1),
    "call bpf_map_lookup_elem#1": Insn(0x85, imm=1),
    "call unknown#4711": Insn(0x85, imm=4711),
    "call pc+7": Insn(0x85, 0, 1, imm=7),
    "call kfunc 1234": Insn(0x85, 0, 2, imm=1234),
    "call kfunc 1234 in 2": Insn(0x85, 0, 2, 2, 1234),
    "call kernel-function#1234": Insn(0x85, 0, 2, imm=1234),
    "callx r1": Insn(0x8D, 1),
    "nospec": Insn(0xC2),
    "exit": Insn(0x95),
    "raw 0xff 1 2 -3 4": Insn(0xFF, 1, 2, -3, 4),
}
WIDE = {
    "r1 = 5 ll": (Insn(0x18, 1, imm=5), Insn(0)),
    "r1 = 0x100000000": (Insn(0x18, 1), Insn(0, imm=1)),
    "r1 = -0x80000001": (Insn(0x18, 1, imm=0x7FFFFFFF), Insn(0, imm=-1)),
    "(18) r1 = 0x5": (Insn(0x18, 1, imm=5), Insn(0)),
    "r1 = map_fd stats": (Insn(0x18, 1, 1, imm=9), Insn(0)),
    "r1 = map_value stats": (Insn(0x18, 1, 2, imm=9), Insn(0)),
    "r1 = map_value stats + 16": (Insn(0x18, 1, 2, imm=9), Insn(0, imm=16)),
    "r1 = btf_id 77": (Insn(0x18, 1, 3, imm=77), Insn(0)),
    "r1 = map_idx 2": (Insn(0x18, 1, 5, imm=2), Insn(0)),
    "r1 = map_idx_value 2 + 8": (Insn(0x18, 1, 6, imm=2), Insn(0, imm=8)),
    "r1 = map[id:5]": (Insn(0x18, 1, 1, imm=5), Insn(0)),
    "r1 = map[id:5][0]+8": (Insn(0x18, 1, 2, imm=5), Insn(0, imm=8)),
    "r1 = map[idx:5]+8": (Insn(0x18, 1, 6, imm=5), Insn(0, imm=8)),
    "r1 = subprog[+4]": (Insn(0x18, 1, 4, imm=4), Insn(0)),
}


@pytest.mark.parametrize("text", FORMS)
def test_form(text: str) -> None:
    assert assemble_insns(text) == [FORMS[text]]


@pytest.mark.parametrize("text", WIDE)
def test_wide_form(text: str) -> None:
    assert tuple(assemble_insns(text, stats=9)) == WIDE[text]


def test_labels_reach_both_ways_and_count_wide_loads_twice() -> None:
    program = """
        r1 = map_fd 3
    again:  r0 = 0
        if r0 == 1 goto again
        r2 = 0x100000000
        call sub
        r3 = func sub
        gotol out
    sub: out: exit
    """
    insns = assemble_insns(program)
    assert insns[3].off == -2
    assert insns[6].imm == len(insns) - 1 - 7
    assert insns[7].imm == len(insns) - 1 - 8
    assert insns[9].imm == 0


def test_symbols_are_numbers_and_add_up() -> None:
    assert assemble_insns("r1 = *(u32 *)(r1 +field + 4 - 1)", field=8)[0].off == 11
    assert assemble_insns("r1 = N", N=-3)[0].imm == -3


def test_a_listing_assembles() -> None:
    listing = """
    int handler(struct ctx * ctx):
    ; if (ctx->pid == 0) return 1;
       0: (61) r1 = *(u32 *)(r1 +4)
       1: (15) if r1 == 0x0 goto pc+1
       2: (b7) r0 = 1
       3: (95) exit
    """
    assert [insn.code for insn in assemble_insns(listing)] == [0x61, 0x15, 0xB7, 0x95]


def test_nothing_assembles_to_nothing() -> None:
    assert assemble(" ; a comment\n// another\n\n") == b""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("r0 = 1\nr1 <> 2", "line 2: not understood"),
        ("goto nowhere", "no label 'nowhere'"),
        ("a: exit\na: exit", "there twice"),
        ("r1 = 5 5", "no sum"),
        ("r1 = 5 +", "no sum"),
        ("raw 1 2 3 4 5 6", "no sum"),
        ("r1 = later", "no symbol of that name"),
        ("r1 = *(u32 *)(r2 +40000)", "cannot be encoded"),
        ("w1 = 0x100000000", "does not fit 32 bits"),
        ("r1 = 0x10000000000000000 ll", "no number"),
        ("r1 = -r2", "one register"),
        ("r1 = le16 r2", "one register"),
        ("r11 = 0", "not understood"),
        ("r3 = atomic64_xchg((u64 *)(r1 +8), r2)", "goes to r2"),
        ("lock *(u64 *)(r1 +0) <<= r2", "no atomic operation"),
        ("(b4) r1 = 0", "the code is b7, not b4"),
        ("raw 1 16 0 0 0", "no register r16"),
    ],
)
def test_refused(text: str, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        assemble(text)


def test_an_error_names_the_byte_where_its_line_starts() -> None:
    with pytest.raises(FormatError) as caught:
        assemble("exit ; é\nnonsense")
    assert caught.value.offset == len("exit ; é\n".encode())
