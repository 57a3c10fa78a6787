"""The objects of the scripted kernel, and what each answers for itself."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, field

from bpflens.abi.attrs import MapBatch, MapElem, MapNextKey
from bpflens.abi.enums import MapType
from bpflens.abi.infos import BtfInfo, MapInfo, ProgInfo
from bpflens.abi.record import Record
from bpflens.errors import ENOTSUPP
from bpflens.port.memory import Memory

ARRAYS = {
    "map_ids": ("nr_map_ids", 4, ""),
    "xlated_prog_insns": ("xlated_prog_len", 1, ""),
    "jited_prog_insns": ("jited_prog_len", 1, ""),
    "jited_ksyms": ("nr_jited_ksyms", 8, ""),
    "jited_func_lens": ("nr_jited_func_lens", 4, ""),
    "func_info": ("nr_func_info", 8, "func_info_rec_size"),
    "line_info": ("nr_line_info", 16, "line_info_rec_size"),
    "jited_line_info": ("nr_jited_line_info", 8, "jited_line_info_rec_size"),
    "prog_tags": ("nr_prog_tags", 8, ""),
}
"""Pointer of bpf_prog_info → its count, the bytes of an item, and the field that repeats those."""


def fail(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@dataclass
class Prog:
    """A program; `arrays` by the pointers of `ARRAYS`, those in `hidden` are not shown."""

    info: ProgInfo
    arrays: dict[str, bytes] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    fdinfo: bytes = b"memlock:\t4096\n"
    told: int = ProgInfo.__size__
    noun = "prog"

    @property
    def id(self) -> int:
        return self.info.id

    def tell(self, given: bytes, mem: Memory) -> Record:
        """bpf_prog_get_info_by_fd(): true counts always, arrays as far as there is room."""
        asked, told = ProgInfo.decode(given), ProgInfo.decode(self.info.encode())
        for pointer, (count, size, repeated) in ARRAYS.items():
            data = self.arrays.get(pointer, b"")
            wanted, at = getattr(asked, count), getattr(asked, pointer)
            if repeated and wanted and getattr(asked, repeated) != size:
                raise fail(errno.EINVAL)
            setattr(told, count, len(data) // size)
            setattr(told, pointer, 0 if pointer in self.hidden else at)
            if wanted and at and pointer not in self.hidden:
                mem.write(at, data[: wanted * size])
        return told


@dataclass
class Table:
    """A map; `elements` hold a value's bytes as a lookup copies them, `buckets` those of a hash."""

    info: MapInfo
    elements: dict[bytes, bytes] = field(default_factory=dict)
    buckets: list[list[bytes]] | None = None
    batch: bool = False
    fdinfo: bytes = b"memlock:\t8192\nfrozen:\t0\n"
    told: int = MapInfo.__size__
    noun = "map"

    @property
    def id(self) -> int:
        return self.info.id

    def tell(self, given: bytes, mem: Memory) -> Record:
        return self.info

    def lookup(self, asked: MapElem, mem: Memory) -> None:
        key = mem.read(asked.key, self.info.key_size)
        if key not in self.elements:
            raise fail(errno.ENOENT)
        mem.write(asked.value, self.elements[key])

    def next_key(self, asked: MapNextKey, mem: Memory) -> None:
        keys = list(self.elements)
        key = mem.read(asked.key, self.info.key_size) if asked.key else b""
        # a key that is not there (any more) is followed by the first
        at = keys.index(key) + 1 if key in keys else 0
        if at == len(keys):
            raise fail(errno.ENOENT)
        mem.write(asked.next_key, keys[at])

    def lookup_batch(self, asked: MapBatch, mem: Memory) -> None:
        if not self.batch:
            raise fail(ENOTSUPP)
        buckets = self.buckets
        if buckets is None:  # generic_map_lookup_batch(): each key a bucket, the cursor is a key
            buckets = [[key] for key in self.elements]
            last = mem.read(asked.in_batch, self.info.key_size) if asked.in_batch else b""
            at = buckets.index([last]) + 1 if [last] in buckets else 0
        else:  # __htab_map_lookup_and_delete_batch(): the cursor is a bucket's number
            at = struct.unpack("=I", mem.read(asked.in_batch, 4))[0] if asked.in_batch else 0
        taken: list[bytes] = []
        room, asked.count, code = asked.count, 0, errno.ENOENT
        while at < len(buckets):
            keys = [key for key in buckets[at] if key in self.elements]
            if len(keys) > room - len(taken):
                code = 0 if taken else errno.ENOSPC
                break
            taken += keys
            at += 1
        mem.write(asked.keys, b"".join(taken))
        mem.write(asked.values, b"".join(self.elements[key] for key in taken))
        mem.write(asked.out_batch, u32(at) if self.buckets is not None else b"".join(taken[-1:]))
        asked.count = len(taken)
        if code:
            raise fail(code)


@dataclass
class Types:
    """A BTF object."""

    id: int
    data: bytes
    fdinfo: bytes = b""
    told: int = BtfInfo.__size__
    name: bytes = b""
    noun = "btf"

    def tell(self, given: bytes, mem: Memory) -> Record:
        """btf_get_info_by_fd()."""
        asked = BtfInfo.decode(given)
        mem.write(asked.btf, self.data[: asked.btf_size])
        if asked.name:
            mem.write(asked.name, self.name + b"\0")
        return BtfInfo(
            btf=asked.btf,
            btf_size=len(self.data),
            id=self.id,
            name=asked.name,
            name_len=len(self.name),
            kernel_btf=bool(self.name),
        )


@dataclass
class Link:
    """A link, as far as pins see it: its fdinfo names its program too."""

    id: int
    fdinfo: bytes = b"prog_id:\t1\n"
    told: int = 0
    noun = "link"

    def tell(self, given: bytes, mem: Memory) -> Record:
        raise fail(errno.EINVAL)


Object = Prog | Table | Types | Link


def prog(id: int, name: bytes = b"", told: int = ProgInfo.__size__, **arrays: bytes) -> Prog:
    """A program as most tests want one: two instructions, and the arrays that are given."""
    info = ProgInfo(type=1, id=id, tag=bytes([id % 256]) * 8, name=name, gpl_compatible=1)
    return Prog(info, {"xlated_prog_insns": bytes(16)} | arrays, told=told)


def table(
    id: int,
    type: MapType = MapType.HASH,
    elements: dict[bytes, bytes] | None = None,
    *,
    key_size: int = 4,
    value_size: int = 8,
    max_entries: int = 16,
    name: bytes = b"",
) -> Table:
    """A map as most tests want one."""
    info = MapInfo(
        type=type, id=id, key_size=key_size, value_size=value_size, max_entries=max_entries,
        name=name,
    )  # fmt: skip
    return Table(info, elements or {})


def u32(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}I", *numbers)


def u64(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}Q", *numbers)
