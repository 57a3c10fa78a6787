"""Maps without keys: QUEUE, STACK, BLOOM_FILTER, and those that are memory only."""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, ClassVar

from bpflens.abi.enums import MapFlag, MapType
from bpflens.engine.call import err
from bpflens.engine.creds import Cap
from bpflens.engine.files import File
from bpflens.engine.maps.base import (
    ACCESS_MASK,
    ANY,
    EXIST,
    KMALLOC_MAX,
    NOEXIST,
    Map,
    access_ok,
    kind,
    roundup_pow2,
)
from bpflens.engine.maps.jhash import jhash
from bpflens.errors import ENOTSUPP

if TYPE_CHECKING:
    from bpflens.abi.attrs import MapCreate
    from bpflens.engine.btfs import BtfObject
    from bpflens.engine.tasks import Task

PAGE = 4096


@kind(MapType.QUEUE)
class Queue(Map):
    """First in, first out (queue_stack_maps.c)."""

    __slots__ = ("items",)

    allowed: ClassVar[int] = MapFlag.NUMA_NODE | ACCESS_MASK
    cap = Cap.BPF
    pops = True
    checks_btf = False
    newest_first: ClassVar[bool] = False

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """queue_stack_map_alloc_check()."""
        if attr.max_entries == 0 or attr.key_size != 0 or attr.value_size == 0:
            raise err(errno.EINVAL)
        if attr.map_flags & ~cls.allowed or not access_ok(attr.map_flags):
            raise err(errno.EINVAL)
        if attr.value_size > KMALLOC_MAX:
            raise err(errno.E2BIG)

    def allocate(self, attr: MapCreate, task: Task) -> None:
        self.engine.afford((self.max_entries + 1) * self.value_size)
        self.items: deque[bytes] = deque()

    def lookup(self, key: bytes) -> bytes:
        if not self.items:
            raise err(errno.ENOENT)
        return self.items[-1 if self.newest_first else 0]

    def pop(self, key: bytes) -> bytes:
        value = self.lookup(key)
        if self.newest_first:
            self.items.pop()
        else:
            self.items.popleft()
        return value

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """queue_stack_map_push_elem(): BPF_EXIST makes room by dropping the oldest."""
        if flags & NOEXIST or flags > EXIST:
            raise err(errno.EINVAL)
        if len(self.items) == self.max_entries:
            if not flags & EXIST:
                raise err(errno.E2BIG)
            self.items.popleft()
        self.items.append(value)

    def delete(self, key: bytes) -> None:
        raise err(errno.EINVAL)

    def next_key(self, key: bytes | None) -> bytes:
        raise err(errno.EINVAL)

    def memlock(self) -> int:
        return 312 + (self.max_entries + 1) * self.value_size


@kind(MapType.STACK)
class Stack(Queue):
    """Last in, first out."""

    __slots__ = ()

    newest_first = True


@kind(MapType.BLOOM_FILTER)
class Bloom(Map):
    """A set that may say yes wrongly, never no (bloom_filter.c)."""

    __slots__ = ("bits", "hashes", "mask", "seed")

    allowed: ClassVar[int] = MapFlag.NUMA_NODE | MapFlag.ZERO_SEED | ACCESS_MASK
    cap = Cap.BPF

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """bloom_map_alloc_check()."""
        if attr.value_size > KMALLOC_MAX:
            raise err(errno.E2BIG)

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """bloom_map_alloc()."""
        if attr.key_size or not attr.value_size or not attr.max_entries or attr.map_extra & ~0xF:
            raise err(errno.EINVAL)
        if attr.map_flags & ~self.allowed or not access_ok(attr.map_flags):
            raise err(errno.EINVAL)
        self.hashes = attr.map_extra or 5
        # Bits for the best rate of false answers: n * k / ln 2, with 7/5 for 1/ln 2.
        bits = self.max_entries * self.hashes
        if bits > 0xFFFFFFFF or bits // 5 * 7 > 1 << 31:
            self.mask = 0xFFFFFFFF
        else:
            self.mask = max(64, roundup_pow2(max(bits // 5 * 7, 1))) - 1
        self.engine.afford((self.mask + 1) // 8)
        self.bits: set[int] = set()
        self.seed = 0 if self.flags & MapFlag.ZERO_SEED else self.engine.random.getrandbits(32)

    def check_btf(self, btf: BtfObject, key: int, value: int) -> None:
        """bloom_map_check_btf(): values only, the key is void."""
        if key:
            raise err(errno.EINVAL)

    def _places(self, value: bytes) -> set[int]:
        seed, mask = self.seed, self.mask
        return {jhash(value, seed + n & 0xFFFFFFFF) & mask for n in range(self.hashes)}

    def holds(self, value: bytes) -> None:
        """ENOENT if the value is surely not in it. bloom_map_peek_elem()."""
        if not self._places(value) <= self.bits:
            raise err(errno.ENOENT)

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        if flags != ANY:
            raise err(errno.EINVAL)
        self.bits |= self._places(value)

    def delete(self, key: bytes) -> None:
        raise err(errno.EOPNOTSUPP)

    def next_key(self, key: bytes | None) -> bytes:
        raise err(errno.EOPNOTSUPP)

    def memlock(self) -> int:
        return 312 + (self.mask + 1) // 8


@kind(MapType.RINGBUF, MapType.USER_RINGBUF)
class Ringbuf(Map):
    """A ring that is read and written by mmap only (ringbuf.c)."""

    __slots__ = ("data",)

    allowed: ClassVar[int] = MapFlag.NUMA_NODE
    cap = Cap.BPF
    checks_btf = False

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """ringbuf_map_alloc()."""
        if attr.map_flags & ~self.allowed or attr.key_size or attr.value_size:
            raise err(errno.EINVAL)
        size = attr.max_entries
        if not size or size & size - 1 or size % PAGE:
            raise err(errno.EINVAL)
        self.engine.afford(size)
        self.data = bytearray()

    def memory(self, length: int, offset: int, write: bool) -> memoryview:
        """ringbuf_map_mmap_kern(): a page of the consumer, one of the producer, the data twice."""
        if not self.data:
            self.data = bytearray(2 * PAGE + 2 * self.max_entries)
        if offset % PAGE or offset + length > len(self.data):
            raise err(errno.EINVAL)
        # A program produces and a process consumes, or the other way round: the page of the
        # consumer's position is the reader's to write, all else the writer's.
        readers = offset == 0 and length <= PAGE
        if write and not (readers if self.type == MapType.RINGBUF else offset):
            raise err(errno.EPERM)
        return memoryview(self.data)[offset : offset + length]

    def memlock(self) -> int:
        pages = self.max_entries // PAGE
        return 304 + PAGE * (3 + pages) + 8 * (3 + 2 * pages)


@kind(MapType.ARENA)
class Arena(Map):
    """Pages that a program and a process share (arena.c)."""

    __slots__ = ()

    allowed: ClassVar[int] = MapFlag.MMAPABLE | MapFlag.SEGV_ON_FAULT | MapFlag.NO_USER_CONV
    cap = Cap.BPF

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """arena_map_alloc()."""
        if attr.key_size or attr.value_size or not attr.max_entries:
            raise err(errno.EINVAL)
        if attr.map_flags & ~self.allowed or not attr.map_flags & MapFlag.MMAPABLE:
            raise err(errno.EINVAL)
        if attr.map_extra % PAGE:
            raise err(errno.EINVAL)
        size = attr.max_entries * PAGE
        if size > 1 << 32:
            raise err(errno.E2BIG)
        if attr.map_extra >> 32 != attr.map_extra + size - 1 >> 32:
            raise err(errno.ERANGE)

    def check_btf(self, btf: BtfObject, key: int, value: int) -> None:
        raise err(ENOTSUPP)

    def lookup(self, key: bytes) -> bytes:
        raise err(errno.EINVAL)

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        raise err(errno.EOPNOTSUPP)

    def delete(self, key: bytes) -> None:
        raise err(errno.EOPNOTSUPP)

    def next_key(self, key: bytes | None) -> bytes:
        raise err(errno.EOPNOTSUPP)
