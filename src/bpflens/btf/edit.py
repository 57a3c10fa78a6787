"""One field of a value changed: found by a path, given as text, all other bits left alone.

A path is what one would write in C: `stats.packets`, `arr[3].x`, `[2]`, and for a section the
variable first, `counters[0].hits`. Members of anonymous structs and unions are named directly.
"""

from __future__ import annotations

import re
import struct

from bpflens import limits
from bpflens.btf import types as t
from bpflens.btf.meaning import constants
from bpflens.btf.render import flexible_arrays, is_char
from bpflens.errors import TooLarge, UsageError
from bpflens.rawtext import means

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from bpflens.btf.parse import Btf

MAX_PATH = 64
_STEP = re.compile(r"\.?([A-Za-z_$\ufffd\udc80-\udcff][\w$\ufffd\udc80-\udcff]*)|\[([0-9]{1,10})\]")
"""A member's name, also one that is not UTF-8 (`bpflens.rawtext`), or an index."""
_FLOATS = {4: "f", 8: "d"}


class Place(t.Record):
    """Where a field is: its type, its first bit, and its bits where it is a bit field, else 0."""

    type_id: int
    at: int
    bitfield_size: int


def locate(btf: Btf, type_id: int, path: str) -> Place:
    """The place of the field that `path` names; an empty path names the whole value.

    Raises UsageError for a path that leads nowhere, with what there is instead, and FormatError.
    """
    place = Place(type_id, 0, 0)
    at = 0
    for step in range(MAX_PATH + 1):
        if at == len(path):
            return place
        match = _STEP.match(path, at)
        if not match or (at == 0 and path.startswith(".")) or step == MAX_PATH:
            raise UsageError(f"{path!r} is no path: write it like stats.packets or arr[3].x")
        name, index = match.groups()
        if at and name and path[at] != ".":
            raise UsageError(f"{path!r} is no path: a dot is missing before {name}")
        where = path[:at] or "the value"
        if name:
            place = _member(btf, place, name, where)
        else:
            place = _element(btf, place, int(index), where, type_id)
        at = match.end()
    raise AssertionError("unreachable")


def assign(
    btf: Btf, type_id: int, data: bytes | bytearray | memoryview, path: str, text: str
) -> bytes:
    """The data with one field changed to what `text` says.

    Integers and pointers are taken as decimal, `0x…`, `0o…` or `0b…`, enumerations by name or
    number, `_Bool` as true or false, `char` arrays as text (in quotes or without; what is left over
    becomes NUL), floating-point numbers as Python writes them, and anything of whole bytes as
    `hex:` and its bytes. Raises UsageError where the text does not fit, and FormatError.
    """
    place = locate(btf, type_id, path)
    bits = place.bitfield_size or 8 * btf.sizeof(place.type_id)
    changed = bytearray(data)
    if bits == 0:
        raise UsageError(f"{path or 'the value'} has no bytes to change")
    if place.at + bits > 8 * len(changed):
        raise UsageError(f"{path or 'the value'} is not in these {len(changed)} bytes")
    raw = _encode(btf, place, bits, text, path or "the value")
    _put(changed, place.at, bits, raw, btf.byteorder)
    return bytes(changed)


def _put(
    data: bytearray, at: int, bits: int, raw: int, byteorder: Literal["little", "big"]
) -> None:
    """Writes a number of `bits` bits; the twin of `render.bit_field`."""
    first, end = at // 8, -(-(at + bits) // 8)
    shift = at % 8 if byteorder == "little" else -(at + bits) % 8
    mask = ((1 << bits) - 1) << shift
    old = int.from_bytes(data[first:end], byteorder)
    data[first:end] = (old & ~mask | raw << shift).to_bytes(end - first, byteorder)


# Paths


def _member(btf: Btf, place: Place, name: str, where: str) -> Place:
    found = btf.strip(place.type_id)
    if isinstance(found, t.DataSec):
        for variable in found.variables:
            if means(name, btf.type_name(variable.type_id)):
                named = btf[variable.type_id]
                of_type = named.type_id if isinstance(named, t.Var) else named.id
                return Place(of_type, place.at + 8 * variable.offset, 0)
    elif isinstance(found, t.Composite):
        inner = _named(btf, found, name, set())
        if inner is not None:
            return Place(inner.type_id, place.at + inner.bit_offset, inner.bitfield_size)
    else:
        raise UsageError(f"{where} has no members")
    names = ", ".join(_names(btf, found))
    raise UsageError(f"{where} has no member {name}; it has: {names}")


def _named(btf: Btf, found: t.Composite, name: str, seen: set[int]) -> t.Member | None:
    """The member of that name, those of anonymous members included, with its place in `found`.

    `seen` are the types that do not have it: looking again would take for ever in hostile BTF.
    """
    if found.id in seen:
        return None
    seen.add(found.id)
    for member in map(btf.place, found.members):
        if means(name, member.name):
            return member
        inner = None if member.name else btf.strip(member.type_id)
        if isinstance(inner, t.Composite):
            if len(seen) > limits.NESTED_TYPES.value:
                raise TooLarge(str(limits.NESTED_TYPES), btf.offset_of(found.id))
            nested = _named(btf, inner, name, seen)
            if nested is not None:
                offset = member.bit_offset + nested.bit_offset
                return t.Member(name, nested.type_id, offset, nested.bitfield_size)
    return None


def _names(btf: Btf, found: t.Composite | t.DataSec) -> list[str]:
    """The first names there are, for a message."""
    if isinstance(found, t.DataSec):
        return [btf.type_name(variable.type_id) for variable in found.variables[:20]]
    names: list[str] = []
    for member in found.members[:20]:
        inner = None if member.name else btf.strip(member.type_id)
        parts = inner.members[:20] if isinstance(inner, t.Composite) else (member,)
        names += [part.name or "(anonymous)" for part in parts]
    return names


def _element(btf: Btf, place: Place, index: int, where: str, whole: int) -> Place:
    found = btf.strip(place.type_id)
    if not isinstance(found, t.Array):
        raise UsageError(f"{where} is no array")
    size = btf.sizeof(found.element)
    count: int | None = found.nelems
    if not count and size:
        # Where only the data says how many there are, `assign` sees whether it has this one.
        ends = {at[1:]: end for at, end in flexible_arrays(btf, whole).items()}
        end = ends.get((place.type_id, place.at), place.at // 8)
        count = None if end is None else max(0, end - place.at // 8) // size
    if count is not None and index >= count:
        raise UsageError(f"{where} has {count} elements, counted from 0")
    return Place(found.element, place.at + 8 * index * size, 0)


# Values


def _encode(btf: Btf, place: Place, bits: int, text: str, where: str) -> int:
    """The number whose bits, in the data's byte order, are the value."""
    found = btf.strip(place.type_id)
    if text.startswith("hex:") and not place.bitfield_size:
        return _from_bytes(btf, _hex(text[4:], bits // 8, where))
    match found:
        case t.Int() if found.encoding & t.Int.BOOL:
            words = {"true": 1, "false": 0, "1": 1, "0": 0}
            if text.lower() not in words:
                raise UsageError(f"{where} is true or false, not {text!r}")
            return words[text.lower()]
        case t.Int():
            character = re.fullmatch(r"'(.)'", text, re.DOTALL)
            if character and bits == 8 and ord(character[1]) < 256:
                return ord(character[1])
            signed = bool(found.encoding & t.Int.SIGNED)
            return _in_range(_integer(text, where), bits, signed, where)
        case t.Ptr():
            return _in_range(_integer(text, where), bits, False, where)
        case t.AnyEnum():
            told = constants(found, bits)
            labels = dict(told.values)
            number = labels[text] if text in labels else _integer(text, where, labels)
            # Where a constant may be a negative one (see `constants`), so may be a number.
            doubtful = max(labels.values(), default=0) >> (bits - 1)
            return _in_range(number, bits, told.signed or bool(number < 0 and doubtful), where)
        case t.Float() if bits // 8 in _FLOATS:
            order = "<" if btf.byteorder == "little" else ">"
            return _from_bytes(btf, _float(text, order + _FLOATS[bits // 8], where))
        case t.Array() if is_char(btf, found.element):
            return _from_bytes(btf, _characters(text, bits // 8, where))
    raise UsageError(f"{where} is made of parts: name one of them, or give all bytes as hex:…")


def _from_bytes(btf: Btf, data: bytes) -> int:
    return int.from_bytes(data, btf.byteorder)


def _integer(text: str, where: str, labels: dict[str, int] | None = None) -> int:
    try:
        if not text.isascii() or "_" in text:  # which Python would take
            raise ValueError(text)
        return int(text, 0)
    except ValueError as problem:
        names = f" or one of: {', '.join(list(labels)[:20])}" if labels else ""
        raise UsageError(f"{where} is a number{names}; not {text[:80]!r}") from problem


def _in_range(number: int, bits: int, signed: bool, where: str) -> int:
    """The number as its two's complement."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= number <= high:
        raise UsageError(f"{where} holds {low} to {high}")
    return number & (1 << bits) - 1


def _hex(text: str, size: int, where: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError as problem:
        raise UsageError(f"{text[:80]!r} is no hex") from problem
    if len(data) != size:
        raise UsageError(f"{where} is {size} bytes, not {len(data)}")
    return data


def _float(text: str, code: str, where: str) -> bytes:
    try:
        return struct.pack(code, float(text))
    except (ValueError, OverflowError) as problem:
        raise UsageError(f"{where} cannot be {text[:80]!r}") from problem


def _characters(text: str, size: int, where: str) -> bytes:
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    data = text.encode(errors="surrogateescape")
    if len(data) >= size:
        raise UsageError(f"{where} has room for {size - 1} bytes of text and NUL, not {len(data)}")
    return data.ljust(size, b"\0")
