"""Elements of arrays: plain and per CPU; and of the maps that have no keys."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import MapElem
from bpflens.abi.enums import Cmd
from bpflens.abi.enums import MapType as T
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import Bench
from bpflens.testing.builders import map, u32, u64
from bpflens.testing.conformance.hashes import EXIST, LOCK, NOEXIST, keys, take
from bpflens.testing.conformance.suite import BAD, cases, fails, same

ARRAYS = {t.label: t for t in (T.ARRAY, T.PERCPU_ARRAY)}
QUEUES = {t.label: t for t in (T.QUEUE, T.STACK)}


def slots(bench: Bench, type: T) -> int:
    """How many values a value is."""
    return bench.cpus if type == T.PERCPU_ARRAY else 1


@cases(**ARRAYS)
def check_starts_with_zeros(bench: Bench, type: T) -> None:
    """Every element is there from the start, and zero."""
    fd = map(bench.calls, type)
    for index in range(4):
        got = bench.calls.map_lookup(fd, u32(index), 8 * slots(bench, type))
        same(got, bytes(len(got)))


@cases(**ARRAYS)
def check_store_and_look(bench: Bench, type: T) -> None:
    """What is stored is found, with and without EXIST."""
    fd, n = map(bench.calls, type), slots(bench, type)
    bench.calls.map_update(fd, u32(3), u64(5) * n)
    same(bench.calls.map_lookup(fd, u32(3), 8 * n), u64(5) * n)
    bench.calls.map_update(fd, u32(3), u64(6) * n, EXIST)
    same(bench.calls.map_lookup(fd, u32(3), 8 * n), u64(6) * n)


@cases(**ARRAYS)
def check_past_the_end(bench: Bench, type: T) -> None:
    """An index past the end is ENOENT to look at and E2BIG to store at."""
    fd, n = map(bench.calls, type), slots(bench, type)
    for index in (4, 0xFFFFFFFF):
        fails(errno.ENOENT, bench.calls.map_lookup, fd, u32(index), 8 * n)
        fails(errno.E2BIG, bench.calls.map_update, fd, u32(index), u64(0) * n)
        fails(errno.E2BIG, bench.calls.map_update, fd, u32(index), u64(0) * n, NOEXIST)


@cases(**ARRAYS)
def check_elements_cannot_be_new(bench: Bench, type: T) -> None:
    """NOEXIST is EEXIST, as every element is there."""
    fd, n = map(bench.calls, type), slots(bench, type)
    fails(errno.EEXIST, bench.calls.map_update, fd, u32(0), u64(0) * n, NOEXIST)


@cases(**ARRAYS)
def check_flags(bench: Bench, type: T) -> None:
    """Flags that are not for arrays are EINVAL, also past the end."""
    fd, n = map(bench.calls, type), slots(bench, type)
    for flags in (3, 4, 8, 1 << 40):
        fails(errno.EINVAL, bench.calls.map_update, fd, u32(9), u64(0) * n, flags)


@cases(**ARRAYS)
def check_delete(calls: Calls, type: T) -> None:
    """Elements of an array cannot be deleted (EINVAL), nor can those that are not there."""
    fd = map(calls, type)
    fails(errno.EINVAL, calls.map_delete, fd, u32(0))
    fails(errno.EINVAL, calls.map_delete, fd, u32(9))


@cases(**ARRAYS)
def check_walk(calls: Calls, type: T) -> None:
    """A walk counts the indices; after one that is out of range it starts again."""
    fd = map(calls, type)
    same(keys(calls, fd, 4), [u32(index) for index in range(4)])
    same(calls.map_next_key(fd, u32(4), 4), u32(0))
    same(calls.map_next_key(fd, u32(0xFFFFFFFF), 4), u32(0))


@cases(**ARRAYS)
def check_exactly_the_value_is_copied(bench: Bench, type: T) -> None:
    """A value of 5 bytes is 5 bytes in the caller's buffer, or 8 for each CPU."""
    fd = map(bench.calls, type, value_size=5)
    size = 8 * bench.cpus if type == T.PERCPU_ARRAY else 5
    bench.calls.map_update(fd, u32(0), b"\x22" * size)
    same(bench.calls.map_lookup(fd, u32(0), size + 8)[size:], bytes(8))


@cases(**ARRAYS)
def check_bad_pointers(calls: Calls, type: T) -> None:
    """Keys and values that are not there are EFAULT, before the flags are looked at."""
    fd = map(calls, type)
    mem = Memory()
    key = mem.pin(bytearray(4))
    for cmd, attr in (
        (Cmd.MAP_LOOKUP_ELEM, MapElem(map_fd=fd, key=key, value=BAD)),
        (Cmd.MAP_UPDATE_ELEM, MapElem(map_fd=fd, key=key, value=BAD, flags=99)),
        (Cmd.MAP_UPDATE_ELEM, MapElem(map_fd=fd, flags=99)),
        (Cmd.MAP_DELETE_ELEM, MapElem(map_fd=fd)),
    ):
        fails(errno.EFAULT, calls.call, cmd, attr, mem)


def check_each_cpu_has_its_value(bench: Bench) -> None:
    """Each CPU's value comes back as it was written, in the order of the CPUs."""
    fd = map(bench.calls, T.PERCPU_ARRAY)
    value = u64(*range(7, 7 + bench.cpus))
    bench.calls.map_update(fd, u32(2), value)
    same(bench.calls.map_lookup(fd, u32(2), len(value)), value)


def check_lock_without_a_lock(calls: Calls) -> None:
    """LOCK is for values that hold a spin lock (EINVAL)."""
    fd = map(calls)
    fails(errno.EINVAL, calls.map_lookup, fd, u32(0), 8, LOCK)
    fails(errno.EINVAL, calls.map_update, fd, u32(0), u64(0), LOCK)


@cases(once=1, exist=2, any=0, many=8)
def check_lookup_flags(calls: Calls, flags: int) -> None:
    """A lookup takes no flag but LOCK (EINVAL)."""
    fd = map(calls)
    if flags:
        fails(errno.EINVAL, calls.map_lookup, fd, u32(0), 8, flags)
    else:
        calls.map_lookup(fd, u32(0), 8, flags)


# --- queues and stacks


@cases(queue=(T.QUEUE, [1, 2, 3]), stack=(T.STACK, [3, 2, 1]))
def check_push_and_pop(calls: Calls, type: T, order: list[int]) -> None:
    """A queue gives first what came first, a stack what came last; a lookup only peeks."""
    fd = map(calls, type)
    for number in (1, 2, 3):
        calls.map_update(fd, b"", u32(number))
    for number in order:
        same(calls.map_lookup(fd, b"", 4), u32(number))
        same(take(calls, fd, b"", 4), u32(number))
    fails(errno.ENOENT, calls.map_lookup, fd, b"", 4)
    fails(errno.ENOENT, take, calls, fd, b"", 4)


@cases(queue=(T.QUEUE, 2), stack=(T.STACK, 5))
def check_full_queue(calls: Calls, type: T, first: int) -> None:
    """What is full takes no more (E2BIG); with EXIST the oldest gives way."""
    fd = map(calls, type)
    for number in (1, 2, 3, 4):
        calls.map_update(fd, b"", u32(number))
    fails(errno.E2BIG, calls.map_update, fd, b"", u32(5))
    calls.map_update(fd, b"", u32(5), EXIST)
    same(take(calls, fd, b"", 4), u32(first))


@cases(**QUEUES)
def check_queue_flags(calls: Calls, type: T) -> None:
    """Other flags than EXIST are EINVAL, also to pop with."""
    fd = map(calls, type)
    for flags in (NOEXIST, 3, 8):
        fails(errno.EINVAL, calls.map_update, fd, b"", u32(5), flags)
    calls.map_update(fd, b"", u32(5))
    fails(errno.EINVAL, take, calls, fd, b"", 4, LOCK)


@cases(**QUEUES, bloom_filter=T.BLOOM_FILTER)
def check_key_where_there_is_none(calls: Calls, type: T) -> None:
    """Where a map has no keys, the pointer must be NULL (EINVAL)."""
    fd = map(calls, type)
    fails(errno.EINVAL, calls.map_update, fd, u32(0), u32(0))
    fails(errno.EINVAL, calls.map_lookup, fd, u32(0), 4)


@cases(**QUEUES)
def check_queue_has_no_keys(calls: Calls, type: T) -> None:
    """A queue can neither be walked nor deleted from (EINVAL)."""
    fd = map(calls, type)
    fails(errno.EINVAL, calls.map_delete, fd, b"")
    fails(errno.EINVAL, calls.map_next_key, fd, None, 4)


# --- bloom filters, rings, arenas, stack traces, storages


def check_bloom_filter(calls: Calls) -> None:
    """A bloom filter knows what was pushed; the lookup takes the value in and gives nothing."""
    fd = map(calls, T.BLOOM_FILTER, max_entries=1000)
    calls.map_update(fd, b"", u32(77))
    mem = Memory()
    value = bytearray(u32(77))
    calls.call(Cmd.MAP_LOOKUP_ELEM, MapElem(map_fd=fd, value=mem.pin(value)), mem)
    same(bytes(value), u32(77))


def check_empty_bloom_filter(calls: Calls) -> None:
    """An empty bloom filter has nothing (ENOENT)."""
    fails(errno.ENOENT, calls.map_lookup, map(calls, T.BLOOM_FILTER), b"", 4)


def check_bloom_filter_is_no_map(calls: Calls) -> None:
    """It can neither be walked nor deleted from (EOPNOTSUPP), and takes no flags (EINVAL)."""
    fd = map(calls, T.BLOOM_FILTER)
    fails(errno.EOPNOTSUPP, calls.map_delete, fd, b"")
    fails(errno.EOPNOTSUPP, calls.map_next_key, fd, None, 4)
    fails(errno.EINVAL, calls.map_update, fd, b"", u32(0), NOEXIST)
    fails(ENOTSUPP, take, calls, fd, b"", 4)


@cases(ringbuf=T.RINGBUF, user_ringbuf=T.USER_RINGBUF)
def check_ring_has_no_elements(calls: Calls, type: T) -> None:
    """A ring buffer has no elements at all (ENOTSUPP)."""
    fd = map(calls, type)
    fails(ENOTSUPP, calls.map_lookup, fd, b"", 4)
    fails(ENOTSUPP, calls.map_update, fd, b"", b"")
    fails(ENOTSUPP, calls.map_delete, fd, b"")
    fails(ENOTSUPP, calls.map_next_key, fd, None, 4)


def check_arena_has_no_elements(calls: Calls) -> None:
    """An arena has no elements: EINVAL to look at, EOPNOTSUPP for the rest."""
    fd = map(calls, T.ARENA)
    fails(errno.EINVAL, calls.map_lookup, fd, b"", 4)
    fails(errno.EOPNOTSUPP, calls.map_update, fd, b"", b"")
    fails(errno.EOPNOTSUPP, calls.map_delete, fd, b"")
    fails(errno.EOPNOTSUPP, calls.map_next_key, fd, None, 4)


def check_stack_traces(calls: Calls) -> None:
    """Stack traces come from programs: user space reads and deletes, and stores none (EINVAL)."""
    fd = map(calls, T.STACK_TRACE)
    fails(errno.ENOENT, calls.map_lookup, fd, u32(0), 8)
    fails(errno.ENOENT, take, calls, fd, u32(0), 8)
    fails(errno.EINVAL, calls.map_update, fd, u32(0), u64(0))
    fails(errno.ENOENT, calls.map_delete, fd, u32(0))
    fails(errno.E2BIG, calls.map_delete, fd, u32(4))
    same(calls.map_next_key(fd, None, 4), None)


@cases(cgroup_storage=T.CGROUP_STORAGE, percpu_cgroup_storage=T.PERCPU_CGROUP_STORAGE)
def check_cgroup_storage(calls: Calls, type: T) -> None:
    """The elements of a cgroup storage are made by attaching; user space only changes them."""
    fd = map(calls, type)
    key = u64(1)
    fails(errno.ENOENT, calls.map_lookup, fd, key, 64)
    fails(errno.ENOENT, calls.map_update, fd, key, bytes(64))
    fails(errno.EINVAL, calls.map_update, fd, key, bytes(64), NOEXIST)
    fails(errno.EINVAL, calls.map_delete, fd, key)
    same(calls.map_next_key(fd, None, 8), None)
