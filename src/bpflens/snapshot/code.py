"""The instructions of a loaded program, each with everything that is known of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

from bpflens import limits
from bpflens.abi.enums import ProgType
from bpflens.btf.parse import Btf
from bpflens.btf.types import Func
from bpflens.errors import BpflensError, Denied
from bpflens.insn import opcodes as op
from bpflens.insn.calls import call_of
from bpflens.insn.code import Insn, decode, encode
from bpflens.insn.effects import helper_of
from bpflens.insn.facts import Facts, facts
from bpflens.insn.flow import Flow, flow
from bpflens.insn.helpers import HELPER_IDS
from bpflens.insn.listing import FuncInfo, LineInfo, Row, func_infos, kernel_calls, line_infos, rows
from bpflens.insn.prototype import prototype
from bpflens.model.parts import Missing, Reason, attempt
from bpflens.model.program import Program
from bpflens.snapshot.names import Named, Names
from bpflens.snapshot.records import ErrorRecord, limited

Told = dict[str, Any]


class InsnRecord(NamedTuple):
    """One instruction. `at` is its slot: what jumps and source lines count in."""

    at: int
    text: str
    opcodes: str
    function: str
    prototype: str | None
    source: str | None
    file: str | None
    line: int | None
    column: int | None
    map: Told | None
    """The map that is loaded: id, type, name; of an address in it offset and variable, too."""
    call: Told | None
    """What is called: kind, name, and the symbol where that is another."""
    target: int | None
    """The slot that a jump, a subprogram call or a callback leads to."""
    missing: dict[str, str]
    row: Row


class Code:
    """A program's instructions and what belongs to them, read at once.

    Raises Denied where they are hidden. What else is hidden, as source lines, is in `missing`
    with the reason, and only that is left out.
    """

    def __init__(self, program: Program, names: Names) -> None:
        self.names = names
        told = program.basic()
        self.told = told
        name = attempt(Program.full_name, program)
        self.name = program.name if isinstance(name, Missing) else name
        self.missing: dict[str, str] = {}
        self.xlated = program.xlated()
        if not self.xlated:
            raise Denied(f"the instructions of program {told.id} are not shown", _NEEDS)
        self.insns = decode(self.xlated)
        self.map_ids = self._part(Program.map_ids, program, "maps") or []
        ksyms = attempt(Program.ksyms, program)
        self.ksyms: list[int] | None = None if isinstance(ksyms, Missing) else ksyms
        self.functions: list[FuncInfo] = []
        self.lines: list[LineInfo] = []
        self.jited_lines = b""
        self.types = self._types(program)
        if self.types:
            self.functions = func_infos(self._part(Program.func_info, program, "source") or b"")
            self.lines = line_infos(self._part(Program.line_info, program, "source") or b"")
            addresses = attempt(Program.jited_line_info, program)
            self.jited_lines = b"" if isinstance(addresses, Missing) else addresses
        symbols = program.system.kallsyms()
        if isinstance(symbols, Missing):
            self.missing["symbols"] = str(symbols)
        self._kernel_name = kernel_calls(names.symbol, names.call_base, self.ksyms)

    def _part(self, read: Any, program: Program, key: str) -> Any:
        found = attempt(read, program)
        if isinstance(found, Missing):
            self.missing[key] = str(found)
            return None
        return found

    def _types(self, program: Program) -> Btf | None:
        if not self.told.btf_id:
            self.missing["source"] = str(Missing(Reason.NONE, "loaded without BTF"))
            return None
        types = program.system.btf(self.told.btf_id)
        if isinstance(types, Missing):
            self.missing["source"] = str(types)
            return None
        return types

    @property
    def program(self) -> Named:
        """The program by what a person knows it by."""
        told = self.told
        kind = ProgType(told.type).label
        return {"id": told.id, "type": kind, "name": self.name, "tag": told.tag.hex()}

    # --- functions

    @cached_property
    def flow(self) -> Flow:
        """The flow graph."""
        return flow(self.insns, entries=[info.insn_off for info in self.functions], xlated=True)

    @cached_property
    def entries(self) -> tuple[int, ...]:
        """The first slots of its functions: from BTF, else from what is called."""
        known = tuple(info.insn_off for info in self.functions)
        return known or self.flow.functions or (0,)

    @cached_property
    def _function_names(self) -> list[str]:
        return [self._function_name(number) for number in range(len(self.entries))]

    def _function_name(self, number: int) -> str:
        if self.types and number < len(self.functions):
            try:
                found = self.types[self.functions[number].type_id]
            except BpflensError:
                found = None
            if isinstance(found, Func):
                return found.name
        if self.ksyms and len(self.ksyms) == len(self.entries):
            symbol = self.names.symbol(self.ksyms[number])
            if symbol:
                # bpf_prog_TAG_name (bpf_get_prog_name())
                return "_".join(symbol.split("_")[3:]) or symbol
        return f"function_{number}" if number else self.name or "function_0"

    def number_of(self, at: int) -> int:
        """The number of the function that a slot belongs to."""
        return max(0, bisect_right(self.entries, at) - 1)

    def function(self, at: int) -> str:
        """The name of the function that a slot belongs to."""
        return self._function_names[self.number_of(at)]

    # --- instructions

    def call_name(self, insn: Insn) -> str | None:
        """What a call goes to, also where only the kernel's BTF tells."""
        if insn.src == op.PSEUDO_KFUNC_CALL:
            address = self.names.call_base + insn.imm & (1 << 64) - 1
            return self.names.symbol(address) or self.names.kfunc(insn.imm)
        if insn.src == op.PSEUDO_CALL or self.names.call_base:
            return self._kernel_name(insn)
        return None

    @cached_property
    def facts(self) -> Facts:
        """What the program does."""
        return facts(self.insns, xlated=True, entries=self.entries, call=self.call_name)

    def rows(self, source: bool = True) -> Iterator[Row]:
        """The listing as bpftool has it; without `source`, also its prototypes stay."""
        types = self.types
        return rows(
            self.insns,
            call=self._kernel_name,
            functions=self.functions,
            source=self.lines if source else (),
            prototype=lambda type_id: prototype(types, type_id) if types else "",
            string=lambda offset: types.text(offset) if types else None,
        )

    @property
    def errors(self) -> list[ErrorRecord]:
        """What limits of ours left out of what was asked for so far."""
        cut = dict(self.missing)
        if self.types and self.types.cut:
            cut["source"] = str(Missing(Reason.LIMITED, str(limits.SOURCE_BYTES)))
        if "flow" in vars(self) and self.flow.cut:
            cut["flow"] = str(Missing(Reason.LIMITED, self.flow.cut))
        return limited("program", self.told.id, None, cut)

    def records(self, source: bool = True) -> Iterator[InsnRecord]:
        """A record for each instruction."""
        missing = {key: words for key, words in self.missing.items() if key == "source"}
        for row in self.rows(source):
            told = row.source
            call, target = self._goes(row)
            yield InsnRecord(
                row.at,
                row.text,
                encode(row.slots).hex(),
                self.function(row.at),
                row.proto or None,
                told.text.strip() if told else None,
                told.file if told else None,
                told.line if told else None,
                told.column if told else None,
                self._map(row),
                call,
                target,
                missing,
                row,
            )

    def _goes(self, row: Row) -> tuple[Told | None, int | None]:
        """What an instruction calls, and the slot that it may lead to."""
        insn, at = row.slots[0], row.at
        kind = op.class_of(insn.code)
        if insn.code == op.LD_IMM64 and insn.src == op.PSEUDO_FUNC:
            target = at + 1 + insn.imm
            return {"kind": "callback", "name": self.function(target)}, target
        if kind not in (op.JMP, op.JMP32):
            return None, None
        if op.op_of(insn.code) == op.CALL:
            return self._called(at, insn)
        if insn.code == op.GOTOL:
            return None, at + 1 + insn.imm
        if op.op_of(insn.code) == op.EXIT or insn.code == op.GOTOX:
            return None, None
        return None, at + 1 + insn.off

    def _called(self, at: int, insn: Insn) -> tuple[Told, int | None]:
        made = call_of(at, insn, self.entries, xlated=True, call=self.call_name)
        if made.kind == "subprogram":
            target = made.number or 0
            return {"kind": made.kind, "name": self.function(target)}, target
        told: Told = {"kind": made.kind, "name": made.name or None}
        if made.kind == "helper" and (helper := helper_of(made.name)) in HELPER_IDS:
            told["name"] = f"bpf_{helper}"
            if made.name != told["name"]:
                told["symbol"] = made.name
        return told, None

    def _map(self, row: Row) -> Told | None:
        insn = row.slots[0]
        if insn.code != op.LD_IMM64 or insn.src not in (op.PSEUDO_MAP_FD, op.PSEUDO_MAP_VALUE):
            return None
        id = insn.imm & 0xFFFF_FFFF
        told = dict(self.names.map(id))
        if insn.src == op.PSEUDO_MAP_VALUE and len(row.slots) == 2:
            told["offset"] = row.slots[1].imm & 0xFFFF_FFFF
            told["variable"] = self.names.variable(id, told["offset"])
        return told


_NEEDS = "CAP_BPF or CAP_SYS_ADMIN"
