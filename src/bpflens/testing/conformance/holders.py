"""Maps that hold other objects: programs, maps, perf events, cgroups, devices, CPUs, sockets."""

from __future__ import annotations

import errno
from typing import Any

from bpflens.abi.enums import Cmd
from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import MapInfo, ProgInfo
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.testing.bench import TRACEPOINT, Bench, eventually
from bpflens.testing.builders import map, program, u32
from bpflens.testing.conformance.hashes import EXIST, NOEXIST, keys
from bpflens.testing.conformance.suite import CLOSED, cases, fails, same

MAPS_OF_MAPS = {t.label: t for t in (T.ARRAY_OF_MAPS, T.HASH_OF_MAPS)}
OF_FDS = {t.label: t for t in (T.PROG_ARRAY, T.PERF_EVENT_ARRAY, T.CGROUP_ARRAY, T.ARRAY_OF_MAPS)}


def prog_id(calls: Calls, fd: int) -> int:
    return calls.info(fd, ProgInfo).id


def map_id(calls: Calls, fd: int) -> int:
    return calls.info(fd, MapInfo).id


def new(calls: Calls, type: T) -> int:
    """A map of the type, with a model where it needs one."""
    return map(calls, type, inner=map(calls) if type in MAPS_OF_MAPS.values() else 0)


# --- program arrays


def check_prog_array_shows_ids(calls: Calls) -> None:
    """A program is stored by its fd and shown as its id."""
    fd, prog = map(calls, T.PROG_ARRAY), program(calls)
    calls.map_update(fd, u32(1), u32(prog))
    same(calls.map_lookup(fd, u32(1), 4), u32(prog_id(calls, prog)))
    fails(errno.ENOENT, calls.map_lookup, fd, u32(0), 4)
    fails(errno.ENOENT, calls.map_lookup, fd, u32(9), 4)


def check_prog_array_keeps_programs(calls: Calls) -> None:
    """A slot keeps its program, until it is replaced or deleted."""
    fd, prog = map(calls, T.PROG_ARRAY), program(calls)
    id = prog_id(calls, prog)
    calls.map_update(fd, u32(1), u32(prog))
    calls.close(prog)
    same(calls.map_lookup(fd, u32(1), 4), u32(id))
    again = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, id)
    calls.close(again)
    calls.map_delete(fd, u32(1))
    eventually(lambda: not _program_lives(calls, id), "the program went from its slot")
    fails(errno.ENOENT, calls.map_delete, fd, u32(1))


def _program_lives(calls: Calls, id: int) -> bool:
    return calls.next_id(Cmd.PROG_GET_NEXT_ID, id - 1) == id


@cases(**OF_FDS)
def check_slot_takes_an_fd(calls: Calls, type: T) -> None:
    """What is stored must be an open fd (EBADF), at an index that there is (E2BIG, first)."""
    fd = new(calls, type)
    fails(errno.EBADF, calls.map_update, fd, u32(0), u32(CLOSED))
    fails(errno.E2BIG, calls.map_update, fd, u32(4), u32(CLOSED))


@cases(**OF_FDS)
def check_slot_takes_no_flags(calls: Calls, type: T) -> None:
    """Slots that hold objects know no flags (EINVAL), not even EXIST."""
    fd = new(calls, type)
    for flags in (NOEXIST, EXIST, 8):
        fails(errno.EINVAL, calls.map_update, fd, u32(0), u32(CLOSED), flags)


@cases(**OF_FDS)
def check_empty_slot(calls: Calls, type: T) -> None:
    """An empty slot cannot be deleted (ENOENT), nor one past the end (E2BIG)."""
    fd = new(calls, type)
    fails(errno.ENOENT, calls.map_delete, fd, u32(0))
    fails(errno.E2BIG, calls.map_delete, fd, u32(4))


@cases(**OF_FDS)
def check_walk_meets_empty_slots(calls: Calls, type: T) -> None:
    """A walk counts through all slots, empty or not."""
    same(keys(calls, new(calls, type), 4), [u32(index) for index in range(4)])


def check_prog_array_takes_programs(calls: Calls) -> None:
    """Another kind of object is no program (EINVAL)."""
    fd = map(calls, T.PROG_ARRAY)
    fails(errno.EINVAL, calls.map_update, fd, u32(0), u32(map(calls)))


def check_prog_array_has_an_owner(calls: Calls) -> None:
    """The first program decides of which type all others are (EINVAL), for good."""
    fd = map(calls, T.PROG_ARRAY)
    calls.map_update(fd, u32(0), u32(program(calls)))
    fails(errno.EINVAL, calls.map_update, fd, u32(1), u32(program(calls, type=P.SCHED_CLS)))
    calls.map_delete(fd, u32(0))
    fails(errno.EINVAL, calls.map_update, fd, u32(1), u32(program(calls, type=P.SCHED_CLS)))
    calls.map_update(fd, u32(1), u32(program(calls)))


TAIL_CALL = "r2 = map_fd m; r3 = 0; call tail_call; r0 = 0; exit"


def check_user_of_a_prog_array_owns_it(calls: Calls) -> None:
    """A program that refers to the array decides likewise."""
    fd = map(calls, T.PROG_ARRAY)
    program(calls, TAIL_CALL, P.SCHED_CLS, m=fd)
    fails(errno.EINVAL, calls.map_update, fd, u32(0), u32(program(calls)))
    fails(errno.EINVAL, program, calls, TAIL_CALL, P.SOCKET_FILTER, m=fd)
    calls.map_update(fd, u32(0), u32(program(calls, type=P.SCHED_CLS)))


def check_prog_array_is_cleared(calls: Calls) -> None:
    """With its last fd a program array loses its programs, though a program still holds it."""
    fd = map(calls, T.PROG_ARRAY)
    user = program(calls, TAIL_CALL, m=fd)
    member = program(calls)
    id, array = prog_id(calls, member), map_id(calls, fd)
    calls.map_update(fd, u32(0), u32(member))
    calls.close(member)
    assert _program_lives(calls, id)
    calls.close(fd)
    eventually(lambda: not _program_lives(calls, id), "the array was cleared")
    again = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, array)
    fails(errno.ENOENT, calls.map_lookup, again, u32(0), 4)
    assert prog_id(calls, user)


def check_owner_in_fdinfo(bench: Bench) -> None:
    """The owner's type is told in fdinfo, once there is one."""
    fd = map(bench.calls, T.PROG_ARRAY)
    assert "owner_prog_type" not in bench.fdinfo(fd)
    bench.calls.map_update(fd, u32(0), u32(program(bench.calls)))
    same(bench.fdinfo(fd)["owner_prog_type"], str(int(P.SOCKET_FILTER)))


# --- maps of maps


@cases(**MAPS_OF_MAPS)
def check_map_of_maps_shows_ids(calls: Calls, type: T) -> None:
    """A map is stored by its fd and shown as its id."""
    fd, inner = new(calls, type), map(calls)
    calls.map_update(fd, u32(1), u32(inner))
    same(calls.map_lookup(fd, u32(1), 4), u32(map_id(calls, inner)))
    fails(errno.ENOENT, calls.map_lookup, fd, u32(0), 4)
    calls.map_delete(fd, u32(1))
    fails(errno.ENOENT, calls.map_lookup, fd, u32(1), 4)


DIFFERENT: dict[str, dict[str, Any]] = {
    "type": {"type": T.PERCPU_ARRAY},
    "key_and_type": {"type": T.HASH, "key_size": 8},
    "value_size": {"value_size": 16},
    "flags": {"flags": F.RDONLY_PROG},
    "entries": {"max_entries": 5},
}


@cases(**DIFFERENT)
def check_inner_map_differs(calls: Calls, other: dict[str, Any]) -> None:
    """An inner map must be like the model (EINVAL); an array also in the number of entries."""
    for type in MAPS_OF_MAPS.values():
        fails(errno.EINVAL, calls.map_update, new(calls, type), u32(0), u32(map(calls, **other)))


def check_inner_arrays_of_any_length(calls: Calls) -> None:
    """Arrays that are made as inner maps may differ in length."""
    fd = map(calls, T.ARRAY_OF_MAPS, inner=map(calls, flags=F.INNER_MAP))
    calls.map_update(fd, u32(0), u32(map(calls, flags=F.INNER_MAP, max_entries=77)))


def check_inner_hashes_of_any_size(calls: Calls) -> None:
    """Inner hashes may differ in their number of entries."""
    fd = map(calls, T.ARRAY_OF_MAPS, inner=map(calls, T.HASH))
    calls.map_update(fd, u32(0), u32(map(calls, T.HASH, max_entries=77)))


def check_hash_of_maps_has_flags(calls: Calls) -> None:
    """A hash of maps knows NOEXIST and EXIST; a bad fd is named first."""
    fd, inner = new(calls, T.HASH_OF_MAPS), map(calls)
    fails(errno.ENOENT, calls.map_update, fd, u32(1), u32(inner), EXIST)
    calls.map_update(fd, u32(1), u32(inner), NOEXIST)
    fails(errno.EEXIST, calls.map_update, fd, u32(1), u32(inner), NOEXIST)
    fails(errno.EBADF, calls.map_update, fd, u32(1), u32(CLOSED), NOEXIST)
    fails(errno.EINVAL, calls.map_update, fd, u32(1), u32(inner), 8)


def check_hash_of_maps_is_walked(calls: Calls) -> None:
    """A walk meets the keys that are there."""
    fd, inner = new(calls, T.HASH_OF_MAPS), map(calls)
    for key in (5, 6):
        calls.map_update(fd, u32(key), u32(inner))
    same(sorted(keys(calls, fd, 4)), [u32(5), u32(6)])
    fails(errno.ENOENT, calls.map_delete, fd, u32(9))


# --- perf events and cgroups


@cases(perf_event_array=T.PERF_EVENT_ARRAY, cgroup_array=T.CGROUP_ARRAY)
def check_slots_that_cannot_be_read(calls: Calls, type: T) -> None:
    """What these arrays hold cannot be looked up (ENOTSUPP)."""
    fails(ENOTSUPP, calls.map_lookup, map(calls, type), u32(0), 4)


@cases(perf_event_array=T.PERF_EVENT_ARRAY, cgroup_array=T.CGROUP_ARRAY)
def check_wrong_file_in_a_slot(bench: Bench, type: T) -> None:
    """A file that is no perf event, or no cgroup, is EBADF."""
    fd = map(bench.calls, type)
    fails(errno.EBADF, bench.calls.map_update, fd, u32(0), u32(bench.plain_file()))
    fails(errno.EBADF, bench.calls.map_update, fd, u32(0), u32(map(bench.calls)))


def check_cgroup_in_a_slot(bench: Bench) -> None:
    """A cgroup is stored by the fd of its folder."""
    fd = map(bench.calls, T.CGROUP_ARRAY)
    bench.calls.map_update(fd, u32(0), u32(bench.cgroup().fd))
    bench.calls.map_delete(fd, u32(0))
    fails(errno.ENOENT, bench.calls.map_delete, fd, u32(0))


def check_perf_event_in_a_slot(bench: Bench) -> None:
    """A perf event is stored by its fd."""
    fd = map(bench.calls, T.PERF_EVENT_ARRAY)
    bench.calls.map_update(fd, u32(0), u32(bench.tracepoint("sched", TRACEPOINT)))
    bench.calls.map_delete(fd, u32(0))


def check_perf_events_go_with_the_file(bench: Bench) -> None:
    """What was stored through a map's file goes when that file is closed."""
    calls = bench.calls
    fd = map(calls, T.PERF_EVENT_ARRAY)
    other = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, map_id(calls, fd))
    calls.map_update(other, u32(0), u32(bench.tracepoint("sched", TRACEPOINT)))
    calls.close(other)
    fails(errno.ENOENT, calls.map_delete, fd, u32(0))


def check_perf_events_that_stay(bench: Bench) -> None:
    """With PRESERVE_ELEMS they stay."""
    calls = bench.calls
    fd = map(calls, T.PERF_EVENT_ARRAY, flags=F.PRESERVE_ELEMS)
    other = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, map_id(calls, fd))
    calls.map_update(other, u32(0), u32(bench.tracepoint("sched", TRACEPOINT)))
    calls.close(other)
    calls.map_delete(fd, u32(0))
