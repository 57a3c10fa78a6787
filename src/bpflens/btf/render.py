"""Bytes read by their type: `render` gives the tree of a value.

The byte order is that of the BTF. In a big-endian struct bit fields are counted from the most
significant bit, so that "bits 0 to 2" are the upper three of the first byte there and the lower
three on a little-endian machine (`btf_dumper_bitfield` of bpftool knows only its own machine's).
"""

from __future__ import annotations

import struct

from bpflens.btf import types as t
from bpflens.btf import value as v
from bpflens.btf.meaning import ADDRESSES, of_address, of_number
from bpflens.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from bpflens.btf.parse import Btf

    Place: TypeAlias = tuple[str, int, int, int, tuple[str, ...]]

MAX_DEPTH = 32
MAX_NODES = 100_000
MAX_BYTES = 1 << 24
MAX_BITS = 255
"""The widest number, in bits: what a bit field can be. `__int128` has 128."""

_FLOATS = {16: "e", 32: "f", 64: "d"}


def render(
    btf: Btf,
    type_id: int,
    data: bytes | bytearray | memoryview,
    max_nodes: int = MAX_NODES,
    max_depth: int = MAX_DEPTH,
) -> v.Value:
    """The value that `data` holds, as a tree.

    A flexible array at the end of the outermost struct has as many elements as the data has room
    for; other bytes behind the value are passed over. Raises FormatError where the data is too
    short (the offset is then that in the data), where the type makes no sense, or where the tree
    would be deeper or larger than allowed.
    """
    view = memoryview(data).cast("B")
    if len(view) > MAX_BYTES:
        raise FormatError(f"value of more than {MAX_BYTES} bytes", MAX_BYTES)
    renderer = _Renderer(btf, view, max_nodes, max_depth)
    renderer.find_flexible_array(type_id)
    return renderer.value("", type_id, 0, 0, (), 0)


def bit_field(data: memoryview, at: int, bits: int, byteorder: str) -> int:
    """The unsigned number in `bits` bits, starting with bit `at` of the data."""
    first, end = at // 8, -(-(at + bits) // 8)
    if byteorder == "little":
        return int.from_bytes(data[first:end], "little") >> at % 8 & (1 << bits) - 1
    return int.from_bytes(data[first:end], "big") >> -(at + bits) % 8 & (1 << bits) - 1


def is_char(btf: Btf, type_id: int) -> bool:
    """Whether arrays of the type may be text: `char` itself, not a typedef of it.

    `is_str_array` of bpftool draws the same line; `u8` is a number, `unsigned char` too.
    """
    found = btf[type_id]
    for _ in range(MAX_DEPTH):
        if not isinstance(found, t.Reference):
            break
        found = btf[found.to]
    if not isinstance(found, t.Int) or found.size != 1:
        return False
    return bool(found.encoding & t.Int.CHAR) or found.name == "char"


class _Renderer:
    def __init__(self, btf: Btf, data: memoryview, max_nodes: int, max_depth: int) -> None:
        self.btf = btf
        self.data = data
        self.nodes_left = max_nodes
        self.bytes_left = 2 * MAX_BYTES  # of arrays: a union can show the same bytes many times
        self.max_depth = max_depth
        self.flexible: tuple[str, int, int] | None = None
        self._members: dict[int, list[t.Member]] = {}
        self._labels: dict[int, dict[int, str]] = {}

    def find_flexible_array(self, type_id: int) -> None:
        """Notes which array it is that ends the outermost struct."""
        found = self.btf.strip(type_id)
        if isinstance(found, t.Struct) and found.members:
            last = found.members[-1]
            array = self.btf.strip(last.type_id)
            if isinstance(array, t.Array) and array.nelems == 0:
                self.flexible = last.name, last.type_id, last.bit_offset

    def value(
        self, name: str, type_id: int, at: int, field_bits: int, tags: tuple[str, ...], depth: int
    ) -> v.Value:
        """The value at bit `at`; `field_bits` is 0 for what is no bit field."""
        self.nodes_left -= 1
        if self.nodes_left < 0:
            raise FormatError("value has too many parts", at // 8)
        if depth > self.max_depth:
            raise FormatError(f"value nests more than {self.max_depth} deep", at // 8)
        found = self.btf.strip(type_id)
        if isinstance(found, t.Var):
            return self.value(name or found.name, found.type_id, at, 0, tags, depth + 1)
        if isinstance(found, (t.Fwd, t.Func, t.FuncProto, t.Void, t.DeclTag, t.Unknown)):
            return v.Opaque(name, type_id, at, 0, tags, b"")
        of_parts = isinstance(found, (t.Array, t.Composite, t.DataSec))  # these are no bit fields
        bits = 0 if of_parts else field_bits
        bits = bits or 8 * self.btf.sizeof(found.id)
        if at + bits > 8 * len(self.data):
            what = f"{len(self.data)} bytes are too few for {name or 'the value'}"
            raise FormatError(what, len(self.data))
        place = (name, type_id, at, bits, tags)
        match found:
            case t.Array():
                return self.array(found, place, depth)
            case t.Composite():
                known = found.name in ADDRESSES
                meaning = of_address(found.name, self.raw(at, bits)) if known else ""
                return v.Fields(*place, tuple(self.members(found, at, depth)), meaning)
            case t.DataSec():
                variables = (
                    self.value("", var.type_id, at + 8 * var.offset, 0, (), depth + 1)
                    for var in found.variables
                )
                return v.Fields(*place, tuple(variables), "")
        return self.scalar(found, place)

    def scalar(self, found: t.Type, place: Place) -> v.Value:
        _, type_id, at, bits, _ = place
        if not 0 < bits <= MAX_BITS:
            return v.Opaque(*place, self.raw(at, bits))
        raw = bit_field(self.data, at, bits, self.btf.byteorder)
        match found:
            case t.Int() if found.encoding & t.Int.BOOL:
                return v.Boolean(*place, raw != 0)
            case t.Int() if found.encoding & t.Int.CHAR and bits == 8:
                return v.Character(*place, raw)
            case t.Int():
                number = _signed(raw, bits) if found.encoding & t.Int.SIGNED else raw
                return v.Number(*place, number, of_number(self.btf, type_id, raw, bits))
            case t.Ptr():
                return v.Pointer(*place, raw)
            case t.AnyEnum():
                number = _signed(raw, bits) if found.signed else raw
                return v.Label(*place, number, self.labels(found).get(number, ""))
            case t.Float() if bits in _FLOATS:
                order = "<" if self.btf.byteorder == "little" else ">"
                data = self.raw(at, bits)
                return v.Real(*place, struct.unpack(order + _FLOATS[bits], data)[0])
        return v.Opaque(*place, self.raw(at, bits))

    def labels(self, found: t.AnyEnum) -> dict[int, str]:
        """The names of an enumeration by value; of two names the first."""
        known = self._labels.get(found.id)
        if known is None:
            known = {value: label for label, value in reversed(found.values)}
            self._labels[found.id] = known
        return known

    def members(self, found: t.Composite, at: int, depth: int) -> Iterator[v.Value]:
        members = self._members.get(found.id)
        if members is None:
            members = self._members[found.id] = [*map(self.btf.place, found.members)]
        for index, member in enumerate(members):
            tags = self.btf.tags(found.id, index)
            start, bits = at + member.bit_offset, member.bitfield_size
            yield self.value(member.name, member.type_id, start, bits, tags, depth + 1)

    def array(self, found: t.Array, place: Place, depth: int) -> v.Value:
        name, type_id, at, _, tags = place
        size = self.btf.sizeof(found.element)
        count = found.nelems
        if depth == 1 and size and place[:3] == self.flexible:
            count = (len(self.data) - at // 8) // size
            place = (name, type_id, at, 8 * size * count, tags)
        element = self.btf.strip(found.element)
        if is_char(self.btf, found.element):
            text = _text(self.array_bytes(at, count))
            if text is not None:
                return v.Text(*place, text)
        if isinstance(element, (t.Int, t.Ptr)) and size in (1, 2, 4, 8):
            encoding = element.encoding if isinstance(element, t.Int) else 0
            if not encoding & (t.Int.BOOL | t.Int.CHAR):
                return v.Numbers(*place, self.numbers(at, count, size, encoding))
        if count > self.nodes_left:
            raise FormatError("value has too many parts", at // 8)
        items = (
            self.value("", found.element, at + 8 * size * index, 0, (), depth + 1)
            for index in range(count)
        )
        return v.Items(*place, tuple(items))

    def numbers(self, at: int, count: int, size: int, encoding: int) -> tuple[int, ...]:
        order = "<" if self.btf.byteorder == "little" else ">"
        code = {1: "b", 2: "h", 4: "i", 8: "q"}[size]
        code = code if encoding & t.Int.SIGNED else code.upper()
        return struct.unpack(f"{order}{count}{code}", self.array_bytes(at, count * size))

    def array_bytes(self, at: int, size: int) -> bytes:
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise FormatError("value repeats its bytes too often", at // 8)
        return self.raw(at, 8 * size)

    def raw(self, at: int, bits: int) -> bytes:
        return bytes(self.data[at // 8 : (at + bits) // 8])


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def _text(data: bytes) -> str | None:
    """The text up to the first NUL; None where there is no NUL, or something that is no text."""
    head, nul, _ = data.partition(b"\0")
    if nul and all(0x20 <= byte < 0x7F for byte in head):
        return head.decode("ascii")
    return None
