"""Bytes read by their type: a `Reader` gives the tree of a value.

The byte order is that of the BTF. In a big-endian struct bit fields are counted from the most
significant bit, so that "bits 0 to 2" are the upper three of the first byte there and the lower
three on a little-endian machine (`btf_dumper_bitfield` of bpftool knows only its own machine's).
"""

from __future__ import annotations

import struct

from bpflens import limits
from bpflens.btf import types as t
from bpflens.btf import value as v
from bpflens.btf.meaning import ADDRESSES, constants, is_network_order, of_address, of_number
from bpflens.errors import FormatError, TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from bpflens.btf.parse import Btf

    Place: TypeAlias = tuple[str, int, int, int, tuple[str, ...]]
    """A value's name, type, first bit, number of bits, and tags."""
    Read: TypeAlias = Callable[[Any, Place, int], v.Value]

MAX_BITS = 255
"""The widest number, in bits: what a bit field can be. `__int128` has 128."""

_FLOATS = {16: "e", 32: "f", 64: "d"}


def render(btf: Btf, type_id: int, data: bytes | bytearray | memoryview) -> v.Value:
    """The value that `data` holds, as a tree; for many values of one type, keep a `Reader`.

    Raises FormatError.
    """
    return Reader(btf, type_id).read(data)


def bit_field(data: memoryview, at: int, bits: int, byteorder: str) -> int:
    """The unsigned number in `bits` bits, starting with bit `at` of the data."""
    first, end = at // 8, -(-(at + bits) // 8)
    if byteorder == "little":
        return int.from_bytes(data[first:end], "little") >> at % 8 & (1 << bits) - 1
    return int.from_bytes(data[first:end], "big") >> -(at + bits) % 8 & (1 << bits) - 1


def flexible_arrays(btf: Btf, type_id: int) -> dict[tuple[str, int, int], int | None]:
    """Up to which byte arrays of no told length go on, by name, type and first bit.

    Such an array ends the outermost struct, up to the end of the data (None), or a variable of a
    section, which says how long the variable is. Any other has no elements.
    """
    found = btf.strip(type_id)
    if isinstance(found, t.DataSec):
        outermost: list[tuple[int, int, int | None]] = [
            (var.type_id, var.offset, var.offset + var.size) for var in found.variables
        ]
    else:
        outermost = [(type_id, 0, None)]
    arrays: dict[tuple[str, int, int], int | None] = {}
    for outer_id, start, end in outermost:
        outer = btf.strip(outer_id)
        if isinstance(outer, t.Var):
            outer = btf.strip(outer.type_id)
        if isinstance(outer, t.Struct) and outer.members:
            last = outer.members[-1]
            array = btf.strip(last.type_id)
            if isinstance(array, t.Array) and array.nelems == 0:
                arrays[last.name, last.type_id, 8 * start + last.bit_offset] = end
    return arrays


def is_char(btf: Btf, type_id: int) -> bool:
    """Whether arrays of the type may be text: `char` itself, not a typedef of it.

    `is_str_array` of bpftool draws the same line; `u8` is a number, `unsigned char` too.
    """
    found = btf[type_id]
    for _ in range(limits.BTF_DEPTH.value):
        if not isinstance(found, t.Reference):
            break
        found = btf[found.to]
    if not isinstance(found, t.Int) or found.size != 1:
        return False
    return bool(found.encoding & t.Int.CHAR) or found.name == "char"


class Reader:
    """Reads values of one type; what it finds out about types it keeps for the next value."""

    def __init__(self, btf: Btf, type_id: int) -> None:
        self.btf = btf
        self.type_id = type_id
        self._deepest = limits.VALUE_DEPTH.value
        self._known: dict[int, tuple[t.Type, int, Read, bool]] = {}
        self._members: dict[int, list[tuple[t.Member, tuple[str, ...]]]] = {}
        self._labels: dict[tuple[int, int], tuple[bool, dict[int, str]]] = {}
        self._network_order: dict[int, bool] = {}
        self._chars: dict[int, bool] = {}
        self._flexible = flexible_arrays(btf, type_id)
        self._data = memoryview(b"")
        self._nodes_left = self._bytes_left = 0

    def read(self, data: bytes | bytearray | memoryview) -> v.Value:
        """The value that `data` holds, as a tree.

        A flexible array has as many elements as there is room for (`flexible_arrays`); other bytes
        behind the value are passed over. Raises FormatError where the data is too short (the offset
        is then that in the data), where the type makes no sense, or where the tree would be deeper
        or larger than allowed.
        """
        self._data = memoryview(data).cast("B")
        most = limits.VALUE_BYTES.value
        if len(self._data) > most:
            raise TooLarge(str(limits.VALUE_BYTES), most)
        self._deepest = limits.VALUE_DEPTH.value
        self._nodes_left = limits.VALUE_PARTS.value
        self._bytes_left = 2 * most  # of arrays: a union can show the same bytes many times
        return self._value("", self.type_id, 0, 0, (), 0)

    def _value(
        self, name: str, type_id: int, at: int, field_bits: int, tags: tuple[str, ...], depth: int
    ) -> v.Value:
        """The value at bit `at`; `field_bits` is 0 for what is no bit field."""
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise TooLarge(str(limits.VALUE_PARTS), at // 8)
        if depth > self._deepest:
            raise TooLarge(str(limits.VALUE_DEPTH), at // 8)
        known = self._known.get(type_id)
        if known is None:
            known = self._known[type_id] = self._how_to_read(type_id)
        found, bits, read, may_be_bit_field = known
        if field_bits and may_be_bit_field:
            bits = field_bits
        if at + bits > 8 * len(self._data):
            what = f"{len(self._data)} bytes are too few for {name or 'the value'}"
            raise FormatError(what, len(self._data))
        return read(found, (name, type_id, at, bits, tags), depth)

    def _how_to_read(self, type_id: int) -> tuple[t.Type, int, Read, bool]:
        """The type itself, its size in bits, what reads it, and whether it can be a bit field."""
        found = self.btf.strip(type_id)
        match found:
            case t.Var():
                return found, 0, self._variable, False
            case t.Array():
                return found, 8 * self.btf.sizeof(found.id), self._array, False
            case t.Composite():
                return found, 8 * found.size, self._fields, False
            case t.DataSec():
                return found, 8 * found.size, self._section, False
            case t.Int() if found.encoding & t.Int.BOOL:
                return found, 8 * found.size, self._boolean, True
            case t.Int() if found.encoding & t.Int.CHAR and found.size == 1:
                return found, 8, self._character, True
            case t.Int():
                return found, 8 * found.size, self._integer, True
            case t.AnyEnum():
                return found, 8 * found.size, self._label, True
            case t.Ptr():
                return found, 8 * self.btf.pointer_size, self._pointer, True
            case t.Float():
                return found, 8 * found.size, self._real, False
        return found, 0, self._opaque, False

    # Values of one part

    def _number(self, at: int, bits: int, signed: bool) -> int:
        if at % 8 or bits % 8:
            raw = bit_field(self._data, at, bits, self.btf.byteorder)
            return raw - (1 << bits) if signed and raw >> (bits - 1) else raw
        data = self._data[at // 8 : (at + bits) // 8]
        return int.from_bytes(data, self.btf.byteorder, signed=signed)

    def _integer(self, found: t.Int, place: Place, depth: int) -> v.Value:
        _, type_id, at, bits, _ = place
        if not 0 < bits <= MAX_BITS:
            return self._opaque(found, place, depth)
        number = self._number(at, bits, bool(found.encoding & t.Int.SIGNED))
        in_network_order = self._network_order.get(type_id)
        if in_network_order is None:
            in_network_order = is_network_order(self.btf, type_id)
            self._network_order[type_id] = in_network_order
        meaning = of_number(self._raw(at, bits)) if in_network_order else ""
        return v.Number(*place, number, meaning)

    def _boolean(self, found: t.Int, place: Place, depth: int) -> v.Value:
        _, _, at, bits, _ = place
        return v.Boolean(*place, bit_field(self._data, at, bits, self.btf.byteorder) != 0)

    def _character(self, found: t.Int, place: Place, depth: int) -> v.Value:
        _, _, at, bits, _ = place
        if bits != 8:  # some bits of a `char` are a number
            return self._integer(found, place, depth)
        return v.Character(*place, self._number(at, bits, False))

    def _label(self, found: t.AnyEnum, place: Place, depth: int) -> v.Value:
        _, _, at, bits, _ = place
        if not 0 < bits <= MAX_BITS:
            return self._opaque(found, place, depth)
        known = self._labels.get((found.id, bits))
        if known is None:
            told = constants(found, bits)
            # Of two names for one value, the first.
            labels = {value: label for label, value in reversed(told.values)}
            known = self._labels[found.id, bits] = told.signed, labels
        signed, labels = known
        number = self._number(at, bits, signed)
        return v.Label(*place, number, labels.get(number, ""))

    def _pointer(self, found: t.Ptr, place: Place, depth: int) -> v.Value:
        return v.Pointer(*place, self._number(place[2], place[3], False))

    def _real(self, found: t.Float, place: Place, depth: int) -> v.Value:
        _, _, at, bits, _ = place
        if bits not in _FLOATS:
            return self._opaque(found, place, depth)
        order = "<" if self.btf.byteorder == "little" else ">"
        return v.Real(*place, struct.unpack(order + _FLOATS[bits], self._raw(at, bits))[0])

    def _opaque(self, found: t.Type, place: Place, depth: int) -> v.Value:
        return v.Opaque(*place, self._raw(place[2], place[3]))

    # Values of many parts

    def _fields(self, found: t.Composite, place: Place, depth: int) -> v.Value:
        _, _, at, bits, _ = place
        members = self._members.get(found.id)
        if members is None:
            members = self._members[found.id] = [
                (self.btf.place(member), self.btf.tags(found.id, index))
                for index, member in enumerate(found.members)
            ]
        values = [
            self._value(
                m.name, m.type_id, at + m.bit_offset, m.bitfield_size, tags, depth + 1
            )
            for m, tags in members
        ]  # fmt: skip
        known = found.name in ADDRESSES
        meaning = of_address(found.name, self._raw(at, bits)) if known else ""
        return v.Fields(*place, tuple(values), meaning)

    def _section(self, found: t.DataSec, place: Place, depth: int) -> v.Value:
        values = [
            self._value("", var.type_id, place[2] + 8 * var.offset, 0, (), depth + 1)
            for var in found.variables
        ]
        return v.Fields(*place, tuple(values), "")

    def _variable(self, found: t.Var, place: Place, depth: int) -> v.Value:
        name, _, at, _, tags = place
        return self._value(name or found.name, found.type_id, at, 0, tags, depth + 1)

    def _array(self, found: t.Array, place: Place, depth: int) -> v.Value:
        name, type_id, at, _, tags = place
        size = self.btf.sizeof(found.element)
        count = found.nelems
        if not count and size and place[:3] in self._flexible:
            end = self._flexible[place[:3]]
            last = len(self._data) if end is None else min(end, len(self._data))
            count = max(last - at // 8, 0) // size
            place = (name, type_id, at, 8 * size * count, tags)
        is_text = self._chars.get(found.element)
        if is_text is None:
            is_text = self._chars[found.element] = is_char(self.btf, found.element)
        if is_text:
            text = _text(self._array_bytes(at, count))
            if text is not None:
                return v.Text(*place, text)
        element = self.btf.strip(found.element)
        if isinstance(element, (t.Int, t.Ptr)) and size in (1, 2, 4, 8):
            encoding = element.encoding if isinstance(element, t.Int) else 0
            if not encoding & (t.Int.BOOL | t.Int.CHAR):
                return v.Numbers(*place, self._numbers(at, count, size, encoding))
        if size and count > self._nodes_left:
            raise TooLarge(str(limits.VALUE_PARTS), at // 8)
        if not size and count > limits.EMPTY_ELEMENTS.value:
            raise TooLarge(str(limits.EMPTY_ELEMENTS), at // 8)
        items = [
            self._value("", found.element, at + 8 * size * index, 0, (), depth + 1)
            for index in range(count)
        ]
        return v.Items(*place, tuple(items))

    def _numbers(self, at: int, count: int, size: int, encoding: int) -> tuple[int, ...]:
        order = "<" if self.btf.byteorder == "little" else ">"
        code = {1: "b", 2: "h", 4: "i", 8: "q"}[size]
        code = code if encoding & t.Int.SIGNED else code.upper()
        return struct.unpack(f"{order}{count}{code}", self._array_bytes(at, count * size))

    def _array_bytes(self, at: int, size: int) -> bytes:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise TooLarge(f"{limits.VALUE_BYTES}: it repeats its bytes too often", at // 8)
        return self._raw(at, 8 * size)

    def _raw(self, at: int, bits: int) -> bytes:
        return bytes(self._data[at // 8 : (at + bits) // 8])


def _text(data: bytes) -> str | None:
    """The text up to the first NUL; None where there is no NUL, or something that is no text."""
    head, nul, _ = data.partition(b"\0")
    if nul and head.isascii() and (not head or head.decode("ascii").isprintable()):
        return head.decode("ascii")
    return None
