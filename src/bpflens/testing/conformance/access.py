"""Who may do what with a map through which fd: modes, freezing."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import MapBatch
from bpflens.abi.enums import Cmd
from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import MapType as T
from bpflens.abi.infos import MapInfo
from bpflens.port.calls import Calls
from bpflens.testing.bench import Bench
from bpflens.testing.builders import map, program, u32, u64
from bpflens.testing.conformance.creation import FREE
from bpflens.testing.conformance.hashes import take
from bpflens.testing.conformance.suite import cases, fails, same

BATCHES = {
    "lookup": (Cmd.MAP_LOOKUP_BATCH, True, False),
    "take": (Cmd.MAP_LOOKUP_AND_DELETE_BATCH, True, True),
    "update": (Cmd.MAP_UPDATE_BATCH, False, True),
    "delete": (Cmd.MAP_DELETE_BATCH, False, True),
}


def check_read_only_fd(calls: Calls) -> None:
    """Through an fd for reading nothing is stored, deleted or taken (EPERM)."""
    fd = map(calls, T.HASH, flags=F.RDONLY)
    fails(errno.ENOENT, calls.map_lookup, fd, u32(0), 8)
    same(calls.map_next_key(fd, None, 4), None)
    fails(errno.EPERM, calls.map_update, fd, u32(0), u64(0))
    fails(errno.EPERM, calls.map_delete, fd, u32(0))
    fails(errno.EPERM, take, calls, fd, u32(0), 8)
    fails(errno.EPERM, calls.map_freeze, fd)


def check_write_only_fd(calls: Calls) -> None:
    """Through an fd for writing nothing is looked at, walked or taken (EPERM)."""
    fd = map(calls, T.HASH, flags=F.WRONLY)
    calls.map_update(fd, u32(0), u64(0))
    fails(errno.EPERM, calls.map_lookup, fd, u32(0), 8)
    fails(errno.EPERM, calls.map_next_key, fd, None, 4)
    fails(errno.EPERM, take, calls, fd, u32(0), 8)
    calls.map_delete(fd, u32(0))


@cases(**BATCHES)
def check_batches_look_at_the_mode(calls: Calls, cmd: Cmd, reads: bool, writes: bool) -> None:
    """Batches need the mode of what they do (EPERM)."""
    reader, writer = map(calls, T.HASH, flags=F.RDONLY), map(calls, T.HASH, flags=F.WRONLY)
    if writes:
        fails(errno.EPERM, calls.call, cmd, MapBatch(map_fd=reader))
    else:
        calls.call(cmd, MapBatch(map_fd=reader))
    if reads:
        fails(errno.EPERM, calls.call, cmd, MapBatch(map_fd=writer))
    else:
        calls.call(cmd, MapBatch(map_fd=writer))


def check_mode_is_of_the_file(calls: Calls) -> None:
    """The mode belongs to the open file, not to the map: another fd can do all."""
    fd = map(calls, T.HASH, flags=F.RDONLY)
    other = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, calls.info(fd, MapInfo).id)
    calls.map_update(other, u32(1), u64(1))
    same(calls.map_lookup(fd, u32(1), 8), u64(1))


def check_duplicates_share_the_mode(bench: Bench) -> None:
    """A duplicate of the fd has its mode."""
    fd = bench.dup(map(bench.calls, T.HASH, flags=F.RDONLY))
    fails(errno.EPERM, bench.calls.map_update, fd, u32(1), u64(1))


def check_programs_take_any_mode(calls: Calls) -> None:
    """A program can be loaded with a map's fd of any mode."""
    for flags in (F.RDONLY, F.WRONLY):
        program(calls, "r1 = map_fd m; r0 = 0; exit", m=map(calls, T.HASH, flags=flags))


@cases(**{t.label: t for t in FREE})
def check_freeze(calls: Calls, type: T) -> None:
    """Every type can be frozen; a second time it is EPERM, as the right to write is gone."""
    fd = map(calls, type)
    calls.map_freeze(fd)
    fails(errno.EPERM, calls.map_freeze, fd)


def check_frozen(calls: Calls) -> None:
    """In a frozen map user space changes nothing (EPERM), through no fd; it still reads."""
    fd = map(calls, T.HASH)
    calls.map_update(fd, u32(1), u64(1))
    calls.map_freeze(fd)
    other = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, calls.info(fd, MapInfo).id)
    for each in (fd, other):
        fails(errno.EPERM, calls.map_update, each, u32(1), u64(2))
        fails(errno.EPERM, calls.map_delete, each, u32(1))
        fails(errno.EPERM, take, calls, each, u32(1), 8)
        fails(errno.EPERM, calls.call, Cmd.MAP_UPDATE_BATCH, MapBatch(map_fd=each))
        same(calls.map_lookup(each, u32(1), 8), u64(1))
        same(calls.map_next_key(each, None, 4), u32(1))


def check_frozen_in_fdinfo(bench: Bench) -> None:
    """fdinfo tells that a map is frozen; the flags in its info stay as they were."""
    fd = map(bench.calls, T.HASH)
    same(bench.fdinfo(fd)["frozen"], "0")
    bench.calls.map_freeze(fd)
    same(bench.fdinfo(fd)["frozen"], "1")
    same(bench.calls.info(fd, MapInfo).map_flags, 0)


def check_write_permission_before_pointers(calls: Calls) -> None:
    """The mode is looked at before the key: EPERM, not EFAULT."""
    fd = map(calls, T.HASH, flags=F.RDONLY)
    fails(errno.EPERM, calls.map_update, fd, b"", b"")
    fails(errno.EPERM, calls.map_delete, fd, b"")
