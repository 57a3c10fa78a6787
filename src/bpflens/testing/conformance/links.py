"""Links in general, and those of raw tracepoints, perf events and iterators."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import (
    LinkCreate,
    LinkCreatePerfEvent,
    RawTracepointOpen,
    TaskFdQuery,
)
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd, LinkType, TaskFdType
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import LinkInfo, PerfTracepointLinkInfo, RawTracepointLinkInfo
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import TRACEPOINT, Bench
from bpflens.testing.builders import map, program
from bpflens.testing.conformance.ids import ID_END, walk
from bpflens.testing.conformance.suite import BAD, CLOSED, cases, fails, same
from bpflens.testing.hooks import detach_link, id_of, update

NAME_LEN = len(TRACEPOINT) + 1


def raw_tp_link(calls: Calls, name: str = TRACEPOINT) -> int:
    """A link of a program of its own to a raw tracepoint."""
    return calls.raw_tracepoint_open(program(calls, type=P.RAW_TRACEPOINT), name)


# --- raw tracepoints


def check_raw_tracepoint(calls: Calls) -> None:
    """A raw tracepoint's link tells its kind, program and name."""
    prog = program(calls, type=P.RAW_TRACEPOINT)
    link = calls.raw_tracepoint_open(prog, TRACEPOINT)
    mem = Memory()
    name = bytearray(32)
    asked = RawTracepointLinkInfo(tp_name=mem.pin(name), tp_name_len=32)
    told = calls.fill_info(link, asked, mem)
    same((told.type, told.prog_id), (LinkType.RAW_TRACEPOINT, id_of(calls, prog)))
    same((bytes(name[:NAME_LEN]), told.tp_name_len), (TRACEPOINT.encode() + b"\0", NAME_LEN))


def check_raw_tracepoint_name_cut(calls: Calls) -> None:
    """A name that does not fit is cut and ENOSPC, and nothing else is told."""
    link = raw_tp_link(calls)
    mem = Memory()
    name = bytearray(b"\xee" * 8)
    asked = RawTracepointLinkInfo(tp_name=mem.pin(name), tp_name_len=6)
    fails(errno.ENOSPC, calls.fill_info, link, asked, mem)
    same(bytes(name), b"sched\0\xee\xee")


def check_raw_tracepoint_name_needs_both(calls: Calls) -> None:
    """A name's buffer without a length, or the other way round, is EINVAL."""
    link = raw_tp_link(calls)
    fails(errno.EINVAL, calls.fill_info, link, RawTracepointLinkInfo(tp_name=BAD), Memory())
    fails(errno.EINVAL, calls.fill_info, link, RawTracepointLinkInfo(tp_name_len=9), Memory())


def check_raw_tracepoint_cookie(calls: Calls) -> None:
    """A raw tracepoint's link has a cookie."""
    mem = Memory()
    attr = RawTracepointOpen(prog_fd=program(calls, type=P.RAW_TRACEPOINT), cookie=1 << 40 | 5)
    attr.name = mem.pin(bytearray(TRACEPOINT.encode() + b"\0"))
    link = calls.call(Cmd.RAW_TRACEPOINT_OPEN, attr, mem)
    same(calls.info(link, RawTracepointLinkInfo).cookie, 1 << 40 | 5)


@cases(
    unknown=("no_such_tracepoint", errno.ENOENT), empty=("", errno.ENOENT),
    long=("x" * 300, errno.ENOENT),
)  # fmt: skip
def check_no_such_tracepoint(calls: Calls, name: str, code: int) -> None:
    """A tracepoint that is not there is ENOENT."""
    fails(code, raw_tp_link, calls, name)


def check_tracepoint_without_a_name(calls: Calls) -> None:
    """A raw tracepoint's program needs the name (EFAULT)."""
    attr = RawTracepointOpen(prog_fd=program(calls, type=P.RAW_TRACEPOINT))
    fails(errno.EFAULT, calls.call, Cmd.RAW_TRACEPOINT_OPEN, attr)
    attr.name = BAD
    fails(errno.EFAULT, calls.call, Cmd.RAW_TRACEPOINT_OPEN, attr)


@cases(xdp=P.XDP, tracepoint=P.TRACEPOINT, socket_filter=P.SOCKET_FILTER, kprobe=P.KPROBE)
def check_tracepoint_for_others(calls: Calls, type: P) -> None:
    """Programs of other types do not go to raw tracepoints (EINVAL)."""
    fails(errno.EINVAL, calls.raw_tracepoint_open, program(calls, type=type), TRACEPOINT)


def check_tracepoint_shared(calls: Calls) -> None:
    """Several programs, also the same one again, can be at one tracepoint."""
    prog = program(calls, type=P.RAW_TRACEPOINT)
    first = calls.raw_tracepoint_open(prog, TRACEPOINT)
    second = calls.raw_tracepoint_open(prog, TRACEPOINT)
    assert calls.info(first, LinkInfo).id < calls.info(second, LinkInfo).id


def check_failed_link_burns_an_id(calls: Calls) -> None:
    """A link that could not be attached has used up an id: between two others one is missing."""
    before = calls.info(raw_tp_link(calls), LinkInfo).id
    fails(errno.ENOENT, raw_tp_link, calls, "no_such_tracepoint")
    after = calls.info(raw_tp_link(calls), LinkInfo).id
    assert after > before


# --- what every link can and cannot


@cases(raw_tracepoint=0)
def check_link_that_cannot_be_detached(calls: Calls, _: int) -> None:
    """Some links only go with their last fd (EOPNOTSUPP)."""
    fails(errno.EOPNOTSUPP, detach_link, calls, raw_tp_link(calls))


def check_link_that_cannot_be_updated(calls: Calls) -> None:
    """Some links keep their program (EINVAL)."""
    prog = program(calls, type=P.RAW_TRACEPOINT)
    fails(errno.EINVAL, update, calls, raw_tp_link(calls), prog)


def check_update_arguments(calls: Calls) -> None:
    """An update names a new program, and an old one only with REPLACE."""
    link, prog = raw_tp_link(calls), program(calls, type=P.RAW_TRACEPOINT)
    fails(errno.EBADF, update, calls, CLOSED, prog)
    fails(errno.EBADF, update, calls, link, CLOSED)
    fails(errno.EINVAL, update, calls, link, map(calls))
    fails(errno.EINVAL, update, calls, link, prog, 0, prog)
    fails(errno.EBADF, update, calls, link, prog, 4, CLOSED)
    fails(errno.EINVAL, update, calls, link, prog, 8)


@cases(
    closed=(CLOSED, errno.EBADF), unknown_type=(-1, errno.EINVAL),
)  # fmt: skip
def check_create_arguments(calls: Calls, fd: int, code: int) -> None:
    """A link needs a program's fd and a way to attach that there is."""
    if fd == CLOSED:
        fails(code, calls.link_create, LinkCreate(prog_fd=fd))
    else:
        prog = program(calls, type=P.XDP)
        fails(code, calls.link_create, LinkCreate(prog_fd=prog, attach_type=999))


@cases(
    xdp_as_tcx=(P.XDP, A.TCX_INGRESS), cls_as_xdp=(P.SCHED_CLS, A.XDP),
    filter_as_xdp=(P.SOCKET_FILTER, A.XDP), raw_tp=(P.RAW_TRACEPOINT, A.TRACE_RAW_TP),
    tracepoint_as_cgroup=(P.TRACEPOINT, A.CGROUP_INET_INGRESS), lwt=(P.LWT_IN, 0),
    struct_ops=(P.XDP, A.STRUCT_OPS),
)  # fmt: skip
def check_type_that_does_not_fit(calls: Calls, type: P, attach: int) -> None:
    """The program's type and the way to attach must fit each other (EINVAL)."""
    attr = LinkCreate(prog_fd=program(calls, type=type), target_fd=1, attach_type=attach)
    fails(errno.EINVAL, calls.link_create, attr)


def check_link_by_id(bench: Bench) -> None:
    """A link can be opened by its id, and lives as long as one of its fds."""
    calls = bench.calls
    link = raw_tp_link(calls)
    id = calls.info(link, LinkInfo).id
    other = calls.fd_by_id(Cmd.LINK_GET_FD_BY_ID, id)
    calls.close(link)
    same(calls.info(other, LinkInfo).id, id)
    same(walk(calls, "link", id - 1)[0], id)
    assert id < ID_END


def check_link_in_fdinfo(bench: Bench) -> None:
    """fdinfo of a link tells kind, ids, tag and what is its own."""
    link = raw_tp_link(bench.calls)
    told = bench.fdinfo(link)
    info = bench.calls.info(link, LinkInfo)
    same((told["link_type"], told["link_id"]), ("raw_tracepoint", str(info.id)))
    same((told["prog_id"], told["tp_name"]), (str(info.prog_id), TRACEPOINT))
    assert len(told["prog_tag"]) == 16


# --- perf events


def perf_link(bench: Bench, event: int | None = None, cookie: int = 0, prog: int = 0) -> int:
    """A link of a program to a perf event of a tracepoint."""
    attr = LinkCreatePerfEvent(
        prog_fd=prog or program(bench.calls, type=P.TRACEPOINT),
        target_fd=bench.tracepoint("sched", TRACEPOINT) if event is None else event,
        attach_type=A.PERF_EVENT,
        bpf_cookie=cookie,
    )
    return bench.calls.link_create(attr)


def check_perf_link(bench: Bench) -> None:
    """A link to a tracepoint's perf event tells the name and the cookie."""
    link = perf_link(bench, cookie=77)
    mem = Memory()
    name = bytearray(32)
    asked = PerfTracepointLinkInfo(tp_name=mem.pin(name), name_len=32)
    told = bench.calls.fill_info(link, asked, mem)
    same((told.type, told.perf_event_type, told.cookie), (LinkType.PERF_EVENT, 5, 77))
    same(bytes(name[:NAME_LEN]), TRACEPOINT.encode() + b"\0")


def check_perf_link_kind(bench: Bench) -> None:
    """A link to a perf event is of that type, and names its program."""
    prog = program(bench.calls, type=P.TRACEPOINT)
    told = bench.calls.info(perf_link(bench, prog=prog), LinkInfo)
    same((told.type, told.prog_id), (LinkType.PERF_EVENT, id_of(bench.calls, prog)))


def check_perf_link_needs_an_event(bench: Bench) -> None:
    """Another file is no perf event (EBADF)."""
    fails(errno.EBADF, perf_link, bench, CLOSED)
    fails(errno.EBADF, perf_link, bench, bench.plain_file())
    fails(errno.EBADF, perf_link, bench, map(bench.calls))


def check_perf_event_is_taken(bench: Bench) -> None:
    """A perf event has one program (EEXIST)."""
    event = bench.tracepoint("sched", TRACEPOINT)
    perf_link(bench, event)
    fails(errno.EEXIST, perf_link, bench, event)


def check_ticks_have_one_program(bench: Bench) -> None:
    """An event of software that has one says so (EEXIST) before it looks at another's type."""
    event = bench.ticks()

    def link(type: P) -> int:
        attr = LinkCreatePerfEvent(
            prog_fd=program(bench.calls, type=type), target_fd=event, attach_type=A.PERF_EVENT
        )
        return bench.calls.link_create(attr)

    fails(errno.EINVAL, link, P.TRACEPOINT)
    link(P.PERF_EVENT)
    fails(errno.EEXIST, link, P.TRACEPOINT)


def check_perf_event_is_free_again(bench: Bench) -> None:
    """When the link goes, the event can have another."""
    event = bench.tracepoint("sched", TRACEPOINT)
    bench.calls.close(perf_link(bench, event))
    perf_link(bench, event)


def check_perf_link_stays_as_it_is(bench: Bench) -> None:
    """It can neither be updated (EINVAL) nor detached (EOPNOTSUPP)."""
    link = perf_link(bench)
    fails(errno.EINVAL, update, bench.calls, link, program(bench.calls, type=P.TRACEPOINT))
    fails(errno.EOPNOTSUPP, detach_link, bench.calls, link)


def check_perf_link_flags(bench: Bench) -> None:
    """It takes no flags (EINVAL)."""
    attr = LinkCreatePerfEvent(
        prog_fd=program(bench.calls, type=P.TRACEPOINT),
        target_fd=bench.tracepoint("sched", TRACEPOINT),
        attach_type=A.PERF_EVENT,
        flags=1,
    )
    fails(errno.EINVAL, bench.calls.link_create, attr)


# --- TASK_FD_QUERY


def task_fd(bench: Bench, fd: int, room: int = 64, pid: int | None = None) -> TaskFdQuery:
    """What an fd of this process is."""
    mem = Memory()
    buffer = bytearray(room)
    attr = TaskFdQuery(pid=bench.pid if pid is None else pid, fd=fd, buf_len=room)
    attr.buf = mem.pin(buffer)
    try:
        bench.calls.call(Cmd.TASK_FD_QUERY, attr, mem)
    finally:
        task_fd.buffer = bytes(buffer)  # type: ignore[attr-defined]
    return attr


def check_task_fd_of_a_raw_tracepoint(bench: Bench) -> None:
    """A raw tracepoint's link says its name; the length is told without the NUL."""
    link = raw_tp_link(bench.calls)
    told = task_fd(bench, link)
    same((told.fd_type, told.buf_len), (TaskFdType.RAW_TRACEPOINT, NAME_LEN - 1))
    same(told.prog_id, bench.calls.info(link, LinkInfo).prog_id)
    same(task_fd.buffer[:NAME_LEN], TRACEPOINT.encode() + b"\0")  # type: ignore[attr-defined]


def check_task_fd_cut(bench: Bench) -> None:
    """A name that does not fit is cut and ENOSPC, with the rest told all the same."""
    link = raw_tp_link(bench.calls)
    fails(errno.ENOSPC, task_fd, bench, link, 6)
    same(task_fd.buffer, b"sched\0")  # type: ignore[attr-defined]
    told = task_fd(bench, link, 0)
    same(told.buf_len, NAME_LEN - 1)


def check_task_fd_of_a_perf_event(bench: Bench) -> None:
    """A perf event with a program says its tracepoint; one without is ENOENT."""
    event = bench.tracepoint("sched", TRACEPOINT)
    fails(errno.ENOENT, task_fd, bench, event)
    prog = program(bench.calls, type=P.TRACEPOINT)
    perf_link(bench, event, prog=prog)
    told = task_fd(bench, event)
    same((told.fd_type, told.buf_len), (TaskFdType.TRACEPOINT, NAME_LEN - 1))
    same(told.prog_id, id_of(bench.calls, prog))


def check_task_fd_of_others(bench: Bench) -> None:
    """Any other file is ENOTSUPP, also programs and maps; a closed one EBADF."""
    for fd in (map(bench.calls), program(bench.calls), bench.plain_file(), perf_link(bench)):
        fails(ENOTSUPP, task_fd, bench, fd)
    fails(errno.EBADF, task_fd, bench, CLOSED)
    fails(errno.ENOENT, task_fd, bench, 0, 8, 0x7FFFFFF0)
