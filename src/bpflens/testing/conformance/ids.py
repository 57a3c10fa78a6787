"""IDs: how they are given out, walked and opened."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from bpflens.abi.attrs import NextId
from bpflens.abi.enums import Cmd, MapFlag, MapType
from bpflens.abi.infos import BtfInfo, LinkInfo, MapInfo, ProgInfo
from bpflens.port.calls import Calls
from bpflens.testing.bench import TRACEPOINT, Bench, eventually
from bpflens.testing.builders import btf, map, program, u32
from bpflens.testing.conformance.suite import cases, fails, same

ID_END = 0x7FFFFFFF
"""INT_MAX: the smallest start that no walk may have."""

KINDS = {
    "prog": (Cmd.PROG_GET_NEXT_ID, Cmd.PROG_GET_FD_BY_ID),
    "map": (Cmd.MAP_GET_NEXT_ID, Cmd.MAP_GET_FD_BY_ID),
    "btf": (Cmd.BTF_GET_NEXT_ID, Cmd.BTF_GET_FD_BY_ID),
    "link": (Cmd.LINK_GET_NEXT_ID, Cmd.LINK_GET_FD_BY_ID),
}
MAKE: dict[str, tuple[Callable[[Calls], int], Any]] = {
    "prog": (lambda calls: program(calls), ProgInfo),
    "map": (lambda calls: map(calls), MapInfo),
    "btf": (lambda calls: btf(calls), BtfInfo),
    "link": (lambda calls: calls.raw_tracepoint_open(raw_tp(calls), TRACEPOINT), LinkInfo),
}


def raw_tp(calls: Calls) -> int:
    """A program for a raw tracepoint."""
    return program(calls, type=17)


def make(calls: Calls, kind: str) -> tuple[int, int]:
    """A new object of a kind: its fd and its id."""
    maker, info = MAKE[kind]
    fd = maker(calls)
    told = calls.info(fd, info)
    return fd, told.id


def walk(calls: Calls, kind: str, start: int = 0) -> list[int]:
    """All ids above `start`."""
    found: list[int] = []
    while (following := calls.next_id(KINDS[kind][0], found[-1] if found else start)) is not None:
        found.append(following)
    return found


@cases(**{kind: kind for kind in KINDS})
def check_ids_go_up(calls: Calls, kind: str) -> None:
    """A new object has a larger id than those before, also after they are gone."""
    fd, first = make(calls, kind)
    calls.close(fd)
    fd, second = make(calls, kind)
    assert first < second
    calls.close(fd)
    assert second < make(calls, kind)[1]


@cases(**{kind: kind for kind in KINDS})
def check_walk(calls: Calls, kind: str) -> None:
    """A walk is strictly ascending and meets every object that lives through it."""
    mine = [make(calls, kind)[1] for _ in range(5)]
    found = walk(calls, kind)
    same(sorted(set(found)), found)
    assert set(mine) <= set(found)


@cases(**{kind: kind for kind in KINDS})
def check_walk_starts_anywhere(calls: Calls, kind: str) -> None:
    """The start of a step need not exist: the smallest id above it is next."""
    first, second = make(calls, kind), make(calls, kind)
    same(calls.next_id(KINDS[kind][0], first[1] - 1), first[1])
    calls.close(first[0])
    following = calls.next_id(KINDS[kind][0], first[1])
    assert following is not None
    assert first[1] < following <= second[1]


@cases(**{kind: kind for kind in KINDS})
def check_walk_ends(calls: Calls, kind: str) -> None:
    """Past the last object is ENOENT, which leaves next_id as it was."""
    attr = NextId(start_id=ID_END - 1, next_id=7)
    fails(errno.ENOENT, calls.call, KINDS[kind][0], attr)
    same(attr.next_id, 7)


@cases(**{f"{kind}_{start:x}": (kind, start)
          for kind in KINDS for start in (ID_END, 0x80000000, 0xFFFFFFFF)})  # fmt: skip
def check_start_is_too_large(calls: Calls, kind: str, start: int) -> None:
    """A walk cannot start at INT_MAX or above (EINVAL)."""
    fails(errno.EINVAL, calls.call, KINDS[kind][0], NextId(start_id=start))


@cases(
    **{f"{kind}_{id:x}": (kind, id) for kind in KINDS for id in (0, ID_END - 1, ID_END, 1 << 31)}
)
def check_no_such_id(calls: Calls, kind: str, id: int) -> None:
    """There is nothing behind an id that is not in use (ENOENT), whatever the number."""
    fails(errno.ENOENT, calls.fd_by_id, KINDS[kind][1], id)


@cases(**{kind: kind for kind in KINDS})
def check_open_by_id(calls: Calls, kind: str) -> None:
    """An fd by id is another fd of the same object."""
    fd, id = make(calls, kind)
    other = calls.fd_by_id(KINDS[kind][1], id)
    assert other != fd
    same(calls.info(other, MAKE[kind][1]).id, id)


@cases(**{kind: kind for kind in KINDS})
def check_an_fd_keeps_it(calls: Calls, kind: str) -> None:
    """An object lives as long as one fd of it is open, and is gone with the last."""
    fd, id = make(calls, kind)
    other = calls.fd_by_id(KINDS[kind][1], id)
    calls.close(fd)
    assert id in walk(calls, kind, id - 1)
    calls.close(other)
    assert id not in walk(calls, kind, id - 1)
    fails(errno.ENOENT, calls.fd_by_id, KINDS[kind][1], id)


@cases(**{kind: kind for kind in KINDS})
def check_dup_keeps_it(bench: Bench, kind: str) -> None:
    """A duplicate of the fd keeps the object too."""
    fd, id = make(bench.calls, kind)
    other = bench.dup(fd)
    bench.calls.close(fd)
    assert id in walk(bench.calls, kind, id - 1)
    bench.calls.close(other)
    assert id not in walk(bench.calls, kind, id - 1)


def check_program_keeps_its_maps(calls: Calls) -> None:
    """A map lives on in the program that uses it, and goes some time after that program."""
    fd, id = make(calls, "map")
    prog = program(calls, "r1 = map_fd m; r0 = 0; exit", m=fd)
    calls.close(fd)
    assert id in walk(calls, "map", id - 1)
    calls.close(prog)
    eventually(lambda: id not in walk(calls, "map", id - 1), "the map went with its program")


def check_link_keeps_its_program(calls: Calls) -> None:
    """A program lives on in its link, and goes some time after it."""
    prog = raw_tp(calls)
    id = calls.info(prog, ProgInfo).id
    link = calls.raw_tracepoint_open(prog, TRACEPOINT)
    calls.close(prog)
    assert id in walk(calls, "prog", id - 1)
    calls.close(link)
    eventually(lambda: id not in walk(calls, "prog", id - 1), "the program went with its link")


def check_outer_map_keeps_inner(calls: Calls) -> None:
    """A map lives on in the slot of the map that holds it."""
    inner, id = make(calls, "map")
    outer = map(calls, MapType.ARRAY_OF_MAPS, inner=inner)
    calls.map_update(outer, u32(0), u32(inner))
    calls.close(inner)
    assert id in walk(calls, "map", id - 1)
    calls.map_delete(outer, u32(0))
    eventually(lambda: id not in walk(calls, "map", id - 1), "the inner map went from its slot")


def check_map_fd_by_id_is_read_only(calls: Calls) -> None:
    """A map's fd by id is for reading or writing alone where the flags say so."""
    fd, id = make(calls, "map")
    reader = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, id, MapFlag.RDONLY)
    writer = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, id, MapFlag.WRONLY)
    calls.map_update(writer, u32(0), b"12345678")
    same(calls.map_lookup(reader, u32(0), 8), b"12345678")
    fails(errno.EPERM, calls.map_update, reader, u32(0), bytes(8))
    fails(errno.EPERM, calls.map_lookup, writer, u32(0), 8)
    same(calls.info(fd, MapInfo).map_flags, 0)


@cases(both=MapFlag.RDONLY | MapFlag.WRONLY, no_prealloc=1, token=0x10000, numa=4)
def check_map_fd_by_id_flags(calls: Calls, flags: int) -> None:
    """Other flags than one of these two are EINVAL."""
    _, id = make(calls, "map")
    fails(errno.EINVAL, calls.fd_by_id, Cmd.MAP_GET_FD_BY_ID, id, flags)


@cases(prog="prog", map="map")
def check_no_fd_burns_the_id(bench: Bench, kind: str) -> None:
    """What fails for the lack of an fd (EMFILE) has used up an id."""
    _, before = make(bench.calls, kind)
    with bench.no_more_files():
        fails(errno.EMFILE, make, bench.calls, kind)
    assert make(bench.calls, kind)[1] >= before + 2
