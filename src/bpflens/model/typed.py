"""What the bytes of a map's keys and values are: by the map's BTF, or as a person asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bpflens.errors import FormatError, Limited, NotFound, UsageError
from bpflens.model.decoders import FORMS, Plain, Worded, decoding
from bpflens.model.parts import Missing, because

if TYPE_CHECKING:
    from bpflens.btf import Btf
    from bpflens.btf.render import Reader as Renderer
    from bpflens.btf.value import Value
    from bpflens.model.map import Map


class Reading(Protocol):
    """How bytes are read, and how a field in them is changed."""

    name: str
    """In words: `struct stats`, `ipv4:u16`."""

    def read(self, data: bytes) -> Plain:
        """What the bytes say. Raises FormatError."""
        ...

    def assign(self, data: bytes, path: str, text: str) -> bytes:
        """The data with one field changed to what a text says. Raises UsageError, FormatError."""
        ...


class ByType:
    """Bytes read by their BTF type."""

    def __init__(self, btf: Btf, type_id: int) -> None:
        from bpflens.btf.spell import spell
        from bpflens.btf.types import DataSec
        from bpflens.model.reader import compile

        self.btf = btf
        self.type_id = type_id
        section = btf.kind(type_id) is DataSec
        self.name = btf.type_name(type_id) if section else spell(btf, type_id)
        self._reader = compile(btf, type_id)
        self._renderer: Renderer | None = None

    def read(self, data: bytes) -> Plain:
        """See `Reading.read`."""
        reader = self._reader
        if reader is not None and len(data) >= reader.size:
            return reader.read(data, 0)
        if self._renderer is None:
            from bpflens.btf.render import Reader

            self._renderer = Reader(self.btf, self.type_id)
        return plain(self._renderer.read(data))

    def assign(self, data: bytes, path: str, text: str) -> bytes:
        """See `Reading.assign`."""
        from bpflens.btf.edit import assign

        return assign(self.btf, self.type_id, data, path, text)


def plain(value: Value) -> Plain:
    """A rendered value as plain data, of the shape of `bpflens.btf.value.to_json`."""
    from bpflens.btf import value as v

    match value:
        case v.Fields():
            fields = {member.name: plain(member) for member in v.flat_members(value)}
            if value.meaning:
                from bpflens.model.reader import WordedFields

                fields = WordedFields(fields)
                fields.words = value.meaning
            return fields
        case v.Items():
            return [plain(item) for item in value.items]
        case v.Number() if value.meaning:
            return Worded(value.value, f"{value.value} ({value.meaning})")
        case v.Pointer():
            return Worded(value.value, hex(value.value))
    return v.to_json(value)


class Readings(NamedTuple):
    """How keys and values are read; None where that is not known."""

    key: Reading | None = None
    value: Reading | None = None
    why: str = ""
    """Why the map's own types could not be had, where it has some."""


class TypeIds(NamedTuple):
    """The types that a map was made with; 0: none."""

    btf: int
    """The BTF object; 0 stands for the kernel's own."""
    key: int
    value: int


def type_ids(map: Map) -> TypeIds | None:
    """The types that a map was made with; None where it has none."""
    told = map.basic()
    if told.btf_vmlinux_value_type_id:  # struct_ops: the type is the kernel's or a module's
        return TypeIds(told.btf_vmlinux_id, 0, told.btf_vmlinux_value_type_id)
    if told.btf_id and (told.btf_value_type_id or told.btf_key_type_id):
        return TypeIds(told.btf_id, told.btf_key_type_id, told.btf_value_type_id)
    return None


def readings(map: Map) -> Readings:
    """How the map's own types read its elements."""
    ids = type_ids(map)
    if ids is None:
        return Readings()
    btf = map.system.btf(ids.btf) if ids.btf else map.system.kernel_types()
    if isinstance(btf, Missing):
        return Readings(why=str(btf))
    try:
        return Readings(
            ByType(btf, ids.key) if ids.key else None,
            ByType(btf, ids.value) if ids.value else None,
        )
    except FormatError as error:
        return Readings(why=str(because(error) if isinstance(error, Limited) else error))


def asked(text: str, size: int, types: Callable[[], Btf]) -> Reading:
    """The reading that a person asks for: decoders, or a type by name out of `types`.

    Raises UsageError, NotFound.
    """
    found = decoding(text, size)
    if found is not None:
        return found
    from bpflens.model.typenames import find

    btf = types()
    try:
        chosen = find(btf, text)[0]
    except NotFound as error:
        raise UsageError(f"{error}, nor is it one of {FORMS}") from error
    needed = btf.sizeof(chosen.id)
    if needed != size:
        raise UsageError(f"{text} has {needed} bytes, and there are {size}")
    return ByType(btf, chosen.id)


def total(values: list[Plain]) -> Plain:
    """The values of all CPUs as one: numbers are added, what else is equal stays, the rest is null.

    The values have one shape, as they have one type.
    """
    first = values[0]
    if isinstance(first, bool) or not isinstance(first, int | float | dict | list):
        return first if all(value == first for value in values) else None
    if isinstance(first, dict):
        return {key: total([value[key] for value in values]) for key in first}
    if isinstance(first, list):
        same = all(isinstance(value, list) and len(value) == len(first) for value in values)
        return [total(list(column)) for column in zip(*values, strict=True)] if same else None
    return sum(values)
