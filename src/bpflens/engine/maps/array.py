"""ARRAY and PERCPU_ARRAY: values at indexes, all there from the beginning (arraymap.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from bpflens.abi.enums import MapFlag, MapType
from bpflens.engine.call import err
from bpflens.engine.files import File
from bpflens.engine.maps.base import (
    ACCESS_MASK,
    ANY,
    EXIST,
    LOCK,
    NOEXIST,
    PCPU_UNIT,
    Map,
    access_ok,
    kind,
    p32,
    r8,
    u32,
    wants_node,
)

if TYPE_CHECKING:
    from bpflens.abi.attrs import MapCreate
    from bpflens.engine.btfs import BtfObject
    from bpflens.engine.tasks import Task

PAGE = 4096


class Indexed(Map):
    """What every map with a u32 index for a key does alike."""

    __slots__ = ()

    allowed: ClassVar[int] = MapFlag.NUMA_NODE | ACCESS_MASK

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """array_map_alloc_check()."""
        if attr.max_entries == 0 or attr.key_size != 4 or attr.value_size == 0:
            raise err(errno.EINVAL)
        if attr.map_flags & ~cls.allowed or not access_ok(attr.map_flags):
            raise err(errno.EINVAL)
        if cls.per_cpu and wants_node(attr):
            raise err(errno.EINVAL)
        if attr.value_size > 0x7FFFFFFF:
            raise err(errno.E2BIG)
        if cls.per_cpu and r8(attr.value_size) > PCPU_UNIT:
            raise err(errno.E2BIG)

    def next_key(self, key: bytes | None) -> bytes:
        """array_map_get_next_key(): an index that is not there counts as none."""
        index = u32(key) if key is not None else self.max_entries
        if index >= self.max_entries:
            return p32(0)
        if index == self.max_entries - 1:
            raise err(errno.ENOENT)
        return p32(index + 1)

    def memlock(self) -> int:
        return 312 + self.max_entries * 8


@kind(MapType.ARRAY)
class Array(Indexed):
    """One value an index."""

    __slots__ = ("data", "stride")

    allowed = Indexed.allowed | MapFlag.MMAPABLE | MapFlag.INNER_MAP
    batch = "LU"

    def allocate(self, attr: MapCreate, task: Task) -> None:
        self.stride = r8(self.value_size)
        size = self.stride * self.max_entries
        self.engine.afford(size)
        if self.flags & MapFlag.MMAPABLE:
            size = size + PAGE - 1 & -PAGE
        self.data = bytearray(size)

    def like(self) -> tuple[int, ...]:
        """array_map_meta_equal()."""
        if self.flags & MapFlag.INNER_MAP:
            return super().like()
        return (*super().like(), self.max_entries)

    def check_btf(self, btf: BtfObject, key: int, value: int) -> None:
        """array_map_check_btf(): the key is a plain 32-bit integer.

        Without a key it is a section of global variables: .data, .bss, .rodata.
        """
        if not key and self.max_entries == 1 and btf.is_section(value):
            return
        if not btf.is_int(key, 32):
            raise err(errno.EINVAL)

    def _at(self, key: bytes) -> int:
        return u32(key) * self.stride

    def lookup(self, key: bytes) -> bytes:
        if u32(key) >= self.max_entries:
            raise err(errno.ENOENT)
        at = self._at(key)
        value = bytes(self.data[at : at + self.value_size])
        return self.special.hidden(value) if self.special else value

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """array_map_update_elem()."""
        if flags & ~LOCK > EXIST:
            raise err(errno.EINVAL)
        if u32(key) >= self.max_entries:
            raise err(errno.E2BIG)
        if flags & NOEXIST:
            raise err(errno.EEXIST)
        if flags & LOCK and not (self.special and self.special.lock):
            raise err(errno.EINVAL)
        at = self._at(key)
        if self.special:
            value = self.special.kept(value, bytes(self.data[at : at + self.value_size]))
        self.data[at : at + self.value_size] = value

    def delete(self, key: bytes) -> None:
        raise err(errno.EINVAL)

    def content(self) -> bytes:
        return bytes(self.data[: self.max_entries * self.stride])

    def memory(self, length: int, offset: int, write: bool) -> memoryview:
        """array_map_mmap()."""
        if not self.flags & MapFlag.MMAPABLE or offset % PAGE:
            raise err(errno.EINVAL)
        if offset + (length + PAGE - 1 & -PAGE) > len(self.data):
            raise err(errno.EINVAL)
        return memoryview(self.data)[offset : offset + length]

    def memlock(self) -> int:
        size = self.max_entries * self.stride
        if self.flags & MapFlag.MMAPABLE:
            return PAGE + (size + PAGE - 1 & -PAGE)
        return 312 + size


@kind(MapType.PERCPU_ARRAY)
class PercpuArray(Indexed):
    """A value for each possible CPU an index."""

    __slots__ = ("values",)

    allowed = ACCESS_MASK | MapFlag.NUMA_NODE
    per_cpu = True
    batch = "LU"

    def allocate(self, attr: MapCreate, task: Task) -> None:
        self.engine.afford(self.max_entries * self.value_room)
        self.values: dict[int, bytes] = {}

    def check_btf(self, btf: BtfObject, key: int, value: int) -> None:
        if not btf.is_int(key, 32):
            raise err(errno.EINVAL)

    def lookup(self, key: bytes) -> bytes:
        """bpf_percpu_array_copy()."""
        index = u32(key)
        if index >= self.max_entries:
            raise err(errno.ENOENT)
        return self.values.get(index) or bytes(self.value_room)

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """bpf_percpu_array_update()."""
        if flags > EXIST:
            raise err(errno.EINVAL)
        if u32(key) >= self.max_entries:
            raise err(errno.E2BIG)
        if flags == NOEXIST:
            raise err(errno.EEXIST)
        self.values[u32(key)] = value

    def delete(self, key: bytes) -> None:
        raise err(errno.EINVAL)

    def memlock(self) -> int:
        return 312 + self.max_entries * (8 + r8(self.value_size) * self.engine.cpus)


class Slots(Indexed):
    """Indexes that hold a reference to an object, given by fd: bpf_fd_array_map_*()."""

    __slots__ = ("held",)

    fd_values = True
    allowed: ClassVar[int] = MapFlag.NUMA_NODE | MapFlag.RDONLY | MapFlag.WRONLY

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """fd_array_map_alloc_check()."""
        if attr.value_size != 4:
            raise err(errno.EINVAL)
        super().check(attr, task)

    def allocate(self, attr: MapCreate, task: Task) -> None:
        self.engine.afford(self.max_entries * 8)
        self.held: dict[int, object] = {}

    def get(self, fd: int, task: Task, file: File) -> object:
        """Take a reference on what `fd` names: map_fd_get_ptr()."""
        raise NotImplementedError

    def put(self, item: object) -> None:
        """Give a reference back: map_fd_put_ptr()."""
        raise NotImplementedError

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """bpf_fd_array_map_update_elem()."""
        if flags != ANY:
            raise err(errno.EINVAL)
        index = u32(key)
        if index >= self.max_entries:
            raise err(errno.E2BIG)
        new = self.get(int.from_bytes(value[:4], "little", signed=True), task, file)
        old = self.held.get(index)
        self.held[index] = new
        if old is not None:
            self.put(old)

    def delete(self, key: bytes) -> None:
        """__fd_array_map_delete_elem()."""
        if u32(key) >= self.max_entries:
            raise err(errno.E2BIG)
        old = self.held.pop(u32(key), None)
        if old is None:
            raise err(errno.ENOENT)
        self.put(old)

    def clear(self) -> None:
        """Empty every slot."""
        while self.held:
            self.put(self.held.popitem()[1])

    def free(self) -> None:
        self.clear()
        super().free()
