"""Maps that hold devices, CPUs and sockets."""

from __future__ import annotations

import errno

from bpflens.abi.enums import AttachType, Cmd
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.testing.bench import Bench, eventually
from bpflens.testing.builders import map, program, u32, u64
from bpflens.testing.conformance.devices import xdp
from bpflens.testing.conformance.elsewhere import refused
from bpflens.testing.conformance.hashes import EXIST, NOEXIST
from bpflens.testing.conformance.holders import prog_id
from bpflens.testing.conformance.suite import CLOSED, cases, fails, same
from bpflens.testing.hooks import id_of

# --- devices


@cases(**{t.label: t for t in (T.DEVMAP, T.DEVMAP_HASH)})
def check_device(bench: Bench, type: T) -> None:
    """A device is stored by its index; one that is not there is EINVAL."""
    fd = map(bench.calls, type)
    index = bench.device()
    bench.calls.map_update(fd, u32(1), u32(index))
    same(bench.calls.map_lookup(fd, u32(1), 4), u32(index))
    fails(errno.EINVAL, bench.calls.map_update, fd, u32(2), u32(999_999))
    fails(errno.ENOENT, bench.calls.map_lookup, fd, u32(2), 4)


def check_device_0_deletes(bench: Bench) -> None:
    """Index 0 empties a slot of a devmap, and is EINVAL in a hash of devices."""
    fd = map(bench.calls, T.DEVMAP)
    bench.calls.map_update(fd, u32(1), u32(bench.device()))
    bench.calls.map_update(fd, u32(1), u32(0))
    fails(errno.ENOENT, bench.calls.map_lookup, fd, u32(1), 4)
    other = map(bench.calls, T.DEVMAP_HASH)
    fails(errno.EINVAL, bench.calls.map_update, other, u32(1), u32(0))


def check_devmap_edges(calls: Calls) -> None:
    """Past the end of a devmap: E2BIG to store, EINVAL to delete; an empty slot deletes well."""
    fd = map(calls, T.DEVMAP)
    fails(errno.E2BIG, calls.map_update, fd, u32(4), u32(1))
    fails(errno.EINVAL, calls.map_delete, fd, u32(4))
    calls.map_delete(fd, u32(0))
    fails(errno.EINVAL, calls.map_update, fd, u32(0), u32(1), 8)


def check_device_flags(bench: Bench) -> None:
    """NOEXIST is always EEXIST in a devmap; a hash of devices does not enforce EXIST."""
    index = bench.device()
    fd = map(bench.calls, T.DEVMAP)
    fails(errno.EEXIST, bench.calls.map_update, fd, u32(1), u32(index), NOEXIST)
    fd = map(bench.calls, T.DEVMAP_HASH)
    bench.calls.map_update(fd, u32(1), u32(index), NOEXIST)
    fails(errno.EEXIST, bench.calls.map_update, fd, u32(1), u32(index), NOEXIST)
    bench.calls.map_update(fd, u32(3), u32(index), EXIST)


def check_device_hash_is_full(bench: Bench) -> None:
    """A full hash of devices is E2BIG."""
    fd, index = map(bench.calls, T.DEVMAP_HASH, max_entries=1), bench.device()
    bench.calls.map_update(fd, u32(1), u32(index))
    fails(errno.E2BIG, bench.calls.map_update, fd, u32(2), u32(index))
    bench.calls.map_delete(fd, u32(1))
    fails(errno.ENOENT, bench.calls.map_delete, fd, u32(1))


def check_device_with_a_program(bench: Bench) -> None:
    """A device may come with an XDP program made for that, which is shown as its id."""
    calls = bench.calls
    fd, index = map(calls, T.DEVMAP, value_size=8), bench.device()
    prog = program(calls, "r0 = 2; exit", P.XDP, attach_type=AttachType.XDP_DEVMAP)
    calls.map_update(fd, u32(0), u32(index, prog))
    same(calls.map_lookup(fd, u32(0), 8), u32(index, prog_id(calls, prog)))
    calls.map_update(fd, u32(0), u32(index, 0))
    same(calls.map_lookup(fd, u32(0), 8), u32(index, 0))
    other = program(calls, "r0 = 2; exit", P.XDP)
    fails(errno.EINVAL, calls.map_update, fd, u32(0), u32(index, other))
    fails(errno.EINVAL, calls.map_update, fd, u32(0), u32(index, CLOSED))


def check_device_that_goes(bench: Bench) -> None:
    """A device that is removed leaves the maps that it is in."""
    fd, index = map(bench.calls, T.DEVMAP), bench.device()
    bench.calls.map_update(fd, u32(1), u32(index))
    bench.remove_device(index)
    fails(errno.ENOENT, bench.calls.map_lookup, fd, u32(1), 4)


# --- CPUs


def check_cpu(calls: Calls) -> None:
    """A CPU is stored with the length of its queue; 0 empties the slot."""
    fd = map(calls, T.CPUMAP, max_entries=1)
    fails(errno.ENOENT, calls.map_lookup, fd, u32(0), 4)
    calls.map_update(fd, u32(0), u32(192))
    same(calls.map_lookup(fd, u32(0), 4), u32(192))
    fails(errno.EEXIST, calls.map_update, fd, u32(0), u32(192), NOEXIST)
    calls.map_update(fd, u32(0), u32(0))
    fails(errno.ENOENT, calls.map_lookup, fd, u32(0), 4)


def check_cpu_edges(bench: Bench) -> None:
    """A queue too long is EOVERFLOW, a CPU that is not there ENODEV, past the end E2BIG."""
    calls = bench.calls
    fd = map(calls, T.CPUMAP, max_entries=bench.cpus + 1)
    fails(errno.EOVERFLOW, calls.map_update, fd, u32(0), u32(16385))
    fails(errno.ENODEV, calls.map_update, fd, u32(bench.cpus), u32(1))
    fails(errno.E2BIG, calls.map_update, fd, u32(bench.cpus + 1), u32(1))
    fails(errno.EINVAL, calls.map_delete, fd, u32(bench.cpus + 1))
    calls.map_delete(fd, u32(0))


def check_cpu_with_a_program(calls: Calls) -> None:
    """A CPU may come with an XDP program made for that; any other is ENOMEM, of all things."""
    fd = map(calls, T.CPUMAP, value_size=8, max_entries=1)
    prog = program(calls, "r0 = 2; exit", P.XDP, attach_type=AttachType.XDP_CPUMAP)
    calls.map_update(fd, u32(0), u32(64, prog))
    same(calls.map_lookup(fd, u32(0), 8), u32(64, prog_id(calls, prog)))
    other = program(calls, "r0 = 2; exit", P.XDP)
    fails(errno.ENOMEM, calls.map_update, fd, u32(0), u32(64, other))


# --- sockets

SOCKETS = {t.label: t for t in (T.SOCKMAP, T.SOCKHASH)}


@cases(**SOCKETS)
def check_socket(bench: Bench, type: T) -> None:
    """A socket is stored by its fd and shown as its cookie, where the value has room for one."""
    fd = map(bench.calls, type, value_size=8)
    bench.calls.map_update(fd, u32(0), u64(bench.socket("udp")))
    assert any(bench.calls.map_lookup(fd, u32(0), 8))
    fails(errno.EEXIST, bench.calls.map_update, fd, u32(0), u64(bench.socket("udp")), NOEXIST)
    bench.calls.map_delete(fd, u32(0))
    fails(errno.ENOENT, bench.calls.map_lookup, fd, u32(0), 8)


@cases(**SOCKETS, reuseport_sockarray=T.REUSEPORT_SOCKARRAY)
def check_no_room_for_a_cookie(calls: Calls, type: T) -> None:
    """With values of 4 bytes a lookup is ENOSPC, whether there is a socket or not."""
    fails(errno.ENOSPC, calls.map_lookup, map(calls, type), u32(0), 4)


@cases(**SOCKETS, reuseport_sockarray=T.REUSEPORT_SOCKARRAY)
def check_no_socket(calls: Calls, type: T) -> None:
    """An empty place is ENOENT."""
    fails(errno.ENOENT, calls.map_lookup, map(calls, type, value_size=8), u32(0), 8)


@cases(**SOCKETS)
def check_what_is_no_socket(bench: Bench, type: T) -> None:
    """A closed fd is EBADF, another file ENOTSOCK; a value beyond 32 bits EINVAL."""
    fd = map(bench.calls, type, value_size=8)
    fails(errno.EBADF, bench.calls.map_update, fd, u32(0), u64(CLOSED))
    fails(errno.ENOTSOCK, bench.calls.map_update, fd, u32(0), u64(bench.plain_file()))
    fails(errno.EINVAL, bench.calls.map_update, fd, u32(0), u64(1 << 32))


def check_sockmap_edges(bench: Bench) -> None:
    """Past the end is E2BIG; EXIST on an empty slot ENOENT; to delete an empty slot EINVAL."""
    fd, sock = map(bench.calls, T.SOCKMAP), bench.socket("udp")
    fails(errno.E2BIG, bench.calls.map_update, fd, u32(4), u32(sock))
    fails(errno.ENOENT, bench.calls.map_update, fd, u32(0), u32(sock), EXIST)
    fails(errno.EINVAL, bench.calls.map_delete, fd, u32(0))
    fails(errno.EINVAL, bench.calls.map_update, fd, u32(0), u32(sock), 8)


def check_sockhash_edges(bench: Bench) -> None:
    """A key that is not there cannot be deleted from a hash of sockets (ENOENT)."""
    fails(errno.ENOENT, bench.calls.map_delete, map(bench.calls, T.SOCKHASH), u32(0))


def check_reuseport_edges(bench: Bench) -> None:
    """An array of listening sockets: past the end E2BIG, closed fd EBADF, empty ENOENT."""
    fd = map(bench.calls, T.REUSEPORT_SOCKARRAY, value_size=8)
    fails(errno.E2BIG, bench.calls.map_update, fd, u32(4), u64(0))
    fails(errno.EBADF, bench.calls.map_update, fd, u32(0), u64(CLOSED))
    fails(errno.ENOENT, bench.calls.map_delete, fd, u32(0))
    fails(errno.E2BIG, bench.calls.map_delete, fd, u32(4))


def check_xsk_map(bench: Bench) -> None:
    """A map of AF_XDP sockets: no lookup (EOPNOTSUPP), closed fd EBADF, other socket EOPNOTSUPP."""
    fd = map(bench.calls, T.XSKMAP)
    fails(errno.EOPNOTSUPP, bench.calls.map_lookup, fd, u32(0), 4)
    fails(errno.EBADF, bench.calls.map_update, fd, u32(0), u32(CLOSED))
    fails(errno.EOPNOTSUPP, bench.calls.map_update, fd, u32(0), u32(bench.socket("udp")))
    fails(errno.EINVAL, bench.calls.map_update, fd, u32(0), u32(CLOSED), 8)
    fails(errno.E2BIG, bench.calls.map_update, fd, u32(4), u32(CLOSED))
    bench.calls.map_delete(fd, u32(0))


# --- sockets that are there


def check_xsk_sockets(bench: Bench) -> None:
    """A socket of AF_XDP has a slot until it is closed; the same one again changes nothing."""
    calls = bench.calls
    fd, one, two = map(calls, T.XSKMAP), bench.socket("xdp"), bench.socket("xdp")
    fails(errno.ENOENT, calls.map_update, fd, u32(0), u32(one), EXIST)
    calls.map_update(fd, u32(0), u32(one), NOEXIST)
    calls.map_update(fd, u32(0), u32(one), NOEXIST)
    fails(errno.EEXIST, calls.map_update, fd, u32(0), u32(two), NOEXIST)
    calls.map_update(fd, u32(0), u32(two), EXIST)
    fails(errno.EOPNOTSUPP, calls.map_lookup, fd, u32(0), 4)
    calls.map_update(fd, u32(1), u32(one))
    calls.map_delete(fd, u32(0))
    fails(errno.ENOENT, calls.map_update, fd, u32(0), u32(two), EXIST)
    calls.close(one)
    fails(errno.ENOENT, calls.map_update, fd, u32(1), u32(two), EXIST)


def check_reuseport_sockets(bench: Bench) -> None:
    """A socket that shares its port has one slot of one array, until it is closed."""
    calls = bench.calls
    fd, other = (map(calls, T.REUSEPORT_SOCKARRAY, value_size=8) for _ in range(2))
    one = bench.socket("shared")
    fails(errno.EINVAL, calls.map_update, fd, u32(0), u64(bench.socket("udp")))
    fails(ENOTSUPP, calls.map_update, fd, u32(0), u64(bench.socket("unix")))
    fails(errno.ENOENT, calls.map_update, fd, u32(0), u64(one), EXIST)
    calls.map_update(fd, u32(0), u64(one))
    assert calls.map_lookup(fd, u32(0), 8) != bytes(8)
    fails(errno.EEXIST, calls.map_update, fd, u32(0), u64(one), NOEXIST)
    fails(errno.EBUSY, calls.map_update, fd, u32(1), u64(one))
    fails(errno.EBUSY, calls.map_update, other, u32(0), u64(one))
    calls.map_delete(fd, u32(0))
    calls.map_update(other, u32(0), u64(one))
    calls.close(one)
    fails(errno.ENOENT, calls.map_lookup, other, u32(0), 8)


@cases(filter=P.SOCKET_FILTER, reuseport=P.SK_REUSEPORT)
def check_program_that_chooses(bench: Bench, type: P) -> None:
    """The program that chooses among sockets of a port lives as long as one of them."""
    calls = bench.calls
    prog, group = program(calls, type=type), bench.socket("shared")
    id = id_of(calls, prog)
    bench.choose_socket(group, prog)
    calls.close(prog)
    same(calls.next_id(Cmd.PROG_GET_NEXT_ID, id - 1), id)
    bench.choose_socket(group, program(calls, type=type))
    eventually(lambda: not lives(calls, id), "the one that was replaced goes")
    bench.choose_socket(group, None)
    refused(errno.ENOENT, bench.choose_socket, group, None)
    last = program(calls, type=type)
    id = id_of(calls, last)
    bench.choose_socket(group, last)
    for fd in (last, group):
        calls.close(fd)
    eventually(lambda: not lives(calls, id), "the last one goes with its socket")


def check_program_that_cannot_choose(bench: Bench) -> None:
    """It is for sockets that share their port (EINVAL), and of a type that can choose."""
    calls = bench.calls
    prog = program(calls, type=P.SK_REUSEPORT)
    refused(errno.EINVAL, bench.choose_socket, bench.socket("udp"), prog)
    refused(ENOTSUPP, bench.choose_socket, bench.socket("unix"), prog)
    refused(errno.EINVAL, bench.choose_socket, bench.socket("shared"), xdp(calls))
    refused(errno.EINVAL, bench.choose_socket, bench.socket("shared"), map(calls))
    refused(errno.EBADF, bench.choose_socket, bench.socket("shared"), CLOSED)
    refused(errno.EINVAL, bench.choose_socket, bench.socket("udp"), None)


def lives(calls: Calls, prog: int) -> bool:
    """Whether there is a program of this ID."""
    return calls.next_id(Cmd.PROG_GET_NEXT_ID, prog - 1) == prog
