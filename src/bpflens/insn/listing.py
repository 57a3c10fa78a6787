"""A whole program as bpftool lists it: prototypes, source lines, numbered instructions.

`rows` puts the facts together once; `lines` prints them as `bpftool prog dump xlated` does, and
`as_data` gives what bpftool's JSON has.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct
from typing import Any, NamedTuple

from bpflens.errors import FormatError
from bpflens.insn import opcodes as op
from bpflens.insn.code import Insn, encode, steps
from bpflens.insn.text import CallName, ImmName, map_imm, text


class FuncInfo(NamedTuple):
    """`struct bpf_func_info`: the function that starts at slot `insn_off`."""

    insn_off: int
    type_id: int


class LineInfo(NamedTuple):
    """`struct bpf_line_info`: the source of the slots from `insn_off` on; names are BTF offsets."""

    insn_off: int
    file_name_off: int
    line_off: int
    line_col: int

    @property
    def line(self) -> int:
        """The line number (BPF_LINE_INFO_LINE_NUM)."""
        return self.line_col >> 10

    @property
    def column(self) -> int:
        """The column (BPF_LINE_INFO_LINE_COL)."""
        return self.line_col & 0x3FF


class Source(NamedTuple):
    """A source line; `text` is as stored, "" where the compiler gave none."""

    text: str
    file: str
    line: int
    column: int


class Row(NamedTuple):
    """One instruction and what belongs above it; `slots` are its one or two records."""

    at: int
    text: str
    slots: tuple[Insn, ...]
    proto: str = ""
    source: Source | None = None


C_BLANKS = " \t\n\v\f\r"
"""isspace() of the C locale; a bare str.lstrip() would take more."""

_FUNC_INFO, _LINE_INFO = Struct("<II"), Struct("<IIII")


def func_infos(data: bytes, rec_size: int = _FUNC_INFO.size) -> list[FuncInfo]:
    """The records in `data`, little-endian, `rec_size` bytes each. Raises FormatError."""
    return [FuncInfo(*fields) for fields in _records(data, rec_size, _FUNC_INFO)]


def line_infos(data: bytes, rec_size: int = _LINE_INFO.size) -> list[LineInfo]:
    """The records in `data`, little-endian, `rec_size` bytes each. Raises FormatError."""
    return [LineInfo(*fields) for fields in _records(data, rec_size, _LINE_INFO)]


def _records(data: bytes, rec_size: int, layout: Struct) -> Iterator[tuple[int, ...]]:
    if rec_size < layout.size or len(data) % rec_size:
        raise FormatError(f"{len(data)} bytes are no records of {rec_size} bytes", 0)
    for start in range(0, len(data), rec_size):
        yield layout.unpack_from(data, start)


def kernel_calls(
    symbol: Callable[[int], str | None], call_base: int, jited_ksyms: Sequence[int] | None = ()
) -> CallName:
    """Names for the calls of an xlated program, as bpftool finds them (print_call()).

    `symbol` gives the name at a kernel address, and `call_base` is that of __bpf_call_base: the
    verifier leaves a helper's distance from it in imm. `jited_ksyms` are the addresses of the
    program's functions, none for an interpreted one, or None where they are restricted.
    """

    def name(insn: Insn) -> str:
        address = (call_base + insn.imm) & 0xFFFF_FFFF_FFFF_FFFF
        if insn.src != op.PSEUDO_CALL:
            return symbol(address) or f"{address:#x}"
        if jited_ksyms is not None and not jited_ksyms:
            return f"{insn.off:+d}"
        if jited_ksyms and 0 <= insn.imm < len(jited_ksyms):
            address = jited_ksyms[insn.imm]
        return f"{insn.off:+d}#{symbol(address) or f'{address:#x}'}"

    return name


def rows(
    insns: Sequence[Insn],
    *,
    call: CallName | None = None,
    imm: ImmName = map_imm,
    functions: Iterable[FuncInfo] = (),
    source: Sequence[LineInfo] = (),
    prototype: Callable[[int], str] = lambda type_id: "",
    string: Callable[[int], str | None] = lambda offset: None,
) -> Iterator[Row]:
    """The instructions with what belongs to each.

    `prototype` makes a declaration of a function's BTF id and `string` a text of an offset into
    the BTF's strings; both are asked only for what is shown, and what they raise goes through.
    """
    pending = iter(functions)
    function = next(pending, None)
    starts = [line.insn_off for line in source]
    used = 0
    for at, insn, wide in steps(insns):
        proto, above = "", None
        if function is not None and function.insn_off == at:
            proto = prototype(function.type_id)
            function = next(pending, None)
        # bpf_prog_linfo__lfind() of libbpf: the last record not after this slot, of those after
        # as many as were shown.
        if used < len(starts) and starts[used] <= at:
            above = _source(source[bisect_right(starts, at, lo=used) - 1], string)
            used += 1
        slots = (insn,) if wide is None else (insn, insns[at + 1])
        yield Row(at, text(insn, wide, call=call, imm=imm), slots, proto, above)


def _source(info: LineInfo, string: Callable[[int], str | None]) -> Source | None:
    line = string(info.line_off)
    if line is None:
        return None
    return Source(line, string(info.file_name_off) or "", info.line, info.column)


def lines(
    rows: Iterable[Row],
    *,
    opcodes: bool = False,
    linum: bool = False,
    note: Callable[[Row], str] | None = None,
) -> Iterator[str]:
    """The rows as `bpftool prog dump xlated [opcodes] [linum]` prints them, without line ends.

    What `note` says of a row stands behind its instruction.
    """
    for row in rows:
        if row.proto:
            yield f"{row.proto}:"
        if row.source is not None:
            yield source_line(row.source, linum=linum)
        words = note(row) if note is not None else ""
        yield f"{row.at: 4d}: {row.text}" + (f"  // {words}" if words else "")
        if opcodes:
            yield f"       {encode(row.slots).hex(' ')}"


def source_line(source: Source, *, linum: bool = False) -> str:
    """A source line as bpftool prints it (btf_dump_linfo_plain())."""
    text, file, line, column = source
    where = f" [file:{file} line_num:{line} line_col:{column}]" if linum else ""
    return f"; {text.lstrip(C_BLANKS)}{where}"


def as_data(row: Row, *, opcodes: bool = False, linum: bool = False) -> dict[str, Any]:
    """One row with the keys and forms of `bpftool -j prog dump xlated` (dump_xlated_json())."""
    data: dict[str, Any] = {}
    if row.proto:
        data["proto"] = row.proto
    if row.source is not None:
        data["src"] = row.source.text.lstrip(C_BLANKS)
        if linum:
            told = {
                "file": row.source.file,
                "line_num": row.source.line,
                "line_col": row.source.column,
            }
            data |= {key: value for key, value in told.items() if value}
    data["disasm"] = row.text
    if opcodes:
        first, raw = row.slots[0], encode(row.slots)
        data["opcodes"] = {
            "code": f"0x{first.code:02x}",
            "src_reg": f"0x{first.src:x}",
            "dst_reg": f"0x{first.dst:x}",
            "off": [f"0x{byte:02x}" for byte in raw[2:4]],
            "imm": [f"0x{byte:02x}" for byte in raw[4:]],
        }
    return data
