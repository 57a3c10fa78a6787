"""Functions, source lines and relocations of instructions."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest

from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.btf.build import BtfBuilder
from bpflens.btf.ext import CoreRelo, FuncInfo, LineInfo, func_infos, line_infos, parse_ext
from bpflens.errors import FormatError

Byteorder = Literal["little", "big"]


def _btf(byteorder: Byteorder = "little") -> tuple[Btf, dict[str, int]]:
    builder = BtfBuilder(byteorder)
    names = ["xdp", "a.c", "return 1;", "0:1:2", "0:x", ":".join(["0"] * 65)]
    offsets = {name: builder.string(name) for name in names}
    return Btf.parse(builder.build()), offsets


def _ext(
    names: dict[str, int],
    funcs: Sequence[tuple[int, ...]] = (),
    lines: Sequence[tuple[int, ...]] = (),
    relos: Sequence[tuple[int, ...]] = (),
    byteorder: Byteorder = "little",
) -> bytes:
    """A `.BTF.ext` with one ELF section, `xdp`."""
    prefix = "<" if byteorder == "little" else ">"
    parts = []
    for rows, size in ((funcs, 8), (lines, 16), (relos, 16)):
        words = [size, names["xdp"], len(rows)] if rows else []
        words += [word for row in rows for word in row]
        parts.append(struct.pack(f"{prefix}{len(words)}I", *words))
    places: list[int] = []
    for part in parts:
        places += [sum(places[1::2]), len(part)]
    return struct.pack(f"{prefix}HBBI6I", 0xEB9F, 1, 0, 32, *places) + b"".join(parts)


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_an_objects_records_are_told_by_section(byteorder: Byteorder) -> None:
    btf, names = _btf(byteorder)
    lines = [(16, names["a.c"], names["return 1;"], 12 << 10 | 5)]
    data = _ext(names, [(0, 7)], lines, [(8, 3, names["0:1:2"], 2)], byteorder)
    ext = parse_ext(data, btf)
    assert ext.func_infos == {"xdp": (FuncInfo(0, 7),)}
    assert ext.line_infos == {"xdp": (LineInfo(2, "a.c", "return 1;", 12, 5),)}
    assert ext.core_relos == {"xdp": (CoreRelo(1, 3, (0, 1, 2), 2),)}


def test_the_kernels_arrays_count_in_instructions() -> None:
    btf, names = _btf()
    funcs = struct.pack("=4I", 0, 7, 5, 8)
    lines = struct.pack("=4I", 3, names["a.c"], names["return 1;"], 12 << 10 | 5)
    assert func_infos(funcs, 8, btf) == (FuncInfo(0, 7), FuncInfo(5, 8))
    assert line_infos(lines, 16, btf) == (LineInfo(3, "a.c", "return 1;", 12, 5),)


def test_records_longer_than_ours_are_read_to_where_we_know_them() -> None:
    btf, _ = _btf()
    assert func_infos(struct.pack("=3I", 4, 7, 99), 12, btf) == (FuncInfo(4, 7),)


def test_arrays_that_make_no_sense_are_refused() -> None:
    btf, _ = _btf()
    with pytest.raises(FormatError, match="record of 4 bytes"):
        func_infos(bytes(8), 4, btf)
    with pytest.raises(FormatError, match="cut short"):
        line_infos(bytes(17), 16, btf)
    with pytest.raises(FormatError, match="no string"):
        line_infos(b"\xff" * 16, 16, btf)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"\0", "byte order"),
        (2, b"\2", "version 2"),
        (4, b"\1", "header of 1 "),
        (4, b"\xff", "header of 255"),
        (12, b"\xff", "runs past the end"),
        (12, b"\2", "subsection cut short"),
        (12, b"\6", "section cut short"),
        (32, b"\4", "record of 4 "),
        (32, b"\x0a", "record of 10 "),
        (40, b"\0", "section of 0 "),
        (40, b"\xff", "section of 255 "),
        (44, b"\3", "byte 3 is not"),
    ],
)
def test_a_broken_section_is_refused_with_the_place(at: int, value: bytes, message: str) -> None:
    btf, names = _btf()
    data = bytearray(_ext(names, [(0, 7)]))
    data[at : at + 1] = value
    with pytest.raises(FormatError, match=message) as caught:
        parse_ext(data, btf)
    assert 0 <= caught.value.offset <= len(data)


def test_a_section_shorter_than_its_header_is_refused() -> None:
    btf, names = _btf()
    with pytest.raises(FormatError, match="header cut short"):
        parse_ext(_ext(names)[:23], btf)


@pytest.mark.parametrize("path", ["0:x", ":".join(["0"] * 65)])
def test_an_access_path_that_is_none_is_refused(path: str) -> None:
    btf, names = _btf()
    with pytest.raises(FormatError, match="access path"):
        parse_ext(_ext(names, relos=[(8, 3, names[path], 2)]), btf)


def test_an_older_section_has_no_relocations() -> None:
    btf, names = _btf()
    data = struct.pack("<HBBI4I", 0xEB9F, 1, 0, 24, 0, 20, 20, 0)
    data += struct.pack("<5I", 8, names["xdp"], 1, 8, 7)
    ext = parse_ext(data, btf)
    assert ext.func_infos == {"xdp": (FuncInfo(1, 7),)}
    assert ext.core_relos == {}


SOURCE = """
struct pair { int a, b; } __attribute__((preserve_access_index));
__attribute__((section("xdp"))) int second(struct pair *p)
{
    return p->b;
}
"""


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_what_clang_writes_is_read(target: str, tmp_path: Path, tool: Callable[[str], str]) -> None:
    source = tmp_path / "prog.c"
    source.write_text(SOURCE)
    parts = {name: tmp_path / name for name in (".BTF", ".BTF.ext")}
    command = [tool("clang"), "-target", target, "-O2", "-g", "-c", str(source), "-o"]
    subprocess.run([*command, str(tmp_path / "prog.o")], check=True)
    dump = [f"--dump-section={name}={path}" for name, path in parts.items()]
    subprocess.run([tool("llvm-objcopy"), *dump, str(tmp_path / "prog.o")], check=True)
    btf = Btf.parse(parts[".BTF"].read_bytes())
    ext = parse_ext(parts[".BTF.ext"].read_bytes(), btf)
    (function,) = ext.func_infos["xdp"]
    assert btf[function.type_id] == btf.find("second", t.Func)
    assert {line.text.strip() for line in ext.line_infos["xdp"]} >= {"return p->b;"}
    assert all(line.file == str(source) for line in ext.line_infos["xdp"])
    (relo,) = ext.core_relos["xdp"]
    assert (relo.access, relo.kind) == ((0, 1), 0)
    assert btf.type_name(relo.type_id) == "pair"
