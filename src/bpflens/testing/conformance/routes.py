"""Programs of routes: what rtnetlink takes and tells of them, and how long they live."""

from __future__ import annotations

import errno

from bpflens.abi.enums import Cmd
from bpflens.abi.enums import ProgType as P
from bpflens.abi.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    RTMSG,
    SEG6_LOCAL_BPF,
    Encap,
    LwtBpf,
    LwtBpfProg,
    NlMsgType,
    Rta,
    attribute,
    attributes,
    get_routes,
    message,
)
from bpflens.errors import NotFound
from bpflens.testing import rtnetlink
from bpflens.testing.bench import Bench, eventually
from bpflens.testing.builders import program, u32
from bpflens.testing.conformance.elsewhere import refused
from bpflens.testing.conformance.suite import CLOSED, cases, same
from bpflens.testing.hooks import id_of
from bpflens.testing.rtnetlink import NLM_F_ACK, new_route, route_program, seg6_program

NET, NET6 = bytes([198, 51, 100, 0]), bytes([0x20, 1, 0xD, 0xB8]) + bytes(12)
PLACES = {LwtBpf.IN: P.LWT_IN, LwtBpf.OUT: P.LWT_OUT, LwtBpf.XMIT: P.LWT_XMIT}
TOLD = (Rta.DST, Rta.OIF, Rta.TABLE, Rta.ENCAP_TYPE, Rta.ENCAP)


def device(bench: Bench) -> int:
    """A new device that is on."""
    ifindex = bench.device()
    bench.change_net(rtnetlink.up(ifindex))
    return ifindex


def shown(bench: Bench, ifindex: int, family: int) -> list[dict[int, bytes]]:
    """What is told of the routes by a device that have programs."""
    found = []
    for answer in bench.doors.net.dump(NETLINK_ROUTE, get_routes(family)):
        told = attributes(answer[RTMSG.size :])
        if told.get(Rta.OIF) == u32(ifindex) and Rta.ENCAP in told:
            found.append({int(kind): told[kind] for kind in TOLD})
    return found


def xmit(bench: Bench, ifindex: int, name: bytes = b"x", network: bytes = NET) -> tuple[bytes, int]:
    """A request for a route, and the program in it."""
    prog = program(bench.calls, type=P.LWT_XMIT)
    one = route_program(LwtBpf.XMIT, prog, name)
    return new_route(ifindex, network, 24, Encap.BPF, one), prog


def deleted(request: bytes) -> bytes:
    """The request that removes what another made."""
    return message(NlMsgType.DELROUTE, NLM_F_REQUEST | NLM_F_ACK, request[16:])


def gone(bench: Bench, id: int) -> bool:
    try:
        bench.calls.close(bench.calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, id))
    except NotFound:
        return True
    return False


@cases(input=(LwtBpf.IN,), output=(LwtBpf.OUT,), xmit=(LwtBpf.XMIT,), all=tuple(PLACES))
def check_what_is_told(bench: Bench, *places: LwtBpf) -> None:
    """Of a lightweight tunnel's programs only the name is told that came with them."""
    ifindex = device(bench)
    given, expected = b"", b""
    for place in places:
        name = f"prog.o:[{place}]".encode()
        given += route_program(place, program(bench.calls, type=PLACES[place]), name)
        expected += attribute(place, attribute(LwtBpfProg.NAME, name + b"\0"))
    bench.change_net(new_route(ifindex, NET, 24, Encap.BPF, given))
    route = {
        Rta.DST: NET, Rta.OIF: u32(ifindex), Rta.TABLE: u32(254), Rta.ENCAP_TYPE: b"\6\0",
        Rta.ENCAP: expected,
    }  # fmt: skip
    same(shown(bench, ifindex, 2), [route])
    same(shown(bench, ifindex, 10), [])


def check_seg6local_is_told(bench: Bench) -> None:
    """Of a seg6local route the program's ID is told, in the place of its fd."""
    ifindex, prog = device(bench), program(bench.calls, type=P.LWT_SEG6LOCAL)
    bench.change_net(new_route(ifindex, NET6, 64, Encap.SEG6_LOCAL, seg6_program(prog, b"seg")))
    inner = attribute(LwtBpfProg.FD, u32(id_of(bench.calls, prog)))
    inner += attribute(LwtBpfProg.NAME, b"seg\0")
    encap = attribute(rtnetlink.SEG6_LOCAL_ACTION, u32(15)) + attribute(SEG6_LOCAL_BPF, inner)
    route = {
        Rta.DST: NET6, Rta.OIF: u32(ifindex), Rta.TABLE: u32(254), Rta.ENCAP_TYPE: b"\7\0",
        Rta.ENCAP: encap,
    }  # fmt: skip
    same(shown(bench, ifindex, 10), [route])


def check_a_route_holds_its_program(bench: Bench) -> None:
    """A program that only a route has stays until the route goes."""
    ifindex = device(bench)
    request, prog = xmit(bench, ifindex)
    bench.change_net(request)
    id = id_of(bench.calls, prog)
    bench.calls.close(prog)
    same(gone(bench, id), False)
    bench.change_net(deleted(request))
    eventually(lambda: gone(bench, id), "the program goes with its route")
    refused(errno.ESRCH, bench.change_net, deleted(request))


def check_it_goes_with_its_device(bench: Bench) -> None:
    """The routes by a device go with it."""
    ifindex = device(bench)
    request, prog = xmit(bench, ifindex)
    bench.change_net(request)
    id = id_of(bench.calls, prog)
    bench.calls.close(prog)
    bench.remove_device(ifindex)
    eventually(lambda: gone(bench, id), "the program goes with the device")


def check_replacing(bench: Bench) -> None:
    """A second route to the same network is EEXIST, or replaces the first."""
    ifindex = device(bench)
    request, prog = xmit(bench, ifindex)
    bench.change_net(request)
    refused(errno.EEXIST, bench.change_net, request)
    id = id_of(bench.calls, prog)
    bench.calls.close(prog)
    other, _ = xmit(bench, ifindex, b"other")
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    bench.change_net(message(NlMsgType.NEWROUTE, flags, other[16:]))
    same(len(shown(bench, ifindex, 2)), 1)
    eventually(lambda: gone(bench, id), "the program of the route that was replaced goes")


def check_programs_of_one_name_are_one(bench: Bench) -> None:
    """Of two routes by one device whose programs have the same name, both have the first one."""
    ifindex = device(bench)
    first, second = xmit(bench, ifindex), xmit(bench, ifindex, network=bytes([203, 0, 113, 0]))
    for request, _ in (first, second):
        bench.change_net(request)
    ids = [id_of(bench.calls, prog) for _, prog in (first, second)]
    for _, prog in (first, second):
        bench.calls.close(prog)
    eventually(lambda: gone(bench, ids[1]), "no route has the second program")
    bench.change_net(deleted(first[0]))
    same(gone(bench, ids[0]), False)
    bench.change_net(deleted(second[0]))
    eventually(lambda: gone(bench, ids[0]), "the first program goes with the second route")


@cases(
    other_type=(P.LWT_IN, True, errno.EINVAL),
    socket_filter=(P.SOCKET_FILTER, True, errno.EINVAL),
    no_name=(P.LWT_XMIT, False, errno.EINVAL),
)
def check_programs_that_do_not_fit(bench: Bench, type: P, named: bool, code: int) -> None:
    """A route takes only programs for its place, each with a name."""
    ifindex, prog = device(bench), program(bench.calls, type=type)
    one = route_program(LwtBpf.XMIT, prog, b"x")
    if not named:
        one = attribute(LwtBpf.XMIT | 0x8000, attribute(LwtBpfProg.FD, u32(prog)))
    refused(code, bench.change_net, new_route(ifindex, NET, 24, Encap.BPF, one))
    same(shown(bench, ifindex, 2), [])


@cases(
    closed=(route_program(LwtBpf.XMIT, CLOSED, b"x"), errno.EBADF),
    none=(b"", errno.EINVAL),
)
def check_routes_without_a_program(bench: Bench, programs: bytes, code: int) -> None:
    """A tunnel of the kind bpf has at least one program."""
    ifindex = device(bench)
    refused(code, bench.change_net, new_route(ifindex, NET, 24, Encap.BPF, programs))


def check_routes_by_no_device(bench: Bench) -> None:
    """A device that is not there is ENODEV."""
    request, _ = xmit(bench, 999_999)
    refused(errno.ENODEV, bench.change_net, request)


def check_seg6local_is_for_ipv6(bench: Bench) -> None:
    """seg6local of an IPv4 route is EINVAL."""
    ifindex, prog = device(bench), program(bench.calls, type=P.LWT_SEG6LOCAL)
    one = seg6_program(prog, b"seg")
    refused(errno.EINVAL, bench.change_net, new_route(ifindex, NET, 24, Encap.SEG6_LOCAL, one))
