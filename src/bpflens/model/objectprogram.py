"""The programs of an object file, put together as libbpf does it before it loads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bpflens import limits
from bpflens.btf.ext import BtfExt, parse_ext
from bpflens.btf.objectfile import EXECUTABLE, FUNCTION, PROGBITS, ObjectFile, Relocation, Symbol
from bpflens.btf.parse import Btf
from bpflens.btf.types import Func
from bpflens.errors import FormatError, TooLarge
from bpflens.insn import opcodes as op
from bpflens.insn.code import SIZE, Insn, decode
from bpflens.insn.prototype import prototype

TEXT = ".text"
"""The section of functions that programs call."""

SourceLine = tuple[str, int, int, str]
"""File, line, column, and the text."""


class ObjectProgram(NamedTuple):
    """A program with the functions that it calls behind it."""

    name: str
    section: str
    insns: list[Insn]
    adapted: frozenset[int]
    """Slots that the loader fills in from the running kernel: CO-RE, kernel functions and
    variables. With none of these the tag follows from the file."""
    kfuncs: dict[int, str]
    """Slot of a call to the kernel function of that name."""
    functions: dict[str, str]
    """Name to declaration, from BTF: of the program itself and of what it calls."""
    lines: frozenset[SourceLine]


class _Piece(NamedTuple):
    """A function as it stands in the file."""

    name: str
    section: int
    first: int
    insns: tuple[Insn, ...]


class BpfObject:
    """An object file and its programs. Raises FormatError."""

    def __init__(self, data: bytes) -> None:
        self.file = ObjectFile(data)
        types = self.file.content(".BTF")
        extension = self.file.content(".BTF.ext")
        self.types = Btf.parse(types) if types is not None else None
        self.extension = (
            parse_ext(extension, self.types)
            if self.types is not None and extension is not None
            else BtfExt({}, {}, {})
        )
        self._pieces = list(self._functions())
        self._relocations = {piece.section: self._by_slot(piece.section) for piece in self._pieces}
        self._declared = dict(self._declarations())

    def programs(self) -> Iterator[ObjectProgram]:
        """Every program that a loader would find. Raises FormatError."""
        text = self._section_number(TEXT)
        for piece in self._pieces:
            # prog_is_subprog() of libbpf
            if piece.section != text or len(self._pieces) == 1:
                yield _Linker(self, piece, text).program()

    def _section_number(self, name: str) -> int:
        return next((n for n, s in enumerate(self.file.sections) if s.name == name), -1)

    def _functions(self) -> Iterator[_Piece]:
        for symbol in self.file.symbols():
            section = self.file.sections[symbol.section]
            runs = section.kind == PROGBITS and section.flags & EXECUTABLE
            if symbol.kind != FUNCTION or not runs or not symbol.size:
                continue
            end = symbol.value + symbol.size
            if symbol.value % SIZE or end > section.size:
                raise FormatError(f"function {symbol.name} is not inside its section", 0)
            insns = decode(section.content()[symbol.value : end], self.file.byteorder)
            yield _Piece(symbol.name, symbol.section, symbol.value // SIZE, tuple(insns))

    def _by_slot(self, section: int) -> dict[int, Relocation]:
        return {relo.offset // SIZE: relo for relo in self.file.relocations(section)}

    def _declarations(self) -> Iterator[tuple[str, str]]:
        if self.types is not None:
            for type_id in self.types.ids_of(Func):
                yield self.types.type_name(type_id), prototype(self.types, type_id)

    # --- for the linker

    def relocation(self, piece: _Piece, slot: int) -> Relocation | None:
        """What the instruction at a slot of a function refers to."""
        return self._relocations[piece.section].get(piece.first + slot)

    def function_at(self, section: int, slot: int) -> _Piece:
        """The function that begins there. Raises FormatError."""
        for piece in self._pieces:
            if piece.section == section and piece.first == slot:
                return piece
        raise FormatError(f"a call leads to slot {slot}, where no function begins", 0)

    def is_code(self, symbol: Symbol) -> bool:
        """Whether a symbol is in a section of instructions."""
        return bool(self.file.sections[symbol.section].flags & EXECUTABLE)

    def core_slots(self, piece: _Piece) -> set[int]:
        """The slots of a function that CO-RE may change."""
        name = self.file.sections[piece.section].name
        slots = {relo.insn - piece.first for relo in self.extension.core_relos.get(name, ())}
        return {slot for slot in slots if 0 <= slot < len(piece.insns)}

    def lines(self, piece: _Piece) -> set[SourceLine]:
        """The source lines of a function."""
        name, end = self.file.sections[piece.section].name, piece.first + len(piece.insns)
        return {
            (info.file, info.line, info.column, info.text)
            for info in self.extension.line_infos.get(name, ())
            if piece.first <= info.insn < end
        }

    def declaration(self, name: str) -> str:
        """The declaration of a function; "" where BTF has none."""
        return self._declared.get(name, "")


class _Linker:
    """Puts one program together, as bpf_object__reloc_code() in libbpf does.

    A function that is called comes behind what is there already, followed by what it calls
    itself; maps and global data become pseudo loads whose fd is not known (0).
    """

    def __init__(self, object: BpfObject, main: _Piece, text: int) -> None:
        self.object, self.main, self.text = object, main, text
        self.insns: list[Insn] = []
        self.starts: dict[_Piece, int] = {}
        self.adapted: set[int] = set()
        self.kfuncs: dict[int, str] = {}

    def program(self) -> ObjectProgram:
        self._add(self.main)
        todo = [(self.main, 0)]
        while todo:
            piece, slot = todo.pop()
            while slot < len(piece.insns):
                called = self._relocate(piece, slot)
                slot += 1
                if called is not None:  # what it calls comes before what its caller calls next
                    todo.append((piece, slot))
                    piece, slot = called, 0
        lines: set[SourceLine] = set()
        for piece in self.starts:
            lines |= self.object.lines(piece)
        return ObjectProgram(
            self.main.name,
            self.object.file.sections[self.main.section].name,
            self.insns,
            frozenset(self.adapted),
            self.kfuncs,
            {piece.name: self.object.declaration(piece.name) for piece in self.starts},
            frozenset(lines),
        )

    def _add(self, piece: _Piece) -> None:
        start = self.starts[piece] = len(self.insns)
        self.insns += piece.insns
        if len(self.insns) > limits.OBJECT_INSNS.value:
            raise TooLarge(f"program {self.main.name}: {limits.OBJECT_INSNS}", 0)
        self.adapted |= {start + slot for slot in self.object.core_slots(piece)}

    def _relocate(self, piece: _Piece, slot: int) -> _Piece | None:
        """Adapt one instruction; the function that it calls, if that was not there before."""
        at = self.starts[piece] + slot
        insn = self.insns[at]
        relo = self.object.relocation(piece, slot)
        calls = insn.code == op.HELPER_CALL and insn.src == op.PSEUDO_CALL
        if relo is None:
            if not calls:
                return None
            return self._call(at, piece.section, piece.first + slot + insn.imm + 1)
        if calls and relo.symbol.section:
            return self._call(at, self.text, relo.symbol.value // SIZE + insn.imm + 1)
        if insn.code == op.HELPER_CALL:
            # bpf_program__record_reloc(): a call of what is not in the file is one of the kernel
            self.insns[at] = insn._replace(src=op.PSEUDO_KFUNC_CALL, imm=0)
            self.adapted.add(at)
            self.kfuncs[at] = relo.symbol.name
            return None
        if insn.code != op.LD_IMM64 or at + 1 >= len(self.insns):
            raise FormatError(f"relocation of slot {at}, which takes none", 0)
        if relo.symbol.section and self.object.is_code(relo.symbol):
            self.insns[at] = insn._replace(src=op.PSEUDO_FUNC)
            return self._call(at, self.text, (relo.symbol.value + insn.imm) // SIZE)
        self._load(at, insn, relo)
        return None

    def _call(self, at: int, section: int, slot: int) -> _Piece | None:
        called = self.object.function_at(section, slot)
        new = called not in self.starts
        if new:
            self._add(called)
        self.insns[at] = self.insns[at]._replace(imm=self.starts[called] - at - 1)
        return called if new else None

    def _load(self, at: int, insn: Insn, relo: Relocation) -> None:
        section = self.object.file.sections[relo.symbol.section].name
        second = self.insns[at + 1]
        if not relo.symbol.section:
            # an extern: of the kernel, or of its configuration, which is a map
            self.adapted |= {at, at + 1}
        elif section in (".maps", "maps"):
            self.insns[at] = insn._replace(src=op.PSEUDO_MAP_FD, imm=0)
        else:
            self.insns[at] = insn._replace(src=op.PSEUDO_MAP_VALUE, imm=0)
            self.insns[at + 1] = second._replace(imm=0)
