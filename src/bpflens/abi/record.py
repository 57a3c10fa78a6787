"""`Record`: a C struct of the bpf(2) ABI as a typed Python class.

A record reads like the header that it mirrors::

    class MapInfo(Record, size=104):
        type: U32 = 0
        id: U32 = 0
        name: Name16 = b""

The annotation's *name* is the layout; offsets follow C alignment, and `size` is checked when the
class is first used (a test uses them all). Every name of the class's own
machinery is dunder, because kernel fields are really called `type`, `name`, `hash` or `offsets`.
"""

from __future__ import annotations

import struct
from typing import Any, Self, TypeAlias, dataclass_transform

U8: TypeAlias = int
U32: TypeAlias = int
S32: TypeAlias = int
U64: TypeAlias = int
Fd: TypeAlias = int
"""A u32 or s32 that names an open file of the caller (wrappers show whose it is)."""
Ptr: TypeAlias = int
"""A u64 that holds an address in the caller's memory; 0 is NULL."""
Name16: TypeAlias = bytes
"""char[16]: up to 15 bytes and a NUL; decoded without the padding."""
Tag8: TypeAlias = bytes
"""u8[8]."""
Bytes16: TypeAlias = bytes
"""u8[16]: an IPv6 address, or an IPv4 one in the first four."""
Bytes108: TypeAlias = bytes
"""char[108] as it is: the path of a unix socket, whose NULs say what kind of name it is."""

FORMATS: dict[str, str] = {
    "U8": "B",
    "U32": "I",
    "S32": "i",
    "U64": "Q",
    "Fd": "i",
    "Ptr": "Q",
    "Name16": "16s",
    "Tag8": "8s",
    "Bytes16": "16s",
    "Bytes108": "108s",
}
"""Annotation name → struct code. Fd is signed: -1 is what a C caller passes for "none"."""

_ALIGN = {"16s": 1, "8s": 1, "108s": 1}


class Field:
    """Where a field lies: name, annotation, byte offset and byte size."""

    __slots__ = ("kind", "name", "offset", "size")

    def __init__(self, name: str, kind: str, offset: int) -> None:
        self.name = name
        self.kind = kind
        self.offset = offset
        self.size = struct.calcsize(FORMATS[kind])

    @property
    def end(self) -> int:
        """The offset just past the field."""
        return self.offset + self.size


def _lay_out(annotations: dict[str, str]) -> tuple[dict[str, Field], str]:
    """Give each annotated field its C offset; return them with the struct format."""
    fields: dict[str, Field] = {}
    at = 0
    text = "="
    for name, kind in annotations.items():
        code = FORMATS[kind]
        size = struct.calcsize(code)
        align = _ALIGN.get(code, size)
        if at % align:
            text += f"{align - at % align}x"
            at += align - at % align
        fields[name] = Field(name, kind, at)
        text += code
        at += size
    return fields, text


def _compile(fields: dict[str, Field], defaults: dict[str, Any], size: int) -> dict[str, Any]:
    """Write `__init__`, `__fill__` and `__values__` for these fields.

    Generated source, because a loop over 43 fields with getattr costs five times as much, and
    a list of programs decodes thousands of these.
    """
    chars = [f.name for f in fields.values() if f.kind == "Name16"]
    strip = "".join(f"\n  s.{n} = s.{n}.partition(b'\\0')[0]" for n in chars)
    targets = ", ".join(f"s.{n}" for n in fields)
    arguments = "".join(f", {n}=d[{n!r}]" for n in fields)
    assign = "".join(f"\n  s.{n} = {n}" for n in fields)
    source = (
        f"def __init__(s, *{arguments}):{assign}\n  s.__told__ = size\n"
        f"def __fill__(s, values, told):\n  ({targets},) = values{strip}\n  s.__told__ = told\n"
        f"def __values__(s):\n  return ({targets},)\n"
    )
    namespace: dict[str, Any] = {"d": defaults, "size": size}
    exec(source, namespace)
    return {name: namespace[name] for name in _METHODS}


_METHODS = ("__init__", "__fill__", "__values__")


class RecordType(type):
    """Turns annotations into slots; offsets and methods are made when a class is first used.

    There are sixty of these classes and a command uses six: compiling them all at import would
    double the start-up time.
    """

    __layout__: dict[str, Field]
    __struct__: struct.Struct
    __size__: int

    def __new__(
        cls, name: str, bases: tuple[type, ...], body: dict[str, Any], size: int = 0
    ) -> RecordType:
        annotations = {k: v for k, v in body.get("__annotations__", {}).items() if v in FORMATS}
        body["__defaults__"] = {n: body.pop(n) for n in annotations if n in body}
        body["__kinds__"] = annotations
        body["__size__"] = size
        body["__slots__"] = (*annotations, "__told__") if annotations else ()
        return super().__new__(cls, name, bases, body)

    def __getattr__(cls, name: str) -> Any:
        if name not in ("__layout__", "__struct__") or not cls.__dict__["__kinds__"]:
            raise AttributeError(name)
        cls.__compile__()
        return cls.__dict__[name]

    def __compile__(cls) -> None:
        """Lay the class out. Raises TypeError where the fields do not fit its size."""
        kinds, size = cls.__dict__["__kinds__"], cls.__size__
        fields, text = _lay_out(kinds)
        end = struct.calcsize(text)
        if end > size:
            raise TypeError(f"{cls.__name__}: fields end at {end}, past its size {size}")
        given = cls.__dict__["__defaults__"]
        defaults = {n: given.get(n, b"" if "s" in FORMATS[k] else 0) for n, k in kinds.items()}
        cls.__layout__ = fields
        cls.__struct__ = struct.Struct(text + f"{size - end}x")
        for name, method in _compile(fields, defaults, size).items():
            setattr(cls, name, method)


@dataclass_transform(kw_only_default=True)
class Record(metaclass=RecordType):
    """The base of every ABI struct; see the module's docstring."""

    __told__: int
    """How many bytes the kernel gave: what lies beyond was not said, which is not zero."""

    # These three stand in until the class is compiled, which puts its own in their place.

    def __init__(self, **values: Any) -> None:
        type(self).__compile__()
        type(self).__init__(self, **values)

    def __fill__(self, values: tuple[Any, ...], told: int) -> None:
        """Take the values of all fields, of which the first `told` bytes were told."""
        type(self).__compile__()
        type(self).__fill__(self, values, told)

    def __values__(self) -> tuple[Any, ...]:
        """The values of all fields, in order."""
        type(self).__compile__()
        return type(self).__values__(self)

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview, told: int | None = None) -> Self:
        """Return the record that `data` holds, of which the first `told` bytes count.

        Shorter data (an older kernel) is padded with zeros, longer data (a newer one) is cut.
        """
        size = cls.__size__
        if told is None or told > len(data):
            told = len(data)
        record = cls.__new__(cls)
        if told < size:
            data = bytes(data[:told]) + bytes(size - told)
        record.__fill__(cls.__struct__.unpack_from(data), min(told, size))
        return record

    def encode(self) -> bytes:
        """Return the bytes of the struct, native byte order, `__size__` long."""
        return type(self).__struct__.pack(*self.__values__())

    def encode_into(self, buffer: bytearray) -> None:
        """Write the struct at the start of `buffer`."""
        type(self).__struct__.pack_into(buffer, 0, *self.__values__())

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__values__() == other.__values__() and self.__told__ == other.__told__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        inner = ", ".join(
            f"{name}={value!r}"
            for name, value in zip(type(self).__layout__, self.__values__(), strict=True)
            if value
        )
        return f"{type(self).__name__}({inner})"


def tells(record: Record, name: str) -> bool:
    """Whether the kernel that filled `record` knows the field `name`.

    The kernel writes as many bytes as it knows and says how many (OBJ_GET_INFO_BY_FD's info_len),
    so a field that ends past them was not told: that is another thing than zero.
    """
    return type(record).__layout__[name].end <= record.__told__
