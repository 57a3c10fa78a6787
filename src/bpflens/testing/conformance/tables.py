"""Tables of functions for a subsystem (struct_ops): TCP's congestion controls."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from bpflens.abi.attrs import LinkCreate, ProgLoad
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import LinkType
from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import MapInfo, ProgInfo, StructOpsLinkInfo
from bpflens.errors import ENOTSUPP, SyscallError
from bpflens.port.calls import Calls
from bpflens.testing.bench import Bench
from bpflens.testing.builders import RETURN_0, code, load, map, program, u32
from bpflens.testing.conformance.suite import CLOSED, cases, fails, same
from bpflens.testing.hooks import detach_link, id_of, update
from bpflens.testing.kernel_types import (
    Table,
    struct_ops_map,
    struct_ops_program,
    table,
)

TABLE = "tcp_congestion_ops"
NAME = b"bpflens%x" % (os.getpid() & 0xFFFFF)
"""Congestion controls are the whole machine's: nobody else has this one."""
NEEDED = ("ssthresh", "cong_avoid", "undo_cwnd")
INIT, INUSE, TOBEFREE, READY = range(4)


class Control(NamedTuple):
    """A table with the programs that TCP insists on."""

    table: Table
    progs: dict[str, int]
    value: bytes


def control(calls: Calls, name: bytes = NAME, **more: int | bytes) -> Control:
    """What makes a congestion control; `more` are members beside, or instead."""
    found = table(calls, TABLE)
    progs = {member: struct_ops_program(calls, found, member) for member in NEEDED}
    members: dict[str, Any] = {**progs, "name": name, **more}
    return Control(found, progs, found.value(**members))


def ready(calls: Calls, made: Control) -> int:
    """A map whose table a link can register."""
    fd = struct_ops_map(calls, made.table, F.LINK)
    calls.map_update(fd, u32(0), made.value)
    return fd


def register(calls: Calls, fd: int) -> int:
    """A link that registers a map's table."""
    return calls.link_create(LinkCreate(prog_fd=fd, attach_type=A.STRUCT_OPS))


@contextmanager
def registered(calls: Calls, made: Control) -> Iterator[int]:
    """A map whose table is registered without a link; it would stay so for ever."""
    fd = struct_ops_map(calls, made.table)
    calls.map_update(fd, u32(0), made.value)
    try:
        yield fd
    finally:
        with suppress(SyscallError):
            calls.map_delete(fd, u32(0))


def head(calls: Calls, fd: int, made: Control) -> tuple[int, int]:
    """How many use the table, and its state."""
    value = calls.map_lookup(fd, u32(0), made.table.value_size)
    return int.from_bytes(value[:4], "little"), int.from_bytes(value[4:8], "little")


# --- programs


@cases(first="ssthresh", last="undo_cwnd")
def check_program(calls: Calls, member: str) -> None:
    """A program for a function of a table tells the table's type."""
    found = table(calls, TABLE)
    told = calls.info(struct_ops_program(calls, found, member), ProgInfo)
    same((told.type, told.attach_btf_id), (P.STRUCT_OPS, found.table_id))


def check_program_without_a_result(calls: Calls) -> None:
    """A program for a function without a result need not leave one; another must (EACCES)."""
    found = table(calls, TABLE)
    struct_ops_program(calls, found, "cong_avoid", "exit")
    fails(errno.EACCES, struct_ops_program, calls, found, "ssthresh", "exit")


@cases(name=("name", errno.EINVAL), key=("key", errno.EINVAL), get_info=("get_info", ENOTSUPP))
def check_program_for_no_function(calls: Calls, member: str, expected: int) -> None:
    """What is no function has no program (EINVAL); some functions may not be BPF's (ENOTSUPP)."""
    fails(expected, struct_ops_program, calls, table(calls, TABLE), member)


def check_program_for_no_table(calls: Calls) -> None:
    """A program for no member, without the GPL (EINVAL) or for another type (ENOTSUPP)."""
    found = table(calls, TABLE)
    fails(errno.EINVAL, struct_ops_program, calls, found, "ssthresh", RETURN_0, "MIT")
    attr = ProgLoad(prog_type=P.STRUCT_OPS, attach_btf_id=found.table_id, expected_attach_type=99)
    fails(errno.EINVAL, load, calls, attr, code(RETURN_0))
    attr = ProgLoad(prog_type=P.STRUCT_OPS, attach_btf_id=found.value_id)
    fails(ENOTSUPP, load, calls, attr, code(RETURN_0))


# --- tables


def check_register(calls: Calls) -> None:
    """Written into the map, the table is registered: in use, with programs by ID; deleted, not."""
    made = control(calls)
    with registered(calls, made) as fd:
        same(head(calls, fd, made), (1, INUSE))
        value = calls.map_lookup(fd, u32(0), made.table.value_size)
        for member, prog in made.progs.items():
            at = made.table.places[member][1]
            same((member, value[at : at + 4]), (member, u32(id_of(calls, prog))))
        fails(errno.EBUSY, calls.map_update, fd, u32(0), made.value)
        calls.map_delete(fd, u32(0))
        same(head(calls, fd, made)[1], TOBEFREE)
        fails(errno.EINPROGRESS, calls.map_delete, fd, u32(0))
        fails(errno.EBUSY, calls.map_update, fd, u32(0), made.value)


def check_registered_map_stays(bench: Bench) -> None:
    """A registered table keeps its map."""
    calls = bench.calls
    made = control(calls)
    with registered(calls, made) as fd:
        told = calls.info(fd, MapInfo)
        same(told.btf_vmlinux_value_type_id, made.table.value_id)
        with registered(calls, control(calls, NAME + b"2")) as other:
            same(head(calls, other, made), (1, INUSE))


def check_name_that_is_taken(calls: Calls) -> None:
    """Two of one name cannot be (EEXIST), and what failed can be tried again."""
    made = control(calls)
    with registered(calls, made):
        second = struct_ops_map(calls, made.table)
        fails(errno.EEXIST, calls.map_update, second, u32(0), made.value)
        same(head(calls, second, made), (0, INIT))
        fails(errno.ENOENT, calls.map_delete, second, u32(0))


@cases(
    without_a_function={"ssthresh": 0}, without_a_name={"name": bytes(16)},
    key={"key": u32(1)}, flags={"flags": u32(1 << 30)}, long_name={"name": b"n" * 16},
    wrong_name={"name": b"a-b"},
)  # fmt: skip
def check_table_that_cannot_be(calls: Calls, members: dict[str, Any]) -> None:
    """What the subsystem insists on must be there, other members zero (EINVAL)."""
    made = control(calls, **members)
    fd = struct_ops_map(calls, made.table)
    fails(errno.EINVAL, calls.map_update, fd, u32(0), made.value)
    same(head(calls, fd, made), (0, INIT))


def check_programs_that_do_not_fit(calls: Calls) -> None:
    """A function's program must be one for just this function (EINVAL), and be there (EBADF)."""
    made = control(calls)
    fd = struct_ops_map(calls, made.table)
    for prog, expected in (
        (made.progs["undo_cwnd"], errno.EINVAL), (program(calls), errno.EINVAL),
        (map(calls), errno.EINVAL), (CLOSED, errno.EBADF),
    ):  # fmt: skip
        members: dict[str, Any] = {**made.progs, "name": NAME, "ssthresh": prog}
        value = made.table.value(**members)
        fails(expected, calls.map_update, fd, u32(0), value)


def check_update_arguments(calls: Calls) -> None:
    """Its only key is 0 (E2BIG), no flags, and what is the kernel's is zero (EINVAL)."""
    made = control(calls)
    fd = struct_ops_map(calls, made.table)
    fails(errno.E2BIG, calls.map_update, fd, u32(1), made.value)
    fails(errno.EINVAL, calls.map_update, fd, u32(0), made.value, 1)
    for at in (0, 4, 8):  # counter, state, the hole behind them
        value = bytearray(made.value)
        value[at] = 1
        fails(errno.EINVAL, calls.map_update, fd, u32(0), bytes(value))
    same(head(calls, fd, made), (0, INIT))


# --- links


def check_link(bench: Bench) -> None:
    """A link registers a table that is ready, and tells its map; it has no program of its own."""
    calls = bench.calls
    made = control(calls)
    fd = ready(calls, made)
    same(head(calls, fd, made), (0, READY))
    link = register(calls, fd)
    same(head(calls, fd, made), (1, READY))
    told = calls.info(link, StructOpsLinkInfo)
    id = calls.info(fd, MapInfo).id
    same((told.type, told.prog_id, told.map_id), (LinkType.STRUCT_OPS, 0, id))
    lines = bench.fdinfo(link)
    same((lines["link_type"], lines["map_id"]), ("struct_ops", str(id)))
    fails(errno.EEXIST, register, calls, fd)
    calls.close(link)
    calls.close(register(calls, fd))


def check_link_of_another_map(calls: Calls) -> None:
    """Only a map that is for links and holds a table can be registered so (EINVAL)."""
    made = control(calls)
    fails(errno.EBADF, register, calls, CLOSED)
    fails(errno.EINVAL, register, calls, map(calls))
    fails(errno.EINVAL, register, calls, made.progs["ssthresh"])
    fails(errno.EINVAL, register, calls, struct_ops_map(calls, made.table, F.LINK))
    fails(errno.EINVAL, register, calls, struct_ops_map(calls, made.table))
    fd = ready(calls, made)
    fails(errno.EOPNOTSUPP, calls.map_delete, fd, u32(0))
    fails(errno.EBUSY, calls.map_update, fd, u32(0), made.value)


def check_link_update(calls: Calls) -> None:
    """Another table of the same name takes its place; which one it was can be insisted on."""
    made = control(calls)
    one, two = ready(calls, made), ready(calls, control(calls))
    link = register(calls, one)
    update(calls, link, two)
    same(calls.info(link, StructOpsLinkInfo).map_id, calls.info(two, MapInfo).id)
    same((head(calls, one, made), head(calls, two, made)), ((0, READY), (1, READY)))
    fails(errno.EPERM, update, calls, link, one, 4, one)
    update(calls, link, one, 4, two)
    fails(errno.EINVAL, update, calls, link, ready(calls, control(calls, NAME + b"2")))
    fails(errno.EINVAL, update, calls, link, two, 0, two)
    fails(errno.EINVAL, update, calls, link, map(calls))
    fails(errno.EINVAL, update, calls, link, made.progs["ssthresh"])
    fails(errno.EBADF, update, calls, link, CLOSED)
    fails(errno.EBADF, update, calls, link, two, 4, CLOSED)


def check_link_detach(calls: Calls) -> None:
    """Detached, the link tells no map, and is not updated any more (ENOLINK)."""
    made = control(calls)
    fd = ready(calls, made)
    link = register(calls, fd)
    for _ in range(2):
        detach_link(calls, link)
    same(calls.info(link, StructOpsLinkInfo).map_id, 0)
    fails(errno.ENOLINK, update, calls, link, fd)
    same(head(calls, fd, made), (0, READY))
    register(calls, fd)
