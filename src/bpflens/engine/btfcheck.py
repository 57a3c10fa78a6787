"""What BTF_LOAD refuses (kernel/bpf/btf.c): the header, the types, structs with special fields."""

from __future__ import annotations

import errno
import struct

from bpflens.engine.btfmeta import STRUCT, bad
from bpflens.engine.btfresolve import Resolver
from bpflens.engine.call import err
from bpflens.errors import ENOTSUPP

MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBI4I")
_SPECIAL = {b"bpf_spin_lock": 4, b"bpf_refcount": 4}
"""Those of alloc_obj_fields[] that stand by themselves, and their sizes."""


class _Checker(Resolver):
    """Both walks over the types, and what comes after them."""

    def special(self) -> None:
        """btf_parse_struct_metas(): structs with a lock, list or tree inside make sense."""
        first: dict[bytes, int] = {}
        for id, r in enumerate(self.records):
            if r.kind == STRUCT:
                first.setdefault(self.string(r.name), id)
        names = {first[name]: size for name, size in _SPECIAL.items() if name in first}
        if not names:
            return
        for r in self.records:
            if r.kind != STRUCT:
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


def check_btf(data: bytes, any_section: bool) -> None:
    """Raise what the kernel answers to BTF that it does not take. btf_parse()."""
    checker = _Checker(*_sections(data), any_section)
    checker.metas()
    checker.resolve_all()
    checker.tags_first()
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
