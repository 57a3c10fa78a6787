"""The machine code of a program, disassembled by capstone (an extra), with its source lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bpflens.errors import Unsupported
from bpflens.insn.listing import Source
from bpflens.model.program import Jited, Program
from bpflens.model.system import System
from bpflens.snapshot.code import Code

ARCH = "/proc/sys/kernel/arch"
"""The kernel's word for its architecture. Since: 6.1."""

KNOWN = {"x86_64": "x86-64", "aarch64": "arm64"}
"""The kernel's word for it, and ours."""


class MachineRecord(NamedTuple):
    """One machine instruction; `at` counts bytes from the start of its function."""

    at: int
    address: int
    text: str
    opcodes: str
    function: str
    prototype: str | None
    source: str | None
    file: str | None
    line: int | None
    column: int | None
    call: str | None
    """The symbol of what is called."""
    missing: dict[str, str]
    symbol: str
    told: Source | None


class Piece(NamedTuple):
    """One instruction as a disassembler tells it; `target` is the address that it calls."""

    address: int
    data: bytes
    text: str
    target: int | None


Disassembler = Callable[[bytes, int], Iterator[Piece]]
"""From code and the address of its first byte."""


def architecture(system: System) -> str:
    """The machine that a kernel runs on. Raises Unsupported."""
    try:
        word = system.host.read(ARCH).decode(errors="surrogateescape").strip()
    except OSError as error:
        raise Unsupported(
            f"this kernel does not tell its architecture ({ARCH}): give --arch"
        ) from error
    if word not in KNOWN:
        raise Unsupported(f"bpflens does not disassemble the machine code of {word}")
    return KNOWN[word]


def disassembler(arch: str) -> Disassembler:
    """capstone for an architecture. Raises Unsupported where it is not installed."""
    try:
        import capstone
    except ImportError as error:
        raise Unsupported(
            "machine code is shown as bytes: to disassemble it takes capstone "
            "(pip install 'bpflens[jit]')"
        ) from error
    if arch == "x86-64":
        engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        # what bpftool's disassemblers print
        engine.syntax = capstone.CS_OPT_SYNTAX_ATT
        return lambda code, address: _pieces(engine, code, address, 1, _x86_target)
    engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    return lambda code, address: _pieces(engine, code, address, 4, _Arm64Target())


def _pieces(
    engine: Any, code: bytes, address: int, step: int, target: Callable[[str, str], int | None]
) -> Iterator[Piece]:
    at = 0
    while at < len(code):
        for place, size, name, operands in engine.disasm_lite(code[at:], address + at):
            data = code[place - address : place - address + size]
            yield Piece(place, data, f"{name} {operands}".rstrip(), target(name, operands))
            at = place - address + size
        if at < len(code):  # no instruction that capstone knows
            data = code[at : at + step]
            yield Piece(address + at, data, f".byte 0x{data.hex()}", None)
            at += step


def _x86_target(name: str, operands: str) -> int | None:
    if name in ("call", "callq", "jmp") and operands.startswith("0x"):
        return int(operands, 16)
    return None


class _Arm64Target:
    """The target of `bl`, or of `blr` through a register that was put together just before.

    The JIT makes an address of up to four moves (emit_a64_mov_i64() in bpf_jit_comp.c).
    """

    MOVE = re.compile(r"(x\d+), #(-?(?:0x)?[0-9a-f]+)(?:, lsl #(\d+))?$")

    def __init__(self) -> None:
        self.held: dict[str, int] = {}

    def __call__(self, name: str, operands: str) -> int | None:
        if name == "bl" and operands.startswith("#"):
            return int(operands[1:], 0)
        if name == "blr":
            return self.held.get(operands)
        found = self.MOVE.match(operands) if name in ("mov", "movz", "movn", "movk") else None
        if found is None:
            self.held.pop(operands.partition(",")[0], None)
            return None
        register, value = found[1], int(found[2], 0) << int(found[3] or 0)
        if name == "movk":
            shift = int(found[3] or 0)
            value |= self.held.get(register, 0) & ~(0xFFFF << shift)
        elif name == "movn":
            value = ~value
        self.held[register] = value & (1 << 64) - 1
        return None


def records(
    program: Program, code: Code, disassemble: Disassembler, source: bool = True
) -> Iterator[MachineRecord]:
    """A record for each machine instruction. Raises Unsupported for an interpreted program."""
    jited = machine_code(program)
    lines = dict(_lines(code)) if source else {}
    protos = [row.proto for row in code.rows() if row.proto]
    missing = {key: words for key, words in code.missing.items() if key == "source"}
    start = 0
    for number, length in enumerate(jited.func_lens):
        # An address that is hidden is 0: then calls lead nowhere that has a name.
        base = jited.ksyms[number] if number < len(jited.ksyms) else 0
        symbol = code.names.symbol(base) or f"{base:#x}"
        name = code.function(code.entries[number]) if number < len(code.entries) else symbol
        for piece in disassemble(jited.code[start : start + length], base):
            told = lines.get(piece.address)
            at = piece.address - base
            yield MachineRecord(
                at,
                piece.address,
                piece.text,
                piece.data.hex(),
                name,
                protos[number] if at == 0 and number < len(protos) else None,
                told.text.strip() if told else None,
                told.file if told else None,
                told.line if told else None,
                told.column if told else None,
                code.names.symbol(piece.target) if piece.target is not None else None,
                missing,
                symbol,
                told,
            )
        start += length


def machine_code(program: Program) -> Jited:
    """The machine code. Raises Unsupported for an interpreted program, Denied."""
    jited = program.jited()
    if not jited.code:
        raise Unsupported(f"program {program.id} is interpreted: there is no machine code")
    lengths = jited.func_lens or [len(jited.code)]
    return jited._replace(func_lens=lengths)


def _lines(code: Code) -> Iterator[tuple[int, Source]]:
    """The source line that begins at each address."""
    if code.types is None:
        return
    addresses = memoryview(code.jited_lines).cast("Q") if code.jited_lines else ()
    for address, info in zip(addresses, code.lines, strict=False):
        text, file = code.types.text(info.line_off), code.types.text(info.file_name_off)
        yield address, Source(text, file, info.line, info.column)
