"""The layout of a listing, and declarations in bpftool's words."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from bpflens.errors import FormatError
from bpflens.insn import Insn
from bpflens.insn.asm import assemble_insns
from bpflens.insn.listing import (
    FuncInfo,
    LineInfo,
    Source,
    as_data,
    func_infos,
    kernel_calls,
    line_infos,
    lines,
    rows,
)
from bpflens.insn.prototype import prototype
from bpflens.insn.text import text

PROGRAM = assemble_insns("r1 = map[id:7]\nr0 = 0\nexit\nr0 = 1\nexit")
STRINGS = {1: "\t  return 0;", 5: "a.c", 9: "\u00a0x"}
FUNCTIONS = [FuncInfo(0, 10), FuncInfo(4, 11)]
SOURCE = [LineInfo(0, 5, 1, 3 << 10 | 7), LineInfo(2, 99, 1, 4 << 10), LineInfo(4, 5, 98, 0)]


def listed(*, opcodes: bool = False, linum: bool = False) -> list[str]:
    made = rows(
        PROGRAM,
        functions=FUNCTIONS,
        source=SOURCE,
        prototype=lambda type_id: f"int f{type_id}(void)",
        string=STRINGS.get,
    )
    return list(lines(made, opcodes=opcodes, linum=linum))


def test_layout() -> None:
    assert listed() == [
        "int f10(void):",
        "; return 0;",
        "   0: (18) r1 = map[id:7]",
        "; return 0;",
        "   2: (b7) r0 = 0",
        "   3: (95) exit",
        "int f11(void):",
        "   4: (b7) r0 = 1",
        "   5: (95) exit",
    ]


def test_options() -> None:
    shown = listed(opcodes=True, linum=True)
    assert shown[1] == "; return 0; [file:a.c line_num:3 line_col:7]"
    assert shown[3] == "       18 11 00 00 07 00 00 00 00 00 00 00 00 00 00 00"
    assert shown[4] == "; return 0; [file: line_num:4 line_col:0]"
    assert shown[6] == "       b7 00 00 00 00 00 00 00"


def test_data() -> None:
    made = rows(
        PROGRAM,
        functions=FUNCTIONS,
        source=SOURCE,
        prototype=lambda type_id: "int f(void)",
        string=STRINGS.get,
    )
    first, second, *_ = made
    assert as_data(first, opcodes=True, linum=True) == {
        "proto": "int f(void)",
        "src": "return 0;",
        "file": "a.c",
        "line_num": 3,
        "line_col": 7,
        "disasm": "(18) r1 = map[id:7]",
        "opcodes": {
            "code": "0x18",
            "src_reg": "0x1",
            "dst_reg": "0x1",
            "off": ["0x00", "0x00"],
            "imm": ["0x07", *["0x00"] * 11],
        },
    }
    assert as_data(second, linum=True) == {
        "src": "return 0;",
        "line_num": 4,
        "disasm": "(b7) r0 = 0",
    }


def test_only_the_blanks_of_c_are_cut() -> None:
    row = next(rows(PROGRAM, source=[LineInfo(0, 5, 9, 0)], string=STRINGS.get))
    assert row.source == Source("\u00a0x", "a.c", 0, 0)
    assert next(lines([row])) == "; \u00a0x"


def test_numbers_keep_their_blank() -> None:
    numbers = [line.partition(":")[0] for line in lines(rows([Insn(0x95)] * 10001))]
    assert numbers[9] == "   9"
    assert numbers[999] == " 999"
    assert numbers[1000] == " 1000"
    assert numbers[10000] == " 10000"


def test_nothing_is_shown_of_what_is_not_told() -> None:
    made = rows(PROGRAM, functions=[FuncInfo(0, 1)], source=[LineInfo(0, 1, 1, 0)])
    assert next(lines(made)) == "   0: (18) r1 = map[id:7]"


def test_calls_are_named_by_address() -> None:
    names = {0x3000: "bpf_helper", 0x5000: "bpf_prog_aa_sub", 0x1002: "base_2"}
    sub = Insn(0x85, 0, 1, 5, 1)
    jited = kernel_calls(names.get, 0x1000, [0x4000, 0x5000])
    assert text(Insn(0x85, imm=8192), call=jited) == "(85) call bpf_helper#8192"
    assert text(Insn(0x85, imm=4096), call=jited) == "(85) call 0x2000#4096"
    assert text(Insn(0x85, imm=-4097), call=jited) == "(85) call 0xffffffffffffffff#-4097"
    assert text(sub, call=jited) == "(85) call pc+5#bpf_prog_aa_sub"
    assert text(sub._replace(imm=0), call=jited) == "(85) call pc+5#0x4000"
    assert text(sub._replace(imm=2), call=jited) == "(85) call pc+5#base_2"
    assert text(sub, call=kernel_calls(names.get, 0x1000)) == "(85) call pc+5"
    assert text(sub, call=kernel_calls(names.get, 0x1000, None)) == "(85) call pc+5#0x1001"


def test_records() -> None:
    assert func_infos(bytes.fromhex("01000000 02000000")) == [FuncInfo(1, 2)]
    assert func_infos(bytes.fromhex("01000000 02000000 ffffffff"), 12) == [FuncInfo(1, 2)]
    (line,) = line_infos(bytes.fromhex("01000000 02000000 03000000 05040000"))
    assert line == LineInfo(1, 2, 3, 0x405)
    assert (line.line, line.column) == (1, 5)
    for data, size in ((bytes(7), 8), (bytes(8), 4), (bytes(8), 0)):
        with pytest.raises(FormatError):
            func_infos(data, size)


# Stand-ins with the names and fields of the BTF kinds.


class Int(NamedTuple):
    name: str


class Struct(NamedTuple):
    name: str


class Ptr(NamedTuple):
    to: int


class Const(NamedTuple):
    to: int


class Array(NamedTuple):
    element: int
    nelems: int


class Fwd(NamedTuple):
    name: str
    is_union: bool


class TypeTag(NamedTuple):
    to: int


class Param(NamedTuple):
    name: str
    type_id: int


class FuncProto(NamedTuple):
    ret: int
    params: tuple[Param, ...]


class Func(NamedTuple):
    name: str
    type_id: int


def declared(ret: int, *params: Param, types: dict[int, object]) -> str:
    both = types | {90: FuncProto(ret, params), 91: Func("f", 90)}
    return prototype(both, 91)


def test_declarations() -> None:
    types: dict[int, object] = {
        1: Int("int"),
        2: Struct("ctx"),
        3: Ptr(2),
        4: Const(1),
        5: Ptr(4),
        6: Array(1, 4),
        7: Fwd("u", True),
        8: FuncProto(0, (Param("a", 1),)),
        9: Ptr(8),
    }
    assert declared(1, Param("c", 3), types=types) == "int f(struct ctx * c)"
    assert declared(0, types=types) == "void f()"
    assert declared(5, Param("", 6), Param("", 0), types=types) == "const int * f(int [4], ...)"
    assert declared(7, Param("cb", 9), types=types) == "union u f(void (int a)* cb)"


def test_what_bpftool_prints_nothing_for() -> None:
    loop: dict[int, object] = {1: Ptr(1), 2: TypeTag(0), 3: Int("x" * 1000)}
    assert declared(1, types=loop) == ""
    assert declared(2, types=loop) == ""
    assert declared(3, Param("y" * 30, 3), types=loop) == ""
    assert prototype({5: Func("f", 6), 6: Int("int")}, 5) == ""
