"""The hash maps (hashtab.c): buckets in order, the newest element of a bucket first."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from bpflens.abi.enums import MapFlag, MapType
from bpflens.engine.call import err
from bpflens.engine.creds import Cap
from bpflens.engine.files import File
from bpflens.engine.ids import Bits
from bpflens.engine.maps.base import (
    ACCESS_MASK,
    EXIST,
    KMALLOC_MAX,
    LOCK,
    NOEXIST,
    PCPU_UNIT,
    Map,
    access_ok,
    kind,
    r8,
    roundup_pow2,
    wants_node,
)
from bpflens.engine.maps.jhash import jhash
from bpflens.errors import ENOTSUPP

if TYPE_CHECKING:
    from bpflens.abi.attrs import MapCreate
    from bpflens.engine.tasks import Task

_FLAGS = int(
    MapFlag.NO_PREALLOC
    | MapFlag.NO_COMMON_LRU
    | MapFlag.NUMA_NODE
    | MapFlag.ZERO_SEED
    | ACCESS_MASK
)
_ELEM = 48
"""sizeof(struct htab_elem)."""


class Buckets:
    """Keys in the order in which the kernel walks them."""

    __slots__ = ("_used", "chains", "count", "seed")

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed
        self.chains: dict[int, list[bytes]] = {}
        """Bucket → its keys, the newest last."""
        self._used = Bits()

    def of(self, key: bytes) -> int:
        """The bucket of a key."""
        return jhash(key, self.seed) & self.count - 1

    def add(self, key: bytes) -> None:
        """Put a key in front of its bucket: hlist_nulls_add_head_rcu()."""
        at = self.of(key)
        chain = self.chains.get(at)
        if chain is None:
            self.chains[at] = [key]
            self._used.add(at)
        else:
            chain.append(key)

    def remove(self, key: bytes) -> None:
        """Take a key out."""
        at = self.of(key)
        chain = self.chains[at]
        chain.remove(key)
        if not chain:
            del self.chains[at]
            self._used.remove(at)

    def following(self, bucket: int) -> int:
        """The first bucket from this one on that holds anything; -1 at the end."""
        return self._used.next(bucket)

    def after(self, key: bytes) -> bytes | None:
        """The key that follows one that is there."""
        at = self.of(key)
        chain = self.chains[at]
        place = chain.index(key)
        if place:
            return chain[place - 1]
        return self.first(at + 1)

    def first(self, bucket: int = 0) -> bytes | None:
        """The first key from `bucket` on."""
        at = self.following(bucket)
        return self.chains[at][-1] if at >= 0 else None


@kind(MapType.HASH)
class Hash(Map):
    """Any key to any value."""

    __slots__ = ("buckets", "values")

    allowed: ClassVar[int] = _FLAGS
    batch = "LUDX"
    pops = True
    checks_btf: ClassVar[bool] = False
    lru: ClassVar[bool] = False
    reorders: ClassVar[bool] = True
    """Whether an overwritten element is a new one, in front of its bucket."""

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """htab_map_alloc_check()."""
        flags = attr.map_flags
        if flags & MapFlag.ZERO_SEED and not task.creds.has(Cap.SYS_ADMIN):
            raise err(errno.EPERM)
        if flags & ~_FLAGS or not access_ok(flags):
            raise err(errno.EINVAL)
        if flags & MapFlag.NO_COMMON_LRU and not cls.lru:
            raise err(errno.EINVAL)
        if cls.lru and flags & MapFlag.NO_PREALLOC:
            raise err(ENOTSUPP)
        if wants_node(attr) and (cls.per_cpu or flags & MapFlag.NO_COMMON_LRU):
            raise err(errno.EINVAL)
        if not (attr.max_entries and attr.key_size and attr.value_size):
            raise err(errno.EINVAL)
        if attr.key_size + attr.value_size >= KMALLOC_MAX - _ELEM:
            raise err(errno.E2BIG)
        if cls.per_cpu and r8(attr.value_size) > PCPU_UNIT:
            raise err(errno.E2BIG)

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """htab_map_alloc()."""
        if self.flags & MapFlag.NO_COMMON_LRU:
            cpus = self.engine.cpus
            self.max_entries = -(-self.max_entries // cpus) * cpus
            if self.max_entries > 0xFFFFFFFF:
                self.max_entries = attr.max_entries // cpus * cpus
        if self.max_entries > 1 << 31:
            raise err(errno.E2BIG)
        count = roundup_pow2(self.max_entries)
        if count > 0xFFFFFFFF // 16:
            raise err(errno.E2BIG)
        self.engine.afford(16 * count)
        if not self.flags & MapFlag.NO_PREALLOC:
            self.engine.afford(self.max_entries * self._elem())
        seed = 0 if self.flags & MapFlag.ZERO_SEED else self.engine.random.getrandbits(32)
        self.buckets = Buckets(count, seed)
        self.values: dict[bytes, bytes] = {}

    def lookup(self, key: bytes) -> bytes:
        value = self.values.get(key)
        if value is None:
            raise err(errno.ENOENT)
        return self.special.hidden(value) if self.special else value

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """htab_map_update_elem()."""
        self.check_flags(flags)
        old = self.values.get(key)
        if old is not None and flags & ~LOCK == NOEXIST:
            raise err(errno.EEXIST)
        if old is None and flags & ~LOCK == EXIST:
            raise err(errno.ENOENT)
        if old is None:
            if len(self.values) >= self.max_entries:
                self.make_room()
            self.buckets.add(key)
        elif self.reorders and not flags & LOCK:
            self.buckets.remove(key)
            self.buckets.add(key)
        self.values[key] = self.special.kept(value, old or b"") if self.special else value

    def check_flags(self, flags: int) -> None:
        if flags & ~LOCK > EXIST:
            raise err(errno.EINVAL)
        if flags & LOCK and not (self.special and self.special.lock):
            raise err(errno.EINVAL)

    def make_room(self) -> None:
        raise err(errno.E2BIG)

    def delete(self, key: bytes) -> None:
        if self.values.pop(key, None) is None:
            raise err(errno.ENOENT)
        self.buckets.remove(key)

    def pop(self, key: bytes) -> bytes:
        value = self.lookup(key)
        self.delete(key)
        return value

    def next_key(self, key: bytes | None) -> bytes:
        """htab_map_get_next_key(): from a key that is gone it starts again."""
        if key is None or key not in self.values:
            following = self.buckets.first()
        else:
            following = self.buckets.after(key)
        if following is None:
            raise err(errno.ENOENT)
        return following

    def _elem(self) -> int:
        return _ELEM + r8(self.key_size) + r8(self.value_size)

    def memlock(self) -> int:
        """htab_map_mem_usage()."""
        cpus = self.engine.cpus
        base = 896 + 16 * self.buckets.count
        if self.flags & MapFlag.NO_PREALLOC:
            return base + len(self.values) * (self._elem() + 8)
        return base + self._elem() * (self.max_entries + cpus) + 8 * cpus


@kind(MapType.LRU_HASH)
class LruHash(Hash):
    """A hash that throws out old elements when it is full."""

    __slots__ = ()

    cap = Cap.BPF
    lru = True

    def check_flags(self, flags: int) -> None:
        """htab_lru_map_update_elem()."""
        if flags > EXIST:
            raise err(errno.EINVAL)

    def make_room(self) -> None:
        # Which element goes is not defined (bpf_lru_list.c); here it is the one set longest ago.
        self.delete(next(iter(self.values)))

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        super().update(key, value, flags, task, file)
        self.values[key] = self.values.pop(key)

    def memlock(self) -> int:
        return 896 + 16 * self.buckets.count + self._elem() * self.max_entries


@kind(MapType.PERCPU_HASH)
class PercpuHash(Hash):
    """A value for each possible CPU a key."""

    __slots__ = ()

    per_cpu = True
    reorders = False

    def check_flags(self, flags: int) -> None:
        """htab_map_update_elem_in_place()."""
        if flags > EXIST:
            raise err(errno.EINVAL)

    def _elem(self) -> int:
        return _ELEM + r8(self.key_size) + 8

    def memlock(self) -> int:
        base = 896 + 16 * self.buckets.count
        values = r8(self.value_size) * self.engine.cpus
        if self.flags & MapFlag.NO_PREALLOC:
            return base + len(self.values) * (self._elem() + 16 + values)
        return base + (self._elem() + values) * self.max_entries


@kind(MapType.LRU_PERCPU_HASH)
class LruPercpuHash(LruHash):
    """Both."""

    __slots__ = ()

    per_cpu = True
    reorders = False

    def memlock(self) -> int:
        elem = _ELEM + r8(self.key_size) + 8 + r8(self.value_size) * self.engine.cpus
        return 896 + 16 * self.buckets.count + elem * self.max_entries
