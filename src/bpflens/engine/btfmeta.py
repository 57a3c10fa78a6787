"""The first walk of BTF_LOAD over types: each record by itself (kernel/bpf/btf.c)."""

from __future__ import annotations

import errno
import struct
from typing import NoReturn

from bpflens.engine.call import err
from bpflens.errors import ENOTSUPP

VOID, INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST = range(11)
RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(11, 20)
MODIFIERS = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)
_ITEMS = {ENUM: 8, STRUCT: 12, UNION: 12, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}
_FIXED = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
_NAMELESS = (PTR, ARRAY, VOLATILE, CONST, RESTRICT, FUNC_PROTO)
_NAMED = (TYPEDEF, FUNC, VAR, FWD)
_MAY_BE_NAMED = (STRUCT, UNION, ENUM, ENUM64)
_KFLAG_OK = (STRUCT, UNION, ENUM, FWD, DECL_TAG, TYPE_TAG, ENUM64)
LATIN = frozenset(range(0xC0, 0x100)) - {0xD7, 0xF7}
"""lib/ctype.c is of Latin-1: isalpha() is true for these."""
_FIRST = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.") | LATIN
_IDENTIFIER = _FIRST | frozenset(b"0123456789")
"""__btf_name_char_ok()."""
_PRINTABLE = frozenset(range(0x20, 0x7F)) | frozenset(range(0xA0, 0x100))
_MAX_TYPE = 0xFFFFF
"""BTF_MAX_TYPE."""
_LONGEST_NAME = 512
"""KSYM_NAME_LEN."""


def bad() -> NoReturn:
    """EINVAL."""
    raise err(errno.EINVAL)


class Record:
    """A type: its head, and where the rest of it is."""

    __slots__ = ("at", "kflag", "kind", "name", "size", "vlen")

    def __init__(self, name: int, info: int, size: int, at: int) -> None:
        self.name = name
        self.kind = info >> 24 & 0x1F
        self.vlen = info & 0xFFFF
        self.kflag = bool(info >> 31)
        self.size = size
        """Or the type that is referred to."""
        self.at = at
        """Where what follows the head begins."""


class Metas:
    """The types as they stand, in `records` by ID."""

    def __init__(self, types: bytes, strings: bytes, any_section: bool) -> None:
        """`any_section` says whether sections may have any printable name."""
        self.data = types
        self.strings = strings
        self.any_section = any_section
        self.records: list[Record] = [Record(0, 0, 0, 0)]

    # --- strings

    def string(self, offset: int) -> bytes:
        """A string; EINVAL beyond the section. btf_name_offset_valid()."""
        if offset >= len(self.strings):
            bad()
        return self.strings[offset : self.strings.index(0, offset)]

    def identifier(self, offset: int) -> None:
        """btf_name_valid_identifier(): a C name, in which dots count as letters."""
        name = self._name(offset)
        if name[0] not in _FIRST or not _IDENTIFIER.issuperset(name):
            bad()

    def section_name(self, offset: int) -> None:
        """btf_name_valid_section()."""
        if not self.any_section:
            self.identifier(offset)
        elif not _PRINTABLE.issuperset(self._name(offset)):
            bad()

    def _name(self, offset: int) -> bytes:
        name = self.string(offset)
        if not 0 < len(name) <= _LONGEST_NAME:
            bad()
        return name

    # --- the first walk: btf_check_all_metas()

    def metas(self) -> None:
        at, end = 0, len(self.data)
        while at < end:
            if end - at < 12:
                bad()
            name, info, size = struct.unpack_from("<3I", self.data, at)
            record = Record(name, info, size, at + 12)
            if info & 0x60FF0000 or not 1 <= record.kind <= ENUM64:
                bad()
            if name >= len(self.strings):
                bad()
            length = _FIXED.get(record.kind, 0) + _ITEMS.get(record.kind, 0) * record.vlen
            if at + 12 + length > end:
                bad()
            self.meta(record)
            self.records.append(record)
            at += 12 + length
        if len(self.records) == 1:
            bad()

    def meta(self, r: Record) -> None:
        kind = r.kind
        if kind not in _ITEMS and kind != FUNC and r.vlen:
            bad()
        if r.kflag and kind not in _KFLAG_OK:
            bad()
        if kind in _NAMELESS and r.name:
            bad()
        if kind == DATASEC:
            self.section_name(r.name)
        elif kind in _NAMED or (kind in _MAY_BE_NAMED and r.name):
            self.identifier(r.name)
        elif kind in (TYPE_TAG, DECL_TAG) and not self.string(r.name):
            bad()
        check = _METAS.get(kind)
        if check:
            check(self, r)

    def int_meta(self, r: Record) -> None:
        """btf_int_check_meta()."""
        (word,) = struct.unpack_from("<I", self.data, r.at)
        if word & ~0x0FFFFFFF:
            bad()
        bits, offset, encoding = word & 0xFF, word >> 16 & 0xFF, word >> 24 & 0xF
        if bits + offset > 128 or r.size < -(-(bits + offset) // 8):
            bad()
        if encoding not in (0, 1, 2, 4):
            raise err(ENOTSUPP)

    def reference_meta(self, r: Record) -> None:
        """btf_ref_type_check_meta()."""
        if r.size > _MAX_TYPE:
            bad()

    def fwd_meta(self, r: Record) -> None:
        if r.size:
            bad()

    def array_meta(self, r: Record) -> None:
        element, index, _count = struct.unpack_from("<3I", self.data, r.at)
        if not 0 < element <= _MAX_TYPE or not 0 < index <= _MAX_TYPE or r.size:
            bad()

    def enum_meta(self, r: Record) -> None:
        if r.size not in (1, 2, 4, 8):
            bad()
        step = _ITEMS[r.kind]
        for n in range(r.vlen):
            (name,) = struct.unpack_from("<I", self.data, r.at + n * step)
            self.identifier(name)

    def float_meta(self, r: Record) -> None:
        if r.size not in (2, 4, 8, 12, 16):
            bad()

    def struct_meta(self, r: Record) -> None:
        """btf_struct_check_meta(): offsets do not go back, and lie inside."""
        last = 0
        for n in range(r.vlen):
            name, type_id, where = struct.unpack_from("<3I", self.data, r.at + n * 12)
            if name:
                self.identifier(name)
            if not 0 < type_id <= _MAX_TYPE:
                bad()
            offset = where & 0xFFFFFF if r.kflag else where
            if r.kind == UNION and offset:
                bad()
            if offset < last or -(-offset // 8) > r.size:
                bad()
            last = offset

    def func_meta(self, r: Record) -> None:
        if r.vlen > 1:
            bad()  # BTF_FUNC_GLOBAL; extern functions are not for the kernel

    def var_meta(self, r: Record) -> None:
        (linkage,) = struct.unpack_from("<I", self.data, r.at)
        if not 0 < r.size <= _MAX_TYPE or linkage not in (0, 1):
            bad()

    def datasec_meta(self, r: Record) -> None:
        """btf_datasec_check_meta()."""
        if not r.size:
            bad()
        last = total = 0
        for n in range(r.vlen):
            type_id, offset, size = struct.unpack_from("<3I", self.data, r.at + n * 12)
            if not 0 < type_id <= _MAX_TYPE or not size or not last <= offset < r.size:
                bad()
            last = offset + size
            if last > r.size:
                bad()
            total += size
        if r.size < total:
            bad()

    def decl_tag_meta(self, r: Record) -> None:
        (component,) = struct.unpack_from("<i", self.data, r.at)
        if component < -1:
            bad()


_METAS = {
    **dict.fromkeys((*MODIFIERS, PTR), Metas.reference_meta),
    FWD: Metas.fwd_meta,
    INT: Metas.int_meta,
    ARRAY: Metas.array_meta,
    ENUM: Metas.enum_meta,
    ENUM64: Metas.enum_meta,
    FLOAT: Metas.float_meta,
    STRUCT: Metas.struct_meta,
    UNION: Metas.struct_meta,
    FUNC: Metas.func_meta,
    VAR: Metas.var_meta,
    DATASEC: Metas.datasec_meta,
    DECL_TAG: Metas.decl_tag_meta,
}
