"""Programs of cls_bpf under a clsact qdisc: how they get there, what rtnetlink tells of them."""

from __future__ import annotations

import errno
from typing import Any, NamedTuple

from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd
from bpflens.abi.infos import ProgInfo
from bpflens.abi.netlink import (
    INGRESS_HANDLE,
    NETLINK_ROUTE,
    NLM_F_CREATE,
    TCMSG,
    Tca,
    TcaBpf,
    TcParent,
    attribute,
    attributes,
    get_filters,
    get_qdiscs,
)
from bpflens.testing.bench import Bench, eventually
from bpflens.testing.builders import map, u32
from bpflens.testing.conformance.devices import cls, tcx, xdp
from bpflens.testing.conformance.elsewhere import refused
from bpflens.testing.conformance.suite import CLOSED, cases, same
from bpflens.testing.hooks import id_of
from bpflens.testing.rtnetlink import (
    ETH_P_ALL,
    clsact,
    del_filter,
    get_filter,
    new_filter,
    no_clsact,
)

INGRESS, EGRESS = TcParent.INGRESS, TcParent.EGRESS
DIRECT = 1
"""TCA_BPF_FLAG_ACT_DIRECT."""
SKIP_HW, SKIP_SW, NOT_IN_HW = 1, 2, 8
"""TCA_CLS_FLAGS_*."""
ABSENT = 999_999


def device(bench: Bench) -> int:
    """A new device with a clsact qdisc."""
    ifindex = bench.device()
    bench.change_net(clsact(ifindex))
    return ifindex


def qdiscs(bench: Bench, ifindex: int) -> list[bytes]:
    """What the dump of all qdiscs tells of this device."""
    told = bench.doors.net.dump(NETLINK_ROUTE, get_qdiscs())
    return [message for message in told if TCMSG.unpack_from(message)[1] == ifindex]


def dump(bench: Bench, ifindex: int, parent: int = INGRESS) -> list[bytes]:
    """The filters under one side, as they come."""
    return bench.doors.net.dump(NETLINK_ROUTE, get_filters(ifindex, parent))


class Told(NamedTuple):
    """Where a filter is, and which program it has."""

    prio: int
    handle: int
    prog: int


def shown(bench: Bench, ifindex: int, parent: int = INGRESS) -> list[Told]:
    """The filters under one side, without what the dump tells of a priority by itself."""
    found = []
    for message in dump(bench, ifindex, parent):
        _family, _index, handle, _parent, info = TCMSG.unpack_from(message)
        told = attributes(message[TCMSG.size :])
        if Tca.OPTIONS in told:
            prog = attributes(told[Tca.OPTIONS])[TcaBpf.ID]
            found.append(Told(info >> 16, handle, int.from_bytes(prog, "little")))
    return found


# --- the dumps, byte for byte


def check_qdisc_bytes(bench: Bench) -> None:
    """The dump of qdiscs tells the clsact of a device; that nothing passed is told twice."""
    ifindex = device(bench)
    expected = TCMSG.pack(0, ifindex, INGRESS_HANDLE, TcParent.CLSACT, 1)
    expected += attribute(Tca.KIND, b"clsact\0") + attribute(Tca.OPTIONS, b"")
    expected += attribute(Tca.HW_OFFLOAD, b"\0")
    expected += attribute(Tca.STATS2, attribute(1, bytes(16)) + attribute(3, bytes(20)))
    expected += attribute(Tca.STATS, bytes(40))
    same(qdiscs(bench, ifindex), [expected])


@cases(
    bare=(None, 0, 0, 0),
    named=(b"prog.o:[tc]", 0, 0, 0),
    direct=(b"a", 0, DIRECT, 0),
    classid=(b"four", 0x10001, 0, 0),
    skip_hw=(b"", 0, 0, SKIP_HW),
    whole=(b"x" * 255, 0xFFFF0001, DIRECT, SKIP_HW),
)
def check_filter_bytes(
    bench: Bench, name: bytes | None, classid: int, flags: int, gen_flags: int
) -> None:
    """A filter is told after its priority: CLASSID, NAME, ID, TAG, FLAGS, FLAGS_GEN, no FD."""
    ifindex, prog = device(bench), cls(bench.calls)
    words = {"CLASSID": classid, "FLAGS": flags, "FLAGS_GEN": gen_flags}
    given: dict[str, Any] = {word: value for word, value in words.items() if value}
    bench.change_net(new_filter(ifindex, EGRESS, prog, name, prio=7, handle=3, **given))
    told = bench.calls.info(prog, ProgInfo)
    options = attribute(TcaBpf.CLASSID, u32(classid)) if classid else b""
    if name is not None:
        options += attribute(TcaBpf.NAME, name + b"\0")
    options += attribute(TcaBpf.ID, u32(told.id)) + attribute(TcaBpf.TAG, told.tag)
    if flags:
        options += attribute(TcaBpf.FLAGS, u32(flags))
    options += attribute(TcaBpf.FLAGS_GEN, u32(gen_flags | NOT_IN_HW))
    info = 7 << 16 | ETH_P_ALL
    kind = attribute(Tca.KIND, b"bpf\0") + attribute(Tca.CHAIN, bytes(4))
    first = TCMSG.pack(0, ifindex, 0, EGRESS, info) + kind
    second = TCMSG.pack(0, ifindex, 3, EGRESS, info) + kind + attribute(Tca.OPTIONS, options)
    same(dump(bench, ifindex, EGRESS), [first, second])


def check_dump_of_nothing(bench: Bench) -> None:
    """Where there is no device, no qdisc or no such side, the dump of filters is empty."""
    ifindex, without = device(bench), bench.device()
    bench.change_net(new_filter(ifindex, INGRESS, cls(bench.calls)))
    same(dump(bench, ifindex, EGRESS), [])
    same(dump(bench, ifindex, TcParent.CLSACT), [])
    same(dump(bench, ifindex, 0), [])
    same(dump(bench, without), [])
    same(dump(bench, ABSENT), [])
    same(qdiscs(bench, without), [])


# --- qdiscs


def check_qdisc_twice(bench: Bench) -> None:
    """A second clsact is EEXIST where a new one is asked for; else it is the one that is there."""
    ifindex = device(bench)
    refused(errno.EEXIST, bench.change_net, clsact(ifindex))
    bench.change_net(clsact(ifindex, flags=NLM_F_CREATE))
    bench.change_net(clsact(ifindex, flags=0))
    same(len(qdiscs(bench, ifindex)), 1)


def check_qdisc_that_is_not_there(bench: Bench) -> None:
    """What is removed must be there; where there once was one, it is its handle that is wrong."""
    ifindex = bench.device()
    refused(errno.ENODEV, bench.change_net, clsact(ABSENT))
    refused(errno.ENODEV, bench.change_net, no_clsact(ABSENT))
    refused(errno.ENOENT, bench.change_net, no_clsact(ifindex))
    refused(errno.ENOENT, bench.change_net, clsact(ifindex, flags=0))
    bench.change_net(clsact(ifindex, handle=0))
    bench.change_net(no_clsact(ifindex))
    same(qdiscs(bench, ifindex), [])
    refused(errno.EINVAL, bench.change_net, no_clsact(ifindex))


# --- filters


def check_filter_order(bench: Bench) -> None:
    """Filters are told by priority, the newest of a priority first."""
    ifindex, prog = device(bench), cls(bench.calls)
    id = id_of(bench.calls, prog)
    for prio, handle in ((9, 0), (5, 0), (9, 8), (9, 0)):
        bench.change_net(new_filter(ifindex, INGRESS, prog, prio=prio, handle=handle))
    same(shown(bench, ifindex), [(5, 1, id), (9, 2, id), (9, 8, id), (9, 1, id)])


def check_filter_priority_of_its_own(bench: Bench) -> None:
    """Without a priority a filter goes before those that came so, from 0xc000 down."""
    ifindex, prog = device(bench), cls(bench.calls)
    for prio in (0, 0, 4, 0):
        bench.change_net(new_filter(ifindex, INGRESS, prog, prio=prio))
    found = [told.prio for told in shown(bench, ifindex)]
    same(found, [4, 0xBFFE, 0xBFFF, 0xC000])


def check_filter_replaced(bench: Bench) -> None:
    """A filter with a handle that is there takes its place, if it does not ask for a new one."""
    ifindex = device(bench)
    one, two, new = (cls(bench.calls) for _ in range(3))
    for prog in (one, two):
        bench.change_net(new_filter(ifindex, INGRESS, prog, prio=1))
    refused(errno.EEXIST, bench.change_net, new_filter(ifindex, INGRESS, new, prio=1, handle=1))
    bench.change_net(new_filter(ifindex, INGRESS, new, prio=1, handle=1, flags=0))
    ids = [id_of(bench.calls, prog) for prog in (two, new)]
    same([(told.handle, told.prog) for told in shown(bench, ifindex)], [(2, ids[0]), (1, ids[1])])
    other = new_filter(ifindex, INGRESS, new, prio=1, handle=1, flags=0, FLAGS_GEN=SKIP_HW)
    refused(errno.EINVAL, bench.change_net, other)


def check_filter_not_created(bench: Bench) -> None:
    """Without NLM_F_CREATE the priority and the handle must be there (ENOENT)."""
    ifindex, prog = device(bench), cls(bench.calls)
    bench.change_net(new_filter(ifindex, INGRESS, prog, prio=1))
    for prio, handle in ((0, 0), (2, 0), (1, 0), (1, 5)):
        asked = new_filter(ifindex, INGRESS, prog, prio=prio, handle=handle, flags=0)
        refused(errno.ENOENT, bench.change_net, asked)


def check_filter_removed(bench: Bench) -> None:
    """One goes by its handle, a priority without one, a side without either."""
    ifindex, prog = device(bench), cls(bench.calls)
    for prio in (1, 1, 2, 2, 3, 4):
        bench.change_net(new_filter(ifindex, INGRESS, prog, prio=prio))
    bench.change_net(del_filter(ifindex, INGRESS, prio=1, handle=2))
    bench.change_net(del_filter(ifindex, INGRESS, prio=2, kind=b"bpf"))
    bench.change_net(del_filter(ifindex, INGRESS, prio=3, handle=1, protocol=ETH_P_ALL))
    same([(told.prio, told.handle) for told in shown(bench, ifindex)], [(1, 1), (4, 1)])
    same(len(dump(bench, ifindex)), 4)
    bench.change_net(del_filter(ifindex, INGRESS))
    same(dump(bench, ifindex), [])
    bench.change_net(del_filter(ifindex, INGRESS))


@cases(
    priority=(errno.ENOENT, {"prio": 2}),
    handle=(errno.ENOENT, {"prio": 1, "handle": 9}),
    all_with_handle=(errno.ENOENT, {"handle": 1}),
    all_with_kind=(errno.ENOENT, {"kind": b"bpf"}),
    all_with_protocol=(errno.ENOENT, {"protocol": ETH_P_ALL}),
    protocol=(errno.EINVAL, {"prio": 1, "protocol": 8}),
    kind=(errno.EINVAL, {"prio": 1, "kind": b"u32"}),
    place=(errno.ENOENT, {"parent": TcParent.CLSACT}),
    nowhere=(errno.EINVAL, {"parent": 0}),
    device=(errno.ENODEV, {"ifindex": ABSENT}),
)
def check_filter_that_is_not_there(bench: Bench, code: int, named: dict[str, Any]) -> None:
    """What is removed must be there."""
    ifindex = device(bench)
    bench.change_net(new_filter(ifindex, INGRESS, cls(bench.calls), prio=1))
    where = {"ifindex": ifindex, "parent": INGRESS, **named}
    refused(code, bench.change_net, del_filter(**where))
    same(len(shown(bench, ifindex)), 1)


@cases(
    unknown_flag=(errno.EINVAL, {"FLAGS": 2}),
    unknown_gen_flag=(errno.EINVAL, {"FLAGS_GEN": 16}),
    nowhere_to_run=(errno.EINVAL, {"FLAGS_GEN": SKIP_HW | SKIP_SW}),
    no_hardware=(errno.EOPNOTSUPP, {"FLAGS_GEN": SKIP_SW}),
    no_program=(errno.EINVAL, {"fd": None}),
    closed=(errno.EBADF, {"fd": CLOSED}),
    long_name=(errno.EINVAL, {"name": b"n" * 257}),
    kind=(errno.ENOENT, {"kind": b"bpflens_none"}),
    other_kind=(errno.EINVAL, {"kind": b"u32", "prio": 1}),
    protocol=(errno.EINVAL, {"protocol": 8, "prio": 1}),
    no_protocol=(errno.EINVAL, {"protocol": 0}),
    place=(errno.ENOENT, {"parent": TcParent.CLSACT}),
    nowhere=(errno.EINVAL, {"parent": 0}),
    device=(errno.ENODEV, {"ifindex": ABSENT}),
)
def check_filter_that_makes_no_sense(bench: Bench, code: int, named: dict[str, Any]) -> None:
    """A filter that is refused leaves nothing, not its priority either."""
    ifindex, prog = device(bench), cls(bench.calls)
    bench.change_net(new_filter(ifindex, INGRESS, prog, prio=1))
    asked = {"ifindex": ifindex, "parent": INGRESS, "fd": prog, "prio": 5, **named}
    refused(code, bench.change_net, new_filter(**asked))
    same(len(dump(bench, ifindex)), 2)


def check_filter_of_another_type(bench: Bench) -> None:
    """Only programs for traffic control go there (EINVAL)."""
    ifindex = device(bench)
    for fd in (xdp(bench.calls), map(bench.calls)):
        refused(errno.EINVAL, bench.change_net, new_filter(ifindex, INGRESS, fd))


def check_filter_without_qdisc(bench: Bench) -> None:
    """A device without a clsact qdisc takes no filter (EINVAL)."""
    ifindex = bench.device()
    refused(errno.EINVAL, bench.change_net, new_filter(ifindex, INGRESS, cls(bench.calls)))


def check_filter_is_not_in_tcx(bench: Bench) -> None:
    """PROG_QUERY tells tcx alone; both can be on one device."""
    it = tcx(bench, A.TCX_INGRESS)
    bench.change_net(clsact(it.target))
    one, two = cls(bench.calls), cls(bench.calls)
    bench.change_net(new_filter(it.target, INGRESS, one))
    same(it.ids(), [])
    it.attach(two)
    same(it.ids(), [id_of(bench.calls, two)])
    same([told.prog for told in shown(bench, it.target)], [id_of(bench.calls, one)])


# --- one filter


def check_one_filter(bench: Bench) -> None:
    """One filter is told as in the dump of all."""
    ifindex, prog = device(bench), cls(bench.calls)
    for prio in (7, 7, 9):
        bench.change_net(new_filter(ifindex, INGRESS, prog, b"name", prio=prio))
    told = dump(bench, ifindex)[1:]
    for kind in (None, b"bpf"):
        asked = get_filter(ifindex, INGRESS, prio=7, handle=1, kind=kind)
        same(bench.doors.net.dump(NETLINK_ROUTE, asked), [told[1]])
    asked = get_filter(ifindex, INGRESS, prio=7, handle=2, protocol=0)
    same(bench.doors.net.dump(NETLINK_ROUTE, asked), [told[0]])


@cases(
    any_priority=(errno.ENOENT, {"prio": 0}), priority=(errno.ENOENT, {"prio": 2}),
    handle=(errno.ENOENT, {"handle": 9}), any_handle=(errno.ENOENT, {"handle": 0}),
    protocol=(errno.EINVAL, {"protocol": 8}), kind=(errno.EINVAL, {"kind": b"u32"}),
    side=(errno.EINVAL, {"parent": EGRESS}), place=(errno.ENOENT, {"parent": TcParent.CLSACT}),
    nowhere=(errno.EINVAL, {"parent": 0}), device=(errno.ENODEV, {"ifindex": ABSENT}),
)  # fmt: skip
def check_one_filter_that_is_not_there(bench: Bench, code: int, named: dict[str, Any]) -> None:
    """What is asked for must be there; a side without filters is EINVAL."""
    ifindex = device(bench)
    bench.change_net(new_filter(ifindex, INGRESS, cls(bench.calls), prio=1))
    where = {"ifindex": ifindex, "parent": INGRESS, "prio": 1, "handle": 1, **named}
    refused(code, bench.doors.net.dump, NETLINK_ROUTE, get_filter(**where))


# --- what a filter holds


def _lives(bench: Bench, id: int) -> bool:
    return bench.calls.next_id(Cmd.PROG_GET_NEXT_ID, id - 1) == id


@cases(filter="filter", qdisc="qdisc", device="device")
def check_filter_keeps_the_program(bench: Bench, what: str) -> None:
    """A filter keeps its program, until it, its qdisc or its device goes."""
    ifindex, prog = device(bench), cls(bench.calls)
    id = id_of(bench.calls, prog)
    for prio in (1, 2):
        bench.change_net(new_filter(ifindex, INGRESS, prog, prio=prio))
    bench.calls.close(prog)
    bench.change_net(del_filter(ifindex, INGRESS, prio=1))
    same((_lives(bench, id), len(shown(bench, ifindex))), (True, 1))
    if what == "filter":
        bench.change_net(del_filter(ifindex, INGRESS, prio=2, handle=1))
    elif what == "qdisc":
        bench.change_net(no_clsact(ifindex))
    else:
        bench.remove_device(ifindex)
    eventually(lambda: not _lives(bench, id), "the program goes with what held it")
