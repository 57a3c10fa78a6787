"""Whatever bytes or words come in: a value, or a FormatError."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.errors import FormatError
from bpflens.insn import Insn, decode, encode, steps
from bpflens.insn.asm import assemble
from bpflens.insn.facts import facts
from bpflens.insn.flow import flow
from bpflens.insn.graph import as_dot, as_text
from bpflens.insn.listing import FuncInfo, LineInfo, func_infos, line_infos, lines, rows
from bpflens.insn.tag import digest, tag
from bpflens.insn.text import text

CODES = [0x05, 0x06, 0x18, 0x85, 0x95, 0xBF, 0xDB, 0x79, 0x7B, 0x15, 0x07, 0xE5, 0x0D, 0x62]
likely = st.builds(
    Insn,
    st.sampled_from(CODES) | st.integers(0, 255),
    st.integers(0, 15),
    st.integers(0, 15),
    st.integers(-6, 6) | st.integers(-(1 << 15), (1 << 15) - 1),
    st.integers(-6, 12) | st.integers(-(1 << 31), (1 << 31) - 1),
)
programs = st.binary(max_size=400) | st.lists(likely, max_size=60).map(encode)


def check(data: bytes, xlated: bool, entries: list[int]) -> None:
    """All that reads a program: a value, or a FormatError with the offset."""
    if len(data) % 8:
        with pytest.raises(FormatError) as caught:
            decode(data)
        assert caught.value.offset == len(data) // 8 * 8
        return
    insns = decode(data)
    assert encode(insns) == data
    for step in steps(insns):
        text(step.insn, step.wide)
    graph = flow(insns, xlated=xlated, entries=entries)
    list(as_text(graph))
    list(as_dot(graph))
    found = facts(insns, xlated=xlated, entries=entries, call=lambda insn: None)
    for statements in found[:3]:
        assert all(0 <= statement.at < len(insns) for statement in statements)
    assert len(tag(data)) == len(tag(data, "sha1")) == 8
    assert len(digest(data)) == 64


@given(programs, st.booleans(), st.lists(st.integers(-5, 70), max_size=4))
def test_any_bytes(data: bytes, xlated: bool, entries: list[int]) -> None:
    check(data, xlated, entries)


@given(
    programs.filter(lambda data: len(data) % 8 == 0),
    st.lists(st.tuples(st.integers(0, 70), st.integers()), max_size=9),
    st.lists(st.tuples(st.integers(0, 70), *[st.integers(0, 2**32 - 1)] * 3), max_size=9),
)
def test_any_listing(
    data: bytes, functions: list[tuple[int, int]], source: list[tuple[int, int, int, int]]
) -> None:
    made = rows(
        decode(data),
        functions=[FuncInfo(*fields) for fields in functions],
        source=[LineInfo(*fields) for fields in source],
        prototype=str,
        string=lambda offset: None if offset % 2 else " line",
    )
    list(lines(made, opcodes=True, linum=True))


@given(st.binary(max_size=100), st.integers(-4, 40))
def test_any_records(data: bytes, size: int) -> None:
    for read in (func_infos, line_infos):
        with suppress(FormatError):
            read(data, size)


WORDS = """
    r0 r1 w2 r10 r11 = += -= s>>= == != s< goto gotol if call exit out: out pc+1 +1 -5 0x10 12 ll
    *(u32 *)(r1 +4) *(u64 *)( skb[ ] map_fd map[id:5] [0]+8 func subprog[+1] lock atomic64_xchg(
    load_acquire( kfunc in raw nospec (b7) 3: ; // -r1 le16 bswap99 (s8)r2 99999999999999999999
"""
words = st.sampled_from([*WORDS.split(), "\n"]) | st.text(max_size=5)
assembly = st.lists(words, max_size=30).map(" ".join)


@given(assembly | st.text(max_size=60))
def test_any_text(words: str) -> None:
    with suppress(FormatError):
        decode(assemble(words, out=3))


# What `python -m tests.fuzz insn` sends


def check_bytes(data: bytes) -> None:
    """`check` of what follows the first three bytes, which say how."""
    how, *entries = data[:3].ljust(3, b"\0")
    check(data[3:], bool(how & 1), [byte - 5 for byte in entries][: how >> 1 & 3])


def random_program(chance: random.Random) -> bytes:
    """Mostly instructions that exist, near each other; sometimes any bytes."""
    head = chance.randbytes(3)
    if chance.random() < 0.2:
        return head + chance.randbytes(chance.randrange(160))
    slots = []
    for _ in range(chance.randrange(1, 16)):
        code = chance.choice(CODES) if chance.random() < 0.7 else chance.randrange(256)
        off = chance.randrange(-6, 7) if chance.random() < 0.9 else chance.randrange(-32768, 32768)
        near = chance.random() < 0.8
        imm = chance.randrange(-6, 13) if near else chance.randrange(-(1 << 31), 1 << 31)
        slots.append(Insn(code, chance.randrange(12), chance.randrange(12), off, imm))
    return head + encode(slots)
