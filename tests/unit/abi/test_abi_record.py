"""Records: C layout, short and long bytes, and what was told."""

from __future__ import annotations

import ctypes
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.abi import attrs, infos
from bpflens.abi.record import S32, U8, U32, U64, Fd, Field, Name16, Ptr, Record, Tag8, tells

RECORDS: list[type[Record]] = sorted(
    {
        found
        for module in (attrs, infos)
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Record) and found is not Record
    },
    key=lambda record: record.__name__,
)

RANGES: dict[str, tuple[int, int]] = {
    "U8": (0, 0xFF),
    "U32": (0, 0xFFFF_FFFF),
    "S32": (-(1 << 31), (1 << 31) - 1),
    "Fd": (-(1 << 31), (1 << 31) - 1),
    "U64": (0, (1 << 64) - 1),
    "Ptr": (0, (1 << 64) - 1),
}

C_TYPES = {
    "U8": ctypes.c_uint8,
    "U32": ctypes.c_uint32,
    "S32": ctypes.c_int32,
    "Fd": ctypes.c_int32,
    "U64": ctypes.c_uint64,
    "Ptr": ctypes.c_uint64,
    "Name16": ctypes.c_char * 16,
    "Tag8": ctypes.c_uint8 * 8,
}


class Mixed(Record, size=56):
    """Every kind of field, so placed that C puts holes between them."""

    small: U8 = 0
    # 3 bytes of padding
    number: S32 = 0
    flag: U8 = 0
    # 7 bytes of padding
    wide: U64 = 0
    name: Name16 = b""
    tag: Tag8 = b""
    fd: Fd = -1


MIXED: list[type[Record]] = [*RECORDS, Mixed]


def values(field: Field) -> st.SearchStrategy[int | bytes]:
    """Every value that a field of C could hold and Python reads back the same."""
    if field.kind == "Name16":
        return st.binary(max_size=16).filter(lambda data: 0 not in data)
    if field.kind == "Tag8":
        return st.binary(min_size=8, max_size=8)
    return st.integers(*RANGES[field.kind])


def test_fields_stand_where_a_c_compiler_puts_them() -> None:
    offsets = {name: field.offset for name, field in Mixed.__layout__.items()}
    assert offsets == {
        "small": 0, "number": 4, "flag": 8, "wide": 16, "name": 24, "tag": 40, "fd": 48,
    }  # fmt: skip
    # the size of the class is longer than its fields: the tail is padding
    assert len(Mixed().encode()) == 56


def test_the_bytes_are_those_that_struct_packs_by_hand() -> None:
    record = Mixed(small=1, number=-2, flag=3, wide=1 << 63, name=b"lb", tag=b"12345678", fd=7)
    by_hand = struct.pack("=B3xiB7xQ16s8si4x", 1, -2, 3, 1 << 63, b"lb", b"12345678", 7)
    assert record.encode() == by_hand


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.__name__)
def test_every_generated_layout_is_the_one_of_ctypes(record: type[Record]) -> None:
    fields = [(f.name, C_TYPES[f.kind]) for f in record.__layout__.values()]
    c_struct = type("c_struct", (ctypes.Structure,), {"_fields_": fields})
    for field in record.__layout__.values():
        found = getattr(c_struct, field.name)
        assert (field.offset, field.size) == (found.offset, found.size), field.name
    # C pads the end to the alignment; a record may stop at its last field, never before it
    assert max(f.end for f in record.__layout__.values()) <= record.__size__
    assert record.__size__ <= ctypes.sizeof(c_struct) or record.__size__ % 8 == 0


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.__name__)
def test_a_new_record_is_all_zeros(record: type[Record]) -> None:
    assert record().encode() == bytes(record.__size__)


@given(st.data())
def test_what_is_encoded_decodes_to_the_same(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(MIXED))
    chosen = {name: data.draw(values(field)) for name, field in kind.__layout__.items()}
    record = kind(**chosen)
    again = kind.decode(record.encode())
    assert again == record
    assert again.encode() == record.encode()
    assert {name: getattr(again, name) for name in chosen} == chosen


@given(st.binary(max_size=300), st.integers(0, 400))
def test_bytes_of_any_length_decode(data: bytes, told: int) -> None:
    record = infos.ProgInfo.decode(data, told)
    counted = min(told, len(data), infos.ProgInfo.__size__)
    assert record.__told__ == counted
    # what was not told reads as zero
    assert record == infos.ProgInfo.decode(data[:counted] + bytes(232 - counted), counted)


def test_short_bytes_are_an_older_kernel_and_their_rest_is_zero() -> None:
    record = infos.MapInfo.decode(struct.pack("=5I", 1, 42, 4, 8, 100))
    assert (record.id, record.max_entries, record.map_flags, record.name) == (42, 100, 0, b"")
    assert record.__told__ == 20


def test_long_bytes_are_a_newer_kernel_and_what_we_do_not_know_is_cut() -> None:
    data = infos.MapInfo(id=9).encode() + b"\xff" * 40
    record = infos.MapInfo.decode(data)
    assert record.id == 9
    assert record.__told__ == infos.MapInfo.__size__


def test_a_field_is_told_only_when_the_kernel_wrote_all_of_it() -> None:
    end = infos.ProgInfo.__layout__["verified_insns"].end
    assert tells(infos.ProgInfo.decode(bytes(end)), "verified_insns")
    assert not tells(infos.ProgInfo.decode(bytes(end - 1)), "verified_insns")
    assert tells(infos.ProgInfo.decode(bytes(end - 1)), "recursion_misses")


def test_equal_values_that_were_told_differently_are_not_equal() -> None:
    assert infos.MapInfo.decode(bytes(104)) != infos.MapInfo.decode(bytes(80))
    assert infos.MapInfo.decode(bytes(104)) != infos.ProgInfo.decode(bytes(232))


def test_a_name_loses_its_padding_and_a_tag_does_not() -> None:
    data = bytearray(232)
    data[8:16] = b"\1\2\0\0\0\0\0\0"
    data[64:80] = b"xdp\0" + b"left over...".ljust(12, b"\0")
    record = infos.ProgInfo.decode(data)
    assert record.name == b"xdp"
    assert record.tag == b"\1\2\0\0\0\0\0\0"


def test_a_name_may_fill_its_field() -> None:
    assert infos.MapInfo.decode(infos.MapInfo(name=b"n" * 16).encode()).name == b"n" * 16


def test_a_record_is_written_into_a_buffer_that_is_longer() -> None:
    buffer = bytearray(b"\xee" * 20)
    attrs.NextId(start_id=3).encode_into(buffer)
    assert buffer[: attrs.NextId.__size__] == attrs.NextId(start_id=3).encode()
    assert buffer[attrs.NextId.__size__ :] == b"\xee" * (20 - attrs.NextId.__size__)


def test_a_value_that_does_not_fit_its_field_is_refused() -> None:
    with pytest.raises(struct.error):
        attrs.NextId(start_id=1 << 32).encode()


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="map_fdd"):
        attrs.MapFreeze(map_fdd=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        attrs.MapFreeze().map_fdd = 1  # type: ignore[attr-defined]


def test_fields_that_do_not_fit_the_declared_size_are_refused_at_first_use() -> None:
    class Short(Record, size=8):
        a: U32 = 0
        b: U64 = 0  # ends at 16, because C aligns it

    with pytest.raises(TypeError, match="Short: fields end at 16, past its size 8"):
        Short()
    with pytest.raises(TypeError, match="past its size"):
        Short.decode(bytes(16))


def test_text_of_a_record_names_what_is_set() -> None:
    assert repr(attrs.MapElem(map_fd=3, flags=4)) == "MapElem(map_fd=3, flags=4)"


def test_an_info_that_points_is_told_from_one_that_counts() -> None:
    kinds = {name: f.kind for name, f in infos.ProgInfo.__layout__.items()}
    assert kinds["map_ids"] == "Ptr"
    assert kinds["nr_map_ids"] == "U32"
    assert kinds["load_time"] == "U64"


class Pointer(Record, size=8):
    at: Ptr = 0


def test_a_record_of_one_field_works_as_one_of_many() -> None:
    assert Pointer.decode(struct.pack("=Q", 5)) == Pointer(at=5)
