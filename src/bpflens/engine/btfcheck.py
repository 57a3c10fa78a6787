"""What BTF_LOAD refuses (kernel/bpf/btf.c): the header, each record, and what types refer to."""

from __future__ import annotations

import errno
import struct

from bpflens.engine.btfmeta import (
    ARRAY,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    INT,
    MODIFIERS,
    PTR,
    STRUCT,
    TYPEDEF,
    UNION,
    VAR,
    VOID,
    Metas,
    Record,
    bad,
)
from bpflens.engine.call import err
from bpflens.errors import ENOTSUPP

MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBI4I")
_SIZED = (INT, PTR, ARRAY, STRUCT, UNION, ENUM, FLOAT, ENUM64)
_SPECIAL = {b"bpf_spin_lock": 4, b"bpf_refcount": 4}
"""Those of alloc_obj_fields[] that stand by themselves, and their sizes."""
_DEPTH = 32
"""MAX_RESOLVE_DEPTH."""


class _Checker(Metas):
    """Both walks over the types."""

    # --- the second walk: btf_check_all_types()

    def kind_of(self, id: int) -> int:
        """The kind of a type; EINVAL if there is none."""
        if id >= len(self.records):
            bad()
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
        if r.kind in MODIFIERS or r.kind == VAR:
            kind = self.kind_of(r.size)
            if kind in (FUNC, VAR, DATASEC, DECL_TAG):
                bad()
            if r.kind == VAR:
                self.sized(r.size, path)
            elif kind != VOID:
                self.resolve(r.size, path)
        elif r.kind == PTR:
            # what is behind a pointer ends a path, except for a chain of pointers and modifiers
            if self.kind_of(r.size) in (FUNC, VAR, DATASEC, DECL_TAG):
                bad()
            if self.kind_of(r.size) in (*MODIFIERS, PTR):
                self.resolve(r.size, path)
        elif r.kind == ARRAY:
            element, index, count = struct.unpack_from("<3I", self.data, r.at)
            if not self.regular(index) or self.stripped(index) != INT:
                bad()
            self.sized(element, path)
            if not self.regular(element):
                bad()
            if count * self.size_of(element)[1] > 0xFFFFFFFF:
                bad()
        elif r.kind in (STRUCT, UNION):
            for n in range(r.vlen):
                _name, member, where = struct.unpack_from("<3I", self.data, r.at + n * 12)
                self.sized(member, path)
                self.member(r, member, where)
        elif r.kind == FUNC:
            if self.kind_of(r.size) != FUNC_PROTO:
                bad()
            self.arguments(self.records[r.size])
        elif r.kind == DATASEC:
            for n in range(r.vlen):
                type_id, _offset, _size = struct.unpack_from("<3I", self.data, r.at + n * 12)
                if self.kind_of(type_id) not in (VAR, FUNC):
                    bad()
        elif r.kind == DECL_TAG:
            kind = self.kind_of(r.size)
            if kind not in (STRUCT, UNION, FUNC, VAR, TYPEDEF):
                bad()
            (component,) = struct.unpack_from("<i", self.data, r.at)
            target = self.records[r.size]
            if kind == FUNC:
                if self.kind_of(target.size) != FUNC_PROTO:
                    bad()  # btf_func_resolve(), which comes before its tags
                target = self.records[target.size]  # its prototype has the parameters
            if component >= (0 if kind in (VAR, TYPEDEF) else target.vlen):
                bad()
        elif r.kind == FUNC_PROTO:
            self.proto(r)

    def member(self, r: Record, id: int, where: int) -> None:
        """btf_*_check_member(): a member lies inside; bit fields are integers or enums."""
        bits = where >> 24 if r.kflag else 0
        offset = where & 0xFFFFFF if r.kflag else where
        kind, size = self.size_of(id)
        if bits:
            if kind not in (INT, ENUM) or bits > 8 * size:
                bad()
            end = -(-(offset + bits) // 8)
        elif kind == INT and not r.kflag:
            end = -(-(offset + self.int_bits(id)) // 8)
        else:
            if offset % 8:
                bad()
            end = offset // 8 + size
        if end > r.size:
            bad()

    def regular(self, id: int) -> bool:
        """btf_type_int_is_regular(): whole bytes, as arrays need them; or no integer."""
        if self.stripped(id) != INT:
            return True
        return self.int_bits(id) in (8, 16, 32, 64, 128)

    def int_bits(self, id: int) -> int:
        """The bits of an integer under modifiers, with its own offset."""
        while self.records[id].kind in MODIFIERS:
            id = self.records[id].size
        (word,) = struct.unpack_from("<I", self.data, self.records[id].at)
        return int((word & 0xFF) + (word >> 16 & 0xFF))

    def size_of(self, id: int) -> tuple[int, int]:
        """The kind of a type under modifiers, and its size."""
        count = 1
        for _ in range(4 * _DEPTH):
            r = self.records[id]
            if r.kind in MODIFIERS:
                id = r.size
            elif r.kind == ARRAY:
                id, _index, length = struct.unpack_from("<3I", self.data, r.at)
                count *= length
                kind = ARRAY
                if self.stripped(id) != ARRAY:
                    return kind, count * self.size_of(id)[1]
            else:
                return r.kind, count * (8 if r.kind == PTR else r.size)
        raise err(errno.EINVAL)

    def proto(self, r: Record) -> None:
        """btf_func_proto_check()."""
        if r.size and self.kind_of(r.size) in (FUNC, VAR, DATASEC, DECL_TAG):
            bad()
        for n in range(r.vlen):
            name, type_id = struct.unpack_from("<2I", self.data, r.at + n * 8)
            if not type_id:
                if n < r.vlen - 1 or name:
                    bad()
                continue
            if self.kind_of(type_id) in (FUNC, VAR, DATASEC, DECL_TAG):
                bad()
            if name:
                self.identifier(name)

    def special(self) -> None:
        """btf_parse_struct_metas(): structs with a lock, list or tree inside make sense."""
        names = {
            id: _SPECIAL[name]
            for id, r in enumerate(self.records)
            if r.kind == STRUCT and (name := self.string(r.name)) in _SPECIAL
        }
        if not names:
            return
        for r in self.records:
            if r.kind not in (STRUCT, UNION):
                continue
            fields = [
                struct.unpack_from("<3I", self.data, r.at + n * 12)[1:] for n in range(r.vlen)
            ]
            if not any(member in names for member, _where in fields):
                continue
            if any((where & 0xFFFFFF if r.kflag else where) % 8 for _member, where in fields):
                bad()
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

    def arguments(self, proto: Record) -> None:
        """btf_func_check(): the parameters of a function have names."""
        for n in range(proto.vlen):
            name, type_id = struct.unpack_from("<2I", self.data, proto.at + n * 8)
            if type_id and not name:
                bad()

    def stripped(self, id: int) -> int:
        """The kind under modifiers."""
        for _ in range(_DEPTH):
            kind = self.kind_of(id)
            if kind not in MODIFIERS:
                return kind
            id = self.records[id].size
        raise err(errno.EINVAL)

    def sized(self, id: int, path: tuple[int, ...]) -> None:
        """The type has a size: it is not void, a function, or only declared."""
        if self.stripped(id) not in _SIZED:
            bad()
        self.resolve(id, path)


def check_btf(data: bytes, any_section: bool) -> None:
    """Raise what the kernel answers to BTF that it does not take. btf_parse()."""
    checker = _Checker(*_sections(data), any_section)
    checker.metas()
    for id in range(1, len(checker.records)):
        checker.resolve(id)
    checker.special()


def _sections(data: bytes) -> tuple[bytes, bytes]:
    """btf_parse_hdr(), btf_check_sec_info(), btf_parse_str_sec()."""
    if len(data) < 8:
        bad()
    length = int.from_bytes(data[4:8], "little")
    if length > len(data):
        bad()
    if length > 24 and any(data[24:length]):
        raise err(errno.E2BIG)
    # a short header is read as far as it says, the rest of it as zeros
    header = data[: min(length, 24)].ljust(24, b"\0")
    magic, version, flags, length, type_at, type_len, str_at, str_len = _HEADER.unpack(header)
    if magic != MAGIC:
        bad()
    if version != 1 or flags:
        raise err(ENOTSUPP)
    rest = len(data) - length
    if not rest:
        bad()
    at = 0
    for offset, size in sorted([(type_at, type_len), (str_at, str_len)]):
        # sections follow one another without a gap and fill the data
        if offset >= rest or at != offset or size > rest - at:
            bad()
        at += size
    if at != rest:
        bad()
    strings = data[length + str_at : length + str_at + str_len]
    if type_at % 4 or str_at + str_len != rest or not strings or strings[0] or strings[-1]:
        bad()
    if not type_len:
        bad()
    return data[length + type_at : length + type_at + type_len], strings
