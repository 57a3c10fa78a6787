"""`Map`: what all kinds share, and the registry of kinds.

A kind is a class with `@kind(MapType.X)`. Its class attributes are facts for MAP_CREATE; `check` is
the kernel's map_alloc_check (before the capability is asked for), `allocate` its map_alloc. Element
operations raise `err(errno)`; what a kind does not define is ENOTSUPP or what its family says.
"""

from __future__ import annotations

import errno
import hashlib
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeVar

from bpflens.abi.enums import MapFlag, MapType
from bpflens.engine.call import err
from bpflens.engine.files import File
from bpflens.engine.objects import Object
from bpflens.errors import ENOTSUPP

if TYPE_CHECKING:
    from bpflens.abi.attrs import MapCreate
    from bpflens.engine.btfs import BtfObject, Special
    from bpflens.engine.call import Call
    from bpflens.engine.engine import Engine
    from bpflens.engine.release import Release
    from bpflens.engine.tasks import Task

ANY, NOEXIST, EXIST, LOCK = 0, 1, 2, 4
"""Flags of an update."""

# As plain numbers: ~ of a FlagWord knows only the bits that have names.
RW = int(MapFlag.RDONLY | MapFlag.WRONLY)
ACCESS_MASK = int(RW | MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG)
PCPU_UNIT = 32768
"""PCPU_MIN_UNIT_SIZE: the largest per-CPU allocation."""
KMALLOC_MAX = 4194304


def r8(size: int) -> int:
    """Rounded up to a multiple of 8."""
    return size + 7 & ~7


def roundup_pow2(number: int) -> int:
    """The next power of two."""
    return 1 << (number - 1).bit_length()


_BASIC = struct.Struct("=6I16s")
_VMLINUX_VALUE = 44
_BTF = struct.Struct("=3I")
_BTF_AT, _VMLINUX_ID_AT, _EXTRA_AT, _HASH_AT = 64, 76, 80, 88
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_HASH = struct.Struct("=QI")


class Map(Object):
    """A map of any kind."""

    __slots__ = (
        "btf", "btf_key", "btf_value", "exclusive", "extra", "flags", "frozen", "inner", "key_size",
        "max_entries", "name", "owner", "special", "type", "urefs", "value_size", "vmlinux_value",
        "writers",
    )  # fmt: skip

    space = "map"
    anon = "anon_inode:bpf-map"

    allowed: ClassVar[int] = 0
    """Flags that MAP_CREATE takes for this kind."""
    cap: ClassVar[int] = 0
    """The capability that making one needs."""
    fd_values: ClassVar[bool] = False
    """IS_FD_MAP(): user space gives an fd and reads an ID, four bytes each."""
    per_cpu: ClassVar[bool] = False
    has_inner: ClassVar[bool] = False
    can_be_inner: ClassVar[bool] = True
    batch: ClassVar[str] = ""
    """Which batch operations there are: of L, U, D, and X for lookup-and-delete."""
    pops: ClassVar[bool] = False
    """Whether MAP_LOOKUP_AND_DELETE_ELEM is known for this kind."""
    checks_btf: ClassVar[bool] = True
    """Whether there is a map_check_btf(): kinds without one take any types with a key."""

    def __init__(self, engine: Engine, task: Task, attr: MapCreate) -> None:
        super().__init__(engine, task.creds)
        # bpf_map_init_from_attr()
        self.info_size, self.info_end = engine.release.map_info
        self.type = attr.map_type
        self.key_size = attr.key_size
        self.value_size = attr.value_size
        self.max_entries = attr.max_entries
        self.flags = attr.map_flags & ~RW
        self.extra = attr.map_extra
        self.name = b""
        self.btf: BtfObject | None = None
        self.btf_key = self.btf_value = self.vmlinux_value = 0
        self.special: Special | None = None
        self.inner: Map | None = None
        self.owner: tuple[object, ...] | None = None
        self.exclusive = b""
        self.frozen = False
        self.writers = 0
        """Mappings that are writable: they keep a map from being frozen."""
        self.urefs = 0

    # --- creation

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """map_alloc_check(): may also add flags to `attr`."""

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """map_alloc()."""

    def check_btf(self, btf: BtfObject, key: int, value: int) -> None:
        """map_check_btf(); absent for most kinds, which is ENOTSUPP."""
        raise err(ENOTSUPP)

    def like(self) -> tuple[int, ...]:
        """What must be equal for this map to be an element beside another: bpf_map_meta_equal()."""
        return (self.type, self.key_size, self.value_size, self.flags)

    # --- references

    def opened(self) -> None:
        self.refs += 1
        self.urefs += 1

    def closed(self, file: File | None = None) -> None:
        self.urefs -= 1
        if not self.urefs:
            self.engine.later(self.left)

    def left(self) -> None:
        """No fd and no pin refers to this any more: map_release_uref(). Programs still may."""

    def free(self) -> None:
        if self.btf:
            self.btf.drop()

    # --- elements; keys and values have their full size

    @property
    def value_room(self) -> int:
        """Bytes of a value at the door: bpf_map_value_size()."""
        if self.per_cpu:
            return r8(self.value_size) * self.engine.cpus
        return 4 if self.fd_values else self.value_size

    def lookup(self, key: bytes) -> bytes:
        raise err(ENOTSUPP)

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        raise err(ENOTSUPP)

    def delete(self, key: bytes) -> None:
        raise err(ENOTSUPP)

    def next_key(self, key: bytes | None) -> bytes:
        raise err(ENOTSUPP)

    def pops_in(self, release: Release) -> bool:
        """Whether `pop` was there in a release."""
        return True

    def pop(self, key: bytes) -> bytes:
        raise err(ENOTSUPP)

    def may_map_for_writing(self) -> None:
        """Whether user space may map this with PROT_WRITE: bpf_map_mmap()."""
        if self.frozen:
            raise err(errno.EPERM)
        if self.flags & MapFlag.RDONLY_PROG:
            raise err(errno.EACCES)

    def memory(self, length: int, offset: int, write: bool) -> memoryview:
        """The pages that mmap(2) gives; ENOTSUPP where there are none."""
        raise err(ENOTSUPP)

    def memlock(self) -> int:
        """map_mem_usage(), with the struct sizes of 6.18."""
        return 0

    def content(self) -> bytes:
        """The bytes that MAP_FREEZE made hashable; only arrays have them."""
        raise err(errno.EINVAL)

    # --- what the kernel shows

    def info(self, call: Call, file: File, data: bytearray, told: int) -> None:
        """bpf_map_get_info_by_fd()."""
        if not call.engine.release.map_info_echo:
            data[:] = bytes(len(data))
        _BASIC.pack_into(
            data, 0, self.type, self.id, self.key_size, self.value_size, self.max_entries,
            self.flags, self.name,
        )  # fmt: skip
        _U32.pack_into(data, _VMLINUX_VALUE, self.vmlinux_value)
        if self.btf:
            _BTF.pack_into(data, _BTF_AT, self.btf.id, self.btf_key, self.btf_value)
        if self.type == MapType.STRUCT_OPS:
            _U32.pack_into(data, _VMLINUX_ID_AT, self.engine.vmlinux.id)
        _U64.pack_into(data, _EXTRA_AT, self.extra)
        if len(data) <= _HASH_AT:
            return
        at, size = _HASH.unpack_from(data, _HASH_AT)
        if at:
            content = self.content()
            if size != 32:
                raise err(errno.EINVAL)
            if not self.frozen:
                raise err(errno.EPERM)
            call.mem.write(at, hashlib.sha256(content).digest())
        elif size:
            raise err(errno.EINVAL)

    def fdinfo(self, file: File) -> str:
        """bpf_map_show_fdinfo()."""
        text = (
            f"map_type:\t{self.type}\nkey_size:\t{self.key_size}\nvalue_size:\t{self.value_size}\n"
            f"max_entries:\t{self.max_entries}\nmap_flags:\t{_alternate(self.flags)}\n"
            f"map_extra:\t{_alternate(self.extra)}\nmemlock:\t{self.memlock()}\n"
            f"map_id:\t{self.id}\nfrozen:\t{int(self.frozen)}\n"
        )
        if self.owner and self.type == MapType.PROG_ARRAY:
            text += f"owner_prog_type:\t{self.owner[0]}\nowner_jited:\t1\n"
        return text


def _alternate(number: int) -> str:
    """%#x of the kernel, which writes 0x0 for zero."""
    return f"{number:#x}"


M = TypeVar("M", bound=type[Map])

KINDS: dict[int, type[Map]] = {}
"""Map type → its class."""


def kind(*types: MapType) -> Callable[[M], M]:
    """Register the decorated class as the kind of these types."""

    def register(cls: M) -> M:
        cls.allowed = int(cls.allowed)
        for type in types:
            KINDS[type] = cls
        return cls

    return register


def access_ok(flags: int) -> bool:
    """bpf_map_flags_access_ok()."""
    both = MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG
    return flags & both != both


def wants_node(attr: MapCreate) -> bool:
    """Whether a NUMA node is asked for: bpf_map_attr_numa_node(); -1 is none."""
    return bool(attr.map_flags & MapFlag.NUMA_NODE) and attr.numa_node != 0xFFFFFFFF


def u32(data: bytes) -> int:
    """A native u32."""
    return int.from_bytes(data[:4], "little")


def p32(number: int) -> bytes:
    """A native u32 as bytes."""
    return number.to_bytes(4, "little")
