"""Batches: many elements in one call."""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from bpflens.abi.attrs import MapBatch
from bpflens.abi.enums import Cmd
from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import MapType as T
from bpflens.errors import ENOTSUPP, SyscallError
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import Bench
from bpflens.testing.builders import lpm, map, u32, u64
from bpflens.testing.conformance.creation import FREE
from bpflens.testing.conformance.hashes import keys
from bpflens.testing.conformance.suite import BAD, cases, fails, same

LOOKUP = Cmd.MAP_LOOKUP_BATCH
TAKE = Cmd.MAP_LOOKUP_AND_DELETE_BATCH
UPDATE = Cmd.MAP_UPDATE_BATCH
DELETE = Cmd.MAP_DELETE_BATCH
HASHES = {t.label: t for t in (T.HASH, T.LRU_HASH, T.PERCPU_HASH, T.LRU_PERCPU_HASH)}
GENERIC = {t.label: t for t in (T.ARRAY, T.PERCPU_ARRAY, T.LPM_TRIE)}
PER_CPU = (T.PERCPU_HASH, T.LRU_PERCPU_HASH, T.PERCPU_ARRAY)


class Answer(NamedTuple):
    """What a batch left behind."""

    code: int
    """errno, or 0."""
    count: int  # type: ignore[assignment]
    keys: list[bytes]
    values: list[bytes]
    cursor: bytes


def batch(
    calls: Calls,
    cmd: Cmd,
    fd: int,
    count: int,
    *,
    keys: bytes = b"",
    values: bytes = b"",
    cursor: bytes = b"",
    key_size: int = 4,
    value_size: int = 8,
    elem_flags: int = 0,
    flags: int = 0,
) -> Answer:
    """One batch call, with room for `count` elements where none are given."""
    mem = Memory()
    told = bytearray(keys or key_size * count)
    held = bytearray(values or value_size * count)
    after = bytearray(b"\xee" * max(key_size, 4))
    attr = MapBatch(
        map_fd=fd,
        in_batch=mem.pin(bytearray(cursor)),
        out_batch=mem.pin(after),
        keys=mem.pin(told),
        values=mem.pin(held),
        count=count,
        elem_flags=elem_flags,
        flags=flags,
    )
    code = 0
    try:
        calls.call(cmd, attr, mem)
    except SyscallError as error:
        code = error.errno or 0
    n = min(attr.count, count)
    return Answer(
        code,
        attr.count,
        [bytes(told[key_size * i : key_size * (i + 1)]) for i in range(n)],
        [bytes(held[value_size * i : value_size * (i + 1)]) for i in range(n)],
        bytes(after),
    )


def size(bench: Bench, type: T) -> int:
    return 8 * (bench.cpus if type in PER_CPU else 1)


def filled(bench: Bench, type: T, count: int, room: int = 0, flags: int | None = None) -> int:
    """A map with keys 0 … count - 1, each with its number as value."""
    fd = map(bench.calls, type, max_entries=room or count, flags=flags)
    for number in range(count):
        key = lpm(32, number.to_bytes(4, "big")) if type == T.LPM_TRIE else u32(number)
        bench.calls.map_update(fd, key, u64(number) * (size(bench, type) // 8))
    return fd


UNABLE = {
    t.label: t
    for t in (
        T.PROG_ARRAY, T.PERF_EVENT_ARRAY, T.STACK_TRACE, T.CGROUP_ARRAY, T.DEVMAP, T.SOCKMAP,
        T.CPUMAP, T.XSKMAP, T.SOCKHASH, T.CGROUP_STORAGE, T.REUSEPORT_SOCKARRAY, T.QUEUE, T.STACK,
        T.DEVMAP_HASH, T.RINGBUF, T.BLOOM_FILTER, T.ARENA,
    )
}  # fmt: skip
assert set(UNABLE.values()) < set(FREE)


@cases(**UNABLE)
def check_types_without_batches(calls: Calls, type: T) -> None:
    """Other types know no batches (ENOTSUPP), not even of nothing."""
    fd = map(calls, type)
    for cmd in (LOOKUP, TAKE, UPDATE, DELETE):
        same(batch(calls, cmd, fd, 0).code, ENOTSUPP)


@cases(
    array_take=(T.ARRAY, TAKE), array_delete=(T.ARRAY, DELETE), percpu_take=(T.PERCPU_ARRAY, TAKE),
    percpu_delete=(T.PERCPU_ARRAY, DELETE), lpm_take=(T.LPM_TRIE, TAKE),
)  # fmt: skip
def check_batches_that_a_type_lacks(calls: Calls, type: T, cmd: Cmd) -> None:
    """Arrays cannot lose elements and tries cannot give them away (ENOTSUPP)."""
    same(batch(calls, cmd, map(calls, type), 0).code, ENOTSUPP)


@cases(**HASHES, **GENERIC)
def check_nothing(bench: Bench, type: T) -> None:
    """A batch of nothing does nothing, and looks at no pointer."""
    fd = filled(bench, type, 3)
    for cmd in (LOOKUP, UPDATE):
        attr = MapBatch(map_fd=fd, in_batch=BAD, out_batch=BAD, keys=BAD, values=BAD)
        bench.calls.call(cmd, attr)
        same(attr.count, 0)


@cases(**HASHES)
def check_hash_all(bench: Bench, type: T) -> None:
    """A batch with room for all gives all, and ENOENT as the sign that this was the end."""
    got = batch(bench.calls, LOOKUP, filled(bench, type, 20), 100, value_size=size(bench, type))
    same((got.code, got.count), (errno.ENOENT, 20))
    same(sorted(got.keys), sorted(u32(n) for n in range(20)))
    same({u64(*struct.unpack("=I", k)) for k in got.keys}, {v[:8] for v in got.values})


@cases(**HASHES)
def check_hash_in_parts(bench: Bench, type: T) -> None:
    """With the cursor of the last batch the next one goes on; no element is left out or twice."""
    fd = filled(bench, type, 100)
    found: list[bytes] = []
    cursor = b""
    for _ in range(100):
        got = batch(bench.calls, LOOKUP, fd, 20, cursor=cursor, value_size=size(bench, type))
        assert got.code in (0, errno.ENOENT), got.code
        found += got.keys
        cursor = got.cursor
        if got.code:
            break
    same(sorted(found), sorted(u32(n) for n in range(100)))


@cases(**HASHES)
def check_hash_takes_all(bench: Bench, type: T) -> None:
    """Lookup-and-delete gives the elements and leaves the map empty."""
    fd = filled(bench, type, 20)
    got = batch(bench.calls, TAKE, fd, 100, value_size=size(bench, type))
    same((got.code, got.count), (errno.ENOENT, 20))
    same(keys(bench.calls, fd, 4), [])


@cases(**HASHES)
def check_hash_cursor_past_the_end(bench: Bench, type: T) -> None:
    """A cursor past the last bucket finds nothing (ENOENT)."""
    fd = filled(bench, type, 4)
    got = batch(bench.calls, LOOKUP, fd, 4, cursor=u32(4), value_size=size(bench, type))
    same((got.code, got.count), (errno.ENOENT, 0))


@cases(**HASHES)
def check_hash_flags(bench: Bench, type: T) -> None:
    """Hashes take neither flags nor flags for elements, except LOCK (EINVAL)."""
    fd = filled(bench, type, 4)
    for cmd in (LOOKUP, TAKE):
        same(batch(bench.calls, cmd, fd, 4, flags=1).code, errno.EINVAL)
        for bad in (1, 2, 4, 8):
            same(batch(bench.calls, cmd, fd, 4, elem_flags=bad).code, errno.EINVAL)


def check_bucket_larger_than_the_batch(bench: Bench) -> None:
    """Buckets are not split: where the first one does not fit, ENOSPC and nothing."""
    fd = map(bench.calls, T.HASH, max_entries=1 << 10, flags=F.ZERO_SEED)
    for number in range(1 << 10):
        bench.calls.map_update(fd, u32(number), u64(number))
    got = batch(bench.calls, LOOKUP, fd, 1)
    while got.code == 0:
        got = batch(bench.calls, LOOKUP, fd, 1, cursor=got.cursor)
    same((got.code, got.count), (errno.ENOSPC, 0))


@cases(array=T.ARRAY, percpu_array=T.PERCPU_ARRAY)
def check_array_in_parts(bench: Bench, type: T) -> None:
    """An array goes from key to key: an exact fit is no end yet, the next call is (ENOENT)."""
    fd, each = filled(bench, type, 6), size(bench, type)
    got = batch(bench.calls, LOOKUP, fd, 4, value_size=each)
    same((got.code, got.count, got.keys), (0, 4, [u32(n) for n in range(4)]))
    same(got.cursor, u32(3))
    rest = batch(bench.calls, LOOKUP, fd, 4, cursor=got.cursor, value_size=each)
    same((rest.code, rest.count, rest.keys), (errno.ENOENT, 2, [u32(4), u32(5)]))
    exact = batch(bench.calls, LOOKUP, fd, 6, value_size=each)
    same((exact.code, exact.count), (0, 6))
    over = batch(bench.calls, LOOKUP, fd, 6, cursor=exact.cursor, value_size=each)
    same((over.code, over.count), (errno.ENOENT, 0))


def check_trie_in_parts(bench: Bench) -> None:
    """A trie goes from key to key in the order of its walk."""
    fd = filled(bench, T.LPM_TRIE, 5)
    order = keys(bench.calls, fd, 8)
    got = batch(bench.calls, LOOKUP, fd, 3, key_size=8)
    same((got.code, got.keys), (0, order[:3]))
    got = batch(bench.calls, LOOKUP, fd, 3, key_size=8, cursor=got.cursor)
    same((got.code, got.count, got.keys), (errno.ENOENT, 2, order[3:]))


def check_empty_slots_are_left_out(bench: Bench) -> None:
    """Of an array of maps a batch shows the slots that hold one."""
    calls = bench.calls
    inner = map(calls)
    fd = map(calls, T.ARRAY_OF_MAPS, inner=inner)
    for index in (1, 3):
        calls.map_update(fd, u32(index), u32(inner))
    got = batch(calls, LOOKUP, fd, 10, value_size=4)
    same((got.code, got.keys), (errno.ENOENT, [u32(1), u32(3)]))


def check_hash_of_maps(bench: Bench) -> None:
    """Of a hash of maps a batch shows the ids."""
    calls = bench.calls
    inner = map(calls)
    fd = map(calls, T.HASH_OF_MAPS, inner=inner)
    calls.map_update(fd, u32(9), u32(inner))
    got = batch(calls, LOOKUP, fd, 10, value_size=4)
    same((got.code, got.keys), (errno.ENOENT, [u32(9)]))
    same(got.values, [calls.map_lookup(fd, u32(9), 4)])


@cases(**HASHES, array=T.ARRAY, percpu_array=T.PERCPU_ARRAY)
def check_update(bench: Bench, type: T) -> None:
    """An update stores all elements."""
    fd, each = map(bench.calls, type), size(bench, type)
    value = b"".join(u64(n) * (each // 8) for n in range(4))
    got = batch(bench.calls, UPDATE, fd, 4, keys=u32(0, 1, 2, 3), values=value, value_size=each)
    same((got.code, got.count), (0, 4))
    same(bench.calls.map_lookup(fd, u32(3), each), u64(3) * (each // 8))


def check_update_stops(bench: Bench) -> None:
    """An update stops at the first element that fails, and says how many did not."""
    fd = map(bench.calls, T.HASH, max_entries=2)
    got = batch(bench.calls, UPDATE, fd, 3, keys=u32(7, 8, 9), values=bytes(24))
    same((got.code, got.count), (errno.E2BIG, 2))
    same(sorted(keys(bench.calls, fd, 4)), [u32(7), u32(8)])


@cases(new=1, old=2, both=3, unknown=8)
def check_update_flags(bench: Bench, flags: int) -> None:
    """An update takes neither NOEXIST nor EXIST for its elements (EINVAL)."""
    fd = map(bench.calls, T.HASH)
    got = batch(bench.calls, UPDATE, fd, 1, keys=u32(0), values=bytes(8), elem_flags=flags)
    same(got.code, errno.EINVAL)


@cases(**HASHES)
def check_delete(bench: Bench, type: T) -> None:
    """A delete removes all elements, and stops at the first that is not there (ENOENT)."""
    fd = filled(bench, type, 6)
    same(batch(bench.calls, DELETE, fd, 2, keys=u32(0, 1))[:2], (0, 2))
    same(batch(bench.calls, DELETE, fd, 3, keys=u32(2, 99, 3))[:2], (errno.ENOENT, 1))
    same(sorted(keys(bench.calls, fd, 4)), [u32(3), u32(4), u32(5)])


@cases(**HASHES, array=T.ARRAY)
def check_bad_pointers(bench: Bench, type: T) -> None:
    """Where keys or values cannot be written it is EFAULT, with a count of 0."""
    fd = filled(bench, type, 4)
    for wrong in ("keys", "values"):
        mem = Memory()
        attr = MapBatch(map_fd=fd, count=4, out_batch=mem.pin(bytearray(4)))
        attr.keys, attr.values = mem.pin(bytearray(400)), mem.pin(bytearray(4000))
        setattr(attr, wrong, BAD)
        fails(errno.EFAULT, bench.calls.call, LOOKUP, attr, mem)
        same(attr.count, 0)


@cases(**HASHES, array=T.ARRAY)
def check_no_place_for_the_cursor(bench: Bench, type: T) -> None:
    """A cursor that cannot be written is EFAULT."""
    fd = filled(bench, type, 4)
    mem = Memory()
    attr = MapBatch(map_fd=fd, count=4, keys=mem.pin(bytearray(16)))
    attr.values = mem.pin(bytearray(4 * size(bench, type)))
    fails(errno.EFAULT, bench.calls.call, LOOKUP, attr, mem)


def check_trie_update_and_delete(bench: Bench) -> None:
    """Tries take updates and deletes in batches."""
    fd = map(bench.calls, T.LPM_TRIE)
    both = lpm(8, bytes([10, 0, 0, 0])) + lpm(8, bytes([11, 0, 0, 0]))
    got = batch(bench.calls, UPDATE, fd, 2, keys=both, values=bytes(16), key_size=8)
    same((got.code, got.count), (0, 2))
    same(batch(bench.calls, DELETE, fd, 2, keys=both, key_size=8)[:2], (0, 2))
    same(keys(bench.calls, fd, 8), [])
