"""Programs, maps and BTF as tests want them: one line each, and only what matters said.

    prog = program(calls, "r0 = 0; exit")
    counts = map(calls, MapType.HASH, value_size=16)
    program(calls, "r1 = map_fd counts; r0 = 0; exit", counts=counts)

Everything returns the fd that the kernel gave, which is the caller's to close.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from bpflens.abi.attrs import MapCreate, ProgLoad
from bpflens.abi.enums import Cmd, MapFlag, MapType, ProgType
from bpflens.abi.infos import BtfInfo
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.insn.asm import assemble
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory

RETURN_0 = "r0 = 0; exit"
"""The smallest program that every type accepts, or nearly."""


def u32(*numbers: int) -> bytes:
    """Numbers as the keys and values of maps: u32 in native byte order."""
    return struct.pack(f"={len(numbers)}I", *(number & 0xFFFFFFFF for number in numbers))


def u64(*numbers: int) -> bytes:
    """The same in 64 bits."""
    return struct.pack(f"={len(numbers)}Q", *(number & (1 << 64) - 1 for number in numbers))


def lpm(prefix: int, address: bytes) -> bytes:
    """A key of an LPM trie: prefix length and address (struct bpf_lpm_trie_key)."""
    return u32(prefix) + address


# --- programs


def code(text: str, **symbols: int) -> bytes:
    """Assembly as bytes; here a `;` ends a statement, so that a program fits a line."""
    return assemble(text.replace(";", "\n"), **symbols)


def program(
    calls: Calls,
    text: str | bytes = RETURN_0,
    type: int = ProgType.SOCKET_FILTER,
    *,
    name: str | bytes = "",
    license: str = "GPL",
    attach_type: int = 0,
    flags: int = 0,
    btf: int = 0,
    funcs: Sequence[tuple[int, int]] = (),
    lines: Sequence[tuple[int, int, int, int]] = (),
    maps: Sequence[int] = (),
    fd_array: Sequence[int] = (),
    **symbols: int,
) -> int:
    """Load a program from assembly text or from bytes; `symbols` are what the text refers to.

    `funcs` are (instruction, type id) and `lines` (instruction, file, text, line << 10 | column),
    both with `btf`. `fd_array` are maps that the text names by index; `maps` are the same with the
    length of the array, so that they are bound whether the text names them or not (since 6.14).
    """
    attr = ProgLoad(
        prog_type=type,
        prog_name=name.encode() if isinstance(name, str) else name,
        expected_attach_type=attach_type,
        prog_flags=flags,
        prog_btf_fd=btf,
    )
    mem = Memory()
    if funcs:
        attr.func_info = mem.pin(bytearray(b"".join(u32(*row) for row in funcs)))
        attr.func_info_cnt, attr.func_info_rec_size = len(funcs), 8
    if lines:
        attr.line_info = mem.pin(bytearray(b"".join(u32(*row) for row in lines)))
        attr.line_info_cnt, attr.line_info_rec_size = len(lines), 16
    if maps or fd_array:
        attr.fd_array, attr.fd_array_cnt = mem.pin(bytearray(u32(*maps, *fd_array))), len(maps)
    return load(calls, attr, code(text, **symbols) if isinstance(text, str) else text, license, mem)


def load(
    calls: Calls, attr: ProgLoad, insns: bytes, license: str = "GPL", mem: Memory | None = None
) -> int:
    """PROG_LOAD of a whole attr, whose side arrays are pinned in `mem`.

    When it returns or raises, `attr` holds what the kernel wrote there (log_true_size).
    """
    mem = mem or Memory()
    attr.insns = mem.pin(bytearray(insns))
    attr.insn_cnt = len(insns) // 8
    attr.license = mem.pin(bytearray(license.encode() + b"\0"))
    return calls.call(Cmd.PROG_LOAD, attr, mem)


# --- maps


class Shape(NamedTuple):
    """What a map type insists on; the smallest that is legal."""

    key_size: int = 4
    value_size: int = 4
    max_entries: int = 4
    flags: int = 0


SHAPES: dict[int, Shape] = {
    MapType.HASH: Shape(value_size=8),
    MapType.ARRAY: Shape(value_size=8),
    MapType.PERCPU_HASH: Shape(value_size=8),
    MapType.PERCPU_ARRAY: Shape(value_size=8),
    MapType.STACK_TRACE: Shape(value_size=8),
    MapType.LRU_HASH: Shape(value_size=8),
    MapType.LRU_PERCPU_HASH: Shape(value_size=8),
    MapType.LPM_TRIE: Shape(8, 8, 4, MapFlag.NO_PREALLOC),
    MapType.CGROUP_STORAGE: Shape(8, 8, 0),
    MapType.PERCPU_CGROUP_STORAGE: Shape(8, 8, 0),
    MapType.QUEUE: Shape(0),
    MapType.STACK: Shape(0),
    MapType.SK_STORAGE: Shape(4, 4, 0, MapFlag.NO_PREALLOC),
    MapType.INODE_STORAGE: Shape(4, 4, 0, MapFlag.NO_PREALLOC),
    MapType.TASK_STORAGE: Shape(4, 4, 0, MapFlag.NO_PREALLOC),
    MapType.CGRP_STORAGE: Shape(4, 4, 0, MapFlag.NO_PREALLOC),
    MapType.RINGBUF: Shape(0, 0, 4096),
    MapType.USER_RINGBUF: Shape(0, 0, 4096),
    MapType.BLOOM_FILTER: Shape(0),
    MapType.ARENA: Shape(0, 0, 1, MapFlag.MMAPABLE),
}
"""Types that are not here take `Shape()`."""


def map(
    calls: Calls,
    type: int = MapType.ARRAY,
    *,
    key_size: int | None = None,
    value_size: int | None = None,
    max_entries: int | None = None,
    flags: int | None = None,
    name: str | bytes = "",
    inner: int = 0,
    btf: tuple[int, int, int] = (0, 0, 0),
    extra: int = 0,
) -> int:
    """Create a map; sizes that are not given are the smallest that are legal for the type.

    `inner` is the fd of a map that shows what the maps inside are like; `btf` is the fd of a BTF
    object with the type ids of key and value.
    """
    shape = SHAPES.get(type, Shape())
    return calls.map_create(
        MapCreate(
            map_type=type,
            key_size=shape.key_size if key_size is None else key_size,
            value_size=shape.value_size if value_size is None else value_size,
            max_entries=shape.max_entries if max_entries is None else max_entries,
            map_flags=shape.flags if flags is None else flags,
            map_name=name.encode() if isinstance(name, str) else name,
            inner_map_fd=inner,
            btf_fd=btf[0],
            btf_key_type_id=btf[1],
            btf_value_type_id=btf[2],
            map_extra=extra,
        )
    )


# --- BTF


class Types(NamedTuple):
    """BTF with the types that most tests need, and their ids."""

    data: bytes
    s32: int
    """`int`, 4 bytes, signed."""
    u64: int
    """`unsigned long`."""
    pair: int
    """`struct pair { int a; int b; }`."""
    funcs: tuple[int, ...]
    """`int NAME(void)` for each name that was asked for."""
    strings: dict[str, int]
    """Offsets of further strings, for line info."""


def types(funcs: Sequence[str] = (), strings: Sequence[str] = ()) -> Types:
    """A small BTF; `funcs` are names of functions, `strings` go into the string section."""
    made = BtfBuilder()
    whole = made.add_int("int", 4, Int.SIGNED)
    long = made.add_int("unsigned long", 8)
    pair = made.add_struct("pair", 8, [("a", whole, 0), ("b", whole, 32)])
    proto = made.add_func_proto(whole)
    ids = tuple(made.add_func(name, proto, linkage=0) for name in funcs)
    offsets = {text: made.string(text) for text in strings}
    return Types(made.build(), whole, long, pair, ids, offsets)


def read_btf(calls: Calls, fd: int) -> bytes:
    """The bytes of a BTF object."""
    mem = Memory()
    buffer = bytearray(calls.info(fd, BtfInfo).btf_size)
    calls.fill_info(fd, BtfInfo(btf=mem.pin(buffer), btf_size=len(buffer)), mem)
    return bytes(buffer)


def btf(calls: Calls, data: bytes | None = None) -> int:
    """Load BTF: the given bytes, or the small one of `types`."""
    return calls.btf_load(types().data if data is None else data)
