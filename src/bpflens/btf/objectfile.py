"""An ELF object as a loader of BPF programs reads it: sections, symbols, relocations.

64-bit, of either byte order, as compilers write it (elf(5), and the supplement for BPF in
Documentation/bpf/llvm_reloc.rst). Whatever bytes come in: an object, or FormatError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from bpflens.btf.elf import sections, string
from bpflens.errors import FormatError

Data = bytes | bytearray | memoryview

EM_NONE, EM_BPF = 0, 247
RELOCATABLE = 1
"""e_type of an object file."""
PROGBITS, SYMTAB, REL = 1, 2, 9
"""Kinds of sections."""
EXECUTABLE = 0x4
"""A section's flag."""
FUNCTION, SECTION_SYMBOL = 2, 3
"""Kinds of symbols."""


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
        self.sections = sections(view)
        if view[4] != 2:
            raise FormatError("no 64-bit ELF file", 4)
        self.byteorder = "little" if view[5] == 1 else "big"
        self._order = "<>"[view[5] - 1]
        kind, machine = struct.unpack_from(self._order + "2H", view, 16)
        if kind != RELOCATABLE or machine not in (EM_NONE, EM_BPF):
            raise FormatError("no object file of BPF programs", 16)
        self._symbols: dict[int, tuple[Symbol, ...]] = {}

    def content(self, name: str) -> memoryview | None:
        """What is in the first section of that name."""
        found = next((each for each in self.sections if each.name == name), None)
        return found.content() if found is not None else None

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
        strings = self.sections[table.link].content()
        data = table.content()
        layout = struct.Struct(self._order + "IBBHQQ")
        whole = len(data) // layout.size * layout.size
        for name, kind, _, section, value, size in layout.iter_unpack(data[:whole]):
            where = section if section < len(self.sections) else 0
            words = string(strings, name)
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
            data = section.content()
            whole = len(data) // layout.size * layout.size
            for offset, info in layout.iter_unpack(data[:whole]):
                if info >> 32 >= len(symbols):
                    raise FormatError(f"relocation to symbol {info >> 32}, which is not there", 0)
                yield Relocation(offset, info & 0xFFFF_FFFF, symbols[info >> 32])
