"""Other places for programs: socket maps, devices by rtnetlink, perf events by ioctl, types."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from bpflens.abi.attrs import LinkCreateTracing, ProgLoad, RawTracepointOpen
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd, LinkType
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import LinkInfo, MapInfo, SockmapLinkInfo, TracingLinkInfo
from bpflens.abi.netlink import IfLaXdp
from bpflens.port.calls import Calls
from bpflens.testing.bench import TRACEPOINT, Bench
from bpflens.testing.builders import RETURN_0, code, load, map, program
from bpflens.testing.conformance.devices import DRV, SKB, shown, xdp, xdp_link
from bpflens.testing.conformance.links import perf_link, task_fd
from bpflens.testing.conformance.suite import CLOSED, cases, fails, same
from bpflens.testing.hooks import Hook, detach_link, id_of, update
from bpflens.testing.kernel_types import typedef_id

IF_NOEXIST, REPLACE = 1, 16


def refused(expected: int, call: Callable[..., Any], *arguments: Any) -> None:
    """What is no call of bpf(2) fails with this errno."""
    try:
        call(*arguments)
    except OSError as error:
        same(error.errno, expected)
    else:
        raise AssertionError("was done")


# --- socket maps


def verdict(calls: Calls) -> int:
    return program(calls, "r0 = 1; exit", P.SK_SKB)


def check_sockmap(bench: Bench) -> None:
    """A socket map has one verdict program, which the query tells."""
    calls = bench.calls
    for type in (T.SOCKMAP, T.SOCKHASH):
        hook = Hook(calls, map(calls, type), A.SK_SKB_STREAM_VERDICT)
        one, two = verdict(calls), verdict(calls)
        same(hook.ids(), [])
        hook.attach(one)
        same(hook.ids(), [id_of(calls, one)])
        hook.attach(two)
        same(hook.ids(), [id_of(calls, two)])
        fails(errno.ENOENT, hook.detach, one)
        hook.detach(two)
        same(hook.ids(), [])


def check_sockmap_with_messages(bench: Bench) -> None:
    """It has one for messages beside it."""
    calls = bench.calls
    fd = map(calls, T.SOCKMAP)
    hook = Hook(calls, fd, A.SK_MSG_VERDICT)
    prog = program(calls, "r0 = 1; exit", P.SK_MSG, attach_type=A.SK_MSG_VERDICT)
    hook.attach(prog)
    same(hook.ids(), [id_of(calls, prog)])
    same(Hook(calls, fd, A.SK_SKB_STREAM_VERDICT).ids(), [])


def check_sockmap_arguments(bench: Bench) -> None:
    """The target is a socket map: closed fd EBADF, another map EOPNOTSUPP, a program EINVAL."""
    calls = bench.calls
    prog = verdict(calls)
    for target, code_ in ((CLOSED, errno.EBADF), (prog, errno.EINVAL)):
        hook = Hook(calls, target, A.SK_SKB_STREAM_VERDICT)
        fails(code_, hook.attach, prog)
        same(hook.query().code, code_)
    hook = Hook(calls, map(calls), A.SK_SKB_STREAM_VERDICT)
    fails(errno.EOPNOTSUPP, hook.attach, prog)
    same(hook.query().code, errno.EOPNOTSUPP)
    fails(errno.EINVAL, Hook(calls, map(calls, T.SOCKMAP), A.SK_MSG_VERDICT).attach, prog)


def check_sockmap_link(bench: Bench) -> None:
    """A link to a socket map tells the map, until it is detached."""
    calls = bench.calls
    fd = map(calls, T.SOCKMAP)
    hook = Hook(calls, fd, A.SK_SKB_STREAM_VERDICT)
    link = hook.link(verdict(calls))
    told = calls.info(link, SockmapLinkInfo)
    same((told.type, told.map_id), (LinkType.SOCKMAP, calls.info(fd, MapInfo).id))
    same(told.attach_type, A.SK_SKB_STREAM_VERDICT)
    fails(errno.EBUSY, hook.link, verdict(calls))
    new = verdict(calls)
    update(calls, link, new)
    same(hook.ids(), [id_of(calls, new)])
    detach_link(calls, link)
    same((calls.info(link, SockmapLinkInfo).map_id, hook.ids()), (0, []))


# --- XDP by rtnetlink


@cases(default=(0, IfLaXdp.DRV_PROG_ID, 1), driver=(DRV, IfLaXdp.DRV_PROG_ID, 1),
       generic=(SKB, IfLaXdp.SKB_PROG_ID, 2))  # fmt: skip
def check_set_xdp(bench: Bench, flags: int, where: int, mode: int) -> None:
    """A program is attached, shown, replaced and detached by rtnetlink."""
    device = bench.device()
    for _ in range(2):
        prog = xdp(bench.calls)
        bench.set_xdp(device, prog, flags)
        found = shown(bench, device)
        same(found[where], id_of(bench.calls, prog).to_bytes(4, "little"))
        same(found[IfLaXdp.ATTACHED], bytes([mode]))
    bench.set_xdp(device, -1, flags)
    same(shown(bench, device), {IfLaXdp.ATTACHED: b"\0"})


def check_set_xdp_keeps_the_program(bench: Bench) -> None:
    """A device keeps its program without any fd or link."""
    device, prog = bench.device(), xdp(bench.calls)
    id = id_of(bench.calls, prog)
    bench.set_xdp(device, prog)
    bench.calls.close(prog)
    same(bench.calls.next_id(Cmd.PROG_GET_NEXT_ID, id - 1), id)


def check_set_xdp_where_one_is(bench: Bench) -> None:
    """With UPDATE_IF_NOEXIST a device that has a program is EBUSY."""
    device = bench.device()
    bench.set_xdp(device, xdp(bench.calls), IF_NOEXIST)
    refused(errno.EBUSY, bench.set_xdp, device, xdp(bench.calls), IF_NOEXIST)


def check_set_xdp_in_another_mode(bench: Bench) -> None:
    """The modes of driver and kernel exclude each other (EEXIST)."""
    device = bench.device()
    bench.set_xdp(device, xdp(bench.calls), DRV)
    refused(errno.EEXIST, bench.set_xdp, device, xdp(bench.calls), SKB)


def check_set_xdp_beside_a_link(bench: Bench) -> None:
    """What a link holds is neither replaced nor detached (EBUSY)."""
    device = bench.device()
    xdp_link(bench, device, xdp(bench.calls))
    refused(errno.EBUSY, bench.set_xdp, device, xdp(bench.calls))
    refused(errno.EBUSY, bench.set_xdp, device, -1)


def check_set_xdp_expects(bench: Bench) -> None:
    """With REPLACE the program that is there must be the one that was expected (EEXIST)."""
    device = bench.device()
    one, two = xdp(bench.calls), xdp(bench.calls)
    bench.set_xdp(device, one)
    refused(errno.EEXIST, bench.set_xdp, device, two, REPLACE, two)
    bench.set_xdp(device, two, REPLACE, one)
    same(shown(bench, device)[IfLaXdp.PROG_ID], id_of(bench.calls, two).to_bytes(4, "little"))


def check_set_xdp_of_another_type(bench: Bench) -> None:
    """Only XDP programs go there (EINVAL), and not those for maps."""
    device = bench.device()
    refused(errno.EINVAL, bench.set_xdp, device, program(bench.calls))
    refused(errno.EINVAL, bench.set_xdp, device, xdp(bench.calls, A.XDP_DEVMAP))


def check_set_xdp_in_two_modes(bench: Bench) -> None:
    """A program is in one mode (EINVAL)."""
    refused(errno.EINVAL, bench.set_xdp, bench.device(), xdp(bench.calls), SKB | DRV)


# --- perf events by ioctl


def check_event(bench: Bench) -> None:
    """A perf event takes a program by ioctl too, which TASK_FD_QUERY tells."""
    event, prog = bench.tracepoint("sched", TRACEPOINT), program(bench.calls, type=P.TRACEPOINT)
    bench.set_event(event, prog)
    told = task_fd(bench, event)
    same((told.fd_type, told.prog_id), (1, id_of(bench.calls, prog)))
    refused(errno.EEXIST, bench.set_event, event, prog)
    fails(errno.EEXIST, perf_link, bench, event)


def check_event_keeps_the_program(bench: Bench) -> None:
    """The event keeps its program."""
    event, prog = bench.tracepoint("sched", TRACEPOINT), program(bench.calls, type=P.TRACEPOINT)
    id = id_of(bench.calls, prog)
    bench.set_event(event, prog)
    bench.calls.close(prog)
    same(bench.calls.next_id(Cmd.PROG_GET_NEXT_ID, id - 1), id)


def check_event_of_another_type(bench: Bench) -> None:
    """A tracepoint's event takes programs for tracepoints (EINVAL)."""
    event = bench.tracepoint("sched", TRACEPOINT)
    refused(errno.EINVAL, bench.set_event, event, program(bench.calls, type=P.KPROBE))
    refused(errno.EINVAL, bench.set_event, event, program(bench.calls))


# --- typed tracepoints


def typed(calls: Calls) -> int:
    """A program for a tracepoint with the types of its arguments."""
    attr = ProgLoad(prog_type=P.TRACING, expected_attach_type=A.TRACE_RAW_TP)
    attr.attach_btf_id = typedef_id(calls, f"btf_trace_{TRACEPOINT}")
    return load(calls, attr, code(RETURN_0))


def check_typed_tracepoint(bench: Bench) -> None:
    """It is attached without a name, as its type says where."""
    calls = bench.calls
    prog = typed(calls)
    link = calls.call(Cmd.RAW_TRACEPOINT_OPEN, RawTracepointOpen(prog_fd=prog))
    told = calls.info(link, LinkInfo)
    same(told.prog_id, id_of(calls, prog))
    fails(errno.EINVAL, calls.raw_tracepoint_open, prog, TRACEPOINT)


def check_typed_tracepoint_by_link(bench: Bench) -> None:
    """It can be attached by LINK_CREATE as well, with a cookie."""
    calls = bench.calls
    attr = LinkCreateTracing(prog_fd=typed(calls), attach_type=A.TRACE_RAW_TP, cookie=9)
    link = calls.link_create(attr)
    fails(errno.EOPNOTSUPP, detach_link, calls, link)
    assert calls.info(link, TracingLinkInfo).type in (LinkType.RAW_TRACEPOINT, LinkType.TRACING)


def check_typed_tracepoint_of_no_type(calls: Calls) -> None:
    """Without the type, or with one that is no tracepoint, it does not load (EINVAL)."""
    for id in (0, 1, 0x7FFFFFFF):
        attr = ProgLoad(prog_type=P.TRACING, expected_attach_type=A.TRACE_RAW_TP, attach_btf_id=id)
        fails(errno.EINVAL, load, calls, attr, code(RETURN_0))
