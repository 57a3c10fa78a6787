"""What kind of files the objects are: their names, modes, and memory."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from bpflens.abi.enums import Cmd
from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import LinkInfo, MapInfo
from bpflens.testing.bench import Bench
from bpflens.testing.builders import btf, map, program
from bpflens.testing.conformance.ids import KINDS, make
from bpflens.testing.conformance.iterators import over, read_from
from bpflens.testing.conformance.links import raw_tp_link
from bpflens.testing.conformance.suite import cases, fails, same
from bpflens.testing.hooks import id_of


def name(bench: Bench, fd: int) -> str:
    """What /proc says that an fd is open on."""
    return bench.doors.host.readlink(f"/proc/self/fd/{fd}")


@cases(
    prog=(lambda calls: program(calls), "bpf-prog"), map=(lambda calls: map(calls), "bpf-map"),
    btf=(lambda calls: btf(calls), "btf"), link=(raw_tp_link, "bpf_link"),
    stats=(lambda calls: calls.enable_stats(), "bpf-stats"),
)  # fmt: skip
def check_name(bench: Bench, maker: Callable[..., int], kind: str) -> None:
    """Each kind of object has its name among the anonymous inodes."""
    same(name(bench, maker(bench.calls)), f"anon_inode:{kind}")


def check_name_of_an_iterator(bench: Bench) -> None:
    """The file that an iterator is read from has a name too."""
    fd = read_from(bench.calls, over(bench.calls, "bpf_map"))
    same(name(bench, fd), "anon_inode:bpf_iter")


def check_name_of_a_link_by_id(bench: Bench) -> None:
    """A link that is opened again is spelled otherwise: bpf_link_new_fd() writes a hyphen."""
    id = bench.calls.info(raw_tp_link(bench.calls), LinkInfo).id
    again = bench.calls.fd_by_id(Cmd.LINK_GET_FD_BY_ID, id)
    same(name(bench, again), "anon_inode:bpf-link")


@cases(prog="prog", map="map", btf="btf")
def check_name_by_id(bench: Bench, kind: str) -> None:
    """The others have the same name however they were opened."""
    fd, id = make(bench.calls, kind)
    again = bench.calls.fd_by_id(KINDS[kind][1], id)
    same(name(bench, again), name(bench, fd))


@cases(
    prog=(lambda calls: program(calls), 0o2000002), map=(lambda calls: map(calls), 0o2000002),
    reader=(lambda calls: map(calls, flags=F.RDONLY), 0o2000000),
    writer=(lambda calls: map(calls, flags=F.WRONLY), 0o2000001),
    btf=(lambda calls: btf(calls), 0o2000000), link=(raw_tp_link, 0o2000000),
)  # fmt: skip
def check_mode(bench: Bench, maker: Callable[..., int], flags: int) -> None:
    """Every fd is closed on exec; maps and programs are open for both, BTF and links to read."""
    fd = maker(bench.calls)
    # O_LARGEFILE is among the flags of some architectures
    same(int(bench.fdinfo(fd)["flags"], 8) & 0o2000003, flags)


def r8(size: int) -> int:
    return size + 7 & ~7


SIZED: dict[str, tuple[T, dict[str, int], Callable[[int], int]]] = {
    "array": (T.ARRAY, {"value_size": 5, "max_entries": 7}, lambda cpus: 312 + 7 * 8),
    "array_mapped": (
        T.ARRAY,
        {"flags": F.MMAPABLE, "value_size": 100, "max_entries": 100},
        lambda cpus: 4096 + 12288,
    ),
    "percpu_array": (
        T.PERCPU_ARRAY,
        {"value_size": 12, "max_entries": 3},
        lambda cpus: 312 + 3 * 8 + 3 * 16 * cpus,
    ),
    "prog_array": (T.PROG_ARRAY, {"max_entries": 5}, lambda cpus: 312 + 5 * 8),
    "hash": (
        T.HASH,
        {"key_size": 5, "value_size": 9, "max_entries": 10},
        lambda cpus: 896 + 16 * 16 + (48 + 8 + 16) * (10 + cpus) + 8 * cpus,
    ),
    "hash_on_demand": (
        T.HASH,
        {"flags": F.NO_PREALLOC, "max_entries": 10},
        lambda cpus: 896 + 16 * 16,
    ),
    "lru_hash": (
        T.LRU_HASH,
        {"max_entries": 10},
        lambda cpus: 896 + 16 * 16 + (48 + 8 + 8) * 10,
    ),
    "percpu_hash": (
        T.PERCPU_HASH,
        {"max_entries": 10},
        lambda cpus: 896 + 16 * 16 + (48 + 8 + 8) * 10 + 8 * 10 * cpus,
    ),
    "lpm_trie": (T.LPM_TRIE, {"max_entries": 10}, lambda cpus: 0),
    "queue": (T.QUEUE, {"value_size": 12, "max_entries": 10}, lambda cpus: 312 + 11 * 12),
    "stack_trace": (
        T.STACK_TRACE,
        {"value_size": 16, "max_entries": 10},
        lambda cpus: 320 + 8 * 16 + 10 * 32,
    ),
    "ringbuf": (
        T.RINGBUF,
        {"max_entries": 8192},
        lambda cpus: 304 + 4096 * (3 + 2) + 8 * (3 + 2 * 2),
    ),
    "devmap": (T.DEVMAP, {"max_entries": 6}, lambda cpus: 344 + 8 * 6),
    "devmap_hash": (T.DEVMAP_HASH, {"max_entries": 6}, lambda cpus: 344 + 8 * 8),
    "cpumap": (T.CPUMAP, {"max_entries": 6}, lambda cpus: 304 + 8 * 6),
    "xskmap": (T.XSKMAP, {"max_entries": 6}, lambda cpus: 304 + 8 * 6),
    "sockmap": (T.SOCKMAP, {"max_entries": 6}, lambda cpus: 376 + 8 * 6),
    "sockhash": (T.SOCKHASH, {"max_entries": 6}, lambda cpus: 384 + 16 * 8),
    "reuseport": (T.REUSEPORT_SOCKARRAY, {"max_entries": 6}, lambda cpus: 296 + 8 * 6),
    "cgroup_storage": (T.CGROUP_STORAGE, {}, lambda cpus: 328),
    "arena": (T.ARENA, {}, lambda cpus: 0),
}
"""map_mem_usage() of each type, with the sizes that the structs of 6.18 have."""


@cases(**SIZED)
def check_memory(bench: Bench, type: T, wanted: dict[str, Any], size: Callable[[int], int]) -> None:
    """fdinfo tells how much memory a map takes."""
    fd = map(bench.calls, type, **wanted)
    same(int(bench.fdinfo(fd)["memlock"]), size(bench.cpus))


@cases(one=(2, 4096), more=(600, 8192))
def check_memory_of_a_program(bench: Bench, insns: int, size: int) -> None:
    """fdinfo tells how many pages a program's instructions take."""
    text = "r0 = 0; " * (insns - 1) + "exit"
    same(bench.fdinfo(program(bench.calls, text))["memlock"], str(size))


def check_filter_of_a_socket(bench: Bench) -> None:
    """A socket keeps the program that filters it, though no call tells which that is."""
    prog = program(bench.calls)
    id = id_of(bench.calls, prog)
    sock = bench.socket("udp")
    bench.filter_socket(sock, prog)
    bench.calls.close(prog)
    same(bench.calls.next_id(Cmd.PROG_GET_NEXT_ID, id - 1), id)


def check_filter_of_another_type(bench: Bench) -> None:
    """Only socket filters filter sockets (EINVAL)."""
    sock = bench.socket("udp")
    for wrong in (program(bench.calls, type=P.XDP), map(bench.calls)):
        try:
            bench.filter_socket(sock, wrong)
        except OSError as error:
            same(error.errno, errno.EINVAL)
        else:
            raise AssertionError("filtered")


def check_owner_stays_with_the_map(bench: Bench) -> None:
    """A map opened by its id has the same owner as the map it is."""
    fd = map(bench.calls, T.PROG_ARRAY)
    text = "r2 = map_fd m; r3 = 0; call tail_call; r0 = 0; exit"
    program(bench.calls, text, P.SCHED_CLS, m=fd)
    again = bench.calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, bench.calls.info(fd, MapInfo).id)
    same(bench.fdinfo(again)["owner_prog_type"], str(int(P.SCHED_CLS)))
    fails(errno.EINVAL, program, bench.calls, text, P.XDP, m=again)
