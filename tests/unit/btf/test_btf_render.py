"""Values by their type. Where clang is there, its initialised variables are the judge."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bpflens import limits
from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.btf import value as v
from bpflens.btf.build import BtfBuilder
from bpflens.btf.edit import assign
from bpflens.btf.render import Reader, render
from bpflens.btf.value import to_json, to_text
from bpflens.errors import FormatError, UsageError

if TYPE_CHECKING:
    from bpflens.btf.value import Json

Tool = Callable[[str], str]

SOURCE = """
typedef unsigned char u8;
typedef unsigned short __be16;
typedef enum { LOW = 1, HIGH = 0x7fffffff } level;
enum sign { MINUS = -1, PLUS = 1 };
struct point { int x, y; };
struct everything {
    signed char sc; u8 byte; short s; int i; long l; unsigned long ul;
    __int128 big;
    _Bool yes, no;
    char text[8]; char full[3]; char binary[4]; u8 bytes[4];
    level lv, odd; enum sign sg;
    int b1 : 3; unsigned b2 : 7; _Bool b3 : 1; long b4 : 40; unsigned b5 : 13;
    struct point points[2];
    union { int number; struct { unsigned short half[2]; }; } u;
    struct { int hidden; union { int one; int two; }; };
    __be16 port;
    double ratio; float small;
    long matrix[2][3];
    void *pointer;
    const volatile int constant;
};
struct everything value = {
    .sc = -5, .byte = 200, .s = -30000, .i = -2000000000, .l = -1, .ul = -1,
    .big = -2,
    .yes = 1, .no = 0,
    .text = "hello", .full = "abc", .binary = "a\\x01", .bytes = {1, 2, 3, 255},
    .lv = HIGH, .odd = 77, .sg = MINUS,
    .b1 = -3, .b2 = 99, .b3 = 1, .b4 = -123456789012, .b5 = 8000,
    .points = {{1, -2}, {3, -4}},
    .u = {.number = 0x00020001},
    .hidden = 42, .one = 17,
    .port = 0x1234,
    .ratio = 0.5, .small = -2.25,
    .matrix = {{1, 2, 3}, {-4, 5, 6}},
    .constant = 9,
};
"""

EXPECTED: dict[str, Json] = {
    "sc": -5, "byte": 200, "s": -30000, "i": -2000000000, "l": -1, "ul": 2**64 - 1,
    "big": -2,
    "yes": True, "no": False,
    "text": "hello", "full": [97, 98, 99], "binary": [97, 1, 0, 0], "bytes": [1, 2, 3, 255],
    "lv": "HIGH", "odd": 77, "sg": "MINUS",
    "b1": -3, "b2": 99, "b3": True, "b4": -123456789012, "b5": 8000,
    "points": [{"x": 1, "y": -2}, {"x": 3, "y": -4}],
    "hidden": 42, "one": 17, "two": 17,
    "port": 0x1234,
    "ratio": 0.5, "small": -2.25,
    "matrix": [[1, 2, 3], [-4, 5, 6]],
    "pointer": 0,
    "constant": 9,
}  # fmt: skip


def _compile(target: str, directory: Path, tool: Tool) -> tuple[Btf, int, bytes]:
    """The BTF, the type and the bytes of `value`."""
    source, object_ = directory / "value.c", directory / "value.o"
    source.write_text(SOURCE)
    command = [tool("clang"), "-target", target, "-g", "-O2", "-c", str(source), "-o", str(object_)]
    subprocess.run(command, check=True)
    dump = [f"--dump-section={name}={directory / name}" for name in (".BTF", ".data")]
    subprocess.run([tool("llvm-objcopy"), *dump, str(object_)], check=True)
    btf = Btf.parse((directory / ".BTF").read_bytes())
    found = btf.find("everything", t.Struct)
    assert found is not None
    return btf, found.id, (directory / ".data").read_bytes()


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_what_a_compiler_wrote_is_read(target: str, tmp_path: Path, tool: Tool) -> None:
    btf, type_id, data = _compile(target, tmp_path, tool)
    seen = to_json(render(btf, type_id, data))
    assert isinstance(seen, dict)
    little = target == "bpfel"
    halves: Json = [1, 2] if little else [2, 1]
    expected: dict[str, Json] = {**EXPECTED, "u": {"number": 0x20001, "half": halves}}
    assert {name: seen[name] for name in expected} == expected
    json.dumps(seen)


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_a_section_is_shown_by_variable(target: str, tmp_path: Path, tool: Tool) -> None:
    btf, _, data = _compile(target, tmp_path, tool)
    section = btf.find(".data", t.DataSec)
    assert section is not None
    # What loads an object fills in the sizes and offsets, clang leaves them 0.
    seen = to_json(render(btf, section.id, data))
    assert isinstance(seen, dict)
    assert isinstance(seen["value"], dict)
    assert seen["value"]["hidden"] == 42


CHANGES = [
    ("sc", "-128", -128), ("ul", "0xfffffffffffffffe", 2**64 - 2), ("big", "-5", -5),
    ("yes", "false", False), ("text", "by", "by"), ("text", '"by"', "by"),
    ("lv", "LOW", "LOW"), ("sg", "1", "PLUS"),
    ("b1", "3", 3), ("b2", "127", 127), ("b3", "false", False), ("b4", "-1", -1), ("b5", "1", 1),
    ("points[1].y", "5", 5), ("two", "-9", -9), ("matrix[1][0]", "7", 7), ("ratio", "1e3", 1000.0),
    ("pointer", "0xdead", 0xDEAD), ("bytes", "hex:09080706", [9, 8, 7, 6]), ("sc", "'a'", 97),
]  # fmt: skip


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_a_change_reaches_its_field_and_no_other(target: str, tmp_path: Path, tool: Tool) -> None:
    btf, type_id, data = _compile(target, tmp_path, tool)
    before = to_json(render(btf, type_id, data))
    for path, text, expected in CHANGES:
        changed = assign(btf, type_id, data, path, text)
        after = to_json(render(btf, type_id, changed))
        assert _differences(before, after) == {_normal(path): expected}, (path, text)


def _normal(path: str) -> str:
    """`one` and `two` share their bytes, arrays are compared whole."""
    return {"two": "one two"}.get(path, path)


def _differences(before: Json, after: Json) -> dict[str, Json]:
    found: dict[str, Json] = {}
    _collect("", before, after, found)
    if {"one", "two"} == set(found):
        return {"one two": found["two"]}
    return found


def _collect(path: str, before: Json, after: Json, found: dict[str, Json]) -> None:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        for name in before:
            _collect(f"{path}.{name}".lstrip("."), before[name], after[name], found)
    elif (
        isinstance(before, list)
        and isinstance(after, list)
        and len(before) == len(after)
        and path != "bytes"
    ):
        for index, pair in enumerate(zip(before, after, strict=True)):
            _collect(f"{path}[{index}]", *pair, found)
    else:
        found[path] = after


# What bpftool shows of the same bytes

BYTES = bytes.fromhex(
    "626173680000f0847762f0f3cb4d764dc7072051159a0f89f2c6daca0144bb310200000084df9ad7"
    "c5b3d076ac0e8f53a7356c88913f20f6f72db022d24d0a96dad43c1617c1a98e78129e0327371065"
    "d095864f15ada0b841c1c0ebc5348adc799adf849bad05d4a10ac0441eaaeeb4"
)
SHOWN_BY_BPFTOOL = """
{"comm":"bash","big":9876281924192831431,"neg":-891631886,"ok":true,"e":"B",
"p":6021047360708195269,"in":[{"x":-2006174297,"m":[145,63,32,246,247,45]},
{"x":-1777709614,"m":[218,212,60,22,23,193]}],"u":{"i":60691064,"h":[4728,926]},
"bytes":[39,55,16],"c":101,"bf":"0x0","bg":"0xba","":{"anon":-1197429483},
"dp":15891572259798696257,"wide":"0xb4eeaa1e44c00aa1d405ad9b84df9a79"}
"""
"""`bpftool -j map dump`, version 7.1 on Linux 6.18, of an array map with BYTES as its element."""


def test_json_is_that_of_bpftool_but_for_what_is_documented() -> None:
    b = BtfBuilder()
    signed = {size: b.add_int(f"i{size}", size, t.Int.SIGNED) for size in (2, 4, 16)}
    unsigned = {size: b.add_int(f"u{size}", size) for size in (1, 4, 8)}
    char = b.add_int("char", 1, t.Int.SIGNED)
    array = b.add_array(unsigned[1], 6)
    inner = b.add_struct("in", 12, [("x", signed[4], 0), ("m", array, 32)])
    halves = b.add_array(signed[2], 2)
    pointer = b.add_ptr(0)
    members: list[tuple[str, int, int] | tuple[str, int, int, int]] = [
        ("comm", b.add_array(char, 16), 0),
        ("big", unsigned[8], 128),
        ("neg", signed[4], 192),
        ("ok", b.add_int("_Bool", 1, t.Int.BOOL), 224),
        ("e", b.add_enum("e", [("A", 1), ("B", 2)]), 256),
        ("p", pointer, 320),
        ("in", b.add_array(inner, 2), 384),
        ("u", b.add_union("", 4, [("i", signed[4], 0), ("h", halves, 0)]), 576),
        ("bytes", b.add_array(unsigned[1], 3), 608),
        ("c", char, 632),
        ("bf", signed[4], 640, 3),
        ("bg", unsigned[4], 643, 9),
        ("", b.add_struct("", 4, [("anon", signed[4], 0)]), 672),
        ("dp", pointer, 704),
        ("wide", signed[16], 768),
    ]
    found = b.add_struct("val", 112, members)
    ours = to_json(render(Btf.parse(b.build()), found, BYTES))
    theirs = json.loads(SHOWN_BY_BPFTOOL)
    theirs.update(theirs.pop(""))
    theirs.update({name: int(theirs[name], 16) for name in ("bf", "bg", "wide")})
    theirs["wide"] -= 2**128
    assert ours == theirs


# What a compiler does not write


def _one(build: Callable[[BtfBuilder], int], data: bytes) -> v.Value:
    builder = BtfBuilder()
    type_id = build(builder)
    return render(Btf.parse(builder.build()), type_id, data)


def test_characters_are_told_apart_from_small_integers() -> None:
    shown = _one(lambda b: b.add_int("char", 1, t.Int.CHAR), b"A")
    assert isinstance(shown, v.Character)
    assert (to_json(shown), to_text(shown)) == ("A", "'A'")
    shown = _one(lambda b: b.add_int("char", 1, t.Int.CHAR), b"\x00")
    assert (to_json(shown), to_text(shown)) == ("\0", "'\\x00'")


@pytest.mark.parametrize("signed", [False, True])
def test_enumerators_of_64_bits_are_told_by_name(signed: bool) -> None:
    top = -(2**63) if signed else 2**63

    def build(b: BtfBuilder) -> int:
        return b.add_enum64("wide", [("TOP", top), ("ALIAS", top)], signed=signed)

    assert to_json(_one(build, (2**63).to_bytes(8, "little"))) == "TOP"
    assert to_json(_one(build, (2**63 + 1).to_bytes(8, "little"))) == top + 1


def test_some_bits_of_a_character_are_a_number() -> None:
    def build(b: BtfBuilder) -> int:
        char = b.add_int("char", 1, t.Int.CHAR | t.Int.SIGNED)
        return b.add_struct("s", 1, [("low", char, 0, 3), ("high", char, 3, 5)])

    assert to_json(_one(build, bytes([0b01111_101]))) == {"low": -3, "high": 15}


def test_one_reader_reads_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.VALUE_PARTS, "value", 3)
    builder = BtfBuilder()
    number = builder.add_int("int", 4, t.Int.SIGNED)
    found = builder.add_struct("s", 4, [("a", number, 0), ("v", builder.add_array(number, 0), 32)])
    reader = Reader(Btf.parse(builder.build()), found)
    seen = [to_json(reader.read(struct.pack(f"<{n}i", *range(n)))) for n in (1, 2, 4)]
    assert seen == [{"a": 0, "v": []}, {"a": 0, "v": [1]}, {"a": 0, "v": [1, 2, 3]}]


def test_a_typedef_of_char_is_no_text() -> None:
    def build(b: BtfBuilder) -> int:
        return b.add_array(b.add_typedef("u8", b.add_int("unsigned char", 1)), 4)

    assert to_json(_one(build, b"abc\0")) == [97, 98, 99, 0]


def test_bit_fields_of_2018_are_read() -> None:
    def build(b: BtfBuilder) -> int:
        three = b.add_int("unsigned int", 4, bits=3, offset=2)
        return b.add_struct("old", 4, [("x", three, 8)])

    assert to_json(_one(build, bytes([0, 0b10100, 0, 0]))) == {"x": 5}


def test_a_flexible_array_takes_the_rest_of_the_data() -> None:
    def build(b: BtfBuilder) -> int:
        number = b.add_int("unsigned short", 2)
        array = b.add_array(number, 0)
        return b.add_struct("s", 2, [("n", number, 0), ("none", array, 16), ("rest", array, 16)])

    shown = _one(build, struct.pack("<4H", 3, 7, 8, 9) + b"\1")
    assert to_json(shown) == {"n": 3, "none": [], "rest": [7, 8, 9]}


def test_a_flexible_array_of_a_variable_ends_with_the_variable() -> None:
    builder = BtfBuilder()
    number = builder.add_int("unsigned short", 2)
    array = builder.add_array(number, 0)
    open_end = builder.add_struct("s", 2, [("n", number, 0), ("rest", array, 16)])
    first, second = builder.add_var("first", open_end), builder.add_var("second", number)
    section = builder.add_datasec(".data", 8, [(first, 0, 6), (second, 6, 2)])
    btf = Btf.parse(builder.build())
    data = struct.pack("<4H", 3, 7, 8, 9)
    shown = to_json(render(btf, section, data))
    assert shown == {"first": {"n": 3, "rest": [7, 8]}, "second": 9}
    assert assign(btf, section, data, "first.rest[1]", "5") == struct.pack("<4H", 3, 7, 5, 9)
    with pytest.raises(UsageError, match=r"first\.rest has 2 elements"):
        assign(btf, section, data, "first.rest[2]", "5")


def test_a_variable_that_claims_more_than_there_is_ends_with_the_data() -> None:
    builder = BtfBuilder()
    number = builder.add_int("unsigned short", 2)
    open_end = builder.add_struct(
        "s", 2, [("n", number, 0), ("rest", builder.add_array(number, 0), 16)]
    )
    section = builder.add_datasec(".data", 4, [(builder.add_var("first", open_end), 0, 1 << 31)])
    btf = Btf.parse(builder.build())
    shown = to_json(render(btf, section, struct.pack("<3H", 3, 7, 8)))
    assert shown == {"first": {"n": 3, "rest": [7, 8]}}
    with pytest.raises(UsageError, match="is not in these 6 bytes"):
        assign(btf, section, bytes(6), "first.rest[2]", "5")


def test_numbers_in_network_order_say_what_they_mean() -> None:
    def build(b: BtfBuilder) -> int:
        return b.add_typedef("port_t", b.add_typedef("__be16", b.add_int("unsigned short", 2)))

    shown = _one(build, b"\x01\xbb")
    assert to_json(shown) == 0xBB01
    assert to_text(shown) == "47873 /* 443 in network order */"


@pytest.mark.parametrize(
    ("name", "data", "address"),
    [
        ("in_addr", bytes([192, 0, 2, 1]), "192.0.2.1"),
        ("in6_addr", bytes([0x20, 1, 0xD, 0xB8]) + bytes(11) + b"\1", "2001:db8::1"),
        ("other", bytes(4), ""),
        ("in_addr", bytes(8), ""),
    ],
)
def test_internet_addresses_are_told(name: str, data: bytes, address: str) -> None:
    shown = _one(lambda b: b.add_struct(name, len(data)), data)
    assert isinstance(shown, v.Fields)
    assert shown.meaning == address


def test_tags_on_members_are_told() -> None:
    def build(b: BtfBuilder) -> int:
        number = b.add_int("int", 4)
        found = b.add_struct("s", 8, [("a", number, 0), ("b", number, 32)])
        b.add_decl_tag("secret", found, 1)
        return found

    shown = _one(build, bytes(8))
    assert isinstance(shown, v.Fields)
    assert [member.tags for member in shown.members] == [(), ("secret",)]


def test_text_is_what_c_would_initialise_with() -> None:
    def build(b: BtfBuilder) -> int:
        number = b.add_int("int", 4, t.Int.SIGNED)
        char = b.add_int("char", 1, t.Int.SIGNED)
        point = b.add_struct("point", 8, [("x", number, 0), ("y", number, 32)])
        members = [
            ("name", b.add_array(char, 8), 0),
            ("at", point, 64),
            ("slots", b.add_array(number, 6), 128),
            ("flags", b.add_enum("flags", [("ON", 1)]), 320),
            ("next", b.add_ptr(0), 384),
        ]
        return b.add_struct("s", 56, members)

    data = b'a"\\b\0\0\0\0' + struct.pack("<2i", -1, 2) + struct.pack("<6i", 1, 0, 0, 0, 0, 2)
    data += struct.pack("<IxxxxQ", 1, 0xFFFF8000DEADBEEF)
    assert to_text(_one(build, data)) == (
        "{\n"
        '\t.name = "a\\x22\\x5cb",\n'
        "\t.at = {\n\t\t.x = -1,\n\t\t.y = 2,\n\t},\n"
        "\t.slots = {1, [1 ... 4] = 0, 2},\n"
        "\t.flags = ON,\n"
        "\t.next = 0xffff8000deadbeef,\n"
        "}"
    )


def test_every_sort_of_value_has_a_text() -> None:
    def build(b: BtfBuilder) -> int:
        number = b.add_int("int", 4, t.Int.SIGNED)
        pair = b.add_struct("pair", 4, [("x", number, 0)])
        members = [
            ("yes", b.add_int("_Bool", 1, t.Int.BOOL), 0),
            ("half", b.add_float("float", 4), 32),
            ("pairs", b.add_array(pair, 2), 64),
            ("text", b.add_array(b.add_const(b.add_int("char", 1)), 4), 128),
        ]
        return b.add_struct("s", 20, members)

    shown = _one(build, b"\1\0\0\0" + struct.pack("<fii", 0.5, 1, 2) + b"abc\0")
    assert to_text(shown) == (
        "{\n\t.yes = true,\n\t.half = 0.5,\n"
        "\t.pairs = {{\n\t\t.x = 1,\n\t}, {\n\t\t.x = 2,\n\t}},\n"
        '\t.text = "abc",\n}'
    )


def test_what_is_no_value_has_no_form() -> None:
    nothing = v.Value("", 0, 0, 0, ())
    with pytest.raises(TypeError, match="no JSON for Value"):
        to_json(nothing)
    with pytest.raises(TypeError, match="no text for Value"):
        to_text(nothing)


def test_more_nodes_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.VALUE_PARTS, "value", 2)
    builder = BtfBuilder()
    number = builder.add_int("int", 4)
    found = builder.add_struct("s", 4, [("a", number, 0), ("b", number, 0)])
    with pytest.raises(FormatError, match="too many parts"):
        Reader(Btf.parse(builder.build()), found).read(bytes(4))


def test_text_of_a_huge_array_ends_with_how_much_is_left() -> None:
    shown = _one(lambda b: b.add_array(b.add_int("u8", 1), 100_003), b"ab" * 50_002)
    assert to_text(shown).endswith("97, 98, /* 3 more */}")


def test_what_btf_does_not_describe_is_opaque() -> None:
    assert to_json(_one(lambda b: b.add_fwd("f"), b"")) == ""
    shown = _one(lambda b: b.add_float("long double", 16), bytes(range(16)))
    assert to_json(shown) == bytes(range(16)).hex()
    assert to_text(shown).startswith("/* 00 01")
    wide = _one(lambda b: b.add_int("wide", 64), bytes(64))
    assert isinstance(wide, v.Opaque)


def test_a_bit_field_of_an_array_is_no_bit_field() -> None:
    def build(b: BtfBuilder) -> int:
        array = b.add_array(b.add_int("unsigned char", 1), 200)
        return b.add_struct("s", 1, [("x", array, 0, 8)])

    with pytest.raises(FormatError, match="too few for x"):
        _one(build, bytes(100))


def test_numbers_without_bytes_are_opaque() -> None:
    assert isinstance(_one(lambda b: b.add_enum("none", [], 0, signed=True), b""), v.Opaque)
    assert isinstance(_one(lambda b: b.add_int("none", 0), b""), v.Opaque)


def test_data_that_is_too_short_is_refused() -> None:
    with pytest.raises(FormatError, match="3 bytes are too few") as caught:
        _one(lambda b: b.add_int("int", 4), b"abc")
    assert caught.value.offset == 3


def test_too_many_parts_are_refused() -> None:
    def build(b: BtfBuilder) -> int:
        return b.add_array(b.add_struct("empty", 0), 2**32 - 1)

    with pytest.raises(FormatError, match="too many parts"):
        _one(build, b"")


def test_a_struct_that_holds_itself_is_refused() -> None:
    with pytest.raises(FormatError, match="deep"):
        _one(lambda b: b.add_struct("s", 4, [("s", 1, 0)]), bytes(4))


def test_a_union_cannot_repeat_a_large_array_for_ever() -> None:
    def build(b: BtfBuilder) -> int:
        array = b.add_array(b.add_int("char", 1), 1 << 20)
        return b.add_union("u", 1 << 20, [(f"m{n}", array, 0) for n in range(1000)])

    with pytest.raises(FormatError, match="repeats its bytes"):
        _one(build, bytes(1 << 20))


def test_a_value_beyond_all_reason_is_refused() -> None:
    with pytest.raises(FormatError, match="value of more than"):
        _one(lambda b: b.add_int("int", 4), bytes((1 << 24) + 1))


def test_a_negative_constant_that_has_no_sign_is_known_where_it_is_narrow() -> None:
    """As clang 14 writes it: in four bytes it may be a large number, in fewer it cannot be."""
    builder = BtfBuilder()
    values = [("LESS", 0xFFFFFFFE), ("NONE", 0), ("MOST", 100)]
    small, wide = builder.add_enum("small", values, 1), builder.add_enum("wide", values, 4)
    type_id = builder.add_struct(
        "s",
        8,
        [("one", small, 0), ("two", small, 8, 3), ("three", wide, 11, 4), ("four", wide, 32)],
    )
    btf = Btf.parse(builder.build())
    data = bytes([0xFE, 0b0_1110_110, 0, 0]) + b"\xfe\xff\xff\xff"
    assert to_json(render(btf, type_id, data)) == dict.fromkeys(
        ["one", "two", "three", "four"], "LESS"
    )
    assert to_json(render(btf, small, b"\xfd")) == -3
    assert to_json(render(btf, wide, b"\xfd\xff\xff\xff")) == 0xFFFFFFFD
    assert assign(btf, type_id, bytes(8), "two", "LESS") == bytes([0, 0b110, 0, 0, 0, 0, 0, 0])
    assert assign(btf, type_id, bytes(8), "one", "-3")[0] == 0xFD
    assert assign(btf, type_id, bytes(8), "four", "-2")[4:] == b"\xfe\xff\xff\xff"
    with pytest.raises(UsageError, match="holds -4 to 3"):
        assign(btf, type_id, bytes(8), "two", "MOST")
