"""MAP_CREATE: what each type insists on."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import MapCreate, ObjInfo
from bpflens.abi.enums import Cmd
from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import MapType as T
from bpflens.abi.infos import MapInfo
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.builders import map
from bpflens.testing.conformance.suite import CLOSED, cases, each, fails, same

FREE = (
    T.HASH, T.ARRAY, T.PROG_ARRAY, T.PERF_EVENT_ARRAY, T.PERCPU_HASH, T.PERCPU_ARRAY, T.STACK_TRACE,
    T.CGROUP_ARRAY, T.LRU_HASH, T.LRU_PERCPU_HASH, T.LPM_TRIE, T.DEVMAP, T.SOCKMAP, T.CPUMAP,
    T.XSKMAP, T.SOCKHASH, T.CGROUP_STORAGE, T.REUSEPORT_SOCKARRAY, T.PERCPU_CGROUP_STORAGE, T.QUEUE,
    T.STACK, T.DEVMAP_HASH, T.RINGBUF, T.BLOOM_FILTER, T.USER_RINGBUF, T.ARENA,
)  # fmt: skip
"""Types that need nothing but sizes."""
HASHES = (T.HASH, T.PERCPU_HASH, T.LRU_HASH, T.LRU_PERCPU_HASH)
KEY_IS_4 = (
    T.ARRAY, T.PROG_ARRAY, T.PERF_EVENT_ARRAY, T.PERCPU_ARRAY, T.STACK_TRACE, T.CGROUP_ARRAY,
    T.DEVMAP, T.SOCKMAP, T.CPUMAP, T.XSKMAP, T.REUSEPORT_SOCKARRAY, T.DEVMAP_HASH,
)  # fmt: skip
NO_KEY = (T.QUEUE, T.STACK, T.RINGBUF, T.USER_RINGBUF, T.BLOOM_FILTER, T.ARENA)
NO_ENTRIES = (T.CGROUP_STORAGE, T.PERCPU_CGROUP_STORAGE)


@cases(**each(*FREE))
def check_smallest(calls: Calls, type: T) -> None:
    """The smallest map of a type can be made, and tells its type."""
    same(calls.info(map(calls, type), MapInfo).type, type)


@cases(unspecified=0, unknown=60, negative=0xFFFFFFFF)
def check_no_such_type(calls: Calls, type: int) -> None:
    """A type that does not exist is EINVAL."""
    fails(errno.EINVAL, map, calls, type)


@cases(**each(*KEY_IS_4))
def check_key_is_an_index(calls: Calls, type: T) -> None:
    """The key of these types is 4 bytes long (EINVAL)."""
    for size in (0, 1, 3, 5, 8):
        fails(errno.EINVAL, map, calls, type, key_size=size)


@cases(**each(*NO_KEY))
def check_no_key(calls: Calls, type: T) -> None:
    """These types have no key (EINVAL)."""
    fails(errno.EINVAL, map, calls, type, key_size=4)


@cases(**each(*HASHES, T.SOCKHASH))
def check_key_of_a_hash(calls: Calls, type: T) -> None:
    """A hash takes keys of any size but 0 (EINVAL)."""
    for size in (1, 3, 7, 64, 511):
        same(calls.info(map(calls, type, key_size=size), MapInfo).key_size, size)
    fails(errno.EINVAL, map, calls, type, key_size=0)


@cases(**each(*(type for type in FREE if type not in NO_ENTRIES)))
def check_no_entries(calls: Calls, type: T) -> None:
    """A map has room for one entry at least (EINVAL)."""
    fails(errno.EINVAL, map, calls, type, max_entries=0)


@cases(**each(*NO_ENTRIES))
def check_entries_of_storage(calls: Calls, type: T) -> None:
    """The number of entries of a cgroup storage is not the caller's to say (EINVAL)."""
    fails(errno.EINVAL, map, calls, type, max_entries=1)


@cases(
    hash=(T.HASH, 0), array=(T.ARRAY, 0), percpu_hash=(T.PERCPU_HASH, 0),
    percpu_array=(T.PERCPU_ARRAY, 0), lru_hash=(T.LRU_HASH, 0), lpm_trie=(T.LPM_TRIE, 0),
    queue=(T.QUEUE, 0), bloom_filter=(T.BLOOM_FILTER, 0), cgroup_storage=(T.CGROUP_STORAGE, 0),
    prog_array=(T.PROG_ARRAY, 8), perf_event_array=(T.PERF_EVENT_ARRAY, 8),
    cgroup_array=(T.CGROUP_ARRAY, 8), array_of_maps=(T.ARRAY_OF_MAPS, 8), ringbuf=(T.RINGBUF, 4),
    stack_trace=(T.STACK_TRACE, 12), stack_trace_deep=(T.STACK_TRACE, 8 * 128),
    devmap=(T.DEVMAP, 12), cpumap=(T.CPUMAP, 12), sockmap=(T.SOCKMAP, 6), sockhash=(T.SOCKHASH, 2),
    xskmap=(T.XSKMAP, 8), reuseport=(T.REUSEPORT_SOCKARRAY, 5), arena=(T.ARENA, 1),
)  # fmt: skip
def check_value_size_is_wrong(calls: Calls, type: T, size: int) -> None:
    """Values of this size are not for this type (EINVAL)."""
    fails(errno.EINVAL, map, calls, type, value_size=size)


@cases(
    percpu_hash=(T.PERCPU_HASH, 32769), percpu_array=(T.PERCPU_ARRAY, 32769),
    hash=(T.HASH, 1 << 30), array=(T.ARRAY, 1 << 31), lru_hash=(T.LRU_HASH, 1 << 30),
)  # fmt: skip
def check_value_is_too_large(calls: Calls, type: T, size: int) -> None:
    """A value that is too large to allocate is E2BIG."""
    fails(errno.E2BIG, map, calls, type, value_size=size)


@cases(devmap=T.DEVMAP, devmap_hash=T.DEVMAP_HASH, cpumap=T.CPUMAP, sockmap=T.SOCKMAP,
       sockhash=T.SOCKHASH, reuseport=T.REUSEPORT_SOCKARRAY)  # fmt: skip
def check_value_of_8_bytes(calls: Calls, type: T) -> None:
    """Maps of devices, CPUs and sockets take values of 4 or of 8 bytes."""
    same(calls.info(map(calls, type, value_size=8), MapInfo).value_size, 8)


@cases(
    small=(1, errno.EINVAL), odd=(4097, errno.EINVAL), half_page=(2048, errno.EINVAL),
    three_pages=(3 * 4096, errno.EINVAL),
)  # fmt: skip
def check_size_of_a_ring(calls: Calls, size: int, code: int) -> None:
    """A ring buffer is a power of two of pages (EINVAL)."""
    for type in (T.RINGBUF, T.USER_RINGBUF):
        fails(code, map, calls, type, max_entries=size)


def check_a_larger_ring(calls: Calls) -> None:
    """A ring buffer of several pages can be made."""
    same(calls.info(map(calls, T.RINGBUF, max_entries=4 * 4096), MapInfo).max_entries, 4 * 4096)


def check_too_many_cpus(calls: Calls) -> None:
    """A CPU map has no room for more CPUs than the kernel was built for (E2BIG)."""
    fails(errno.E2BIG, map, calls, T.CPUMAP, max_entries=100_000)


@cases(zero=0, four=4, large=261)
def check_key_of_a_trie(calls: Calls, size: int) -> None:
    """The key of a trie is a prefix length and 1 to 256 bytes (EINVAL)."""
    fails(errno.EINVAL, map, calls, T.LPM_TRIE, key_size=size)


@cases(small=4, odd=9, large=24)
def check_key_of_a_storage(calls: Calls, size: int) -> None:
    """The key of a cgroup storage has 8 or 16 bytes (EINVAL)."""
    fails(errno.EINVAL, map, calls, T.CGROUP_STORAGE, key_size=size)


def check_key_of_a_sock_hash(calls: Calls) -> None:
    """A key larger than a BPF stack is E2BIG in a hash of sockets."""
    fails(errno.E2BIG, map, calls, T.SOCKHASH, key_size=513)


def check_hash_of_too_many(calls: Calls) -> None:
    """More buckets than can be counted in 32 bits are E2BIG."""
    fails(errno.E2BIG, map, calls, T.HASH, max_entries=(1 << 31) + 1)


RW = F.RDONLY | F.WRONLY
ALLOWED: dict[T, int] = {
    T.HASH: F.NO_PREALLOC | F.NUMA_NODE | F.RDONLY_PROG | F.WRONLY_PROG | F.ZERO_SEED | RW,
    T.ARRAY: F.NUMA_NODE | F.RDONLY_PROG | F.WRONLY_PROG | F.MMAPABLE | F.INNER_MAP | RW,
    T.PROG_ARRAY: F.NUMA_NODE | RW,
    T.PERF_EVENT_ARRAY: F.NUMA_NODE | F.PRESERVE_ELEMS | RW,
    T.PERCPU_HASH: F.NO_PREALLOC | F.RDONLY_PROG | F.WRONLY_PROG | F.ZERO_SEED | RW,
    T.PERCPU_ARRAY: F.RDONLY_PROG | F.WRONLY_PROG | RW,
    T.STACK_TRACE: F.NUMA_NODE | RW,
    T.CGROUP_ARRAY: F.NUMA_NODE | RW,
    T.LRU_HASH: F.NUMA_NODE | F.NO_COMMON_LRU | F.RDONLY_PROG | F.WRONLY_PROG | F.ZERO_SEED | RW,
    T.LRU_PERCPU_HASH: F.NO_COMMON_LRU | F.RDONLY_PROG | F.WRONLY_PROG | F.ZERO_SEED | RW,
    T.LPM_TRIE: F.NO_PREALLOC | F.NUMA_NODE | F.RDONLY_PROG | F.WRONLY_PROG | RW,
    T.DEVMAP: F.NUMA_NODE | RW,
    T.SOCKMAP: F.NUMA_NODE | RW,
    T.CPUMAP: F.NUMA_NODE,
    T.XSKMAP: F.NUMA_NODE | RW,
    T.SOCKHASH: F.NUMA_NODE | RW,
    T.CGROUP_STORAGE: F.NUMA_NODE | F.RDONLY_PROG | F.WRONLY_PROG | RW,
    T.REUSEPORT_SOCKARRAY: F.NUMA_NODE | F.RDONLY_PROG | F.WRONLY_PROG | RW,
    T.PERCPU_CGROUP_STORAGE: F.NUMA_NODE | F.RDONLY_PROG | F.WRONLY_PROG | RW,
    T.QUEUE: F.NUMA_NODE | F.RDONLY_PROG | F.WRONLY_PROG | RW,
    T.STACK: F.NUMA_NODE | F.RDONLY_PROG | F.WRONLY_PROG | RW,
    T.DEVMAP_HASH: F.NUMA_NODE | RW,
    T.RINGBUF: F.NUMA_NODE,
    T.USER_RINGBUF: F.NUMA_NODE,
    T.BLOOM_FILTER: F.NUMA_NODE | F.RDONLY_PROG | F.WRONLY_PROG | F.ZERO_SEED | RW,
}
NEEDED = {T.LPM_TRIE: F.NO_PREALLOC}
ADDED = {T.DEVMAP: F.RDONLY_PROG, T.DEVMAP_HASH: F.RDONLY_PROG}
"""dev_map_init_map() forbids programs to write to it."""
REFUSED_OTHERWISE = {
    (T.LRU_HASH, F.NO_PREALLOC): ENOTSUPP,
    (T.LRU_PERCPU_HASH, F.NO_PREALLOC): ENOTSUPP,
}
FLAGS = tuple(F(1 << bit) for bit in range(13))


@cases(**each(*ALLOWED))
def check_flags(calls: Calls, type: T) -> None:
    """Each flag is taken by the types that know it and EINVAL for the others."""
    needed = NEEDED.get(type, F(0))
    for flag in FLAGS:
        if flag & ALLOWED[type]:
            fd = map(calls, type, flags=flag | needed)
            told = flag & ~RW | needed | ADDED.get(type, F(0))
            same((flag, calls.info(fd, MapInfo).map_flags), (flag, told))
        else:
            code = REFUSED_OTHERWISE.get((type, flag), errno.EINVAL)
            fails(code, map, calls, type, flags=flag | needed)


@cases(**each(T.HASH, T.ARRAY, T.QUEUE, T.LPM_TRIE))
def check_flags_that_exclude(calls: Calls, type: T) -> None:
    """Read-only and write-only exclude each other, for the caller and for programs (EINVAL)."""
    needed = NEEDED.get(type, F(0))
    fails(errno.EINVAL, map, calls, type, flags=F.RDONLY | F.WRONLY | needed)
    fails(errno.EINVAL, map, calls, type, flags=F.RDONLY_PROG | F.WRONLY_PROG | needed)


def check_trie_is_not_preallocated(calls: Calls) -> None:
    """A trie must be made without preallocation (EINVAL)."""
    fails(errno.EINVAL, map, calls, T.LPM_TRIE, flags=0)


def check_lru_a_cpu_is_not_a_node(calls: Calls) -> None:
    """LRU lists for each CPU exclude a NUMA node (EINVAL)."""
    fails(errno.EINVAL, map, calls, T.LRU_HASH, flags=F.NO_COMMON_LRU | F.NUMA_NODE)


def check_lru_a_cpu_rounds_up(calls: Calls) -> None:
    """With LRU lists for each CPU, the entries are rounded up to a multiple of the CPUs."""
    told = calls.info(map(calls, T.LRU_HASH, max_entries=5, flags=F.NO_COMMON_LRU), MapInfo)
    assert told.max_entries >= 5
    assert told.map_flags == F.NO_COMMON_LRU


def check_arena_is_memory(calls: Calls) -> None:
    """An arena must be mappable (EINVAL)."""
    fails(errno.EINVAL, map, calls, T.ARENA, flags=0)
    fails(errno.E2BIG, map, calls, T.ARENA, max_entries=(1 << 20) + 1)
    fails(errno.EINVAL, map, calls, T.ARENA, extra=1)


@cases(none=(1 << 20, errno.EINVAL), absent=(64, errno.EINVAL))
def check_numa_node(calls: Calls, node: int, code: int) -> None:
    """A NUMA node that is not there is EINVAL; without the flag nobody looks at it."""
    attr = MapCreate(map_type=T.ARRAY, key_size=4, value_size=4, max_entries=1, numa_node=node)
    calls.map_create(attr)
    attr.map_flags = F.NUMA_NODE
    fails(code, calls.map_create, attr)


# --- names


@cases(
    longest=b"a23456789012345", dots=b"a.b_C.9", empty=b"", one=b"x", latin_1=b"\xe4\xff",
)  # fmt: skip
def check_name(calls: Calls, name: bytes) -> None:
    """A name is up to 15 letters (lib/ctype.c speaks Latin-1), digits, dots and underscores."""
    same(calls.info(map(calls, name=name), MapInfo).name, name)


@cases(
    too_long=b"a234567890123456", dash=b"a-b", space=b"a b", slash=b"a/b", high=b"\xc3\xa4",
    control=b"a\n", delete=b"a\x7f",
)  # fmt: skip
def check_bad_name(calls: Calls, name: bytes) -> None:
    """Any other name is EINVAL."""
    fails(errno.EINVAL, map, calls, name=name)


def check_name_after_its_end(calls: Calls) -> None:
    """What stands after the NUL of a name is not kept (bpf_obj_name_cpy())."""
    fd = map(calls, name=b"ab\0c")
    buffer = bytearray(MapInfo.__size__)
    mem = Memory()
    calls.call(
        Cmd.OBJ_GET_INFO_BY_FD, ObjInfo(bpf_fd=fd, info_len=len(buffer), info=mem.pin(buffer)), mem
    )
    same(bytes(buffer[24:40]), b"ab" + bytes(14))


def check_names_are_not_unique(calls: Calls) -> None:
    """Two maps can have the same name."""
    first, second = map(calls, name="twin"), map(calls, name="twin")
    assert calls.info(first, MapInfo).id != calls.info(second, MapInfo).id


# --- fields that belong to other types


def check_extra_is_for_few(calls: Calls) -> None:
    """map_extra is for bloom filters and arenas (EINVAL)."""
    fails(errno.EINVAL, map, calls, T.HASH, extra=1)
    same(calls.info(map(calls, T.BLOOM_FILTER, extra=15), MapInfo).map_extra, 15)
    fails(errno.EINVAL, map, calls, T.BLOOM_FILTER, extra=16)


def check_fields_that_do_not_apply(calls: Calls) -> None:
    """A BTF fd without type ids and an inner map's fd where none belongs are not looked at."""
    attr = MapCreate(map_type=T.ARRAY, key_size=4, value_size=4, max_entries=1)
    attr.btf_fd = attr.inner_map_fd = CLOSED
    calls.map_create(attr)


def check_struct_ops_type_elsewhere(calls: Calls) -> None:
    """A type of the kernel's BTF is for struct_ops maps (EINVAL)."""
    attr = MapCreate(map_type=T.ARRAY, key_size=4, value_size=4, max_entries=1)
    attr.btf_vmlinux_value_type_id = 1
    fails(errno.EINVAL, calls.map_create, attr)


def check_absent_device(calls: Calls) -> None:
    """A map for a device that does not exist is EINVAL."""
    attr = MapCreate(map_type=T.ARRAY, key_size=4, value_size=4, max_entries=1)
    attr.map_ifindex = 999_999
    fails(errno.EINVAL, calls.map_create, attr)
