"""Values with a lock in them, values of data sections, and values that belong to other objects."""

from __future__ import annotations

import errno

from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import MapType as T
from bpflens.abi.infos import MapInfo
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.testing.bench import Bench
from bpflens.testing.builders import btf, map, program, u32
from bpflens.testing.conformance.hashes import EXIST, LOCK, NOEXIST, take
from bpflens.testing.conformance.suite import CLOSED, cases, each, fails, same


class Locked:
    """BTF of `struct { struct bpf_spin_lock lock; int a; }`, and the ids of key and value."""

    def __init__(self, calls: Calls, locks: int = 1, at: int = 0) -> None:
        made = BtfBuilder()
        self.key = made.add_int("int", 4, Int.SIGNED)
        lock = made.add_struct("bpf_spin_lock", 4, [("val", self.key, 0)])
        members = [(f"lock{n}", lock, at * 8 + 32 * n) for n in range(locks)]
        members.append(("a", self.key, at * 8 + 32 * locks))
        self.size = at + 4 * locks + 4
        self.value = made.add_struct("locked", self.size, members)
        self.fd = btf(calls, made.build())

    def map(self, calls: Calls, type: T, flags: int = 0) -> int:
        types = (self.fd, self.key, self.value)
        return map(calls, type, value_size=self.size, btf=types, flags=flags)


LOCKABLE = each(T.HASH, T.ARRAY)


@cases(**LOCKABLE)
def check_lock_reads_as_zero(calls: Calls, type: T) -> None:
    """The bytes of a lock are neither written nor read by user space."""
    fd = Locked(calls).map(calls, type)
    calls.map_update(fd, u32(1), u32(0xFFFFFFFF, 7))
    same(calls.map_lookup(fd, u32(1), 8), u32(0, 7))


@cases(**LOCKABLE)
def check_with_the_lock(calls: Calls, type: T) -> None:
    """With LOCK the value is copied under its lock."""
    fd = Locked(calls).map(calls, type)
    calls.map_update(fd, u32(1), u32(0, 5))
    calls.map_update(fd, u32(1), u32(0, 6), LOCK)
    same(calls.map_lookup(fd, u32(1), 8, LOCK), u32(0, 6))


def check_lock_and_condition(calls: Calls) -> None:
    """LOCK goes together with NOEXIST and EXIST."""
    fd = Locked(calls).map(calls, T.HASH)
    fails(errno.ENOENT, calls.map_update, fd, u32(1), u32(0, 5), LOCK | EXIST)
    calls.map_update(fd, u32(1), u32(0, 5), LOCK | NOEXIST)
    fails(errno.EEXIST, calls.map_update, fd, u32(1), u32(0, 6), LOCK | NOEXIST)
    calls.map_update(fd, u32(1), u32(0, 6), LOCK | EXIST)
    same(take(calls, fd, u32(1), 8, LOCK), u32(0, 6))


@cases(**each(T.PERCPU_HASH, T.PERCPU_ARRAY, T.LRU_HASH))
def check_lock_where_none_can_be(calls: Calls, type: T) -> None:
    """Other types hold no locks (EOPNOTSUPP)."""
    fails(errno.EOPNOTSUPP, Locked(calls).map, calls, type)


@cases(two=(2, 0, errno.E2BIG), unaligned=(1, 2, errno.EFAULT))
def check_locks_that_cannot_be(calls: Calls, locks: int, at: int, code: int) -> None:
    """Types with two locks, or with one at an odd place, do not even load."""
    fails(code, Locked, calls, locks, at)


@cases(reader=F.RDONLY_PROG, writer=F.WRONLY_PROG)
def check_lock_that_programs_cannot_take(calls: Calls, flags: int) -> None:
    """A map whose values hold a lock cannot be closed to programs (EACCES)."""
    fails(errno.EACCES, Locked(calls).map, calls, T.ARRAY, flags)


def check_lock_and_freezing(calls: Calls) -> None:
    """A map whose values hold a lock cannot be frozen (ENOTSUPP)."""
    fails(ENOTSUPP, calls.map_freeze, Locked(calls).map(calls, T.ARRAY))


# --- data sections


def section(calls: Calls, size: int = 8) -> tuple[int, int]:
    """BTF of a section `.data` with one variable, and the section's id."""
    made = BtfBuilder()
    number = made.add_int("unsigned long", 8)
    variable = made.add_var("counter", number)
    id = made.add_datasec(".data", size, [(variable, 0, 8)])
    return btf(calls, made.build()), id


def check_data_section(calls: Calls) -> None:
    """The map of a data section has no type for its key."""
    types, id = section(calls)
    fd = map(calls, max_entries=1, btf=(types, 0, id))
    told = calls.info(fd, MapInfo)
    same((told.btf_key_type_id, told.btf_value_type_id), (0, id))


def check_data_section_elsewhere(calls: Calls) -> None:
    """That is for an array of one value (EINVAL)."""
    types, id = section(calls)
    fails(errno.EINVAL, map, calls, max_entries=2, btf=(types, 0, id))
    fails(errno.EINVAL, map, calls, T.HASH, max_entries=1, btf=(types, 0, id))


def check_data_section_of_another_size(calls: Calls) -> None:
    """The value is as large as the section (EINVAL)."""
    types, id = section(calls)
    fails(errno.EINVAL, map, calls, max_entries=1, value_size=16, btf=(types, 0, id))


# --- storages of sockets, tasks and cgroups


def storage(calls: Calls, type: T) -> int:
    """A storage for one int."""
    made = BtfBuilder()
    number = made.add_int("int", 4, Int.SIGNED)
    return map(calls, type, btf=(btf(calls, made.build()), number, number))


def check_storage_of_a_socket(bench: Bench) -> None:
    """A socket's value is found by the socket's fd."""
    calls, sock = bench.calls, bench.socket("udp")
    fd = storage(calls, T.SK_STORAGE)
    fails(errno.ENOENT, calls.map_lookup, fd, u32(sock), 4)
    fails(errno.ENOENT, calls.map_delete, fd, u32(sock))
    calls.map_update(fd, u32(sock), u32(5))
    same(calls.map_lookup(fd, u32(sock), 4), u32(5))
    fails(errno.EEXIST, calls.map_update, fd, u32(sock), u32(6), NOEXIST)
    calls.map_update(fd, u32(sock), u32(6), EXIST)
    same(calls.map_lookup(fd, u32(sock), 4), u32(6))
    calls.map_delete(fd, u32(sock))
    fails(errno.ENOENT, calls.map_update, fd, u32(sock), u32(7), EXIST)


def check_storage_of_what_is_no_socket(bench: Bench) -> None:
    """A closed fd is EBADF, another file ENOTSOCK."""
    fd = storage(bench.calls, T.SK_STORAGE)
    fails(errno.EBADF, bench.calls.map_lookup, fd, u32(CLOSED), 4)
    fails(errno.ENOTSOCK, bench.calls.map_lookup, fd, u32(bench.plain_file()), 4)


def check_storage_of_a_cgroup(bench: Bench) -> None:
    """A cgroup's value is found by the fd of its folder; another file is EBADF."""
    calls, group = bench.calls, bench.cgroup()
    fd = storage(calls, T.CGRP_STORAGE)
    fails(errno.ENOENT, calls.map_lookup, fd, u32(group.fd), 4)
    calls.map_update(fd, u32(group.fd), u32(5))
    same(calls.map_lookup(fd, u32(group.fd), 4), u32(5))
    calls.map_delete(fd, u32(group.fd))
    fails(errno.ENOENT, calls.map_delete, fd, u32(group.fd))
    fails(errno.EBADF, calls.map_lookup, fd, u32(bench.plain_file()), 4)


@cases(**each(T.SK_STORAGE, T.TASK_STORAGE, T.CGRP_STORAGE))
def check_storage_is_not_walked(calls: Calls, type: T) -> None:
    """A storage has no list of its values (ENOTSUPP), and none can be taken out."""
    fd = storage(calls, type)
    fails(ENOTSUPP, calls.map_next_key, fd, None, 4)
    fails(ENOTSUPP, take, calls, fd, u32(0), 4)


def check_storage_flags(bench: Bench) -> None:
    """Flags that are not known are EINVAL; a bad fd is named first."""
    fd, sock = storage(bench.calls, T.SK_STORAGE), bench.socket("udp")
    fails(errno.EINVAL, bench.calls.map_update, fd, u32(sock), u32(0), 8)
    fails(errno.EBADF, bench.calls.map_update, fd, u32(CLOSED), u32(0), 8)


def check_storage_of_a_closed_task(calls: Calls) -> None:
    """A task is named by a pidfd: a closed one is EBADF."""
    fd = storage(calls, T.TASK_STORAGE)
    fails(errno.EBADF, calls.map_lookup, fd, u32(CLOSED), 4)
    fails(errno.EBADF, calls.map_lookup, fd, u32(program(calls)), 4)
