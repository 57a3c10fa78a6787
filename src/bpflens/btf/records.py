"""One type record: its length, and the type that it describes.

A record is `struct btf_type` (three 32-bit words: offset of the name, `info`, and a size or the id
of a type), then what the kind adds: nothing, some words, or some for each of its `vlen` entries.
`info` holds the kind, the number of entries and one flag (`include/uapi/linux/btf.h`).
"""

from __future__ import annotations

import struct
import sys

from bpflens.btf import types as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Name = Callable[[int], str]
    Words = Sequence[int]

HEAD = 3
"""Words of `struct btf_type`."""

_EXTRA_WORDS = {t.Int: 1, t.Array: 3, t.Var: 1, t.DeclTag: 1}
_ENTRY_WORDS = {
    t.Struct: 3, t.Union: 3, t.Enum: 2, t.FuncProto: 2, t.DataSec: 3, t.Enum64: 3,
}  # fmt: skip


_KIND_NUMBERS = {kind: number for number, kind in enumerate(t.KINDS)}
_SIZES = {
    number: (_EXTRA_WORDS.get(kind, 0), _ENTRY_WORDS.get(kind, 0))
    for kind, number in _KIND_NUMBERS.items()
    if kind is not t.Void
}


def as_words(numbers: Sequence[int]) -> memoryview:
    """Numbers in four bytes each (`array` would do, but importing it costs 3 ms)."""
    return memoryview(struct.pack(f"{len(numbers)}I", *numbers)).cast("I")


def words_in(section: memoryview, byteorder: str) -> memoryview:
    """The section as words in this machine's byte order; not copied where it is so already."""
    words = section.cast("I")
    if byteorder == sys.byteorder:
        return words
    foreign = ">" if byteorder == "big" else "<"
    return as_words(struct.unpack(f"{foreign}{len(words)}I", words))


def kind_number(info: int) -> int:
    """The kind's number; 5 bits of it were in use before Linux 7.2, and the next two were 0."""
    return info >> 24 & 0x7F


def entry_count(info: int) -> int:
    """How many entries follow; 16 bits of it were in use before Linux 7.2, the next 8 were 0."""
    return info & 0xFFFFFF


class RecordWords(dict[int, int]):
    """The length in words of a record with that `info`; LookupError for an unknown kind.

    A dict, because an index asks for each of 100,000 records and few different `info` occur.
    `layout` tells the lengths of kinds that are newer than this code: 4 bytes for each kind from 0
    on, `struct btf_layout` (`include/uapi/linux/btf.h`), all zero for a kind that is not told.
    Since: 7.2.
    """

    def __init__(self, layout: bytes = b"") -> None:
        self._sizes = {
            number: (layout[4 * number] // 4, layout[4 * number + 1] // 4)
            for number in range(1, len(layout) // 4)
            if any(layout[4 * number : 4 * number + 4])
        } | _SIZES

    def __missing__(self, info: int) -> int:
        number = kind_number(info)
        if number not in self._sizes:
            raise LookupError(number)
        extra, each = self._sizes[number]
        self[info] = words = HEAD + extra + each * entry_count(info)
        return words


def decode(id: int, record: Words, name_at: Name) -> t.Type:
    """The type in a record of known kind and full length; `name_at` gives the string at an offset.

    Raises what `name_at` raises.
    """
    name_off, info, third, *rest = record
    number = kind_number(info)
    if number >= len(t.KINDS):
        return t.Unknown(id, number)
    kind = t.KINDS[number]
    flag = bool(info >> 31)
    if kind is t.Ptr or issubclass(kind, t.Reference):
        return kind(id, third)
    if kind is t.Array:
        return t.Array(id, *rest)
    if kind is t.FuncProto:
        # Lists are made faster than what a generator gives one by one.
        return t.FuncProto(id, third, tuple([t.Param(name_at(n), p) for n, p in _rows(rest, 2)]))
    name = name_at(name_off)
    if issubclass(kind, t.Composite):
        return kind(id, name, third, tuple(_members(rest, flag, name_at)))
    if kind is t.Int:
        word = rest[0]
        return t.Int(id, name, third, word & 0xFF, word >> 24 & 0xF, word >> 16 & 0xFF)
    if kind is t.Enum:
        values = tuple([(name_at(n), _signed(v, 32, flag)) for n, v in _rows(rest, 2)])
        return t.Enum(id, name, third, flag, values)
    if kind is t.Enum64:
        values = tuple(
            (name_at(n), _signed(hi << 32 | lo, 64, flag)) for n, lo, hi in _rows(rest, 3)
        )
        return t.Enum64(id, name, third, flag, values)
    if kind is t.Fwd:
        return t.Fwd(id, name, flag)
    if kind is t.Func:
        return t.Func(id, name, third, entry_count(info))
    if kind is t.Var:
        return t.Var(id, name, third, rest[0])
    if kind is t.DataSec:
        return t.DataSec(id, name, third, tuple(t.SectionVar(*row) for row in _rows(rest, 3)))
    if kind is t.DeclTag:
        return t.DeclTag(id, name, third, _signed(rest[0], 32, True))
    if kind is t.Float:
        return t.Float(id, name, third)
    return t.Typedef(id, name, third) if kind is t.Typedef else t.TypeTag(id, name, third)


def _rows(words: Words, width: int) -> Iterator[tuple[int, ...]]:
    return zip(*(words[column::width] for column in range(width)), strict=True)


def _members(words: Words, with_sizes: bool, name_at: Name) -> list[t.Member]:
    """With the record's flag set, an offset's upper byte is the bit field's size. Since: 5.0."""
    rows = _rows(words, 3)
    if with_sizes:
        return [t.Member(name_at(n), id, at & 0xFFFFFF, at >> 24) for n, id, at in rows]
    return [t.Member(name_at(n), id, at, 0) for n, id, at in rows]


def _signed(value: int, bits: int, signed: bool) -> int:
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def encode(found: t.Type, offset_of: Callable[[str], int]) -> list[int]:
    """The record of a type, in words; `offset_of` puts a string into the string section."""
    kind = type(found)
    name = offset_of(getattr(found, "name", ""))
    number = _KIND_NUMBERS.get(kind, 0) << 24
    flag = 1 << 31

    def record(third: int, rest: Iterable[Iterable[int]] = (), info: int = 0) -> list[int]:
        entries = list(rest)
        vlen = len(entries) if kind in _ENTRY_WORDS else 0
        return [name, number | vlen | info, third, *(word for row in entries for word in row)]

    match found:
        case t.Ptr() | t.Reference() | t.Typedef() | t.TypeTag():
            return record(found.to)
        case t.Array():
            return record(0, [(found.element, found.index, found.nelems)])
        case t.Int():
            return record(found.size, [(found.encoding << 24 | found.offset << 16 | found.bits,)])
        case t.Composite():
            sized = any(m.bitfield_size for m in found.members)
            rows = (
                (offset_of(m.name), m.type_id, m.bitfield_size << 24 | m.bit_offset)
                for m in found.members
            )
            return record(found.size, rows, flag * sized)
        case t.Enum():
            values = ((offset_of(label), v & 0xFFFFFFFF) for label, v in found.values)
            return record(found.size, values, flag * found.signed)
        case t.Enum64():
            halves = (
                (offset_of(label), v & 0xFFFFFFFF, v >> 32 & 0xFFFFFFFF)
                for label, v in found.values
            )
            return record(found.size, halves, flag * found.signed)
        case t.Fwd():
            return record(0, info=flag * found.is_union)
        case t.Func():
            return record(found.type_id, info=found.linkage)
        case t.FuncProto():
            return record(found.ret, ((offset_of(p.name), p.type_id) for p in found.params))
        case t.Var():
            return record(found.type_id, [(found.linkage,)])
        case t.DataSec():
            return record(found.size, ((v.type_id, v.offset, v.size) for v in found.variables))
        case t.Float():
            return record(found.size)
        case t.DeclTag():
            return record(found.type_id, [(found.component & 0xFFFFFFFF,)])
    raise TypeError(f"{kind.__name__} has no record")
