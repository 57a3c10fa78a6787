"""The sections of an ELF file, of either class and byte order (elf(5))."""

from __future__ import annotations

import struct

from bpflens import limits
from bpflens.btf.types import Record
from bpflens.errors import FormatError, TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Data: TypeAlias = bytes | bytearray | memoryview

MAGIC = b"\x7fELF"
_COMPRESSED = 0x800
"""SHF_COMPRESSED; of sections that are not, the bytes in the file are the content."""
_NULL, _NOBITS = 0, 8


class Section(Record):
    """One section: its header's fields; `file` is the whole file."""

    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    file: memoryview

    def content(self) -> memoryview:
        """What is in it. Raises FormatError."""
        if self.kind in (_NULL, _NOBITS):
            return self.file[:0]
        if self.flags & _COMPRESSED:
            raise FormatError(f"section {self.name} is compressed", self.offset)
        if self.offset + self.size > len(self.file):
            raise FormatError(f"section {self.name} runs past the end", self.offset)
        return self.file[self.offset : self.offset + self.size]


def is_elf(data: Data) -> bool:
    """Whether the bytes are those of an ELF file."""
    return bytes(data[:4]) == MAGIC


def section(data: Data, name: str) -> memoryview | None:
    """The content of the first section of that name; None where there is none.

    Raises FormatError.
    """
    for found in sections(data):
        if found.name == name:
            return found.content()
    return None


def sections(data: Data) -> tuple[Section, ...]:
    """All sections, their content not looked at. Raises FormatError."""
    view = memoryview(data).cast("B")
    if len(view) < 64 or not is_elf(view) or view[4] not in (1, 2) or view[5] not in (1, 2):
        raise FormatError("no ELF file", 0)
    wide, order = view[4] == 2, "<>"[view[5] - 1]
    at = _u(view, order, 40, 8) if wide else _u(view, order, 32, 4)
    size, count, names = struct.unpack_from(order + "3H", view, 58 if wide else 46)
    # e_shoff, e_shentsize; then sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size, sh_link,
    # sh_info
    layout = struct.Struct(order + ("2I4Q2I" if wide else "8I"))
    if not at:
        return ()
    if size < layout.size or at + size > len(view):
        raise FormatError("ELF section headers run past the end", at)
    first = layout.unpack_from(view, at)
    # More sections than 16 bits can count: the first header has the numbers (elf(5), e_shnum).
    count = count or first[5]
    names = first[6] if names == 0xFFFF else names
    if names >= count or at + count * size > len(view):
        raise FormatError("ELF section headers run past the end", at)
    rows = [layout.unpack_from(view, at + index * size) for index in range(count)]

    def made(name: str, row: tuple[int, ...]) -> Section:
        _, kind, flags, _, offset, length, link, info = row
        return Section(name, kind, flags, offset, length, link, info, view)

    strings = made("", rows[names]).content()
    return tuple(made(string(strings, row[0]), row) for row in rows)


def string(strings: memoryview, at: int) -> str:
    """The string at an offset of a string table; "" where there is none."""
    longest = limits.ELF_NAME_BYTES.value
    piece = bytes(strings[at : at + longest + 1])
    end = piece.find(b"\0")
    if end < 0 and len(piece) > longest:
        raise TooLarge(str(limits.ELF_NAME_BYTES), at)
    return piece[:end].decode("utf-8", "surrogateescape")


def _u(view: memoryview, order: str, at: int, size: int) -> int:
    return int.from_bytes(view[at : at + size], "little" if order == "<" else "big")
