"""What BTF_LOAD refuses (kernel/bpf/btf.c): the header, the types, structs with special fields."""

from __future__ import annotations

import errno
import struct

from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.btf.specialfields import IN_OBJECTS, Refused, parse_fields
from bpflens.engine.btfmeta import bad
from bpflens.engine.btfresolve import Resolver
from bpflens.engine.call import err
from bpflens.errors import ENOTSUPP

MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBI4I")
_OF_OBJECTS = (
    "bpf_spin_lock", "bpf_list_head", "bpf_list_node", "bpf_rb_root", "bpf_rb_node", "bpf_refcount",
)  # fmt: skip
"""alloc_obj_fields[]."""


def check_btf(data: bytes, any_section: bool) -> None:
    """Raise what the kernel answers to BTF that it does not take. btf_parse()."""
    types, strings = _sections(data)
    checker = Resolver(types, strings, any_section)
    checker.metas()
    checker.resolve_all()
    checker.tags_first()
    if any(name.encode() in strings for name in _OF_OBJECTS):  # which is rare
        _check_objects(Btf.parse(data))


def _check_objects(btf: Btf) -> None:
    """btf_parse_struct_metas(): structs with a lock, list or tree inside make sense."""
    known = {first.id for name in _OF_OBJECTS if (first := btf.find(name, t.Struct))}
    for id in btf.ids_of(t.Struct):
        found = btf[id]
        assert isinstance(found, t.Struct)
        if known.isdisjoint(member.type_id for member in found.members):
            continue
        try:
            if not parse_fields(btf, found, IN_OBJECTS):
                raise err(errno.EFAULT)
        except Refused as refused:
            raise err(refused.errno) from refused


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
