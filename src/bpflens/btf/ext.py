"""What BTF says about instructions: functions, source lines and relocations.

An ELF object holds it in its section `.BTF.ext`; of a loaded program the kernel returns two plain
arrays (`func_info` and `line_info` of `struct bpf_prog_info`). The records are the same, but an
object counts the instruction's place in bytes and by ELF section, the kernel in instructions.
See `Documentation/bpf/btf.rst`, ".BTF.ext section".
"""

from __future__ import annotations

import sys

from bpflens.btf.header import MAGIC
from bpflens.btf.types import Record
from bpflens.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal, TypeVar

    from bpflens.btf.parse import Btf

    Byteorder = Literal["little", "big"]
    Data = bytes | bytearray | memoryview
    R = TypeVar("R", bound="FuncInfo | LineInfo | CoreRelo")

INSN_SIZE = 8
FUNC_INFO_SIZE = 8
LINE_INFO_SIZE = 16
CORE_RELO_SIZE = 16
MAX_ACCESS = 64
"""Steps in a relocation's access path; `BPF_CORE_SPEC_MAX_LEN` of libbpf."""

CORE_RELO_KINDS = (
    "byte_off", "byte_sz", "field_exists", "signed", "lshift_u64", "rshift_u64", "local_type_id",
    "target_type_id", "type_exists", "type_size", "enumval_exists", "enumval_value", "type_matches",
)  # fmt: skip
"""`enum bpf_core_relo_kind` in the words of libbpf's `core_relo_kind_str`."""


class FuncInfo(Record):
    """A function begins at instruction `insn`; `type_id` is its `Func`."""

    insn: int
    type_id: int


class LineInfo(Record):
    """From instruction `insn` on, the code is that of a source line; `text` is the line itself.

    Of a line of more than 4,096 bytes that is the beginning.
    """

    insn: int
    file: str
    text: str
    line: int
    column: int


class CoreRelo(Record):
    """An instruction that the loader adapts to the kernel's types (CO-RE).

    `access` leads from `type_id` to the field meant, by index: of an array first, then members.
    `kind` counts in `CORE_RELO_KINDS`.
    """

    insn: int
    type_id: int
    access: tuple[int, ...]
    kind: int


class BtfExt(Record):
    """The content of `.BTF.ext`, by the name of the ELF section that holds the instructions."""

    func_infos: dict[str, tuple[FuncInfo, ...]]
    line_infos: dict[str, tuple[LineInfo, ...]]
    core_relos: dict[str, tuple[CoreRelo, ...]]


def parse_ext(data: Data, btf: Btf) -> BtfExt:
    """The content of an ELF section `.BTF.ext`; `btf` is that of the section `.BTF` beside it.

    Raises FormatError.
    """
    view = memoryview(data).cast("B")
    order = btf.byteorder
    if len(view) < 24:
        raise FormatError(".BTF.ext header cut short", len(view))
    if int.from_bytes(view[:2], order) != MAGIC:
        raise FormatError("no .BTF.ext, or of another byte order than .BTF", 0)
    if view[2] != 1:
        raise FormatError(f".BTF.ext version {view[2]} is not known", 2)
    header_len = _u32(view, 4, order)
    if not 24 <= header_len <= len(view):
        raise FormatError(f".BTF.ext header of {header_len} bytes", 4)

    def part(header_at: int, size: int, decode: Callable[..., R]) -> dict[str, tuple[R, ...]]:
        if header_at + 8 > header_len:
            return {}
        start = header_len + _u32(view, header_at, order)
        end = start + _u32(view, header_at + 4, order)
        if end > len(view):
            raise FormatError(".BTF.ext subsection runs past the end", header_at)
        found: dict[str, tuple[R, ...]] = {}
        for section, first, count, stride in _sections(view, start, end, size, btf):
            records = _records(view, first, count, stride, size // 4, order)
            infos = (decode(btf, _insn(row[0], at), *row[1:], at=at) for at, row in records)
            found[section] = found.get(section, ()) + tuple(infos)
        return found

    return BtfExt(
        part(8, FUNC_INFO_SIZE, _func_info),
        part(16, LINE_INFO_SIZE, _line_info),
        part(24, CORE_RELO_SIZE, _core_relo),
    )


def func_infos(data: Data, record_size: int, btf: Btf) -> tuple[FuncInfo, ...]:
    """A loaded program's functions: `func_info` as the kernel returns it. Since: 5.0.

    `record_size` is `func_info_rec_size`; a longer record than ours has its end passed over. The
    bytes are in this machine's order. Raises FormatError.
    """
    rows = _array(data, record_size, FUNC_INFO_SIZE)
    return tuple(_func_info(btf, *row, at=at) for at, row in rows)


def line_infos(data: Data, record_size: int, btf: Btf) -> tuple[LineInfo, ...]:
    """A loaded program's source lines: `line_info` as the kernel returns it. Since: 5.0.

    `record_size` is `line_info_rec_size`; see `func_infos`. Raises FormatError.
    """
    rows = _array(data, record_size, LINE_INFO_SIZE)
    return tuple(_line_info(btf, *row, at=at) for at, row in rows)


def _func_info(btf: Btf, insn: int, type_id: int, *, at: int) -> FuncInfo:
    return FuncInfo(insn, type_id)


def _line_info(btf: Btf, insn: int, file: int, text: int, line_col: int, *, at: int) -> LineInfo:
    """The upper 22 bits of `line_col` are the line, the lower 10 the column."""
    return LineInfo(insn, btf.name(file), btf.text(text), line_col >> 10, line_col & 0x3FF)


def _core_relo(btf: Btf, insn: int, type_id: int, access: int, kind: int, *, at: int) -> CoreRelo:
    text = btf.name(access)
    steps = text.split(":")
    if len(steps) > MAX_ACCESS or not all(
        s.isascii() and s.isdigit() and len(s) < 11 for s in steps
    ):
        raise FormatError(f"access path {text[:80]!r} makes no sense", at)
    return CoreRelo(insn, type_id, tuple(map(int, steps)), kind)


def _sections(
    view: memoryview, start: int, end: int, size: int, btf: Btf
) -> Iterator[tuple[str, int, int, int]]:
    """A subsection's parts: name of the ELF section, first byte, number and size of records."""
    if start == end:
        return
    if end - start < 4:
        raise FormatError(".BTF.ext subsection cut short", start)
    stride = _u32(view, start, btf.byteorder)
    if stride < size or stride % 4:
        raise FormatError(f".BTF.ext record of {stride} bytes", start)
    at = start + 4
    while at < end:
        if end - at < 8:
            raise FormatError(".BTF.ext section cut short", at)
        name, count = _u32(view, at, btf.byteorder), _u32(view, at + 4, btf.byteorder)
        if count == 0 or count * stride > end - at - 8:
            raise FormatError(f".BTF.ext section of {count} records", at + 4)
        yield btf.name(name), at + 8, count, stride
        at += 8 + count * stride


def _array(data: Data, stride: int, size: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    view = memoryview(data).cast("B")
    if stride < size:
        raise FormatError(f"record of {stride} bytes", 0)
    if len(view) % stride:
        raise FormatError("last record cut short", len(view) - len(view) % stride)
    return _records(view, 0, len(view) // stride, stride, size // 4, sys.byteorder)


def _records(
    view: memoryview, first: int, count: int, stride: int, words: int, order: Byteorder
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Each record's offset, and its leading words."""
    for at in range(first, first + count * stride, stride):
        yield at, tuple(_u32(view, at + 4 * word, order) for word in range(words))


def _insn(offset: int, at: int) -> int:
    if offset % INSN_SIZE:
        raise FormatError(f"byte {offset} is not the start of an instruction", at)
    return offset // INSN_SIZE


def _u32(view: memoryview, at: int, order: Byteorder) -> int:
    return int.from_bytes(view[at : at + 4], order)
