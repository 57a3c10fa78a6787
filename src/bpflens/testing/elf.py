"""A small loader of what clang compiles for BPF: enough for tests, on any kernel's door.

    found = parse(open("counters.bpf.o", "rb").read())
    loaded = load(calls, found)
    loaded.programs["count"], loaded.maps["flows"]      # fds

It knows maps from BTF (maps inside maps and initial values included), global data, functions in
`.text`, callbacks, functions of the kernel, and line information. It knows no CO-RE relocation:
an object that has one does not parse. ELF relocations: Documentation/bpf/llvm_reloc.rst in Linux.

Reading ELF needs pyelftools: the extra `testing` of bpflens.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from bpflens.abi.enums import MapFlag, MapType
from bpflens.btf import types as t
from bpflens.btf.build import BtfBuilder
from bpflens.btf.ext import BtfExt, parse_ext
from bpflens.btf.parse import Btf
from bpflens.errors import FormatError, Unsupported
from bpflens.insn import opcodes as op
from bpflens.insn.code import SIZE, Insn, decode

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

R_BPF_64_64, R_BPF_64_ABS64, R_BPF_64_32 = 1, 2, 10
SHF_EXECINSTR = 0x4
DATA = (".data", ".rodata", ".bss")


class MapReference(NamedTuple):
    """An instruction that names a map; `offset` is one into its value, or None for the map."""

    insn: int
    map: str
    offset: int | None


class Program(NamedTuple):
    """A program with all functions that it calls, ready but for the fds of its maps."""

    name: str
    section: str
    insns: list[Insn]
    maps: list[MapReference]
    kernel_calls: list[tuple[int, str]]
    """Instructions that call a function of the kernel, and its name."""
    funcs: list[tuple[int, int]]
    lines: list[tuple[int, int, int, int]]


class MapSpec(NamedTuple):
    """A map as the object describes it."""

    name: str
    type: int
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    flags: int = 0
    extra: int = 0
    key_type: int = 0
    value_type: int = 0
    inner: MapSpec | None = None
    initial: tuple[tuple[int, str], ...] = ()
    """Slot → the map or program that is in it from the start."""
    data: bytes = b""
    """The one value of a map of global data."""


class Object(NamedTuple):
    """What an object file holds."""

    btf: bytes
    maps: dict[str, MapSpec]
    programs: dict[str, Program]
    license: str


class _Place(NamedTuple):
    """What a relocation points at: a named symbol, or an offset in a section."""

    name: str
    section: str
    offset: int


class _File:
    """The parts of the ELF file that matter, by section name."""

    def __init__(self, elf: ELFFile) -> None:
        self.sections: dict[str, Any] = {}
        self.symbols: list[Any] = []
        self.relocations: dict[str, dict[int, tuple[int, _Place]]] = {}
        found: list[Any] = list(elf.iter_sections())
        names = [section.name for section in found]
        for section in found:
            self.sections.setdefault(section.name, section)
            if section["sh_type"] == "SHT_SYMTAB":
                self.symbols = list(section.iter_symbols())
        self._names = names
        for section in found:
            if section["sh_type"] == "SHT_REL":
                self.relocations[names[section["sh_info"]]] = {
                    rel["r_offset"]: (rel["r_info_type"], self._place(rel["r_info_sym"]))
                    for rel in section.iter_relocations()
                }

    def _place(self, number: int) -> _Place:
        symbol = self.symbols[number]
        index = symbol["st_shndx"]
        section = self._names[index] if isinstance(index, int) else ""
        return _Place(symbol.name, section, symbol["st_value"])

    def data(self, section: str) -> bytes:
        found = self.sections.get(section)
        return bytes(found.data()) if found is not None else b""

    def functions(self, section: str) -> list[tuple[int, int, str]]:
        """Start, end (in instructions) and name of each function in a section."""
        found = [
            (s["st_value"] // SIZE, (s["st_value"] + s["st_size"]) // SIZE, s.name)
            for s in self.symbols
            if s["st_info"]["type"] == "STT_FUNC"
            and isinstance(s["st_shndx"], int)
            and self._names[s["st_shndx"]] == section
        ]
        return sorted(found)

    def code_sections(self) -> Iterator[str]:
        """Sections that hold programs."""
        for name, section in self.sections.items():
            if section["sh_flags"] & SHF_EXECINSTR and name != ".text" and section.data_size:
                yield name

    def offset(self, section: str, name: str) -> int:
        """Where a variable lies in its section."""
        for symbol in self.symbols:
            index = symbol["st_shndx"]
            if symbol.name == name and isinstance(index, int) and self._names[index] == section:
                return int(symbol["st_value"])
        raise FormatError(f"no symbol for {name} in {section}", 0)


def parse(data: bytes) -> Object:
    """What an object file holds. Raises FormatError; Unsupported without pyelftools."""
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
    except ImportError:
        raise Unsupported("reading ELF needs pyelftools: pip install 'bpflens[testing]'") from None
    try:
        file = _File(ELFFile(io.BytesIO(data)))
    except ELFError as error:
        raise FormatError(f"not an ELF file that can be read: {error}", 0) from error
    if not file.data(".BTF"):
        raise FormatError("the object has no BTF: compile it with -g", 0)
    original = Btf.parse(file.data(".BTF"))
    infos = parse_ext(file.data(".BTF.ext"), original)
    if any(infos.core_relos.values()):
        raise FormatError("the object has CO-RE relocations, which are not known here", 0)
    builder = _complete(original, file)
    linker = _Linker(file, infos, builder)
    programs = {program.name: program for program in linker.programs()}
    btf = builder.build()
    maps = {spec.name: spec for spec in (*_described(Btf.parse(btf), file), *_globals(btf, file))}
    license = file.data("license").partition(b"\0")[0].decode()
    return Object(btf, maps, programs, license)


def _complete(btf: Btf, file: _File) -> BtfBuilder:
    """The object's BTF as the kernel wants it, with the ids unchanged.

    clang leaves the sizes of sections and the places of variables open, and declares functions of
    the kernel as extern, which the kernel does not know (btf_func_check(), btf_datasec_check()).
    """
    builder = BtfBuilder()
    for id in range(1, len(btf)):
        found = btf[id]
        if isinstance(found, t.DataSec) and found.name == ".ksyms":
            builder.add_int("ksyms", 4)
        elif isinstance(found, t.DataSec):
            places = sorted(
                (file.offset(found.name, btf[v.type_id].name), v.type_id, v.size)  # type: ignore[attr-defined]
                for v in found.variables
            )
            size = file.sections[found.name].data_size
            builder.add_datasec(found.name, size, [(id, at, n) for at, id, n in places])
        elif isinstance(found, t.Func) and found.linkage == t.Func.EXTERN:
            builder.add_func(found.name, found.type_id, t.Func.GLOBAL)
        else:
            builder.add(found)
    return builder


class _Linker:
    """Puts functions behind the programs that call them."""

    def __init__(self, file: _File, infos: BtfExt, builder: BtfBuilder) -> None:
        self.file = file
        self.infos = infos
        self.string = builder.string
        self.code = {
            name: decode(file.data(name)) for name in (*file.code_sections(), ".text")
            if name in file.sections
        }  # fmt: skip

    def programs(self) -> Iterator[Program]:
        """Every program: the functions of all sections but `.text`."""
        for section in self.file.code_sections():
            for start, end, name in self.file.functions(section):
                yield self._link(name, section, start, end)

    def _link(self, name: str, section: str, start: int, end: int) -> Program:
        made = Program(name, section, [], [], [], [], [])
        placed: dict[tuple[str, int], int] = {}
        calls: list[tuple[int, tuple[str, int]]] = []
        waiting = [(section, start, end)]
        while waiting:
            where, first, last = waiting.pop(0)
            if (where, first) in placed:
                continue
            placed[where, first] = len(made.insns)
            for target in self._copy(made, where, first, last):
                calls.append(target)
                waiting.append(self._function(*target[1]))
        for at, called in calls:
            made.insns[at] = made.insns[at]._replace(imm=placed[called] - at - 1)
        return made

    def _function(self, section: str, start: int) -> tuple[str, int, int]:
        for first, last, _ in self.file.functions(section):
            if first == start:
                return section, first, last
        raise FormatError(f"no function begins at instruction {start} of {section}", start * SIZE)

    def _copy(
        self, made: Program, section: str, first: int, last: int
    ) -> list[tuple[int, tuple[str, int]]]:
        """Append a function; return its calls: the instruction, and where it leads."""
        base = len(made.insns)
        calls = []
        relocations = self.file.relocations.get(section, {})
        for index in range(first, last):
            insn = self.code[section][index]
            at = base + index - first
            made.insns.append(insn)
            found = relocations.get(index * SIZE)
            is_call = insn.code == op.HELPER_CALL and insn.src == op.PSEUDO_CALL
            if found is None:
                if is_call:
                    calls.append((at, (section, index + insn.imm + 1)))
                continue
            _, to = found
            if is_call and to.section:
                calls.append((at, (to.section, to.offset // SIZE + insn.imm + 1)))
            elif is_call:
                made.kernel_calls.append((at, to.name))
            elif to.section == ".text":
                # the address of a function: bytes from the start of the section
                calls.append((at, (".text", (to.offset + insn.imm) // SIZE)))
                made.insns[at] = insn._replace(src=op.PSEUDO_FUNC)
            elif to.section == ".maps":
                made.maps.append(MapReference(at, to.name, None))
            else:
                made.maps.append(MapReference(at, to.section, to.offset + insn.imm))
        self._add_infos(made, section, first, last, base)
        return calls

    def _add_infos(self, made: Program, section: str, first: int, last: int, base: int) -> None:
        for func in self.infos.func_infos.get(section, ()):
            if func.insn == first:
                made.funcs.append((base, func.type_id))
        for line in self.infos.line_infos.get(section, ()):
            if first <= line.insn < last:
                made.lines.append(
                    (
                        base + line.insn - first,
                        self.string(line.file),
                        self.string(line.text),
                        line.line << 10 | line.column,
                    )
                )


def _globals(btf: bytes, file: _File) -> Iterator[MapSpec]:
    """A map for each section of global data: an array of one value, which is the section."""
    types = Btf.parse(btf)
    for name, section in file.sections.items():
        if not name.startswith(DATA) or not section.data_size:
            continue
        found = types.find(name, t.DataSec)
        constant = name.startswith(".rodata")
        data = bytes(section.data_size) if name.startswith(".bss") else bytes(section.data())
        flags = MapFlag.MMAPABLE | (MapFlag.RDONLY_PROG if constant else 0)
        size = section.data_size
        value_type = found.id if found else 0
        yield MapSpec(
            name, MapType.ARRAY, 4, size, 1, flags, value_type=value_type, data=data
        )  # fmt: skip


def _described(btf: Btf, file: _File) -> Iterator[MapSpec]:
    """The maps of the section `.maps`, from the types of its variables."""
    section = btf.find(".maps", t.DataSec)
    for place in section.variables if section else ():
        variable = btf[place.type_id]
        assert isinstance(variable, t.Var)
        spec, values_at = _map(btf, variable.name, variable.type_id)
        initial = tuple(
            ((offset - place.offset - values_at) // 8, to.name)
            for offset, (_, to) in sorted(file.relocations.get(".maps", {}).items())
            if place.offset <= offset < place.offset + place.size
        )
        yield spec._replace(initial=initial)


def _map(btf: Btf, name: str, type_id: int) -> tuple[MapSpec, int]:
    """A map's description, and where its initial values begin, in bytes."""
    described = _strip(btf, type_id)
    if not isinstance(described, t.Struct):
        raise FormatError(f"map {name} is no struct", 0)
    facts: dict[str, Any] = {}
    values_at = 0
    for member in described.members:
        found = _strip(btf, member.type_id)
        if member.name == "values":
            values_at = member.bit_offset // 8
            target = _strip(btf, found.element)  # type: ignore[attr-defined]
            pointed = _strip(btf, target.to)  # type: ignore[attr-defined]
            if isinstance(pointed, t.Struct):
                facts["inner"] = _map(btf, f"{name}.inner", pointed.id)[0]
            facts["value_size"] = 4
        elif member.name in ("key", "value"):
            to = found.to  # type: ignore[attr-defined]
            facts[f"{member.name}_type"] = to
            facts[f"{member.name}_size"] = btf.sizeof(to)
        else:
            number = _strip(btf, found.to).nelems  # type: ignore[attr-defined]
            facts[_FACTS.get(member.name, member.name)] = number
    if "type" not in facts or not set(facts) <= set(MapSpec._fields):
        raise FormatError(f"map {name} is described by {', '.join(facts)}", 0)
    return MapSpec(name, **facts), values_at


_FACTS = {"map_flags": "flags", "map_extra": "extra"}


def _strip(btf: Btf, type_id: int) -> t.Type:
    """The type behind names and qualifiers."""
    found = btf[type_id]
    while isinstance(found, t.TRANSPARENT):
        found = btf[found.to]
    return found


def read(path: str | os.PathLike[str]) -> Object:
    """`parse` of a file."""
    with open(path, "rb") as file:
        return parse(file.read())
