"""Reading BTF: every kind, both byte orders, split BTF, and bytes that make no sense."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from bpflens import limits
from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.btf.build import BtfBuilder
from bpflens.errors import FormatError

ONE_OF_EACH_KIND: list[t.Type] = [
    t.Int(1, "int", 4, 32, t.Int.SIGNED, 0),
    t.Ptr(2, 1),
    t.Array(3, 1, 1, 7),
    t.Struct(4, "s", 8, (t.Member("a", 1, 0, 3), t.Member("b", 1, 32, 0))),
    t.Union(5, "u", 4, (t.Member("a", 1, 0, 0), t.Member("", 1, 0, 0))),
    t.Enum(6, "e", 4, True, (("MINUS", -1), ("BIG", 0x7FFFFFFF))),
    t.Fwd(7, "f", True),
    t.Typedef(8, "td", 1),
    t.Volatile(9, 1),
    t.Const(10, 0),
    t.Restrict(11, 2),
    t.Func(12, "fn", 13, t.Func.EXTERN),
    t.FuncProto(13, 1, (t.Param("x", 1), t.Param("", 0))),
    t.Var(14, "v", 1, t.Var.GLOBAL),
    t.DataSec(15, ".data", 4, (t.SectionVar(14, 0, 4),)),
    t.Float(16, "double", 8),
    t.DeclTag(17, "tag", 4, -1),
    t.TypeTag(18, "user", 1),
    t.Enum64(19, "e64", 8, False, (("HUGE", 2**64 - 1),)),
]


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_every_kind_is_read_as_it_was_written(byteorder: Literal["little", "big"]) -> None:
    builder = BtfBuilder(byteorder)
    for found in ONE_OF_EACH_KIND:
        builder.add(found)
    btf = Btf.parse(builder.build())
    assert btf.byteorder == byteorder
    assert [btf[id] for id in btf.ids()] == ONE_OF_EACH_KIND
    assert [btf.type_name(id) for id in btf.ids()] == [
        getattr(found, "name", "") for found in ONE_OF_EACH_KIND
    ]
    assert len(btf) == 20
    assert btf[0] == t.Void(0)


def test_memory_that_is_not_bytes_is_read_in_place() -> None:
    data = bytearray(_small().build())
    assert Btf.parse(memoryview(data)).find("s", t.Struct) is not None


def test_members_without_the_flag_keep_all_32_bits_of_their_offset() -> None:
    builder = BtfBuilder()
    builder.add_struct("huge", 2**30, [("far", 0, 2**31 + 8)])
    assert Btf.parse(builder.build())[1] == t.Struct(
        1, "huge", 2**30, (t.Member("far", 0, 2**31 + 8, 0),)
    )


def test_find_gives_the_first_type_of_the_kind_asked_for() -> None:
    builder = BtfBuilder()
    builder.add_typedef("twin", 0)
    builder.add_struct("twin", 4)
    builder.add_struct("twin", 8)
    btf = Btf.parse(builder.build())
    assert btf.find("twin", t.Struct) == btf[2]
    assert btf.find("twin", t.Type) == btf[1]
    assert btf.find("twin", t.Union) is None
    assert btf.find_all("twin") == [btf[1], btf[2], btf[3]]
    assert btf.find("win", t.Type) is None
    assert btf.find("", t.Type) is None


@pytest.mark.parametrize("others", [0, 40])
def test_a_name_with_which_many_strings_end(others: int) -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4)
    fields = [(f"field_{at}_file", number, 32 * at) for at in range(100)]
    builder.add_struct("many", 400, fields)
    ids = [builder.add_struct("file", 4), builder.add_union("file", 4)]
    for at in range(others):
        builder.add_struct(f"other_{at}_file", 4)
    btf = Btf.parse(builder.build())
    for _ in range(2):
        assert [found.id for found in btf.find_all("file")] == ids
        assert btf.find("file", t.Union) == btf[ids[1]]
        assert btf.find("_file", t.Type) is None


def test_a_name_may_be_the_tail_of_a_longer_string() -> None:
    builder = BtfBuilder()
    builder.add_struct("longer_name", 4)
    data = bytearray(builder.build())
    data[24:28] = (1 + len("longer_")).to_bytes(4, "little")
    btf = Btf.parse(data)
    assert btf.type_name(1) == "name"
    assert btf.find("name", t.Struct) == btf[1]
    assert btf.find("longer_name", t.Struct) is None


def test_split_btf_continues_the_ids_and_strings_of_its_base() -> None:
    base = Btf.parse(_small().build())
    builder = BtfBuilder(base=base)
    int_id = base.find("int", t.Int)
    assert int_id is not None
    own = builder.add_struct("own", 4, [("x", int_id.id, 0)])
    split = Btf.parse(builder.build(), base)
    assert own == len(base)
    assert list(split.ids()) == [own]
    assert split[1] is base[1]
    assert split.find("own", t.Struct) == split[own]
    assert split.find("s", t.Struct) == base.find("s", t.Struct)
    assert split.sizeof(own) == 4
    assert split.type_name(1) == "int"
    assert split.type_name(0) == ""
    assert (split.kind(0), split.kind(1), split.kind(own)) == (t.Void, t.Int, t.Struct)
    assert split.pointer_size == base.pointer_size
    assert split.name(1) == base.name(1) == "int"
    assert split.name(0) == ""


def test_split_btf_without_strings_of_its_own_is_read() -> None:
    base = Btf.parse(_small().build())
    builder = BtfBuilder(base=base)
    pointer = builder.add_ptr(1)
    assert Btf.parse(builder.build(), base)[pointer] == t.Ptr(pointer, 1)


def test_a_variable_is_as_large_as_its_type() -> None:
    builder = _small()
    variable = builder.add_var("v", builder.add_array(2, 3))
    btf = Btf.parse(builder.build())
    assert (btf.sizeof(variable), btf.alignof(variable)) == (12, 4)


def test_names_that_are_not_utf8_keep_their_bytes() -> None:
    builder = BtfBuilder()
    builder.add_struct("a\udcff", 4)
    assert b"\0a\xff\0" in builder.build()
    btf = Btf.parse(builder.build())
    assert btf.type_name(1) == "a\udcff"
    assert btf.find("a\udcff", t.Struct) == btf[1]


@pytest.mark.parametrize("shift", range(4))
def test_a_long_text_is_not_cut_within_a_character(shift: int) -> None:
    builder = BtfBuilder()
    at = builder.string("x" * shift + "\U0001f980" * 2000)
    text = Btf.parse(builder.build()).text(at)
    assert text.strip("x") == "\U0001f980" * len(text.strip("x"))
    most = limits.SOURCE_BYTES.value
    assert most - 4 < len(text.encode()) <= most


# Sizes


def test_sizes_see_through_names_qualifiers_and_arrays() -> None:
    builder = _small()
    array = builder.add_array(builder.add_const(builder.add_typedef("myint", 1)), 3)
    table = builder.add_array(array, 5)
    btf = Btf.parse(builder.build())
    assert btf.sizeof(table) == 60
    assert btf.alignof(table) == 4
    assert isinstance(btf.strip(array - 1), t.Int)


def test_a_struct_whose_members_are_out_of_place_is_packed() -> None:
    builder = BtfBuilder()
    char = builder.add_int("char", 1)
    word = builder.add_int("int", 4)
    packed = builder.add_struct("packed", 5, [("c", char, 0), ("i", word, 8)])
    normal = builder.add_struct("normal", 8, [("c", char, 0), ("i", word, 32)])
    btf = Btf.parse(builder.build())
    assert btf.alignof(packed) == 1
    assert btf.alignof(normal) == 4


@pytest.mark.parametrize(("long_size", "expected"), [(4, 4), (8, 8), (3, 8), (None, 8)])
def test_pointers_are_as_wide_as_long(long_size: int | None, expected: int) -> None:
    builder = BtfBuilder()
    pointer = builder.add_ptr(0)
    if long_size:
        builder.add_int("long unsigned int", long_size)
    btf = Btf.parse(builder.build())
    assert btf.sizeof(pointer) == btf.pointer_size == expected


@pytest.mark.parametrize("what", ["void", "Fwd", "Func"])
def test_what_has_no_size_says_so(what: str) -> None:
    builder = BtfBuilder()
    ids = {"void": 0, "Fwd": builder.add_fwd("f"), "Func": builder.add_func("fn", 0)}
    with pytest.raises(FormatError, match="has no size"):
        Btf.parse(builder.build()).sizeof(ids[what])


def test_endless_references_end_in_an_error() -> None:
    builder = BtfBuilder()
    builder.add_typedef("a", 2)
    builder.add_typedef("b", 1)
    builder.add_array(3, 2)
    builder.add_struct("s", 4, [("s", 4, 0)])
    btf = Btf.parse(builder.build())
    for ask in (btf.strip, btf.sizeof, btf.alignof):
        with pytest.raises(FormatError, match="nests more than"):
            ask(1)
    with pytest.raises(FormatError, match="nests more than"):
        btf.sizeof(3)
    with pytest.raises(FormatError, match="nests more than"):
        btf.alignof(4)


# Bytes that make no sense


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"\x00\x00", "wrong magic"),
        (2, b"\x02", "version 2"),
        (4, b"\x17\0\0\0", "header of 23"),
        (4, b"\xff\xff\0\0", "header of 65535"),
        (12, b"\x1d\0\0\0", "32-bit words"),
        (12, b"\xfc\xff\xff\xff", "type section runs past"),
        (20, b"\xff\xff\xff\xff", "string section runs past"),
        (20, b"\x03\0\0\0", "does not end with NUL"),
        (20, b"\x00\0\0\0", "does not end with NUL"),
        (31, b"\x7f", "unknown kind 127"),
        (31, b"\x00", "unknown kind 0"),
        (12, b"\x08\0\0\0", "cut short"),
        (12, b"\x0c\0\0\0", "cut short"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(at: int, value: bytes, message: str) -> None:
    data = bytearray(_small().build())
    data[at : at + len(value)] = value
    with pytest.raises(FormatError, match=message) as caught:
        Btf.parse(bytes(data))
    assert 0 <= caught.value.offset <= len(data)


def test_a_file_cut_anywhere_is_refused() -> None:
    data = _small().build()
    for end in range(len(data)):
        with pytest.raises(FormatError):
            Btf.parse(data[:end])


def test_a_longer_header_is_passed_over() -> None:
    data = bytearray(_small().build())
    data[4:8] = (32).to_bytes(4, "little")
    data[24:24] = bytes(8)
    assert Btf.parse(data).find("s", t.Struct) is not None


def test_a_kind_newer_than_this_code_is_passed_over_if_the_file_tells_its_length() -> None:
    builder = _small()
    data = bytearray(builder.build())
    types_len = int.from_bytes(data[12:16], "little")
    future = [0, 40 << 24 | 2, 0, 77, 1, 2, 3, 4]  # one word, then two entries of two words
    record = b"".join(word.to_bytes(4, "little") for word in future)
    layout = bytes(4 * 40) + bytes([4, 8, 0, 0])
    strings = data[24 + types_len :]
    sections = data[24 : 24 + types_len] + record + strings + layout
    types_len += len(record)
    fields = [32, 0, types_len, types_len, len(strings), types_len + len(strings), len(layout)]
    header = data[:4] + b"".join(field.to_bytes(4, "little") for field in fields)
    btf = Btf.parse(header + sections)
    assert btf[3] == t.Unknown(3, 40)
    assert btf.find("s", t.Struct) == btf[2]
    with pytest.raises(FormatError, match="unknown kind 40"):
        Btf.parse(header[:28] + bytes(4) + sections)
    with pytest.raises(FormatError, match="layout section runs past"):
        Btf.parse(header[:28] + b"\xff\xff\xff\xff" + sections)
    with pytest.raises(FormatError, match="has no size"):
        btf.sizeof(3)


def test_more_members_than_16_bits_count_are_read() -> None:
    builder = BtfBuilder()
    builder.add_enum("many", [("x", 0)] * 70_000)
    found = Btf.parse(builder.build())[1]
    assert isinstance(found, t.Enum)
    assert len(found.values) == 70_000


def test_ids_and_strings_that_do_not_exist_are_format_errors() -> None:
    btf = Btf.parse(_small().build())
    for missing in (-1, len(btf), 2**32):
        with pytest.raises(FormatError, match="no type"):
            btf[missing]
        with pytest.raises(FormatError, match="no type"):
            btf.type_name(missing)
    for offset in (-1, 10_000):
        with pytest.raises(FormatError, match="no string"):
            btf.name(offset)


def test_a_name_of_unreasonable_length_is_refused() -> None:
    builder = BtfBuilder()
    builder.add_struct("x" * 4097, 4)
    btf = Btf.parse(builder.build())
    with pytest.raises(FormatError, match="name of more than 4096 bytes"):
        btf[1]
    assert btf.text(1) == btf.text(2) == btf.name(2) == "x" * 4096


@pytest.mark.parametrize("at", [12, 20])
def test_a_section_beyond_all_reason_is_refused(at: int) -> None:
    data = bytearray(24 + (1 << 26) + 4)
    data[:8] = bytes.fromhex("9feb010018000000")
    data[at : at + 4] = ((1 << 26) + 4).to_bytes(4, "little")
    with pytest.raises(FormatError, match="section of 67108868 bytes"):
        Btf.parse(data)


def test_more_types_than_the_kernel_takes_are_refused() -> None:
    record = (0).to_bytes(4, "little") + (2 << 24).to_bytes(4, "little") + bytes(4)
    types = record * 0x100000
    header = bytes.fromhex("9feb0100 18000000 00000000") + len(types).to_bytes(4, "little")
    header += len(types).to_bytes(4, "little") + (1).to_bytes(4, "little")
    with pytest.raises(FormatError, match="more than 1048575 types"):
        Btf.parse(header + types + b"\0")


def _small() -> BtfBuilder:
    builder = BtfBuilder()
    int_id = builder.add_int("int", 4, t.Int.SIGNED)
    builder.add_struct("s", 4, [("x", int_id, 0)])
    return builder


# The judge


def test_this_kernels_types_are_those_that_bpftool_lists(
    vmlinux: Btf, vmlinux_path: Path, tool: Callable[[str], str]
) -> None:
    command = [tool("bpftool"), "btf", "dump", "file", str(vmlinux_path), "format", "raw"]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = dump.splitlines()
    ours = [line for type_id in vmlinux.ids() for line in _raw(vmlinux, vmlinux[type_id])]
    assert len(ours) == len(theirs)
    differing = [pair for pair in zip(ours, theirs, strict=True) if not pair[1].startswith(pair[0])]
    assert differing == []


_KINDS = {t.TypeTag: "TYPE_TAG", t.DeclTag: "DECL_TAG", t.FuncProto: "FUNC_PROTO"}
_ENCODINGS = {0: "(none)", 1: "SIGNED", 2: "CHAR", 4: "BOOL"}
_LINKAGES = {0: "static", 1: "global", 2: "extern"}


def _raw(btf: Btf, found: t.Type) -> Iterator[str]:
    """`btf_dumper` of bpftool 7.1, as far as its lines are the same in every version."""

    def named(name: str) -> str:
        return f"'{name or '(anon)'}'"

    kind = _KINDS.get(type(found), type(found).__name__.upper())
    head = f"[{found.id}] {kind} {named(btf.type_name(found.id))}"
    match found:
        case t.Int():
            encoding = _ENCODINGS[found.encoding]
            yield (
                f"{head} size={found.size} bits_offset={found.offset} nr_bits={found.bits}"
                f" encoding={encoding}"
            )
        case t.Ptr() | t.Reference() | t.Typedef() | t.TypeTag():
            yield f"{head} type_id={found.to}"
        case t.Array():
            yield (
                f"{head} type_id={found.element} index_type_id={found.index}"
                f" nr_elems={found.nelems}"
            )
        case t.Composite():
            yield f"{head} size={found.size} vlen={len(found.members)}"
            for m in found.members:
                bits = f" bitfield_size={m.bitfield_size}" if m.bitfield_size else ""
                yield f"\t{named(m.name)} type_id={m.type_id} bits_offset={m.bit_offset}{bits}"
        case t.AnyEnum():
            sign = "SIGNED" if found.signed else "UNSIGNED"
            yield f"{head} encoding={sign} size={found.size} vlen={len(found.values)}"
            for label, value in found.values:
                yield f"\t{named(label)} val={value}"
        case t.Fwd():
            yield f"{head} fwd_kind={'union' if found.is_union else 'struct'}"
        case t.Func():
            yield f"{head} type_id={found.type_id} linkage={_LINKAGES[found.linkage]}"
        case t.FuncProto():
            yield f"{head} ret_type_id={found.ret} vlen={len(found.params)}"
            for p in found.params:
                yield f"\t{named(p.name)} type_id={p.type_id}"
        case t.Var():
            yield f"{head} type_id={found.type_id}, linkage={_LINKAGES[found.linkage]}"
        case t.DataSec():
            yield f"{head} size={found.size} vlen={len(found.variables)}"
            for v in found.variables:
                yield f"\ttype_id={v.type_id} offset={v.offset} size={v.size}"
        case t.Float():
            yield f"{head} size={found.size}"
        case t.DeclTag():
            yield f"{head} type_id={found.type_id} component_idx={found.component}"


def test_a_name_is_found_at_the_very_start_of_the_strings() -> None:
    builder = BtfBuilder()
    builder.add_struct("", 0, [])
    data = builder.build() + b"a\0"
    btf = Btf.parse(data[:16] + struct.pack("<2I", 13, 2) + data[24:])
    assert btf.find("a", t.Struct) == btf[1]


def test_a_name_is_found_whether_few_or_many_strings_end_with_it() -> None:
    builder = BtfBuilder()
    names = [f"{number}s" for number in range(300)]
    for name in ["s", *names, "s", "0"]:
        builder.add_struct(name, 0, [])
    btf = Btf.parse(builder.build())
    assert [found.id for found in btf.find_all("s")] == [1, 302]
    for name in (*names, "0"):
        assert [found.id for found in btf.find_all(name)] == [
            type_id for type_id in btf.ids() if btf.type_name(type_id) == name
        ]
