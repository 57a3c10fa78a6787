"""Maps as memory: what can be mapped, how it lies there, and what that forbids."""

from __future__ import annotations

import errno

from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import MapType as T
from bpflens.abi.infos import MapInfo
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.testing.bench import Bench
from bpflens.testing.builders import map, u32, u64
from bpflens.testing.conformance.elsewhere import refused
from bpflens.testing.conformance.ids import walk
from bpflens.testing.conformance.suite import cases, each, fails, same

PAGE = 4096


def array(calls: Calls, value_size: int = 8, max_entries: int = 4, flags: int = 0) -> int:
    """An array that is memory."""
    return map(calls, value_size=value_size, max_entries=max_entries, flags=F.MMAPABLE | flags)


def check_array(bench: Bench) -> None:
    """An array's memory is its values, each at a multiple of 8 bytes."""
    fd = array(bench.calls, 5)
    bench.calls.map_update(fd, u32(1), b"hello")
    with bench.mapped(fd, PAGE) as memory:
        same(bytes(memory[8:16]), b"hello" + bytes(3))
        bench.calls.map_update(fd, u32(2), b"there")
        same(bytes(memory[16:21]), b"there")


def check_array_written(bench: Bench) -> None:
    """What is written to the memory is in the map."""
    fd = array(bench.calls)
    with bench.mapped(fd, PAGE, write=True) as memory:
        memory[8:16] = u64(77)
        same(bench.calls.map_lookup(fd, u32(1), 8), u64(77))


@cases(**each(T.HASH, T.QUEUE, T.LPM_TRIE, T.PERCPU_ARRAY, T.PROG_ARRAY, T.BLOOM_FILTER))
def check_types_that_are_no_memory(bench: Bench, type: T) -> None:
    """Other types cannot be mapped (ENOTSUPP)."""
    refused(ENOTSUPP, bench.map_memory, map(bench.calls, type), PAGE)


def check_array_that_is_no_memory(bench: Bench) -> None:
    """Nor can an array that was not made for it (EINVAL)."""
    refused(errno.EINVAL, bench.map_memory, map(bench.calls), PAGE)


def check_beyond_the_end(bench: Bench) -> None:
    """More than the map has cannot be mapped (EINVAL)."""
    fd = array(bench.calls)
    refused(errno.EINVAL, bench.map_memory, fd, 2 * PAGE)
    fd = array(bench.calls, 8, 2 * PAGE // 8)
    with bench.mapped(fd, 2 * PAGE) as memory:
        same(len(memory), 2 * PAGE)


def check_second_page(bench: Bench) -> None:
    """A part of the map can be mapped."""
    fd = array(bench.calls, 8, 2 * PAGE // 8)
    bench.calls.map_update(fd, u32(PAGE // 8), u64(5))
    with bench.mapped(fd, PAGE, offset=PAGE) as memory:
        same(bytes(memory[:8]), u64(5))


def check_frozen(bench: Bench) -> None:
    """A frozen map is mapped to read, not to write (EPERM)."""
    fd = array(bench.calls)
    bench.calls.map_freeze(fd)
    refused(errno.EPERM, bench.map_memory, fd, PAGE, True)
    with bench.mapped(fd, PAGE):
        pass


def check_mapped_to_write(bench: Bench) -> None:
    """While a map is mapped to write it cannot be frozen (EBUSY)."""
    fd = array(bench.calls)
    with bench.mapped(fd, PAGE, write=True):
        fails(errno.EBUSY, bench.calls.map_freeze, fd)
    bench.calls.map_freeze(fd)


def check_mapped_to_read(bench: Bench) -> None:
    """While it is mapped to read, it can."""
    fd = array(bench.calls)
    with bench.mapped(fd, PAGE):
        bench.calls.map_freeze(fd)


def check_read_only_for_programs(bench: Bench) -> None:
    """A map that programs may only read is not mapped to write (EACCES)."""
    fd = array(bench.calls, flags=F.RDONLY_PROG)
    refused(errno.EACCES, bench.map_memory, fd, PAGE, True)


@cases(reader=(F.RDONLY, True), writer=(F.WRONLY, False))
def check_mode_of_the_fd(bench: Bench, flags: int, write: bool) -> None:
    """The fd's mode must allow it (EACCES)."""
    refused(errno.EACCES, bench.map_memory, array(bench.calls, flags=flags), PAGE, write)


def check_memory_keeps_the_map(bench: Bench) -> None:
    """A map lives as long as its memory is mapped."""
    fd = array(bench.calls)
    id = bench.calls.info(fd, MapInfo).id
    with bench.mapped(fd, PAGE):
        bench.calls.close(fd)
        assert id in walk(bench.calls, "map", id - 1)
    assert id not in walk(bench.calls, "map", id - 1)


def check_ring(bench: Bench) -> None:
    """Of a ring buffer the consumer's page is writable, the rest is not (EPERM)."""
    fd = map(bench.calls, T.RINGBUF)
    with bench.mapped(fd, PAGE, write=True) as consumer:
        same(bytes(consumer[:8]), bytes(8))
    with bench.mapped(fd, PAGE + 2 * PAGE, offset=PAGE) as rest:
        same(bytes(rest[:8]), bytes(8))
    refused(errno.EPERM, bench.map_memory, fd, PAGE, True, PAGE)


def check_users_ring(bench: Bench) -> None:
    """Of a user's ring buffer it is the other way round: the consumer's page is not writable."""
    fd = map(bench.calls, T.USER_RINGBUF)
    refused(errno.EPERM, bench.map_memory, fd, PAGE, True)
    with bench.mapped(fd, PAGE + 2 * PAGE, write=True, offset=PAGE) as producer:
        same(bytes(producer[:8]), bytes(8))
