"""BTF objects."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bpflens.abi.attrs import BtfLoad
from bpflens.abi.enums import Cmd, MapFlag
from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.btf.specialfields import SpecialField, special_fields
from bpflens.engine.btfcheck import check_btf
from bpflens.engine.call import Call, command, err
from bpflens.engine.creds import Cap, Creds
from bpflens.engine.files import O_RDONLY, File
from bpflens.engine.info import copy_name
from bpflens.engine.objects import Object, install
from bpflens.engine.progs.log import Log
from bpflens.engine.tokens import token_userns
from bpflens.errors import FormatError

if TYPE_CHECKING:
    from bpflens.engine.engine import Engine

_INFO = struct.Struct("=QIIQII")
_TRUE_SIZE = 28
"""Offset of btf_log_true_size."""
_ONE = struct.pack("=I", 1)
_LONGEST = 16 << 20
"""BTF_MAX_SIZE."""


class Special:
    """The fields of a value that user space does not see: bpf_spin_lock and its like."""

    __slots__ = ("_counts", "fields", "kinds")

    def __init__(self, fields: list[SpecialField]) -> None:
        self.fields = [(field.at, field.size) for field in fields]
        """(offset, size) of each."""
        self.kinds = frozenset(field.kind for field in fields)
        self._counts = [field.at for field in fields if field.kind == "bpf_refcount"]

    @property
    def lock(self) -> bool:
        """Whether a value can be copied under its lock."""
        return "bpf_spin_lock" in self.kinds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Special) and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]

    def hidden(self, value: bytes) -> bytes:
        """The value as read: zeros there, of a count one. check_and_init_map_value()."""
        for at, size in self.fields:
            value = value[:at] + bytes(size) + value[at + size :]
        for at in self._counts:
            value = value[:at] + _ONE + value[at + len(_ONE) :]
        return value

    def kept(self, value: bytes, old: bytes) -> bytes:
        """The value as stored: what was there stays. copy_map_value()."""
        for at, size in self.fields:
            value = value[:at] + (old[at : at + size] or bytes(size)) + value[at + size :]
        return value


_STRUCT_OPS = "bpf_struct_ops_"


class BtfObject(Object):
    """Types that a program or map refers to, or the kernel's own."""

    __slots__ = ("_types", "data", "kernel", "name")

    space = "btf"
    anon = "anon_inode:btf"
    mode = O_RDONLY

    def __init__(self, engine: Engine, creds: Creds, data: bytes, kernel: str = "") -> None:
        super().__init__(engine, creds)
        self.info_size = self.info_end = 32
        self.data = data
        self.kernel = bool(kernel)
        self.name = kernel.encode()
        self._types: Btf | None = None

    @classmethod
    def of_kernel(cls, engine: Engine, data: bytes) -> BtfObject:
        """The BTF of vmlinux: ID 1, and never gone. Without `data` it has no types."""
        made = cls(engine, Creds(), data or _EMPTY, "vmlinux")
        made.publish()
        made.hold()
        return made

    @property
    def types(self) -> Btf:
        """The types, parsed when first asked for."""
        if self._types is None:
            self._types = Btf.parse(self.data)
        return self._types

    def type(self, id: int) -> t.Type:
        """The type under modifiers; EINVAL if there is none."""
        try:
            return self.types.strip(id)
        except FormatError as bad:
            raise err(errno.EINVAL) from bad

    def size_of(self, id: int) -> int:
        """btf_type_id_size(): EINVAL for what has no size."""
        try:
            return self.types.sizeof(id)
        except FormatError as bad:
            raise err(errno.EINVAL) from bad

    def is_int(self, id: int, bits: int) -> bool:
        """Whether the type is an integer that fills exactly so many bits."""
        if not id:
            return False
        found = self.type(id)
        return isinstance(found, t.Int) and found.bits == bits and not found.offset

    def is_struct(self, id: int) -> bool:
        """Whether the type is a struct."""
        return bool(id) and isinstance(self.type(id), t.Struct)

    def is_section(self, id: int) -> bool:
        """Whether the type is a section of variables."""
        return isinstance(self.type(id), t.DataSec)

    def special(self, id: int) -> Special | None:
        """btf_parse_fields() of a value's type."""
        fields = special_fields(self.types, id)
        return Special(fields) if fields else None

    def struct_ops(self, id: int) -> t.Struct | None:
        """The value type of a struct_ops map; None if the type is none."""
        try:
            found = self.types[id]
        except FormatError:
            return None
        if isinstance(found, t.Struct) and found.name.startswith(_STRUCT_OPS):
            return found
        return None

    def has_struct_ops(self, table: t.Struct) -> bool:
        """Whether there are struct_ops of this type of table: bpf_struct_ops_find()."""
        return self.types.find(_STRUCT_OPS + table.name, t.Struct) is not None

    def is_function_pointer(self, id: int) -> bool:
        """btf_type_resolve_func_ptr()."""
        found = self.type(id)
        return isinstance(found, t.Ptr) and isinstance(self.type(found.to), t.FuncProto)

    def info(self, call: Call, file: File, data: bytearray, told: int) -> None:
        """btf_get_info_by_fd(): a name that does not fit is told with the error."""
        at, room, _id, name_at, name_room, _kernel = _INFO.unpack_from(data)
        size = min(room, len(self.data))
        if size:
            call.mem.write(at, self.data[:size])
        if bool(name_at) != bool(name_room):
            raise err(errno.EINVAL)
        _INFO.pack_into(data, 0, at, len(self.data), self.id, name_at, len(self.name), self.kernel)
        if name_at:
            failed = copy_name(call, self.name, name_at, name_room)
            if failed:
                call.mem.write(call_info_at(call), bytes(data[:told]))
                call.put_u32(4, told)
                raise err(failed)

    def fdinfo(self, file: File) -> str:
        return f"btf_id:\t{self.id}\n"


def call_info_at(call: Call) -> int:
    """Where the caller of OBJ_GET_INFO_BY_FD wants its info."""
    return int.from_bytes(call.raw[8:16], "little")


_EMPTY = struct.pack("<HBB5I", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0"


@command(Cmd.BTF_LOAD, BtfLoad)
def btf_load(call: Call, attr: BtfLoad) -> int:
    """bpf_btf_load(), btf_new_fd()."""
    if attr.btf_flags & ~int(MapFlag.TOKEN_FD):
        raise err(errno.EINVAL)
    userns = None
    if attr.btf_flags & MapFlag.TOKEN_FD:
        userns = token_userns(call, attr.btf_token_fd, Cmd.BTF_LOAD)
    call.task.require(Cap.BPF, userns)
    if attr.btf_size > _LONGEST:
        raise err(errno.E2BIG)
    log = Log(
        attr.btf_log_level, attr.btf_log_buf, attr.btf_log_size, call.engine.release.log_rotates
    )
    data = call.mem.read(attr.btf, attr.btf_size)
    try:
        check_btf(data, call.engine.release.section_names)
        if log.level:
            _describe(log, data)
    finally:
        log.finish(call, _TRUE_SIZE)
    made = BtfObject(call.engine, call.task.creds, data)
    return install(call.task, made, O_RDONLY)


def _describe(log: Log, data: bytes) -> None:
    """What was read, a line for the header's fields and for each type."""
    types = Btf.parse(data)
    magic, version, flags, length, *sections = struct.unpack_from("<HBBI4I", data)
    names = ("type_off", "type_len", "str_off", "str_len")
    log.add(f"magic: {magic:#x}\nversion: {version}\nflags: {flags:#x}\nhdr_len: {length}")
    for name, value in zip(names, sections, strict=True):
        log.add(f"{name}: {value}")
    log.add(f"btf_total_size: {len(data)}")
    for id in types.ids():
        found = types[id]
        kind = type(found).__name__.upper()
        size = f" size={found.size}" if isinstance(found, t.Int) else ""
        log.add(f"[{id}] {kind} {types.type_name(id) or '(anon)'}{size}")
