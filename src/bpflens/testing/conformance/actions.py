"""Actions of filters that are programs (act_bpf), and filters that devices share."""

from __future__ import annotations

import errno
import sys

from bpflens.abi.enums import Cmd
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import ProgInfo
from bpflens.abi.netlink import (
    ACT_BPF,
    FILTER_ACTIONS,
    NETLINK_ROUTE,
    TCAMSG,
    TCMSG,
    Tca,
    TcaAct,
    TcaActBpf,
    TcParent,
    attributes,
    get_actions,
    get_filters,
    get_qdiscs,
)
from bpflens.errors import NotFound
from bpflens.testing import rtnetlink
from bpflens.testing.bench import Bench, NotOffered, eventually
from bpflens.testing.builders import program, u32
from bpflens.testing.conformance.devices import cls
from bpflens.testing.conformance.elsewhere import refused
from bpflens.testing.conformance.suite import CLOSED, cases, same
from bpflens.testing.hooks import id_of
from bpflens.testing.rtnetlink import BLOCK, bpf_action, clsact, matchall, new_action, new_filter

INGRESS = TcParent.INGRESS
NUMBER = 4711
"""Of a block."""
TOLD = (TcaActBpf.NAME, TcaActBpf.ID, TcaActBpf.TAG)


def device(bench: Bench, block: int = 0) -> int:
    """A new device with a clsact qdisc."""
    ifindex = bench.device()
    bench.change_net(clsact(ifindex, block=block))
    return ifindex


def act(bench: Bench) -> int:
    """A program for an action; the kernel may have no act_bpf."""
    try:
        bench.change_net(new_action(CLOSED, b"probe"))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            raise NotOffered("this kernel has no act_bpf") from None
    return program(bench.calls, type=P.SCHED_ACT)


def of(bench: Bench, prog: int) -> dict[int, bytes]:
    """What is told of an action that is this program."""
    told = bench.calls.info(prog, ProgInfo)
    return {TcaActBpf.ID: u32(told.id), TcaActBpf.TAG: told.tag}


def options(table: bytes) -> list[tuple[dict[int, bytes], tuple[int, ...]]]:
    """The programs in a list of actions; index, action, references and filters of each."""
    found: list[tuple[dict[int, bytes], tuple[int, ...]]] = []
    for action in attributes(table).values():
        told = attributes(attributes(action)[TcaAct.OPTIONS])
        index, _, verdict, references, filters = ACT_BPF.unpack(told[TcaActBpf.PARMS])
        some = {int(kind): told[kind] for kind in TOLD if kind in told}
        found.append((some, (index, verdict, references, filters)))
    return found


def alone(bench: Bench) -> list[tuple[dict[int, bytes], tuple[int, ...]]]:
    """The actions of the namespace."""
    found = []
    for answer in bench.doors.net.dump(NETLINK_ROUTE, get_actions("bpf")):
        found += options(attributes(answer[TCAMSG.size :])[TcaAct.TAB])
    return found


def gone(bench: Bench, id: int) -> bool:
    try:
        bench.calls.close(bench.calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, id))
    except NotFound:
        return True
    return False


def check_an_action_of_a_filter(bench: Bench) -> None:
    """A filter tells its actions with the program's ID; so does the list of actions."""
    prog, ifindex = act(bench), device(bench)
    bench.change_net(matchall(ifindex, INGRESS, bpf_action(prog, b"a.o:[act]"), 7))
    expected = of(bench, prog) | {TcaActBpf.NAME: b"a.o:[act]\0"}
    (answer,) = [
        attributes(message[TCMSG.size :])
        for message in bench.doors.net.dump(NETLINK_ROUTE, get_filters(ifindex, INGRESS))
        if Tca.OPTIONS in attributes(message[TCMSG.size :])
    ]
    table = attributes(answer[Tca.OPTIONS])[FILTER_ACTIONS["matchall"]]
    same(options(table), [(expected, (1, 3, 1, 1))])
    same(alone(bench), [(expected, (1, 3, 1, 1))])
    refused(errno.EEXIST, bench.change_net, matchall(ifindex, INGRESS, bpf_action(prog, b"b"), 7))
    id = id_of(bench.calls, prog)
    bench.calls.close(prog)
    same(gone(bench, id), False)
    bench.change_net(rtnetlink.no_clsact(ifindex))
    eventually(lambda: gone(bench, id), "the program goes with the filter")
    same(alone(bench), [])


@cases(other_type=(P.SCHED_CLS, errno.EINVAL), socket_filter=(P.SOCKET_FILTER, errno.EINVAL))
def check_what_is_no_action(bench: Bench, type: P, code: int) -> None:
    """An action takes a program of its own type alone."""
    act(bench)
    refused(code, bench.change_net, new_action(program(bench.calls, type=type), b"a"))


def check_an_action_of_no_file(bench: Bench) -> None:
    """An fd that is not open is EBADF."""
    act(bench)
    refused(errno.EBADF, bench.change_net, new_action(CLOSED, b"a"))


# --- blocks


def filters(bench: Bench, ifindex: int, parent: int) -> list[bytes]:
    return bench.doors.net.dump(NETLINK_ROUTE, get_filters(ifindex, parent))


def check_a_shared_block(bench: Bench) -> None:
    """Its filters are told of each device and by its number, and are changed by its number."""
    both = [device(bench, NUMBER), device(bench, NUMBER)]
    prog = cls(bench.calls)
    refused(errno.EOPNOTSUPP, bench.change_net, new_filter(both[0], INGRESS, prog))
    bench.change_net(new_filter(BLOCK, NUMBER, prog, prio=3))
    told = [filters(bench, ifindex, INGRESS) for ifindex in both]
    same(told[0], told[1])
    same(told[0], filters(bench, BLOCK, NUMBER))
    heads = [TCMSG.unpack_from(message) for message in told[0]]
    same([(head[1], head[3], head[4] >> 16) for head in heads], [(BLOCK, NUMBER, 3)] * 2)
    same(filters(bench, BLOCK, NUMBER + 1), [])
    for message in bench.doors.net.dump(NETLINK_ROUTE, get_qdiscs()):
        if TCMSG.unpack_from(message)[1] in both:
            number = attributes(message[TCMSG.size :]).get(Tca.INGRESS_BLOCK, b"")
            if TCMSG.unpack_from(message)[3] == TcParent.CLSACT:
                same(int.from_bytes(number, sys.byteorder), NUMBER)


def check_a_shared_block_goes_with_its_last_device(bench: Bench) -> None:
    """A filter of a block stays while a device has the block."""
    both = [device(bench, NUMBER), device(bench, NUMBER)]
    prog = cls(bench.calls)
    bench.change_net(new_filter(BLOCK, NUMBER, prog))
    id = id_of(bench.calls, prog)
    bench.calls.close(prog)
    bench.change_net(rtnetlink.no_clsact(both[0]))
    same(gone(bench, id), False)
    bench.change_net(rtnetlink.no_clsact(both[1]))
    eventually(lambda: gone(bench, id), "the program goes with the block")
    refused(errno.EINVAL, bench.change_net, new_filter(BLOCK, NUMBER, cls(bench.calls)))
