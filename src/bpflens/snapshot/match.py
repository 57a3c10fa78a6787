"""Which loaded programs come from an object file, and by what one can tell."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from bpflens import limits
from bpflens.btf.types import Func
from bpflens.errors import BpflensError, Denied, NotFound
from bpflens.insn import opcodes as op
from bpflens.insn.code import Insn, encode, steps
from bpflens.insn.effects import helper_of
from bpflens.insn.helpers import HELPERS
from bpflens.insn.prototype import prototype
from bpflens.insn.tag import tag
from bpflens.model.objectprogram import ObjectProgram, SourceLine
from bpflens.model.parts import Missing, Reason
from bpflens.model.program import NAME_MAX, Program
from bpflens.model.system import System
from bpflens.snapshot.code import Code
from bpflens.snapshot.names import Names
from bpflens.snapshot.records import ErrorRecord

ENOUGH = 0.8
"""The share of a loaded program's instructions that must be those of the file, in order. The
verifier writes some anew (context accesses, inlined helpers) and removes what is never reached,
so that 1 is rare; programs of the same name from other sources have far less."""

Key = tuple[object, ...]
"""What stays of an instruction when it is loaded."""


class MatchRecord(NamedTuple):
    """A loaded program that comes from a program of the file.

    `by` says how one can tell: tag (the instructions as submitted are the same), BTF (its
    functions and all its source lines are in the file), instructions (most are the same in the
    same order). The counts are of the loaded program; a tag needs none.
    """

    id: int
    type: str
    name: str
    tag: str
    program: str
    section: str
    by: list[str]
    lines: int | None
    lines_same: int | None
    insns: int | None
    insns_same: int | None
    missing: dict[str, str]


class Matcher:
    """Compares the programs of a file with loaded ones."""

    def __init__(self, system: System, programs: list[ObjectProgram]) -> None:
        self.system = system
        self.names = Names(system)
        self.programs = programs
        self.errors: list[ErrorRecord] = []
        self._tags = {program.name: set(self._tags_of(program)) for program in programs}

    def _tags_of(self, program: ObjectProgram) -> Iterator[str]:
        """The tags that the program may have, by the hash of Linux up to 6.17 and of 6.18 on."""
        code = encode(self._with_kfuncs(program))
        yield tag(code, "sha256").hex()
        yield tag(code, "sha1").hex()

    def _with_kfuncs(self, program: ObjectProgram) -> list[Insn]:
        """The instructions with the running kernel's type IDs in its calls of kernel functions."""
        if not program.kfuncs:
            return program.insns
        types = self.system.kernel_types()
        insns = list(program.insns)
        for slot, name in program.kfuncs.items():
            found = None if isinstance(types, Missing) else types.find(name, Func)
            if found is not None:
                insns[slot] = insns[slot]._replace(imm=found.id)
        return insns

    def records(self) -> Iterator[MatchRecord]:
        """A record for each loaded program that comes from the file."""
        for loaded in self.system.programs():
            with loaded:
                try:
                    yield from surest([*self._matches(loaded)])
                except NotFound:
                    continue
                except (BpflensError, OSError) as error:
                    self.errors.append(ErrorRecord("program", loaded.id, None, str(error)))

    def _matches(self, loaded: Program) -> Iterator[MatchRecord]:
        code: Code | None = None
        reason = ""
        for program in self.programs:
            by_tag = loaded.tag in self._tags[program.name]
            by_name = loaded.name == program.name[:NAME_MAX]
            if not by_tag and not by_name:
                continue
            if code is None and not reason:
                try:
                    code = Code(loaded, self.names)
                except Denied as error:
                    reason = f"restricted: {error}"
            record = self._compare(loaded, program, by_tag, code, reason)
            if record is not None:
                yield record

    def _compare(
        self, loaded: Program, program: ObjectProgram, by_tag: bool, code: Code | None, reason: str
    ) -> MatchRecord | None:
        by = ["tag"] if by_tag else []
        missing: dict[str, str] = {}
        lines = lines_same = insns = insns_same = None
        if code is None:
            missing.update(dict.fromkeys(("lines", "lines_same", "insns", "insns_same"), reason))
        else:
            told = source_lines(code)
            if told:
                lines, lines_same = len(told), len(told & program.lines)
                if lines_same == lines and declarations(code).items() <= program.functions.items():
                    by.append("BTF")
            else:
                why = code.missing.get("source", "none: no source lines in its BTF")
                missing.update(dict.fromkeys(("lines", "lines_same"), why))
            left, right = keys(program.insns, program), loaded_keys(code)
            insns, insns_same = len(right), in_order(left, right)
            if insns_same is None:
                missing["insns_same"] = str(Missing(Reason.LIMITED, str(limits.PAIRS)))
                where = f"{program.section} {program.name}"
                self.errors.append(ErrorRecord("program", loaded.id, where, missing["insns_same"]))
            elif insns_same >= ENOUGH * insns:
                by.append("instructions")
        if not by:
            return None
        basic = loaded.basic()
        name = code.program if code else {"type": str(basic.type), "name": loaded.name}
        return MatchRecord(
            basic.id,
            name["type"],
            name["name"],
            loaded.tag,
            program.name,
            program.section,
            by,
            lines,
            lines_same,
            insns,
            insns_same,
            missing,
        )


def surest(found: list[MatchRecord]) -> Iterator[MatchRecord]:
    """Without programs of the file of which less speaks than of another, as its twin in a copy."""
    for record in found:
        if not any(set(record.by) < set(other.by) for other in found):
            yield record


def source_lines(code: Code) -> set[SourceLine]:
    """The source lines of a loaded program."""
    types = code.types
    if types is None:
        return set()
    return {
        (types.text(info.file_name_off), info.line, info.column, types.text(info.line_off))
        for info in code.lines
    }


def declarations(code: Code) -> dict[str, str]:
    """The functions of a loaded program by name."""
    if code.types is None:
        return {}
    return {
        code.types.type_name(info.type_id): prototype(code.types, info.type_id)
        for info in code.functions
    }


def keys(insns: list[Insn], program: ObjectProgram) -> list[Key]:
    """What must be the same in a program that was made of these instructions."""
    found: list[Key] = []
    for at, insn, wide in steps(insns):
        if insn.code == op.HELPER_CALL:
            if insn.src == 0:
                found.append(("call", HELPERS.get(insn.imm)))
            else:
                found.append(("call", program.kfuncs.get(at, "") or insn.src))
        else:
            found.append(_adapted_key(insn) if at in program.adapted else _key(insn, wide))
    return found


def loaded_keys(code: Code) -> list[tuple[Key, ...]]:
    """The same of a program as the kernel tells it: what each instruction may have been."""
    found: list[tuple[Key, ...]] = []
    for _, insn, wide in steps(code.insns):
        if insn.code == op.HELPER_CALL:
            name = code.call_name(insn) or ""
            if insn.src == op.PSEUDO_CALL:
                found.append((("call", insn.src),))
            elif insn.src:
                found.append((("call", name),))
            else:
                known = HELPERS.get(insn.imm) or helper_of(name)
                found.append((("call", known),))
        else:
            found.append((_key(insn, wide), _adapted_key(insn)))
    return found


def _adapted_key(insn: Insn) -> Key:
    """What the loader leaves as it is where CO-RE adapts an instruction: what it does, and with
    which registers (bpf_core_patch_insn() in libbpf's relo_core.c)."""
    kind = op.class_of(insn.code)
    accesses = kind in (op.LDX, op.ST, op.STX)  # the size of a member may be adapted, too
    # What the instruction loads becomes the address of a kernel's variable by its `src`.
    src = 0 if insn.code == op.LD_IMM64 else insn.src
    return ("adapted", kind if accesses else insn.code, insn.dst, src)


def _key(insn: Insn, wide: int | None) -> Key:
    """Without maps, and without the distances of jumps, which change when code is patched."""
    code, dst, src, off, imm = insn
    if code == op.LD_IMM64:
        return (code, dst, src) if src else (code, dst, wide)
    if op.class_of(code) in (op.JMP, op.JMP32):
        return (code, dst, src, imm)
    if op.class_of(code) in (op.LDX, op.ST, op.STX):
        return (op.class_of(code), dst, src, off, imm)  # a context access is rewritten
    return (code, dst, src, off, imm)


def in_order(left: list[Key], right: list[tuple[Key, ...]]) -> int | None:
    """How many of `right`, each by any of its keys, stand in `left` in the same order; None where
    that takes too long.

    The longest common subsequence (Hunt and Szymanski, 1977).
    """
    places: dict[Key, list[int]] = {}
    for at, key in enumerate(left):
        places.setdefault(key, []).append(at)
    pairs = sum(len(places.get(key, ())) for keys in right for key in keys)
    if pairs > limits.PAIRS.value:
        return None
    ends: list[int] = []
    for keys in right:
        for at in sorted((at for key in keys for at in places.get(key, ())), reverse=True):
            place = bisect_left(ends, at)
            if place == len(ends):
                ends.append(at)
            else:
                ends[place] = at
    return len(ends)
