"""Programs that maps hold: in slots, at socket maps, in tables of functions."""

from __future__ import annotations

from contextlib import suppress

from bpflens.abi.enums import AttachType, MapFlag, MapType, ProgType
from bpflens.abi.infos import MapInfo
from bpflens.errors import SyscallError
from bpflens.testing.attachments.suite import Expected, case
from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.builders import map, program, u32
from bpflens.testing.conformance.tables import TABLE, Control, control, register
from bpflens.testing.hooks import Hook, id_of, link_id
from bpflens.testing.kernel_types import struct_ops_map


def _id(bench: Bench, fd: int) -> int:
    return bench.calls.info(fd, MapInfo).id


# --- slots


@case("prog_array", "several slots")
def prog_array(bench: Bench) -> list[Expected]:
    """The fds of the programs are closed: nothing but the slots holds them."""
    fd = map(bench.calls, MapType.PROG_ARRAY, max_entries=100)
    wanted = []
    for slot in (0, 7, 99):
        prog = program(bench.calls, type=ProgType.XDP)
        bench.calls.map_update(fd, u32(slot), u32(prog))
        wanted.append(
            Expected(id_of(bench.calls, prog), f"map {_id(bench, fd)} [{slot}]", via="map")
        )
        bench.files.close(prog)
    return wanted


@case("prog_array", "one program in two maps")
def shared(bench: Bench) -> list[Expected]:
    prog = program(bench.calls)
    id, maps = id_of(bench.calls, prog), [map(bench.calls, MapType.PROG_ARRAY) for _ in range(2)]
    for fd in maps:
        bench.calls.map_update(fd, u32(1), u32(prog))
    return [Expected(id, f"map {_id(bench, fd)} [1]") for fd in maps]


def _redirect(bench: Bench, type: MapType, key: int, value: int, hook: AttachType) -> Expected:
    prog = program(bench.calls, type=ProgType.XDP, attach_type=hook)
    fd = map(bench.calls, type, value_size=8, max_entries=8)
    bench.calls.map_update(fd, u32(key), u32(value, prog))
    target = f"map {_id(bench, fd)} [{key}]"
    return Expected(id_of(bench.calls, prog), target, attach_type=hook.label, via="map")


@case("devmap", "an array")
def devmap(bench: Bench) -> Expected:
    return _redirect(bench, MapType.DEVMAP, 3, bench.device(), AttachType.XDP_DEVMAP)


@case("devmap", "a hash")
def devmap_hash(bench: Bench) -> Expected:
    return _redirect(bench, MapType.DEVMAP_HASH, 70_000, bench.device(), AttachType.XDP_DEVMAP)


@case("cpumap")
def cpumap(bench: Bench) -> Expected:
    return _redirect(bench, MapType.CPUMAP, 0, 64, AttachType.XDP_CPUMAP)


# --- socket maps


_SOCKMAP = {
    AttachType.SK_SKB_STREAM_PARSER: ProgType.SK_SKB,
    AttachType.SK_SKB_STREAM_VERDICT: ProgType.SK_SKB,
    AttachType.SK_MSG_VERDICT: ProgType.SK_MSG,
}


def _at_sockets(bench: Bench, fd: int, hook: AttachType, by_link: bool = False) -> Expected:
    type = _SOCKMAP.get(hook, ProgType.SK_SKB)
    prog = program(bench.calls, "r0 = 1; exit", type, attach_type=hook)
    place = Hook(bench.calls, fd, hook)
    held = None
    if by_link:
        try:
            held = link_id(bench.calls, place.link(prog))
        except SyscallError as error:
            raise NotOffered("this kernel has no links to socket maps (Linux 6.10)") from error
    else:
        place.attach(prog)
    target = f"map {_id(bench, fd)}"
    return Expected(id_of(bench.calls, prog), target, attach_type=hook.label, link_id=held)


@case("sockmap", "parser and verdicts")
def sockmap(bench: Bench) -> list[Expected]:
    fd = map(bench.calls, MapType.SOCKMAP)
    return [_at_sockets(bench, fd, hook) for hook in _SOCKMAP]


@case("sockmap", "a hash of sockets")
def sockhash(bench: Bench) -> Expected:
    return _at_sockets(bench, map(bench.calls, MapType.SOCKHASH), AttachType.SK_SKB_VERDICT)


@case("sockmap", "by link")
def sockmap_link(bench: Bench) -> Expected:
    fd = map(bench.calls, MapType.SOCKMAP)
    return _at_sockets(bench, fd, AttachType.SK_MSG_VERDICT, by_link=True)


# --- tables of functions


def _in_table(bench: Bench, made: Control, fd: int, link: int | None) -> list[Expected]:
    name = bench.calls.info(fd, MapInfo).name.decode()
    return [
        Expected(
            id_of(bench.calls, prog), f"{TABLE} {name}".strip(), attach_type=member, link_id=link
        )
        for member, prog in made.progs.items()
    ]


@case("struct_ops", "a congestion control of TCP")
def struct_ops(bench: Bench) -> list[Expected]:
    calls = bench.calls
    made = control(calls)
    fd = struct_ops_map(calls, made.table)

    def unregister() -> None:
        with suppress(SyscallError):
            calls.map_delete(fd, u32(0))

    calls.map_update(fd, u32(0), made.value)
    bench.at_end(unregister)
    return _in_table(bench, made, fd, None)


@case("struct_ops", "a congestion control of TCP, by link")
def struct_ops_link(bench: Bench) -> list[Expected]:
    calls = bench.calls
    made = control(calls)
    try:
        fd = struct_ops_map(calls, made.table, MapFlag.LINK)
    except SyscallError as error:
        raise NotOffered("this kernel has no links for struct_ops (Linux 6.4)") from error
    calls.map_update(fd, u32(0), made.value)
    return _in_table(bench, made, fd, link_id(calls, register(calls, fd)))
