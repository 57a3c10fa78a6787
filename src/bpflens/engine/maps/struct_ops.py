"""STRUCT_OPS: tables of functions for a subsystem (bpf_struct_ops.c). Of these there is one here,
TCP's congestion controls (net/ipv4/bpf_tcp_ca.c); others have maps, and cannot be registered."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar

from bpflens.abi.enums import MapFlag, MapType, ProgType
from bpflens.btf import types as t
from bpflens.engine.call import U32, err
from bpflens.engine.creds import Cap
from bpflens.engine.maps.base import Map, kind, p32, u32
from bpflens.engine.maps.create import object_name
from bpflens.engine.progs.prog import Prog
from bpflens.errors import ENOTSUPP

if TYPE_CHECKING:
    from bpflens.abi.attrs import MapCreate
    from bpflens.engine.engine import Engine
    from bpflens.engine.files import File
    from bpflens.engine.tasks import Task

INIT, INUSE, TOBEFREE, READY = range(4)
"""enum bpf_struct_ops_state."""
_FLAGS_MASK = 0x1F
"""TCP_CONG_MASK, with what later releases added."""


class Congestion:
    """Congestion controls. Members that are no function are taken by `member`."""

    table = "tcp_congestion_ops"

    def member(self, name: str, data: bytes) -> bool:
        """bpf_tcp_ca_init_member(): whether it took the member."""
        if name == "flags":
            if u32(data) & ~_FLAGS_MASK:
                raise err(errno.EINVAL)
            return True
        if name == "name":
            if not object_name(data):
                raise err(errno.EINVAL)
            return True
        return False

    def validate(self, given: dict[str, bytes]) -> None:
        """tcp_validate_congestion_control()."""
        there = {name for name, data in given.items() if any(data)}
        if not {"ssthresh", "undo_cwnd"} <= there or not there & {"cong_avoid", "cong_control"}:
            raise err(errno.EINVAL)

    def register(self, engine: Engine, made: StructOps) -> None:
        """tcp_register_congestion_control()."""
        if made.label in engine.congestion:
            raise err(errno.EEXIST)
        engine.congestion[made.label] = made

    def unregister(self, engine: Engine, made: StructOps) -> None:
        del engine.congestion[made.label]

    def update(self, engine: Engine, new: StructOps, old: StructOps) -> None:
        """tcp_update_congestion_control(): only of the same name."""
        if new.label != old.label:
            raise err(errno.EINVAL)
        engine.congestion[new.label] = new


CONGESTION = Congestion()


@kind(MapType.STRUCT_OPS)
class StructOps(Map):
    """A table; its one value is the table's image, with programs in place of functions."""

    __slots__ = ("image", "label", "progs", "state", "value")

    allowed: ClassVar[int] = MapFlag.LINK | MapFlag.VTYPE_BTF_OBJ_FD
    cap = Cap.BPF
    can_be_inner = False

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """bpf_struct_ops_map_alloc_check()."""
        allowed = cls.allowed if task.engine.release.struct_ops_links else 0
        if attr.key_size != 4 or attr.max_entries != 1 or attr.map_flags & ~allowed:
            raise err(errno.EINVAL)
        if not attr.btf_vmlinux_value_type_id:
            raise err(errno.EINVAL)

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """bpf_struct_ops_map_alloc()."""
        value = task.engine.vmlinux.struct_ops(attr.btf_vmlinux_value_type_id)
        if value is None:
            raise err(ENOTSUPP)
        if attr.value_size != value.size:
            raise err(errno.EINVAL)
        self.vmlinux_value = attr.btf_vmlinux_value_type_id
        self.value = value
        self.state = INIT
        self.image = bytes(value.size)
        self.label = b""
        """The name under which it is registered."""
        self.progs: list[Prog] = []

    @property
    def _data(self) -> tuple[int, t.Struct]:
        """Where the table is in the value, and its type."""
        member = self.value.members[-1]
        found = self.engine.vmlinux.type(member.type_id)
        assert isinstance(found, t.Struct)
        return member.bit_offset // 8, found

    @property
    def ops(self) -> Congestion:
        """bpf_struct_ops: the subsystem. Raises EOPNOTSUPP, as bpf_dummy_reg() does."""
        if self._data[1].name != CONGESTION.table:
            raise err(errno.EOPNOTSUPP)
        return CONGESTION

    @property
    def may_register(self) -> bool:
        """bpf_struct_ops_valid_to_reg()."""
        return bool(self.flags & MapFlag.LINK) and self.state == READY

    def lookup(self, key: bytes) -> bytes:
        """bpf_struct_ops_map_sys_lookup_elem(): programs by ID, and how many use the table."""
        if u32(key):
            raise err(errno.ENOENT)
        if self.state == INIT:
            return bytes(self.value_size)
        return U32.pack(max(self.refs - self.urefs, 0)) + U32.pack(self.state) + self.image[8:]

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """bpf_struct_ops_map_update_elem()."""
        if flags:
            raise err(errno.EINVAL)
        if u32(key):
            raise err(errno.E2BIG)
        at, table = self._data
        self._check_holes(self.value, value)
        self._check_holes(table, value[at:])
        if any(value[:8]):
            raise err(errno.EINVAL)
        if self.state != INIT:
            raise err(errno.EBUSY)
        image = bytearray(value)
        progs: list[Prog] = []
        given = {}
        for index, member in enumerate(table.members):
            where = at + member.bit_offset // 8
            size = self.engine.vmlinux.size_of(member.type_id)
            given[member.name] = bytes(image[where : where + size])
            prog = self._member(index, member, given[member.name], task)
            if prog:
                progs.append(prog)
                image[where : where + size] = prog.id.to_bytes(size, "little")
        self.ops.validate(given)
        self.label = given["name"].partition(b"\0")[0]
        if not self.flags & MapFlag.LINK:
            self.ops.register(self.engine, self)
            self.hold()
        for prog in progs:
            prog.hold()
        self.progs, self.image = progs, bytes(image)
        self.state = READY if self.flags & MapFlag.LINK else INUSE

    def _member(self, index: int, member: t.Member, data: bytes, task: Task) -> Prog | None:
        """The program that a member names by its fd; other members are zero or the subsystem's.

        Where the owner (a module) is given, Linux answers 1 and registers nothing; here EINVAL.
        """
        btf = self.engine.vmlinux
        if self.ops.member(member.name, data):
            return None
        if not btf.is_function_pointer(member.type_id):
            if any(data):
                raise err(errno.EINVAL)
            return None
        fd = int.from_bytes(data[:4], "little", signed=True)
        if not fd:
            return None
        prog = task.files.get(fd, Prog)
        wanted: tuple[Any, ...] = (ProgType.STRUCT_OPS, self._data[1].id, index)
        if (prog.type, prog.attach_btf_id, prog.attach_type) != wanted:
            raise err(errno.EINVAL)
        return prog

    def _check_holes(self, type: t.Struct, data: bytes) -> None:
        """check_zero_holes()."""
        end = 0
        for member in type.members:
            at = member.bit_offset // 8
            if any(data[end:at]):
                raise err(errno.EINVAL)
            end = at + self.engine.vmlinux.size_of(member.type_id)
        if any(data[end : type.size]):
            raise err(errno.EINVAL)

    def delete(self, key: bytes) -> None:
        """bpf_struct_ops_map_delete_elem()."""
        if self.flags & MapFlag.LINK:
            raise err(errno.EOPNOTSUPP)
        if self.state == TOBEFREE:
            raise err(errno.EINPROGRESS)
        if self.state == INIT:
            raise err(errno.ENOENT)
        self.state = TOBEFREE
        self.ops.unregister(self.engine, self)
        self.drop()

    def free(self) -> None:
        for prog in self.progs:
            prog.drop()
        super().free()

    def next_key(self, key: bytes | None) -> bytes:
        if key is not None and not u32(key):
            raise err(errno.ENOENT)
        return p32(0)
