"""Object files as a compiler writes them, from what a test wants in them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal, NamedTuple

from bpflens.insn import Insn, encode

CODE, DATA = 0x6, 0x3
"""Flags: ALLOC with EXECINSTR, with WRITE."""


class Function(NamedTuple):
    """A function in a section; `refers` is slot to symbol, "" + name of a section for its start."""

    section: str
    name: str
    insns: Sequence[Insn]
    refers: dict[int, str] = {}


def elf(
    *functions: Function,
    data: dict[str, bytes] | None = None,
    objects: dict[str, tuple[str, int]] | None = None,
    externs: Sequence[str] = (),
    order: Literal["little", "big"] = "little",
    machine: int = 247,
    kind: int = 1,
) -> bytes:
    """The bytes of an object; `data` are other sections, `objects` symbols in them by place."""
    o = "<" if order == "little" else ">"
    contents: dict[str, bytes] = {}
    symbols: list[tuple[str, int, str, int, int]] = [("", 0, "", 0, 0)]
    relocations: dict[str, list[tuple[int, str]]] = {}
    for function in functions:
        start = len(contents.setdefault(function.section, b""))
        code = encode(function.insns, order)
        contents[function.section] += code
        symbols.append((function.name, 2, function.section, start, len(code)))
        for slot, name in function.refers.items():
            relocations.setdefault(function.section, []).append((start + 8 * slot, name))
    code_sections = set(contents)
    contents |= data or {}
    symbols += [(name, 1, section, at, 8) for name, (section, at) in (objects or {}).items()]
    symbols += [(name, 0, "", 0, 0) for name in externs]
    symbols += [(section, 3, section, 0, 0) for section in contents]

    names = ["", *contents, *(f".rel{name}" for name in relocations), ".symtab", ".strtab"]
    numbers = {name: number for number, name in enumerate(names)}
    order_of = {symbol[0]: number for number, symbol in enumerate(symbols)}
    strings = bytearray(1)

    def string(text: str) -> int:
        at = len(strings)
        strings.extend(text.encode(errors="surrogateescape") + b"\0")
        return at

    table = b"".join(
        struct.pack(o + "IBBHQQ", string(name), sort, 0, numbers[section], value, size)
        for name, sort, section, value, size in symbols
    )
    body, headers = bytearray(64), [struct.pack(o + "2I4Q2I2Q", *[0] * 10)]

    def add(name: str, kind: int, flags: int, content: bytes, link: int = 0, info: int = 0,
            size: int = 0) -> None:  # fmt: skip
        headers.append(struct.pack(o + "2I4Q2I2Q", string(name), kind, flags, 0, len(body),
                                   len(content), link, info, 8, size))  # fmt: skip
        body.extend(content)

    for name, content in contents.items():
        add(name, 1, CODE if name in code_sections else DATA, content)
    for name, refers in relocations.items():
        rows = b"".join(struct.pack(o + "QQ", at, order_of[to] << 32 | 1) for at, to in refers)
        add(f".rel{name}", 9, 0, rows, numbers[".symtab"], numbers[name], 16)
    add(".symtab", 2, 0, table, numbers[".strtab"], 1, 24)
    string(".strtab")
    add(".strtab", 3, 0, bytes(strings) + b"\0.strtab\0")
    magic = b"\x7fELF" + bytes([2, 1 if order == "little" else 2, 1]) + bytes(9)
    body[:64] = magic + struct.pack(
        o + "2HI3QI6H", kind, machine, 1, 0, 0, len(body), 0, 64, 0, 0, 64, len(headers),
        numbers[".strtab"],
    )  # fmt: skip
    return bytes(body) + b"".join(headers)
