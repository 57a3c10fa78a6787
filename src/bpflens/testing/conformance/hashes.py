"""Elements of hash maps: plain, per CPU, LRU."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import MapElem, MapNextKey
from bpflens.abi.enums import Cmd
from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import MapType as T
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import Bench
from bpflens.testing.builders import map, u32, u64
from bpflens.testing.conformance.suite import BAD, cases, fails, same

ANY, NOEXIST, EXIST, LOCK = 0, 1, 2, 4
ALL = {t.label: t for t in (T.HASH, T.LRU_HASH, T.PERCPU_HASH, T.LRU_PERCPU_HASH)}
BOUNDED = {t.label: t for t in (T.HASH, T.PERCPU_HASH)}
LRU = {t.label: t for t in (T.LRU_HASH, T.LRU_PERCPU_HASH)}
PER_CPU = {t.label: t for t in (T.PERCPU_HASH, T.LRU_PERCPU_HASH)}


class Hash:
    """A hash map with values of 8 bytes, and its elements by number."""

    def __init__(self, bench: Bench, type: T, max_entries: int = 4, flags: int = 0) -> None:
        self.calls = bench.calls
        self.slots = bench.cpus if type in PER_CPU.values() else 1
        self.fd = map(bench.calls, type, max_entries=max_entries, flags=flags)

    def value(self, number: int) -> bytes:
        """A value as user space sees it: as many slots as CPUs where there is one for each."""
        return u64(number) * self.slots

    def put(self, key: int, number: int, flags: int = ANY) -> None:
        self.calls.map_update(self.fd, u32(key), self.value(number), flags)

    def get(self, key: int) -> bytes:
        return self.calls.map_lookup(self.fd, u32(key), 8 * self.slots)

    def take(self, key: int) -> bytes:
        return take(self.calls, self.fd, u32(key), 8 * self.slots)

    def keys(self) -> list[int]:
        return [int.from_bytes(key, "little") for key in keys(self.calls, self.fd, 4)]


def take(calls: Calls, fd: int, key: bytes, size: int, flags: int = 0) -> bytes:
    """MAP_LOOKUP_AND_DELETE_ELEM."""
    mem = Memory()
    value = bytearray(size)
    attr = MapElem(map_fd=fd, key=mem.pin(bytearray(key)), value=mem.pin(value), flags=flags)
    calls.call(Cmd.MAP_LOOKUP_AND_DELETE_ELEM, attr, mem)
    return bytes(value)


def keys(calls: Calls, fd: int, size: int) -> list[bytes]:
    """Every key, in the order of the walk."""
    found: list[bytes] = []
    while (key := calls.map_next_key(fd, found[-1] if found else None, size)) is not None:
        found.append(key)
    return found


@cases(**ALL)
def check_store_and_look(bench: Bench, type: T) -> None:
    """What is stored under a key is found there, and replaced by what is stored next."""
    it = Hash(bench, type)
    it.put(7, 1)
    same(it.get(7), it.value(1))
    it.put(7, 2)
    same(it.get(7), it.value(2))
    same(it.keys(), [7])


@cases(**ALL)
def check_absent(bench: Bench, type: T) -> None:
    """A key that is not there is ENOENT: to look at, to delete, to take."""
    it = Hash(bench, type)
    fails(errno.ENOENT, it.get, 1)
    fails(errno.ENOENT, it.calls.map_delete, it.fd, u32(1))
    fails(errno.ENOENT, it.take, 1)


@cases(**ALL)
def check_delete(bench: Bench, type: T) -> None:
    """What is deleted is not there any more."""
    it = Hash(bench, type)
    it.put(1, 1)
    it.calls.map_delete(it.fd, u32(1))
    fails(errno.ENOENT, it.get, 1)
    same(it.keys(), [])


@cases(**ALL)
def check_take(bench: Bench, type: T) -> None:
    """Lookup-and-delete gives the value and removes the element."""
    it = Hash(bench, type)
    it.put(1, 5)
    same(it.take(1), it.value(5))
    fails(errno.ENOENT, it.get, 1)


@cases(**ALL)
def check_take_into_nowhere(bench: Bench, type: T) -> None:
    """Where the value cannot be written it is EFAULT, and the element is removed all the same."""
    it = Hash(bench, type)
    it.put(1, 5)
    mem = Memory()
    attr = MapElem(map_fd=it.fd, key=mem.pin(bytearray(u32(1))), value=BAD)
    fails(errno.EFAULT, it.calls.call, Cmd.MAP_LOOKUP_AND_DELETE_ELEM, attr, mem)
    fails(errno.ENOENT, it.get, 1)


@cases(**ALL)
def check_only_new(bench: Bench, type: T) -> None:
    """With NOEXIST a key that is there is EEXIST, and keeps its value."""
    it = Hash(bench, type)
    it.put(1, 1, NOEXIST)
    fails(errno.EEXIST, it.put, 1, 2, NOEXIST)
    same(it.get(1), it.value(1))


@cases(**ALL)
def check_only_old(bench: Bench, type: T) -> None:
    """With EXIST a key that is not there is ENOENT, and stays absent."""
    it = Hash(bench, type)
    fails(errno.ENOENT, it.put, 1, 1, EXIST)
    fails(errno.ENOENT, it.get, 1)
    it.put(1, 1)
    it.put(1, 2, EXIST)
    same(it.get(1), it.value(2))


@cases(**ALL)
def check_flags(bench: Bench, type: T) -> None:
    """NOEXIST and EXIST together, and all other flags, are EINVAL."""
    it = Hash(bench, type)
    for flags in (3, 8, 16, 1 << 32):
        fails(errno.EINVAL, it.put, 1, 1, flags)


@cases(**ALL)
def check_lock_without_a_lock(bench: Bench, type: T) -> None:
    """LOCK is for values that hold a spin lock (EINVAL)."""
    it = Hash(bench, type)
    fails(errno.EINVAL, it.put, 1, 1, LOCK)
    fails(errno.EINVAL, it.calls.map_lookup, it.fd, u32(1), 8, LOCK)


@cases(**BOUNDED)
def check_full(bench: Bench, type: T) -> None:
    """A full hash takes no further key (E2BIG), but a new value for an old one."""
    for flags in (0, F.NO_PREALLOC):
        it = Hash(bench, type, 3, flags)
        for key in range(3):
            it.put(key, key)
        fails(errno.E2BIG, it.put, 3, 3)
        fails(errno.E2BIG, it.put, 3, 3, NOEXIST)
        it.put(1, 9)
        it.calls.map_delete(it.fd, u32(0))
        it.put(3, 3)
        same(sorted(it.keys()), [1, 2, 3])


@cases(**LRU)
def check_lru_never_full(bench: Bench, type: T) -> None:
    """An LRU hash always takes a further key; it never holds more than it has room for."""
    it = Hash(bench, type, 64)
    for key in range(500):
        it.put(key, key)
        same(it.get(key), it.value(key))
    assert 0 < len(it.keys()) <= 64


@cases(**PER_CPU)
def check_value_for_each_cpu(bench: Bench, type: T) -> None:
    """Each CPU has a value of its own, and user space sees them in the order of the CPUs."""
    it = Hash(bench, type)
    value = u64(*range(10, 10 + bench.cpus))
    it.calls.map_update(it.fd, u32(1), value)
    same(it.get(1), value)


@cases(**PER_CPU)
def check_slots_are_rounded(bench: Bench, type: T) -> None:
    """The value of each CPU takes a multiple of 8 bytes in the caller's buffer."""
    fd = map(bench.calls, type, value_size=5)
    size = 8 * bench.cpus
    bench.calls.map_update(fd, u32(1), b"\x11" * size)
    got = bench.calls.map_lookup(fd, u32(1), size)
    for at in range(0, size, 8):
        same(got[at : at + 5], b"\x11" * 5)


@cases(**PER_CPU)
def check_padding_of_slots_is_kept(bench: Bench, type: T) -> None:
    """What is written between value and slot end comes back (pcpu_copy_value() copies slots)."""
    fd = map(bench.calls, type, value_size=5)
    value = b"\x11" * 8 * bench.cpus
    bench.calls.map_update(fd, u32(1), value)
    same(bench.calls.map_lookup(fd, u32(1), len(value)), value)


@cases(**ALL)
def check_exactly_the_value_is_copied(bench: Bench, type: T) -> None:
    """A value of 5 bytes takes 5 bytes of the caller's buffer, or a slot of 8 for each CPU."""
    fd = map(bench.calls, type, value_size=5)
    size = 8 * bench.cpus if type in PER_CPU.values() else 5
    bench.calls.map_update(fd, u32(1), b"\x11" * size)
    got = bench.calls.map_lookup(fd, u32(1), size + 8)
    same(got[size:], bytes(8))


@cases(**ALL)
def check_walk(bench: Bench, type: T) -> None:
    """A walk from key to key meets every key once; after the last one it ends (ENOENT)."""
    it = Hash(bench, type, 100)
    for key in range(50):
        it.put(key, key)
    same(sorted(it.keys()), list(range(50)))


@cases(**ALL)
def check_walk_restarts(bench: Bench, type: T) -> None:
    """The key after one that is not there is the first one."""
    it = Hash(bench, type, 100)
    for key in range(10):
        it.put(key, key)
    first = it.calls.map_next_key(it.fd, None, 4)
    same(it.calls.map_next_key(it.fd, u32(99), 4), first)


@cases(**ALL)
def check_walk_of_nothing(bench: Bench, type: T) -> None:
    """An empty hash has no first key (ENOENT)."""
    it = Hash(bench, type)
    same(it.calls.map_next_key(it.fd, None, 4), None)
    same(it.calls.map_next_key(it.fd, u32(1), 4), None)


@cases(**ALL)
def check_bad_pointers(bench: Bench, type: T) -> None:
    """Keys and values that cannot be read or written are EFAULT; an absent key is ENOENT first."""
    it = Hash(bench, type)
    it.put(1, 1)
    mem = Memory()
    here, absent = mem.pin(bytearray(u32(1))), mem.pin(bytearray(u32(2)))
    for cmd, attr, code in (
        (Cmd.MAP_LOOKUP_ELEM, MapElem(map_fd=it.fd, key=BAD), errno.EFAULT),
        (Cmd.MAP_LOOKUP_ELEM, MapElem(map_fd=it.fd), errno.EFAULT),
        (Cmd.MAP_LOOKUP_ELEM, MapElem(map_fd=it.fd, key=here, value=BAD), errno.EFAULT),
        (Cmd.MAP_LOOKUP_ELEM, MapElem(map_fd=it.fd, key=absent, value=BAD), errno.ENOENT),
        (Cmd.MAP_UPDATE_ELEM, MapElem(map_fd=it.fd, key=here, value=BAD), errno.EFAULT),
        (Cmd.MAP_UPDATE_ELEM, MapElem(map_fd=it.fd, key=BAD, flags=99), errno.EFAULT),
        (Cmd.MAP_DELETE_ELEM, MapElem(map_fd=it.fd, key=BAD), errno.EFAULT),
        (Cmd.MAP_GET_NEXT_KEY, MapNextKey(map_fd=it.fd, key=BAD), errno.EFAULT),
        (Cmd.MAP_GET_NEXT_KEY, MapNextKey(map_fd=it.fd, next_key=BAD), errno.EFAULT),
        (Cmd.MAP_GET_NEXT_KEY, MapNextKey(map_fd=it.fd, key=here, next_key=BAD), errno.ENOENT),
    ):
        fails(code, it.calls.call, cmd, attr, mem)


def check_keys_are_bytes(calls: Calls) -> None:
    """Keys are compared byte by byte, at any size."""
    for size in (1, 3, 5, 12, 64):
        fd = map(calls, T.HASH, key_size=size, max_entries=8)
        first, second = bytes(size - 1) + b"\1", bytes(size - 1) + b"\2"
        calls.map_update(fd, first, u64(1))
        calls.map_update(fd, second, u64(2))
        same(calls.map_lookup(fd, first, 8), u64(1))
        same(sorted(keys(calls, fd, size)), [first, second])


def bucket(key: int, buckets: int) -> int:
    """Where a key of 4 bytes goes without a seed: jhash2() of one word, include/linux/jhash.h."""

    def mix(x: int, y: int, by: int) -> int:
        return ((x ^ y) - (y << by | y >> (32 - by))) & 0xFFFFFFFF

    a = b = c = 0xDEADBEEF + 4
    a = (a + key) & 0xFFFFFFFF
    c = mix(c, b, 14)
    a = mix(a, c, 11)
    b = mix(b, a, 25)
    c = mix(c, b, 16)
    a = mix(a, c, 4)
    b = mix(b, a, 14)
    c = mix(c, b, 24)
    return c & (buckets - 1)


def check_order_without_a_seed(calls: Calls) -> None:
    """With ZERO_SEED the walk has a fixed order: by bucket, in a bucket the newest first."""
    fd = map(calls, T.HASH, max_entries=16, flags=F.ZERO_SEED)
    for key in range(12):
        calls.map_update(fd, u32(key), u64(key))
    expected = sorted(range(11, -1, -1), key=lambda key: bucket(key, 16))
    same(keys(calls, fd, 4), [u32(key) for key in expected])


def check_replaced_comes_first(calls: Calls) -> None:
    """A key whose value is replaced moves to the front of its bucket."""
    fd = map(calls, T.HASH, max_entries=16, flags=F.ZERO_SEED)
    older, newer, *_ = (key for key in range(100) if bucket(key, 16) == 3)
    calls.map_update(fd, u32(older), u64(1))
    calls.map_update(fd, u32(newer), u64(2))
    same(keys(calls, fd, 4), [u32(newer), u32(older)])
    calls.map_update(fd, u32(older), u64(3))
    same(keys(calls, fd, 4), [u32(older), u32(newer)])


def check_replaced_in_place(bench: Bench) -> None:
    """A value for each CPU is replaced in place, so the order stays."""
    calls = bench.calls
    fd = map(calls, T.PERCPU_HASH, max_entries=16, flags=F.ZERO_SEED)
    older, newer, *_ = (key for key in range(100) if bucket(key, 16) == 3)
    for key in (older, newer, older):
        calls.map_update(fd, u32(key), u64(1) * bench.cpus)
    same(keys(calls, fd, 4), [u32(newer), u32(older)])


@cases(**{t.label: t for t in (T.ARRAY, T.PERCPU_ARRAY, T.PROG_ARRAY, T.LPM_TRIE, T.RINGBUF)})
def check_take_is_for_hashes_and_queues(calls: Calls, type: T) -> None:
    """Lookup-and-delete is not for the other types (ENOTSUPP)."""
    fd = map(calls, type)
    fails(ENOTSUPP, take, calls, fd, bytes(8 if type == T.LPM_TRIE else 4 * (type != T.RINGBUF)), 8)
