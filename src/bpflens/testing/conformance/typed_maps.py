"""Maps with BTF, maps of maps and exclusive maps: what their creation asks for."""

from __future__ import annotations

import errno
from typing import Any

from bpflens.abi.attrs import MapCreate
from bpflens.abi.enums import Cmd
from bpflens.abi.enums import MapType as T
from bpflens.abi.infos import MapInfo
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.builders import btf, map, program, types
from bpflens.testing.conformance.creation import FREE, HASHES, NO_ENTRIES
from bpflens.testing.conformance.suite import BAD, CLOSED, cases, each, fails, same

STORAGES = (T.SK_STORAGE, T.INODE_STORAGE, T.TASK_STORAGE, T.CGRP_STORAGE)

# --- inner maps


@cases(**each(T.ARRAY_OF_MAPS, T.HASH_OF_MAPS))
def check_inner_map(calls: Calls, type: T) -> None:
    """A map of maps is made after the model of a map: closed fd EBADF, other kind EINVAL."""
    map(calls, type, inner=map(calls))
    fails(errno.EBADF, map, calls, type, inner=CLOSED)
    fails(errno.EINVAL, map, calls, type, inner=program(calls))


@cases(**each(T.ARRAY_OF_MAPS, T.HASH_OF_MAPS))
def check_inner_map_of_maps(calls: Calls, type: T) -> None:
    """Maps of maps do not nest further (EINVAL)."""
    inner = map(calls, type, inner=map(calls))
    fails(errno.EINVAL, map, calls, T.ARRAY_OF_MAPS, inner=inner)


@cases(**each(T.PROG_ARRAY, T.CGROUP_STORAGE, T.PERCPU_CGROUP_STORAGE))
def check_inner_map_that_cannot_be(calls: Calls, type: T) -> None:
    """Some types cannot be inside another (ENOTSUPP)."""
    fails(ENOTSUPP, map, calls, T.ARRAY_OF_MAPS, inner=map(calls, type))


@cases(**each(*(t for t in FREE if t not in (T.PROG_ARRAY, *NO_ENTRIES))))
def check_inner_map_of_type(calls: Calls, type: T) -> None:
    """All other types can."""
    map(calls, T.ARRAY_OF_MAPS, inner=map(calls, type))


# --- BTF


@cases(**each(*HASHES, T.ARRAY, T.PERCPU_ARRAY, T.PROG_ARRAY, T.REUSEPORT_SOCKARRAY))
def check_btf(calls: Calls, type: T) -> None:
    """A map tells the BTF and the types of key and value that it was made with."""
    found = types()
    fd = map(calls, type, value_size=4, btf=(btf(calls), found.s32, found.s32))
    told = calls.info(fd, MapInfo)
    same((told.btf_key_type_id, told.btf_value_type_id), (found.s32, found.s32))
    assert told.btf_id


@cases(**each(
    T.PERF_EVENT_ARRAY, T.CGROUP_ARRAY, T.DEVMAP, T.DEVMAP_HASH, T.CPUMAP, T.SOCKMAP, T.XSKMAP,
))  # fmt: skip
def check_no_btf(calls: Calls, type: T) -> None:
    """Types whose values are the kernel's own have no BTF (ENOTSUPP)."""
    found = types()
    fails(ENOTSUPP, map, calls, type, btf=(btf(calls), found.s32, found.s32))


@cases(**each(T.QUEUE, T.STACK, T.RINGBUF, T.LPM_TRIE))
def check_btf_of_no_key(calls: Calls, type: T) -> None:
    """Where there is no key, or one that is no integer, int as its type is EINVAL."""
    found = types()
    fails(errno.EINVAL, map, calls, type, btf=(btf(calls), found.s32, found.s32))


WRONG_BTF: dict[str, Any] = {
    "key_size": (lambda t: (t.u64, t.s32), errno.EINVAL),
    "value_size": (lambda t: (t.s32, t.u64), errno.EINVAL),
    "key_without_value": (lambda t: (t.s32, 0), errno.EINVAL),
    "value_without_key": (lambda t: (0, t.s32), errno.EINVAL),
    "no_such_type": (lambda t: (t.s32, 1000), errno.EINVAL),
}


@cases(**WRONG_BTF)
def check_wrong_btf(calls: Calls, choose: Any, code: int) -> None:
    """Types must be there, for key and value, and as large as these."""
    key, value = choose(types())
    fails(code, map, calls, T.HASH, value_size=4, btf=(btf(calls), key, value))


def check_key_of_an_array_is_an_int(calls: Calls) -> None:
    """The key of an array is an integer of 32 bits (EINVAL)."""
    found = types()
    fails(errno.EINVAL, map, calls, T.ARRAY, key_size=8, btf=(btf(calls), found.pair, found.u64))


def check_btf_fd(calls: Calls) -> None:
    """The BTF's fd: closed EBADF, of another kind EINVAL."""
    found = types()
    fails(errno.EBADF, map, calls, value_size=4, btf=(CLOSED, found.s32, found.s32))
    fails(errno.EINVAL, map, calls, value_size=4, btf=(map(calls), found.s32, found.s32))


def check_kernel_btf(calls: Calls) -> None:
    """The kernel's own BTF is not for maps (EACCES)."""
    kernel = calls.fd_by_id(Cmd.BTF_GET_FD_BY_ID, 1)
    fails(errno.EACCES, map, calls, value_size=4, btf=(kernel, 1, 1))


@cases(**each(*STORAGES))
def check_local_storage(calls: Calls, type: T) -> None:
    """A local storage takes an int as key and needs BTF for key and value."""
    found = types()
    fd = map(calls, type, btf=(btf(calls), found.s32, found.s32))
    same(calls.info(fd, MapInfo).max_entries, 0)
    fails(errno.EINVAL, map, calls, type)


@cases(
    no_flag={"flags": 0},
    entries={"max_entries": 1},
    key={"key_size": 8},
    large={"value_size": 70000},
)
def check_local_storage_refuses(calls: Calls, wrong: dict[str, int]) -> None:
    """A local storage is not preallocated, has no number of entries and small values."""
    found = types()
    code = errno.E2BIG if "value_size" in wrong else errno.EINVAL
    fails(code, map, calls, T.SK_STORAGE, btf=(btf(calls), found.s32, found.s32), **wrong)


# --- exclusive maps


def exclusive(calls: Calls, digest: bytes, size: int) -> int:
    mem = Memory()
    attr = MapCreate(map_type=T.ARRAY, key_size=4, value_size=4, max_entries=1)
    attr.excl_prog_hash, attr.excl_prog_hash_size = mem.pin(bytearray(digest)), size
    return calls.map_create(attr, mem)


def check_exclusive_map(calls: Calls) -> None:
    """A map can be made for programs of one digest; others do not load with it (EACCES)."""
    fd = exclusive(calls, bytes(32), 32)
    calls.map_update(fd, bytes(4), b"1234")
    same(calls.map_lookup(fd, bytes(4), 4), b"1234")
    fails(errno.EACCES, program, calls, "r1 = map_fd m; r0 = 0; exit", m=fd)


@cases(no_pointer=(b"", 32), short=(bytes(32), 31), long=(bytes(33), 33), nothing=(bytes(32), 0))
def check_digest_of_an_exclusive_map(calls: Calls, digest: bytes, size: int) -> None:
    """The digest has 32 bytes (EINVAL)."""
    fails(errno.EINVAL, exclusive, calls, digest, size)


def check_digest_that_cannot_be_read(calls: Calls) -> None:
    """A digest that is not there is EFAULT."""
    attr = MapCreate(map_type=T.ARRAY, key_size=4, value_size=4, max_entries=1)
    attr.excl_prog_hash, attr.excl_prog_hash_size = BAD, 32
    fails(errno.EFAULT, calls.map_create, attr)


def check_exclusive_map_inside(calls: Calls) -> None:
    """An exclusive map cannot be inside another (ENOTSUPP)."""
    fails(ENOTSUPP, map, calls, T.ARRAY_OF_MAPS, inner=exclusive(calls, bytes(32), 32))
