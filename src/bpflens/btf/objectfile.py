"""An ELF object as a loader of BPF programs reads it: sections, symbols, relocations.

64-bit, of either byte order, as compilers write it (elf(5), and the supplement for BPF in
Documentation/bpf/llvm_reloc.rst). Whatever bytes come in: an object, or FormatError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from bpflens.errors import FormatError

Data = bytes | bytearray | memoryview

EM_NONE, EM_BPF = 0, 247
PROGBITS, SYMTAB, NOBITS, REL = 1, 2, 8, 9
EXECUTABLE, COMPRESSED = 0x4, 0x800
"""Section flags."""
FUNCTION, SECTION_SYMBOL = 2, 3
"""Kinds of symbols."""
MAX_NAME = 4096


class Section(NamedTuple):
    """One section; of REL, `link` is the symbol table and `info` the section it is about."""

    name: str
    kind: int
    flags: int
    data: memoryview
    link: int
    info: int


class Symbol(NamedTuple):
    """One symbol; `section` is an index, 0 for what is elsewhere."""

    name: str
    kind: int
    section: int
    value: int
    size: int


class Relocation(NamedTuple):
    """The place at `offset` of a section refers to a symbol."""

    offset: int
    kind: int
    symbol: Symbol


class ObjectFile:
    """The content of an object. Raises FormatError."""

    byteorder: Literal["little", "big"]

    def __init__(self, data: Data) -> None:
        view = memoryview(data).cast("B")
        if len(view) < 64 or bytes(view[:4]) != b"\x7fELF":
            raise FormatError("no ELF file", 0)
        if view[4] != 2 or view[5] not in (1, 2):
            raise FormatError("no 64-bit ELF file", 4)
        self.byteorder = "little" if view[5] == 1 else "big"
        self._order = "<>"[view[5] - 1]
        kind, machine = struct.unpack_from(self._order + "2H", view, 16)
        if kind != 1 or machine not in (EM_NONE, EM_BPF):
            raise FormatError("no object file of BPF programs", 16)
        self.sections = self._sections(view)
        self._symbols: dict[int, tuple[Symbol, ...]] = {}

    def _sections(self, view: memoryview) -> tuple[Section, ...]:
        (at,) = struct.unpack_from(self._order + "Q", view, 40)
        size, count, names = struct.unpack_from(self._order + "3H", view, 58)
        header = struct.Struct(self._order + "2I4Q2I2Q")
        if size < header.size or not count or at + count * size > len(view) or names >= count:
            raise FormatError("ELF section headers make no sense", 40)
        rows = [header.unpack_from(view, at + number * size) for number in range(count)]
        found = []
        for number, (_, kind, flags, _, offset, length, link, info, _, _) in enumerate(rows):
            empty = kind in (0, NOBITS)
            if not empty and offset + length > len(view):
                raise FormatError(f"section {number} runs past the end", at + number * size + 24)
            content = view[:0] if empty else view[offset : offset + length]
            found.append(Section("", kind, flags, content, link, info))
        strings = found[names].data
        return tuple(
            section._replace(name=_string(strings, row[0]))
            for section, row in zip(found, rows, strict=True)
        )

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def content(self, name: str) -> memoryview | None:
        """What is in the first section of that name."""
        found = self.section(name)
        if found is not None and found.flags & COMPRESSED:
            raise FormatError(f"section {name} is compressed", 0)
        return found.data if found is not None else None

    def symbols(self) -> tuple[Symbol, ...]:
        """All symbols."""
        for index, section in enumerate(self.sections):
            if section.kind == SYMTAB:
                return self._table(index)
        return ()

    def _table(self, index: int) -> tuple[Symbol, ...]:
        if index not in self._symbols:
            self._symbols[index] = tuple(self._read_table(index))
        return self._symbols[index]

    def _read_table(self, index: int) -> Iterator[Symbol]:
        if index >= len(self.sections) or self.sections[index].kind != SYMTAB:
            raise FormatError(f"section {index} is no symbol table", 0)
        table = self.sections[index]
        if table.link >= len(self.sections):
            raise FormatError("a symbol table without names", 0)
        strings = self.sections[table.link].data
        layout = struct.Struct(self._order + "IBBHQQ")
        whole = len(table.data) // layout.size * layout.size
        for name, kind, _, section, value, size in layout.iter_unpack(table.data[:whole]):
            where = section if section < len(self.sections) else 0
            words = _string(strings, name)
            if kind & 15 == SECTION_SYMBOL:
                words = self.sections[where].name
            yield Symbol(words, kind & 15, where, value, size)

    def relocations(self, index: int) -> Iterator[Relocation]:
        """What the section with this index refers to."""
        layout = struct.Struct(self._order + "QQ")
        for section in self.sections:
            if section.kind != REL or section.info != index:
                continue
            symbols = self._table(section.link)
            whole = len(section.data) // layout.size * layout.size
            for offset, info in layout.iter_unpack(section.data[:whole]):
                if info >> 32 >= len(symbols):
                    raise FormatError(f"relocation to symbol {info >> 32}, which is not there", 0)
                yield Relocation(offset, info & 0xFFFF_FFFF, symbols[info >> 32])


def _string(strings: memoryview, at: int) -> str:
    if at >= len(strings):
        if at == 0:
            return ""
        raise FormatError(f"no name at {at}", 0)
    piece = bytes(strings[at : at + MAX_NAME])
    return piece[: piece.find(b"\0")].decode("utf-8", "backslashreplace")
