"""Maps that programs fill: STACK_TRACE, the storages."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from bpflens.abi.enums import MapFlag, MapType
from bpflens.engine.call import err
from bpflens.engine.cgroups import from_fd
from bpflens.engine.creds import Cap
from bpflens.engine.files import File, Node
from bpflens.engine.maps.base import (
    ACCESS_MASK,
    EXIST,
    LOCK,
    NOEXIST,
    PCPU_UNIT,
    Map,
    access_ok,
    kind,
    roundup_pow2,
    u32,
)
from bpflens.engine.net import Socket

if TYPE_CHECKING:
    from bpflens.abi.attrs import MapCreate
    from bpflens.engine.btfs import BtfObject
    from bpflens.engine.release import Release
    from bpflens.engine.tasks import Task

_STORAGE_MAX = 65407
"""BPF_LOCAL_STORAGE_MAX_VALUE_SIZE."""


@kind(MapType.STACK_TRACE)
class StackTrace(Map):
    """Stacks by number (stackmap.c); only programs put any in, so there are none here."""

    __slots__ = ()

    allowed: ClassVar[int] = (
        MapFlag.NUMA_NODE | MapFlag.RDONLY | MapFlag.WRONLY | MapFlag.STACK_BUILD_ID
    )
    cap = Cap.BPF
    pops = True

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """stack_map_alloc()."""
        frame = 32 if attr.map_flags & MapFlag.STACK_BUILD_ID else 8
        if attr.map_flags & ~self.allowed or not attr.max_entries or attr.key_size != 4:
            raise err(errno.EINVAL)
        if attr.value_size < 8 or attr.value_size % frame or attr.value_size // frame > 127:
            raise err(errno.EINVAL)
        if attr.max_entries > 1 << 31:
            raise err(errno.E2BIG)
        self.engine.afford(roundup_pow2(attr.max_entries) * 8)
        self.engine.afford(attr.max_entries * (16 + attr.value_size))

    def lookup(self, key: bytes) -> bytes:
        raise err(errno.ENOENT)

    def pops_in(self, release: Release) -> bool:
        return release.stack_trace_pops

    def pop(self, key: bytes) -> bytes:
        raise err(errno.ENOENT)

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        raise err(errno.EINVAL)

    def delete(self, key: bytes) -> None:
        """stack_map_delete_elem()."""
        inside = u32(key) < roundup_pow2(self.max_entries)
        raise err(errno.ENOENT if inside else errno.E2BIG)

    def next_key(self, key: bytes | None) -> bytes:
        raise err(errno.ENOENT)

    def memlock(self) -> int:
        entries = self.max_entries
        return 320 + 8 * roundup_pow2(entries) + entries * (16 + self.value_size)


@kind(MapType.CGROUP_STORAGE)
class CgroupStorage(Map):
    """Values of a program at each cgroup that it is attached to (local_storage.c)."""

    __slots__ = ()

    allowed: ClassVar[int] = MapFlag.NUMA_NODE | ACCESS_MASK
    can_be_inner = False
    limit: ClassVar[int] = _STORAGE_MAX

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """cgroup_storage_map_alloc()."""
        if attr.key_size not in (8, 16) or not attr.value_size:
            raise err(errno.EINVAL)
        if attr.value_size > self.limit:
            raise err(errno.E2BIG)
        if attr.map_flags & ~self.allowed or not access_ok(attr.map_flags) or attr.max_entries:
            raise err(errno.EINVAL)

    def check_btf(self, btf: BtfObject, key: int, value: int) -> None:
        """cgroup_storage_check_btf()."""
        if self.key_size == 8 and not btf.is_int(key, 64):
            raise err(errno.EINVAL)
        if self.key_size == 16 and not btf.is_struct(key):
            raise err(errno.EINVAL)

    def lookup(self, key: bytes) -> bytes:
        raise err(errno.ENOENT)

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """cgroup_storage_update_elem()."""
        if flags & ~(LOCK | EXIST):
            raise err(errno.EINVAL)
        raise err(errno.ENOENT)

    def delete(self, key: bytes) -> None:
        raise err(errno.EINVAL)

    def next_key(self, key: bytes | None) -> bytes:
        raise err(errno.ENOENT)

    def memlock(self) -> int:
        return 328


@kind(MapType.PERCPU_CGROUP_STORAGE)
class PercpuCgroupStorage(CgroupStorage):
    """The same for each CPU."""

    __slots__ = ()

    per_cpu = True
    limit = PCPU_UNIT

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """bpf_percpu_cgroup_storage_update()."""
        if flags not in (0, EXIST):
            raise err(errno.EINVAL)
        raise err(errno.ENOENT)


class LocalStorage(Map):
    """Values that hang at a kernel object, which user space names by fd."""

    __slots__ = ("values",)

    allowed: ClassVar[int] = MapFlag.NO_PREALLOC | MapFlag.CLONE
    cap = Cap.BPF

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """bpf_local_storage_map_alloc_check()."""
        if attr.map_flags & ~cls.allowed or not attr.map_flags & MapFlag.NO_PREALLOC:
            raise err(errno.EINVAL)
        if attr.max_entries or attr.key_size != 4 or not attr.value_size:
            raise err(errno.EINVAL)
        if not attr.btf_key_type_id or not attr.btf_value_type_id:
            raise err(errno.EINVAL)
        if attr.value_size > _STORAGE_MAX:
            raise err(errno.E2BIG)

    def allocate(self, attr: MapCreate, task: Task) -> None:
        self.values: dict[Node, bytes] = {}

    def check_btf(self, btf: BtfObject, key: int, value: int) -> None:
        """bpf_local_storage_map_check_btf()."""
        if not btf.is_int(key, 32):
            raise err(errno.EINVAL)

    def owner_of(self, key: bytes, task: Task) -> Node:
        """What the fd in the key names."""
        raise NotImplementedError

    def lookup(self, key: bytes) -> bytes:
        value = self.values.get(self.owner_of(key, self.engine.current))
        if value is None:
            raise err(errno.ENOENT)
        return self.special.hidden(value) if self.special else value

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """bpf_local_storage_update()."""
        node = self.owner_of(key, task)
        if flags & ~LOCK > EXIST:
            raise err(errno.EINVAL)
        if flags & LOCK and not (self.special and self.special.lock):
            raise err(errno.EINVAL)
        if node in self.values:
            if flags & NOEXIST:
                raise err(errno.EEXIST)
        elif flags & EXIST:
            raise err(errno.ENOENT)
        self.values[node] = value

    def delete(self, key: bytes) -> None:
        if self.values.pop(self.owner_of(key, self.engine.current), None) is None:
            raise err(errno.ENOENT)


def _fd(key: bytes) -> int:
    return int.from_bytes(key[:4], "little", signed=True)


@kind(MapType.SK_STORAGE)
class SkStorage(LocalStorage):
    """At sockets."""

    __slots__ = ()

    def owner_of(self, key: bytes, task: Task) -> Node:
        return task.files.get(_fd(key), Socket, errno.ENOTSOCK)


@kind(MapType.INODE_STORAGE)
class InodeStorage(LocalStorage):
    """At inodes."""

    __slots__ = ()

    def owner_of(self, key: bytes, task: Task) -> Node:
        return task.files.file(_fd(key)).node


@kind(MapType.TASK_STORAGE)
class TaskStorage(LocalStorage):
    """At tasks, which are named by pidfd."""

    __slots__ = ()

    def owner_of(self, key: bytes, task: Task) -> Node:
        raise err(errno.EBADF)  # nothing here opens a pidfd


@kind(MapType.CGRP_STORAGE)
class CgrpStorage(LocalStorage):
    """At cgroups."""

    __slots__ = ()

    def owner_of(self, key: bytes, task: Task) -> Node:
        return from_fd(task, _fd(key))
