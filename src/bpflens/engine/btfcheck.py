"""What BTF_LOAD refuses (kernel/bpf/btf.c): the header, each record, and what types refer to.

Longer than other files, as one class: both walks need the records, their sizes and their names.
"""

from __future__ import annotations

import errno
import struct
from typing import NoReturn

from bpflens.engine.call import err
from bpflens.errors import ENOTSUPP

MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBI4I")
_VOID, _INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD, _TYPEDEF, _VOLATILE, _CONST = range(11)
_RESTRICT, _FUNC, _FUNC_PROTO, _VAR, _DATASEC, _FLOAT, _DECL_TAG, _TYPE_TAG, _ENUM64 = range(11, 20)
_MODIFIERS = (_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG)
_REFERS = (*_MODIFIERS, _PTR, _FUNC, _VAR, _DECL_TAG)
_SIZED = (_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FLOAT, _ENUM64)
_ITEMS = {_ENUM: 8, _STRUCT: 12, _UNION: 12, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}
_FIXED = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_NAMELESS = (_PTR, _ARRAY, _VOLATILE, _CONST, _RESTRICT, _FUNC_PROTO)
_NAMED = (_TYPEDEF, _FUNC, _VAR, _DATASEC, _FWD)
_KFLAG_OK = (_STRUCT, _UNION, _ENUM, _FWD, _DECL_TAG, _TYPE_TAG, _ENUM64)
LATIN = frozenset(range(0xC0, 0x100)) - {0xD7, 0xF7}
"""lib/ctype.c is of Latin-1: isalpha() is true for these."""
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") | LATIN
_DIGITS = frozenset(b"0123456789")
_SPECIAL = {b"bpf_spin_lock": 4, b"bpf_refcount": 4}
"""Those of alloc_obj_fields[] that stand by themselves, and their sizes."""
_DEPTH = 32
"""MAX_RESOLVE_DEPTH."""


def _bad() -> NoReturn:
    raise err(errno.EINVAL)


class _Record:
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


class _Checker:
    def __init__(self, types: bytes, strings: bytes) -> None:
        self.data = types
        self.strings = strings
        self.records: list[_Record] = [_Record(0, 0, 0, 0)]

    # --- strings

    def string(self, offset: int) -> bytes:
        """A string; EINVAL beyond the section. btf_name_offset_valid()."""
        if offset >= len(self.strings):
            _bad()
        return self.strings[offset : self.strings.index(0, offset)]

    def identifier(self, offset: int, dots: bool = False) -> None:
        """btf_name_valid_identifier(): a C name."""
        name = self.string(offset)
        extra = frozenset(b".") if dots else frozenset()
        first = _LETTERS | extra
        if not name or len(name) > 512 or name[0] not in first:
            _bad()
        if not (first | _DIGITS).issuperset(name):
            _bad()

    # --- the first walk: btf_check_all_metas()

    def metas(self) -> None:
        at, end = 0, len(self.data)
        while at < end:
            if end - at < 12:
                _bad()
            name, info, size = struct.unpack_from("<3I", self.data, at)
            record = _Record(name, info, size, at + 12)
            if info & 0x60FF0000 or not 1 <= record.kind <= _ENUM64:
                _bad()
            if name >= len(self.strings):
                _bad()
            length = _FIXED.get(record.kind, 0) + _ITEMS.get(record.kind, 0) * record.vlen
            if at + 12 + length > end:
                _bad()
            self.meta(record)
            self.records.append(record)
            at += 12 + length
        if len(self.records) == 1:
            _bad()

    def meta(self, r: _Record) -> None:
        kind = r.kind
        if kind not in _ITEMS and kind != _FUNC and r.vlen:
            _bad()
        if r.kflag and kind not in _KFLAG_OK:
            _bad()
        if kind in _NAMELESS and r.name:
            _bad()
        if kind in _NAMED:
            self.identifier(r.name, dots=kind == _DATASEC)
        elif kind in (_STRUCT, _UNION, _ENUM, _ENUM64) and r.name:
            self.identifier(r.name)
        elif kind in (_TYPE_TAG, _DECL_TAG) and not self.string(r.name):
            _bad()
        check = _METAS.get(kind)
        if check:
            check(self, r)

    def int_meta(self, r: _Record) -> None:
        """btf_int_check_meta()."""
        (word,) = struct.unpack_from("<I", self.data, r.at)
        if word & ~0x0FFFFFFF:
            _bad()
        bits, offset, encoding = word & 0xFF, word >> 16 & 0xFF, word >> 24 & 0xF
        if bits + offset > 128 or r.size < -(-(bits + offset) // 8):
            _bad()
        if encoding not in (0, 1, 2, 4):
            raise err(ENOTSUPP)

    def array_meta(self, r: _Record) -> None:
        element, index, _count = struct.unpack_from("<3I", self.data, r.at)
        if not element or not index or r.size:
            _bad()

    def enum_meta(self, r: _Record) -> None:
        if r.size not in (1, 2, 4, 8):
            _bad()
        step = _ITEMS[r.kind]
        for n in range(r.vlen):
            (name,) = struct.unpack_from("<I", self.data, r.at + n * step)
            self.identifier(name)

    def float_meta(self, r: _Record) -> None:
        if r.size not in (2, 4, 8, 12, 16):
            _bad()

    def struct_meta(self, r: _Record) -> None:
        """btf_struct_check_meta(): offsets do not go back, and lie inside."""
        last = 0
        for n in range(r.vlen):
            name, type_id, where = struct.unpack_from("<3I", self.data, r.at + n * 12)
            if name:
                self.identifier(name)
            if not type_id:
                _bad()
            offset = where & 0xFFFFFF if r.kflag else where
            if r.kind == _UNION and offset:
                _bad()
            if offset < last or -(-offset // 8) > r.size:
                _bad()
            last = offset

    def func_meta(self, r: _Record) -> None:
        if r.vlen > 1:
            _bad()  # BTF_FUNC_GLOBAL; extern functions are not for the kernel

    def var_meta(self, r: _Record) -> None:
        (linkage,) = struct.unpack_from("<I", self.data, r.at)
        if not r.size or linkage not in (0, 1):
            _bad()

    def datasec_meta(self, r: _Record) -> None:
        """btf_datasec_check_meta()."""
        if not r.size:
            _bad()
        last = total = 0
        for n in range(r.vlen):
            type_id, offset, size = struct.unpack_from("<3I", self.data, r.at + n * 12)
            if not type_id or offset < last or offset >= r.size:
                _bad()
            last = offset + size
            if last > r.size:
                _bad()
            total += size
        if r.size < total:
            _bad()

    def decl_tag_meta(self, r: _Record) -> None:
        (component,) = struct.unpack_from("<i", self.data, r.at)
        if component < -1:
            _bad()

    # --- the second walk: btf_check_all_types()

    def kind_of(self, id: int) -> int:
        """The kind of a type; EINVAL if there is none."""
        if id >= len(self.records):
            _bad()
        return self.records[id].kind

    def resolve(self, id: int, path: tuple[int, ...] = ()) -> None:
        """Everything a type refers to exists and does not contain the type itself."""
        # env_stack_push()
        if len(path) >= _DEPTH:
            raise err(errno.E2BIG)
        if id in path:
            raise err(errno.EEXIST)
        r = self.records[id]
        path = (*path, id)
        if r.kind in _MODIFIERS or r.kind == _VAR:
            kind = self.kind_of(r.size)
            if kind in (_FUNC, _VAR, _DATASEC, _DECL_TAG):
                _bad()
            if r.kind == _VAR:
                self.sized(r.size, path)
            elif kind != _VOID:
                self.resolve(r.size, path)
        elif r.kind == _PTR:
            # what is behind a pointer ends a path, except for a chain of pointers and modifiers
            if self.kind_of(r.size) in (_FUNC, _VAR, _DATASEC, _DECL_TAG):
                _bad()
            if self.kind_of(r.size) in (*_MODIFIERS, _PTR):
                self.resolve(r.size, path)
        elif r.kind == _ARRAY:
            element, index, count = struct.unpack_from("<3I", self.data, r.at)
            if not self.regular(index) or self.stripped(index) != _INT:
                _bad()
            self.sized(element, path)
            if not self.regular(element):
                _bad()
            if count * self.size_of(element)[1] > 0xFFFFFFFF:
                _bad()
        elif r.kind in (_STRUCT, _UNION):
            for n in range(r.vlen):
                _name, member, where = struct.unpack_from("<3I", self.data, r.at + n * 12)
                self.sized(member, path)
                self.member(r, member, where)
        elif r.kind == _FUNC:
            if self.kind_of(r.size) != _FUNC_PROTO:
                _bad()
            self.arguments(self.records[r.size])
        elif r.kind == _DATASEC:
            for n in range(r.vlen):
                type_id, _offset, _size = struct.unpack_from("<3I", self.data, r.at + n * 12)
                if self.kind_of(type_id) not in (_VAR, _FUNC):
                    _bad()
        elif r.kind == _DECL_TAG:
            kind = self.kind_of(r.size)
            if kind not in (_STRUCT, _UNION, _FUNC, _VAR, _TYPEDEF):
                _bad()
            (component,) = struct.unpack_from("<i", self.data, r.at)
            target = self.records[r.size]
            if kind == _FUNC:
                target = self.records[target.size]  # its prototype has the parameters
            if component >= (0 if kind in (_VAR, _TYPEDEF) else target.vlen):
                _bad()
        elif r.kind == _FUNC_PROTO:
            self.proto(r)

    def member(self, r: _Record, id: int, where: int) -> None:
        """btf_*_check_member(): a member lies inside; bit fields are integers or enums."""
        bits = where >> 24 if r.kflag else 0
        offset = where & 0xFFFFFF if r.kflag else where
        kind, size = self.size_of(id)
        if bits:
            if kind not in (_INT, _ENUM) or bits > 8 * size:
                _bad()
            end = -(-(offset + bits) // 8)
        elif kind == _INT and not r.kflag:
            end = -(-(offset + self.int_bits(id)) // 8)
        else:
            if offset % 8:
                _bad()
            end = offset // 8 + size
        if end > r.size:
            _bad()

    def regular(self, id: int) -> bool:
        """btf_type_int_is_regular(): whole bytes, as arrays need them; or no integer."""
        if self.stripped(id) != _INT:
            return True
        return self.int_bits(id) in (8, 16, 32, 64, 128)

    def int_bits(self, id: int) -> int:
        """The bits of an integer under modifiers, with its own offset."""
        while self.records[id].kind in _MODIFIERS:
            id = self.records[id].size
        (word,) = struct.unpack_from("<I", self.data, self.records[id].at)
        return int((word & 0xFF) + (word >> 16 & 0xFF))

    def size_of(self, id: int) -> tuple[int, int]:
        """The kind of a type under modifiers, and its size."""
        count = 1
        for _ in range(4 * _DEPTH):
            r = self.records[id]
            if r.kind in _MODIFIERS:
                id = r.size
            elif r.kind == _ARRAY:
                id, _index, length = struct.unpack_from("<3I", self.data, r.at)
                count *= length
                kind = _ARRAY
                if self.stripped(id) != _ARRAY:
                    return kind, count * self.size_of(id)[1]
            else:
                return r.kind, count * (8 if r.kind == _PTR else r.size)
        _bad()

    def proto(self, r: _Record) -> None:
        """btf_func_proto_check()."""
        if r.size and self.kind_of(r.size) in (_FUNC, _VAR, _DATASEC, _DECL_TAG):
            _bad()
        for n in range(r.vlen):
            name, type_id = struct.unpack_from("<2I", self.data, r.at + n * 8)
            if not type_id:
                if n < r.vlen - 1 or name:
                    _bad()
                continue
            if self.kind_of(type_id) in (_FUNC, _VAR, _DATASEC, _DECL_TAG):
                _bad()
            if name:
                self.identifier(name)

    def special(self) -> None:
        """btf_parse_struct_metas(): structs with a lock, list or tree inside make sense."""
        names = {
            id: _SPECIAL[name]
            for id, r in enumerate(self.records)
            if r.kind == _STRUCT and (name := self.string(r.name)) in _SPECIAL
        }
        if not names:
            return
        for r in self.records:
            if r.kind not in (_STRUCT, _UNION):
                continue
            fields = [
                struct.unpack_from("<3I", self.data, r.at + n * 12)[1:] for n in range(r.vlen)
            ]
            if not any(member in names for member, _where in fields):
                continue
            if any((where & 0xFFFFFF if r.kflag else where) % 8 for _member, where in fields):
                _bad()
            good = [  # btf_find_field_one() passes over the others
                m
                for m, where in fields
                if m in names
                and names[m] == self.records[m].size
                and not (where & 0xFFFFFF if r.kflag else where) // 8 % 4
            ]
            if not good:
                raise err(errno.EFAULT)  # a record without a field
            if len({self.string(self.records[m].name) for m in good}) < len(good):
                raise err(errno.E2BIG)

    def arguments(self, proto: _Record) -> None:
        """btf_func_check(): the parameters of a function have names."""
        for n in range(proto.vlen):
            name, type_id = struct.unpack_from("<2I", self.data, proto.at + n * 8)
            if type_id and not name:
                _bad()

    def stripped(self, id: int) -> int:
        """The kind under modifiers."""
        for _ in range(_DEPTH):
            kind = self.kind_of(id)
            if kind not in _MODIFIERS:
                return kind
            id = self.records[id].size
        _bad()

    def sized(self, id: int, path: tuple[int, ...]) -> None:
        """The type has a size: it is not void, a function, or only declared."""
        if self.stripped(id) not in _SIZED:
            _bad()
        self.resolve(id, path)


_METAS = {
    _INT: _Checker.int_meta,
    _ARRAY: _Checker.array_meta,
    _ENUM: _Checker.enum_meta,
    _ENUM64: _Checker.enum_meta,
    _FLOAT: _Checker.float_meta,
    _STRUCT: _Checker.struct_meta,
    _UNION: _Checker.struct_meta,
    _FUNC: _Checker.func_meta,
    _VAR: _Checker.var_meta,
    _DATASEC: _Checker.datasec_meta,
    _DECL_TAG: _Checker.decl_tag_meta,
}


def check_btf(data: bytes) -> None:
    """Raise what the kernel answers to BTF that it does not take. btf_parse()."""
    types, strings = _sections(data)
    checker = _Checker(types, strings)
    checker.metas()
    for id in range(1, len(checker.records)):
        checker.resolve(id)
    checker.special()


def _sections(data: bytes) -> tuple[bytes, bytes]:
    """btf_parse_hdr(), btf_check_sec_info(), btf_parse_str_sec()."""
    if len(data) < 8:
        _bad()
    length = int.from_bytes(data[4:8], "little")
    if length > len(data):
        _bad()
    if length > 24 and any(data[24:length]):
        raise err(errno.E2BIG)
    # a short header is read as far as it says, the rest of it as zeros
    header = data[: min(length, 24)].ljust(24, b"\0")
    magic, version, flags, length, type_at, type_len, str_at, str_len = _HEADER.unpack(header)
    if magic != MAGIC:
        _bad()
    if version != 1 or flags:
        raise err(ENOTSUPP)
    rest = len(data) - length
    if not rest:
        _bad()
    at = 0
    for offset, size in sorted([(type_at, type_len), (str_at, str_len)]):
        # sections follow one another without a gap and fill the data
        if offset >= rest or at != offset or size > rest - at:
            _bad()
        at += size
    if at != rest:
        _bad()
    strings = data[length + str_at : length + str_at + str_len]
    if type_at % 4 or str_at + str_len != rest or not strings or strings[0] or strings[-1]:
        _bad()
    if not type_len:
        _bad()
    return data[length + type_at : length + type_at + type_len], strings
