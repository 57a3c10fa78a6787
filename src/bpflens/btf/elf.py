"""The sections of an ELF file, as far as BTF needs them: of either class and byte order."""

from __future__ import annotations

import struct

from bpflens.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Data: TypeAlias = bytes | bytearray | memoryview

MAGIC = b"\x7fELF"
_COMPRESSED = 0x800
"""SHF_COMPRESSED; of sections that are not, the bytes in the file are the content."""
_NOBITS = 8


def is_elf(data: Data) -> bool:
    """Whether the bytes are those of an ELF file."""
    return bytes(data[:4]) == MAGIC


def section(data: Data, name: str) -> memoryview | None:
    """The content of the first section of that name; None where there is none.

    Raises FormatError.
    """
    view = memoryview(data).cast("B")
    if len(view) < 64 or not is_elf(view) or view[4] not in (1, 2) or view[5] not in (1, 2):
        raise FormatError("no ELF file", 0)
    wide, order = view[4] == 2, "<>"[view[5] - 1]
    at = _u(view, order, 40, 8) if wide else _u(view, order, 32, 4)
    size, count, names = struct.unpack_from(order + "3H", view, 58 if wide else 46)
    # e_shoff, e_shentsize; then sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size, sh_link
    layout = struct.Struct(order + ("2I4QI" if wide else "7I"))
    if not at:
        return None
    if size < layout.size or at + size > len(view):
        raise FormatError("ELF section headers run past the end", at)
    first = layout.unpack_from(view, at)
    # More sections than 16 bits can count: the first header has the numbers (elf(5), e_shnum).
    count = count or first[5]
    names = first[6] if names == 0xFFFF else names
    if names >= count or at + count * size > len(view):
        raise FormatError("ELF section headers run past the end", at)
    headers = [layout.unpack_from(view, at + index * size) for index in range(count)]
    wanted = name.encode() + b"\0"
    strings = _content(view, headers[names], at)
    for header in headers:
        if bytes(strings[header[0] : header[0] + len(wanted)]) == wanted:
            return _content(view, header, at)
    return None


def _content(view: memoryview, header: tuple[int, ...], at: int) -> memoryview:
    _, kind, flags, _, offset, size, _ = header
    if kind == _NOBITS:
        return view[:0]
    if flags & _COMPRESSED:
        raise FormatError("the section is compressed", at)
    if offset + size > len(view):
        raise FormatError("ELF section runs past the end", at)
    return view[offset : offset + size]


def _u(view: memoryview, order: str, at: int, size: int) -> int:
    return int.from_bytes(view[at : at + size], "little" if order == "<" else "big")
