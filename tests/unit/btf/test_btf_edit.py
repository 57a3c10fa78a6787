"""Finding a field by its path, and refusing what does not fit, in words."""

from __future__ import annotations

import pytest

from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.btf.build import BtfBuilder
from bpflens.btf.edit import Place, assign, locate
from bpflens.errors import FormatError, UsageError


def _stats() -> tuple[Btf, int]:
    builder = BtfBuilder()
    number = builder.add_int("int", 4, t.Int.SIGNED)
    char = builder.add_int("char", 1, t.Int.SIGNED)
    boolean = builder.add_int("_Bool", 1, t.Int.BOOL)
    mode = builder.add_enum("mode", [("FAST", 1), ("SLOW", 2)])
    inner = builder.add_union("", 4, [("packets", number, 0), ("half", number, 0, 5)])
    pair = builder.add_struct("pair", 8, [("", inner, 0), ("x", number, 32)])
    members = [
        ("pairs", builder.add_array(pair, 3), 0),
        ("name", builder.add_array(char, 4), 192),
        ("on", boolean, 224),
        ("mode", mode, 256),
        ("ratio", builder.add_float("float", 4), 288),
        ("rest", builder.add_array(number, 0), 320),
    ]
    stats = builder.add_struct("stats", 40, members)
    builder.add_datasec(".bss", 48, [(builder.add_var("totals", stats), 8, 40)])
    return Btf.parse(builder.build()), stats


@pytest.mark.parametrize(
    ("path", "at", "bits"),
    [
        ("", 0, 0),
        ("pairs", 0, 0),
        ("pairs[2].x", 160, 0),
        ("pairs[1].packets", 64, 0),
        ("pairs[1].half", 64, 5),
        ("name[3]", 216, 0),
        ("rest[7]", 320 + 224, 0),
    ],
)
def test_a_path_leads_to_its_field(path: str, at: int, bits: int) -> None:
    btf, stats = _stats()
    place = locate(btf, stats, path)
    assert (place.at, place.bitfield_size) == (at, bits)


def test_a_path_into_a_section_begins_with_the_variable() -> None:
    btf, _ = _stats()
    section = btf.find(".bss", t.DataSec)
    number = btf.find("int", t.Int)
    assert section is not None
    assert number is not None
    assert locate(btf, section.id, "totals.pairs[0].x") == Place(number.id, 64 + 32, 0)
    with pytest.raises(UsageError, match="it has: totals"):
        locate(btf, section.id, "others")


def test_a_global_variable_can_be_set() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4, t.Int.SIGNED)
    counter = builder.add_var("counter", builder.add_volatile(number))
    slots = builder.add_var("slots", builder.add_array(number, 2))
    section = builder.add_datasec(".data", 12, [(counter, 0, 4), (slots, 4, 8)])
    btf = Btf.parse(builder.build())
    assert assign(btf, section, bytes(12), "counter", "-2") == b"\xfe\xff\xff\xff" + bytes(8)
    assert assign(btf, section, bytes(12), "slots[1]", "1") == bytes(8) + b"\1\0\0\0"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "has no member missing; it has: pairs, name, on"),
        ("pairs.x", "has no members"),
        ("pairs[3]", "has 3 elements"),
        ("on[0]", "is no array"),
        ("pairs[", "is no path"),
        ("pairs[0]x", "dot is missing"),
        (".pairs", "is no path"),
        ("pairs[-1]", "is no path"),
        ("[0]" * 65, "is no"),
        ("pairs[0].none", "it has: packets, half, x"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_there_is(path: str, message: str) -> None:
    btf, stats = _stats()
    with pytest.raises(UsageError, match=message):
        locate(btf, stats, path)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("pairs[0].x", "2147483648", "holds -2147483648 to 2147483647"),
        ("pairs[0].half", "16", "holds -16 to 15"),
        ("pairs[0].x", "many", "is a number; not 'many'"),
        ("mode", "WARP", "a number or one of: FAST, SLOW"),
        ("mode", "-1", "holds 0 to"),
        ("on", "2", "true or false"),
        ("name", "long", "room for 3 bytes"),
        ("name", "hex:00", "is 4 bytes, not 1"),
        ("name", "hex:xy", "is no hex"),
        ("ratio", "half", "cannot be 'half'"),
        ("ratio", "1e99", "cannot be '1e99'"),
        ("pairs[0]", "1", "made of parts"),
        ("pairs", "1", "made of parts"),
        ("rest", "1", "has no bytes"),
        ("rest[0]", "1", "not in these 40 bytes"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(path: str, text: str, message: str) -> None:
    btf, stats = _stats()
    with pytest.raises(UsageError, match=message):
        assign(btf, stats, bytes(40), path, text)


def test_an_element_of_a_flexible_array_can_be_set_where_the_data_has_it() -> None:
    btf, stats = _stats()
    assert assign(btf, stats, bytes(48), "rest[1]", "1") == bytes(44) + b"\1\0\0\0"


def test_an_array_of_no_elements_within_a_struct_has_none_to_set() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4)
    none = builder.add_array(number, 0)
    found = builder.add_struct("s", 8, [("none", none, 32), ("x", number, 32)])
    with pytest.raises(UsageError, match="none has 0 elements"):
        assign(Btf.parse(builder.build()), found, bytes(8), "none[0]", "1")


def test_text_in_quotes_may_begin_with_what_means_something() -> None:
    btf, stats = _stats()
    assert assign(btf, stats, b"\xff" * 40, "name", '"h:"')[24:28] == b"h:\0\0"


def test_an_anonymous_type_that_occurs_twice_is_searched_once() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4)
    twice = builder.add_struct("", 4, [("x", number, 0)])
    found = builder.add_struct("s", 8, [("", twice, 0), ("", twice, 32), ("y", number, 32)])
    btf = Btf.parse(builder.build())
    assert locate(btf, found, "x").at == 0
    assert locate(btf, found, "y").at == 32


def test_anonymous_types_without_end_are_refused() -> None:
    builder = BtfBuilder()
    inner = builder.add_struct("", 0)
    for _ in range(250):
        inner = builder.add_struct("", 0, [("", inner, 0), ("", inner, 0)])
    with pytest.raises(FormatError, match="too many anonymous types"):
        locate(Btf.parse(builder.build()), inner, "x")
