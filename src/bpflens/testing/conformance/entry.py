"""The entry of bpf(2): the size of attr, its tail, and what is looked at first."""

from __future__ import annotations

import errno
import struct

from bpflens.abi.attrs import (
    ATTR_SIZE,
    EnableStats,
    IterCreate,
    LinkDetach,
    LinkUpdate,
    MapBatch,
    MapDeleteElem,
    MapElem,
    MapFreeze,
    MapNextKey,
    NextId,
    ObjInfo,
    ProgAttach,
    ProgBindMap,
    ProgLoad,
    ProgQuery,
    ProgStreamRead,
    ProgTestRun,
    RawTracepointOpen,
    TaskFdQuery,
)
from bpflens.abi.enums import AttachType, Cmd
from bpflens.abi.record import Record
from bpflens.port.calls import Calls, failure
from bpflens.port.memory import Memory
from bpflens.testing.bench import TRACEPOINT, Bench
from bpflens.testing.builders import map, program, u32, u64
from bpflens.testing.conformance.suite import BAD, CLOSED, cases, fails, raw, same

PAGE = 4096
ENDS = {
    Cmd.MAP_CREATE: 92,
    Cmd.MAP_LOOKUP_ELEM: 32,
    Cmd.MAP_UPDATE_ELEM: 32,
    Cmd.MAP_DELETE_ELEM: 16,
    Cmd.MAP_GET_NEXT_KEY: 24,
    Cmd.OBJ_PIN: 20,
    Cmd.OBJ_GET: 20,
    Cmd.PROG_ATTACH: 32,
    Cmd.PROG_DETACH: 32,
    Cmd.PROG_TEST_RUN: 76,
    Cmd.PROG_GET_NEXT_ID: 8,
    Cmd.MAP_GET_NEXT_ID: 8,
    Cmd.PROG_GET_FD_BY_ID: 4,
    Cmd.MAP_GET_FD_BY_ID: 12,
    Cmd.OBJ_GET_INFO_BY_FD: 16,
    Cmd.PROG_QUERY: 64,
    Cmd.RAW_TRACEPOINT_OPEN: 24,
    Cmd.BTF_LOAD: 40,
    Cmd.BTF_GET_FD_BY_ID: 16,
    Cmd.TASK_FD_QUERY: 48,
    Cmd.MAP_LOOKUP_AND_DELETE_ELEM: 32,
    Cmd.MAP_FREEZE: 4,
    Cmd.BTF_GET_NEXT_ID: 8,
    Cmd.MAP_LOOKUP_BATCH: 56,
    Cmd.MAP_LOOKUP_AND_DELETE_BATCH: 56,
    Cmd.MAP_UPDATE_BATCH: 56,
    Cmd.MAP_DELETE_BATCH: 56,
    Cmd.LINK_CREATE: 60,
    Cmd.LINK_UPDATE: 16,
    Cmd.LINK_GET_FD_BY_ID: 4,
    Cmd.LINK_GET_NEXT_ID: 8,
    Cmd.ENABLE_STATS: 4,
    Cmd.ITER_CREATE: 8,
    Cmd.LINK_DETACH: 4,
    Cmd.PROG_BIND_MAP: 12,
    Cmd.TOKEN_CREATE: 8,
    Cmd.PROG_STREAM_READ_BY_FD: 20,
}
"""Just past the last field of each command's attr; PROG_LOAD uses all of it."""

LATE = (Cmd.TOKEN_CREATE, Cmd.PROG_STREAM_READ_BY_FD)


@cases(**{cmd.name.lower(): (cmd, end) for cmd, end in ENDS.items()})
def check_tail_is_zero(calls: Calls, cmd: Cmd, end: int) -> None:
    """A byte just past the last field of a command must be zero (EINVAL)."""
    attr = bytearray(ATTR_SIZE)
    attr[end] = 1
    fails(errno.EINVAL, raw, calls, cmd, attr[: end + 1])


@cases(**{cmd.name.lower(): cmd for cmd in ENDS})
def check_tail_is_zero_to_the_end(calls: Calls, cmd: Cmd) -> None:
    """The last byte of the attr must be zero too (EINVAL)."""
    fails(errno.EINVAL, raw, calls, cmd, bytes(ATTR_SIZE - 1) + b"\1")


@cases(past_the_last=38, hundred=100, negative=0xFFFFFFFF)
def check_unknown_command(calls: Calls, cmd: int) -> None:
    """An unknown command is EINVAL."""
    fails(errno.EINVAL, raw, calls, cmd, bytes(ATTR_SIZE))


@cases(just=ATTR_SIZE + 1, page=PAGE)
def check_longer_attr(calls: Calls, size: int) -> None:
    """An attr that is longer than the kernel knows is fine while the rest is zero."""
    attr = bytearray(size)
    raw(calls, Cmd.BTF_GET_NEXT_ID, attr)
    same(u32(struct.unpack_from("=I", attr, 4)[0]), attr[4:8])
    assert any(attr[4:8])


@cases(just=ATTR_SIZE + 1, page=PAGE)
def check_longer_attr_with_more(calls: Calls, size: int) -> None:
    """A byte that is not zero where the kernel knows nothing is E2BIG."""
    fails(errno.E2BIG, raw, calls, Cmd.BTF_GET_NEXT_ID, bytes(size - 1) + b"\1")


@cases(known=Cmd.MAP_GET_NEXT_ID, unknown=0xFFFF)
def check_attr_beyond_a_page(calls: Calls, cmd: int) -> None:
    """An attr longer than a page is E2BIG, whatever the command."""
    fails(errno.E2BIG, raw, calls, cmd, bytes(PAGE + 1))


@cases(known=Cmd.MAP_GET_NEXT_ID, unknown=0xFFFF)
def check_bad_attr(calls: Calls, cmd: int) -> None:
    """An attr that cannot be read is EFAULT, before the command is looked at."""
    for address in (0, BAD):
        try:
            calls.port.bpf(cmd, address, 8, Memory())
        except OSError as error:
            same(error.errno, errno.EFAULT)
        else:
            raise AssertionError("was read")


def check_attr_beyond_a_page_is_not_touched(calls: Calls) -> None:
    """Of an attr that is too long nothing is read: E2BIG, not EFAULT."""
    try:
        calls.port.bpf(Cmd.MAP_GET_NEXT_ID, BAD, PAGE + 1, Memory())
    except OSError as error:
        same(error.errno, errno.E2BIG)
    else:
        raise AssertionError("was taken")


def check_no_attr_at_all(calls: Calls) -> None:
    """Size 0 is an attr of zeros: MAP_CREATE of type 0 is EINVAL, not EFAULT."""
    for address in (0, BAD):
        try:
            calls.port.bpf(Cmd.MAP_CREATE, address, 0, Memory())
        except OSError as error:
            same(error.errno, errno.EINVAL)
        else:
            raise AssertionError("made a map of type 0")


def check_only_32_bits_of_the_size_count(calls: Calls) -> None:
    """The size is 32 bits wide: what a caller has above is not looked at."""
    map(calls)
    mem = Memory()
    attr = bytearray(8)
    try:
        calls.port.bpf(Cmd.MAP_GET_NEXT_ID, mem.pin(attr), 1 << 32 | 8, mem)
    except OSError as error:
        raise failure(Cmd.MAP_GET_NEXT_ID, error) from error


@cases(next_id=4, nothing=0)
def check_answers_regardless_of_size(calls: Calls, size: int) -> None:
    """A short attr is filled with zeros, and the answer is written behind its end all the same."""
    map(calls)
    attr = bytearray(8)
    raw(calls, Cmd.MAP_GET_NEXT_ID, attr, size)
    assert any(attr[4:])


FD_FIELDS: dict[str, tuple[Cmd, Record]] = {
    "lookup": (Cmd.MAP_LOOKUP_ELEM, MapElem(map_fd=CLOSED)),
    "update": (Cmd.MAP_UPDATE_ELEM, MapElem(map_fd=CLOSED)),
    "delete": (Cmd.MAP_DELETE_ELEM, MapDeleteElem(map_fd=CLOSED)),
    "next_key": (Cmd.MAP_GET_NEXT_KEY, MapNextKey(map_fd=CLOSED)),
    "lookup_and_delete": (Cmd.MAP_LOOKUP_AND_DELETE_ELEM, MapElem(map_fd=CLOSED)),
    "freeze": (Cmd.MAP_FREEZE, MapFreeze(map_fd=CLOSED)),
    "lookup_batch": (Cmd.MAP_LOOKUP_BATCH, MapBatch(map_fd=CLOSED)),
    "lookup_and_delete_batch": (Cmd.MAP_LOOKUP_AND_DELETE_BATCH, MapBatch(map_fd=CLOSED)),
    "update_batch": (Cmd.MAP_UPDATE_BATCH, MapBatch(map_fd=CLOSED)),
    "delete_batch": (Cmd.MAP_DELETE_BATCH, MapBatch(map_fd=CLOSED)),
    "raw_tracepoint": (Cmd.RAW_TRACEPOINT_OPEN, RawTracepointOpen(prog_fd=CLOSED)),
    "test_run": (Cmd.PROG_TEST_RUN, ProgTestRun(prog_fd=CLOSED)),
    "link_update": (Cmd.LINK_UPDATE, LinkUpdate(link_fd=CLOSED)),
    "link_detach": (Cmd.LINK_DETACH, LinkDetach(link_fd=CLOSED)),
    "iter_create": (Cmd.ITER_CREATE, IterCreate(link_fd=CLOSED)),
    "bind_map": (Cmd.PROG_BIND_MAP, ProgBindMap(prog_fd=CLOSED)),
    "stream_read": (Cmd.PROG_STREAM_READ_BY_FD, ProgStreamRead(prog_fd=CLOSED)),
}


@cases(**FD_FIELDS)
def check_closed_fd(calls: Calls, cmd: Cmd, attr: Record) -> None:
    """An fd that is not open is EBADF."""
    fails(errno.EBADF, calls.call, cmd, attr)


@cases(**FD_FIELDS)
def check_fd_of_another_kind(bench: Bench, cmd: Cmd, attr: Record) -> None:
    """An fd that is open on something else is EINVAL."""
    field = next(f.name for f in type(attr).__layout__.values() if f.kind == "Fd")
    other = type(attr).decode(attr.encode())
    setattr(other, field, bench.plain_file())
    fails(errno.EINVAL, bench.calls.call, cmd, other)


def check_program_where_a_map_belongs(calls: Calls) -> None:
    """A program's fd is no map's (EINVAL), and the other way round."""
    fails(errno.EINVAL, calls.map_lookup, program(calls), u32(0), 8)
    fails(errno.EINVAL, calls.raw_tracepoint_open, map(calls), TRACEPOINT)


def check_info_of_a_closed_fd(calls: Calls) -> None:
    """Information on a closed fd is EBADFD, which no other command answers."""
    fails(errno.EBADFD, calls.call, Cmd.OBJ_GET_INFO_BY_FD, ObjInfo(bpf_fd=CLOSED))


def check_info_of_a_plain_file(bench: Bench) -> None:
    """Information on an fd that is not BPF's is EINVAL."""
    attr = ObjInfo(bpf_fd=bench.plain_file())
    fails(errno.EINVAL, bench.calls.call, Cmd.OBJ_GET_INFO_BY_FD, attr)


@cases(
    attach=(Cmd.PROG_ATTACH, ProgAttach(attach_bpf_fd=CLOSED), errno.EBADF),
    attach_unknown=(Cmd.PROG_ATTACH, ProgAttach(attach_type=999), errno.EINVAL),
    detach_cgroup=(Cmd.PROG_DETACH, ProgAttach(target_fd=CLOSED), errno.EBADF),
    query_cgroup=(Cmd.PROG_QUERY, ProgQuery(target_fd=CLOSED), errno.EBADF),
    query_xdp=(Cmd.PROG_QUERY, ProgQuery(attach_type=AttachType.XDP), errno.EINVAL),
    query_tcx=(
        Cmd.PROG_QUERY,
        ProgQuery(target_fd=CLOSED, attach_type=AttachType.TCX_INGRESS),
        errno.ENODEV,
    ),
    query_flags=(Cmd.PROG_QUERY, ProgQuery(query_flags=2), errno.EINVAL),
    query_netns=(
        Cmd.PROG_QUERY,
        ProgQuery(target_fd=CLOSED, attach_type=AttachType.FLOW_DISSECTOR),
        errno.EBADF,
    ),
    task_fd_flags=(Cmd.TASK_FD_QUERY, TaskFdQuery(flags=1), errno.EINVAL),
    task_fd_pid_0=(Cmd.TASK_FD_QUERY, TaskFdQuery(pid=0), errno.ENOENT),
    stats_type=(Cmd.ENABLE_STATS, EnableStats(type=1), errno.EINVAL),
    iter_flags=(Cmd.ITER_CREATE, IterCreate(link_fd=CLOSED, flags=1), errno.EINVAL),
    bind_flags=(Cmd.PROG_BIND_MAP, ProgBindMap(prog_fd=CLOSED, flags=1), errno.EINVAL),
    update_flags=(Cmd.LINK_UPDATE, LinkUpdate(link_fd=CLOSED, flags=1), errno.EINVAL),
    lookup_flags=(Cmd.MAP_LOOKUP_ELEM, MapElem(map_fd=CLOSED, flags=1), errno.EINVAL),
    lookup_delete_flags=(
        Cmd.MAP_LOOKUP_AND_DELETE_ELEM,
        MapElem(map_fd=CLOSED, flags=1),
        errno.EINVAL,
    ),
    update_elem_flags=(Cmd.MAP_UPDATE_ELEM, MapElem(map_fd=CLOSED, flags=99), errno.EBADF),
    test_run_ctx=(Cmd.PROG_TEST_RUN, ProgTestRun(prog_fd=CLOSED, ctx_size_in=8), errno.EINVAL),
    load_no_insns=(Cmd.PROG_LOAD, ProgLoad(prog_type=1), errno.E2BIG),
    load_bad_insns=(Cmd.PROG_LOAD, ProgLoad(prog_type=1, insn_cnt=2), errno.EFAULT),
    load_bad_flags=(Cmd.PROG_LOAD, ProgLoad(prog_type=1, prog_flags=1 << 30), errno.EINVAL),
)
def check_what_is_looked_at_first(calls: Calls, cmd: Cmd, attr: Record, code: int) -> None:
    """Of several things that are wrong, each command names a certain one."""
    fails(code, calls.call, cmd, attr)


def check_padding_is_not_looked_at(calls: Calls) -> None:
    """Bytes between two fields may be anything."""
    fd = map(calls)
    mem = Memory()
    value = bytearray(8)
    attr = bytearray(MapElem(map_fd=fd, key=mem.pin(bytearray(4)), value=mem.pin(value)).encode())
    attr[4:8] = b"\xff" * 4
    try:
        calls.port.bpf(Cmd.MAP_LOOKUP_ELEM, mem.pin(attr), len(attr), mem)
    except OSError as error:
        raise failure(Cmd.MAP_LOOKUP_ELEM, error) from error


@cases(prog=Cmd.PROG_GET_FD_BY_ID, link=Cmd.LINK_GET_FD_BY_ID)
def check_by_id_takes_nothing_but_the_id(calls: Calls, cmd: Cmd) -> None:
    """For programs and links the id is all that may be given: the next bytes are EINVAL."""
    fails(errno.EINVAL, raw, calls, cmd, u32(1, 1))


@cases(map=Cmd.MAP_GET_FD_BY_ID, btf=Cmd.BTF_GET_FD_BY_ID)
def check_by_id_ignores_the_next_id(calls: Calls, cmd: Cmd) -> None:
    """For maps and BTF the four bytes of next_id are not looked at: ENOENT, not EINVAL."""
    fails(errno.ENOENT, raw, calls, cmd, u32(0x7FFFFFF0, 1, 0))


def check_next_id_ignores_next_id(calls: Calls) -> None:
    """What is in next_id before the call does not matter."""
    map(calls)
    attr = NextId(start_id=0, next_id=0xFFFFFFFF)
    calls.call(Cmd.MAP_GET_NEXT_ID, attr)
    assert attr.next_id < 0xFFFFFFFF


def check_write_to_what_cannot_be_written(calls: Calls) -> None:
    """An answer that does not fit the caller's memory is EFAULT."""
    fd = map(calls)
    attr = MapElem(map_fd=fd, value=BAD)
    mem = Memory()
    attr.key = mem.pin(bytearray(4))
    fails(errno.EFAULT, calls.call, Cmd.MAP_LOOKUP_ELEM, attr, mem)
    same(u64(attr.value), u64(BAD))
