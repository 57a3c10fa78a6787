"""Readers: a type made into a function from bytes to plain data, for a million values of it.

`bpflens.btf.render` knows every type and every limit, and makes a tree of each value. Here the walk
over the type is made once, and no tree; what is unusual (flexible arrays, floats, wide integers,
very many parts) is left to it, and so is data that is too short. Both give the same
(`tests/unit/model`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.btf.meaning import ADDRESSES, constants, is_network_order, of_address, of_number
from bpflens.btf.render import bit_field, is_char
from bpflens.model.decoders import Plain, Worded

Read = Callable[[bytes, int], Plain]
"""Takes the data and the offset of the value in it, in bytes."""

MAX_DEPTH = 24
MAX_PARTS = 10_000
_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}


class WordedFields(dict[str, Plain]):
    """Fields that together mean something that people write in one word, as an address."""

    words: str


class Reader(NamedTuple):
    """How a type is read, and how many bytes and parts it has."""

    read: Read
    size: int
    parts: int = 1


class _Unusual(Exception):
    """A type that is left to `render`."""


def compile(btf: Btf, type_id: int) -> Reader | None:
    """The reader of a type; None for one that is left to `render`. Raises FormatError."""
    try:
        return _reader(btf, type_id, 0)
    except _Unusual:
        return None


def _reader(btf: Btf, type_id: int, depth: int) -> Reader:
    if depth > MAX_DEPTH:
        raise _Unusual
    found = btf.strip(type_id)
    match found:
        case t.Composite():
            made = _fields(btf, list(_members(btf, found, depth)), found.size)
            return _address(found.name, made) if found.name in ADDRESSES else made
        case t.DataSec():
            return _fields(btf, list(_variables(btf, found, depth)), found.size)
        case t.Array() if found.nelems:
            made = _array(btf, found, depth)
        case t.Int() | t.Ptr() | t.AnyEnum():
            made = _scalar(btf, found, type_id)
        case _:
            raise _Unusual
    if made.parts > MAX_PARTS:
        raise _Unusual
    return made


# --- what has parts

Field = tuple[str, Read, int, int]
"""Name, reader, offset in bytes, and parts. A bit field's reader knows its bits."""


def _fields(btf: Btf, fields: list[Field], size: int) -> Reader:
    parts = 1 + sum(field[3] for field in fields)
    if parts > MAX_PARTS:
        raise _Unusual
    plan = [(name, read, offset) for name, read, offset, _ in fields]

    def read(data: bytes, at: int) -> Plain:
        return {name: read(data, at + offset) for name, read, offset in plan}

    return Reader(read, size, parts)


def _members(btf: Btf, found: t.Composite, depth: int) -> Iterator[Field]:
    """The members, and in place of anonymous structs and unions theirs.

    BTF of a file, which no kernel has checked, may put a member past the end.
    """
    end = 8 * found.size
    for member in map(btf.place, found.members):
        inner = btf.strip(member.type_id)
        offset = member.bit_offset // 8
        if member.bit_offset + member.bitfield_size > end:
            raise _Unusual
        if member.bitfield_size:
            yield member.name, _bits(btf, inner, member), 0, 1
        elif member.bit_offset % 8:
            raise _Unusual
        elif isinstance(inner, t.Composite) and not member.name and inner.name not in ADDRESSES:
            if depth > MAX_DEPTH or member.bit_offset + 8 * inner.size > end:
                raise _Unusual
            for name, read, at, parts in _members(btf, inner, depth + 1):
                yield name, read, at + offset, parts
        else:
            made = _reader(btf, member.type_id, depth + 1)
            if member.bit_offset + 8 * made.size > end:
                raise _Unusual
            yield member.name, made.read, offset, made.parts


def _variables(btf: Btf, found: t.DataSec, depth: int) -> Iterator[Field]:
    for place in found.variables:
        variable = btf[place.type_id]
        if not isinstance(variable, t.Var):
            raise _Unusual
        made = _reader(btf, variable.type_id, depth + 1)
        if place.offset + made.size > found.size:
            raise _Unusual
        yield variable.name, made.read, place.offset, made.parts


def _address(name: str, fields: Reader) -> Reader:
    size, inner = fields.size, fields.read

    def read(data: bytes, at: int) -> Plain:
        worded = WordedFields(inner(data, at))
        words = of_address(name, data[at : at + size])
        worded.words = words
        return worded if words else dict(worded)

    return fields._replace(read=read)


def _array(btf: Btf, found: t.Array, depth: int) -> Reader:
    size, count = btf.sizeof(found.element), found.nelems
    element = btf.strip(found.element)
    if not size or size * count > 1 << 20:
        raise _Unusual
    encoding = element.encoding if isinstance(element, t.Int) else 0
    if isinstance(element, t.Int | t.Ptr) and not encoding & (t.Int.BOOL | t.Int.CHAR):
        numbers = _struct(btf, size, encoding, count)

        def listed(data: bytes, at: int) -> Plain:
            return [*numbers.unpack_from(data, at)]

        made = Reader(listed, size * count)
    else:
        made = _items(_reader(btf, found.element, depth + 1), size, count)
    return _text(made) if is_char(btf, found.element) else made


def _items(each: Reader, size: int, count: int) -> Reader:
    read_one = each.read

    def read(data: bytes, at: int) -> Plain:
        return [read_one(data, place) for place in range(at, at + count * size, size)]

    return Reader(read, size * count, 1 + count * each.parts)


def _text(other: Reader) -> Reader:
    size, read_other = other.size, other.read

    def read(data: bytes, at: int) -> Plain:
        head, nul, _ = data[at : at + size].partition(b"\0")
        if nul and head.isascii():
            text = head.decode("ascii")
            if text.isprintable():
                return text
        return read_other(data, at)

    return other._replace(read=read)


# --- what has none


def _struct(btf: Btf, size: int, encoding: int, count: int = 1) -> struct.Struct:
    if size not in _CODES:
        raise _Unusual
    code = _CODES[size] if encoding & t.Int.SIGNED else _CODES[size].upper()
    return struct.Struct(f"{'<' if btf.byteorder == 'little' else '>'}{count}{code}")


def _scalar(btf: Btf, found: t.Type, type_id: int) -> Reader:
    size = btf.sizeof(found.id)
    signed = constants(found, 8 * size).signed if isinstance(found, t.AnyEnum) else False
    encoding = found.encoding if isinstance(found, t.Int) else t.Int.SIGNED * signed
    if isinstance(found, t.Int) and (found.bits != 8 * size or found.offset):
        raise _Unusual
    # The sign of a character or truth value does not matter, and a char's is that of its byte.
    plain_bits = encoding & (t.Int.BOOL | t.Int.CHAR)
    unpack = _struct(btf, size, 0 if plain_bits else encoding).unpack_from
    said = _said(btf, found, type_id, 8 * size)
    if said is None:
        return Reader(lambda data, at: unpack(data, at)[0], size)
    return Reader(lambda data, at: said(unpack(data, at)[0]), size)


def _bits(btf: Btf, found: t.Type, member: t.Member) -> Read:
    """Reads a bit field. Its place is in bits, so it is read from the start of the struct."""
    start, bits, order = member.bit_offset, member.bitfield_size, btf.byteorder
    if not isinstance(found, t.Int | t.AnyEnum) or bits > 64:
        raise _Unusual
    if isinstance(found, t.AnyEnum):
        signed = constants(found, bits).signed
    else:
        signed = bool(found.encoding & t.Int.SIGNED)
    said = _said(btf, found, member.type_id, bits)
    if isinstance(found, t.Int) and found.encoding & (t.Int.BOOL | t.Int.CHAR):
        signed = False

    def read(data: bytes, at: int) -> Plain:
        number = bit_field(memoryview(data), 8 * at + start, bits, order)
        if signed and number >> (bits - 1):
            number -= 1 << bits
        return number if said is None else said(number)

    return read


def _said(btf: Btf, found: t.Type, type_id: int, bits: int) -> Callable[[int], Any] | None:
    """What a number of this type is told as; None: as itself."""
    match found:
        case t.Int() if found.encoding & t.Int.BOOL:
            return bool
        case t.Int() if found.encoding & t.Int.CHAR and bits == 8:
            return chr
        case t.Int() if found.encoding & t.Int.CHAR:
            raise _Unusual
        case t.Int() if is_network_order(btf, type_id):
            if bits % 8:
                raise _Unusual
            size, order = bits // 8, btf.byteorder
            mask = (1 << bits) - 1

            def swapped(number: int) -> Worded:
                words = of_number((number & mask).to_bytes(size, order))
                return Worded(number, f"{number} ({words})")

            return swapped
        case t.Ptr():
            return lambda number: Worded(number, hex(number))
        case t.AnyEnum():
            labels = {value: label for label, value in reversed(constants(found, bits).values)}
            return lambda number: labels.get(number) or number
    return None
