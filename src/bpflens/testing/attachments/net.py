"""Cases: devices, traffic control, routes and network namespaces."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import LinkCreate, LinkCreateTcx, ProgAttach
from bpflens.abi.enums import AttachType, ProgType
from bpflens.abi.netlink import TcParent
from bpflens.attach.networks import devices
from bpflens.attach.places import Places
from bpflens.errors import SyscallError
from bpflens.model.system import System
from bpflens.testing import rtnetlink
from bpflens.testing.attachments.suite import Expected, case
from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.builders import program
from bpflens.testing.hooks import BEFORE, id_of, link_id
from bpflens.testing.rtnetlink import clsact, new_filter

SKB = 2
"""XDP_FLAGS_SKB_MODE."""
INGRESS, EGRESS = TcParent.INGRESS, TcParent.EGRESS


def name(bench: Bench, ifindex: int) -> str:
    """The name of a device."""
    with System(bench.doors) as system:
        return devices(system)[ifindex].name


def own(bench: Bench) -> str:
    """The network namespace that the bench is in, in words."""
    with System(bench.doors) as system:
        return f"netns {Places(system).own_netns}"


def offered(bench: Bench, request: bytes, what: str) -> None:
    """Send a request; the kernel may not have what it is about."""
    try:
        bench.change_net(request)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            raise NotOffered(f"this kernel has no {what}") from None
        raise


# --- xdp


def xdp_link(bench: Bench, prog: int, ifindex: int) -> int:
    """An XDP link: its ID."""
    link = bench.calls.link_create(
        LinkCreate(prog_fd=prog, target_fd=ifindex, attach_type=AttachType.XDP)
    )
    return link_id(bench.calls, link)


def xdp(bench: Bench) -> int:
    """An XDP program."""
    return program(bench.calls, "r0 = 2; exit", ProgType.XDP, name="case_xdp")


@case("xdp", "in the driver")
def xdp_driver(bench: Bench) -> Expected:
    ifindex, prog = bench.device(), xdp(bench)
    bench.set_xdp(ifindex, prog)
    return Expected(
        id_of(bench.calls, prog), name(bench, ifindex), via="netlink", attach_type="drv", flags=[]
    )


@case("xdp", "generic")
def xdp_generic(bench: Bench) -> Expected:
    ifindex, prog = bench.device(), xdp(bench)
    bench.set_xdp(ifindex, prog, SKB)
    return Expected(id_of(bench.calls, prog), name(bench, ifindex), attach_type="skb")


@case("xdp", "by a link")
def xdp_by_link(bench: Bench) -> Expected:
    ifindex, prog = bench.device(), xdp(bench)
    link = xdp_link(bench, prog, ifindex)
    return Expected(id_of(bench.calls, prog), name(bench, ifindex), link_id=link, attach_type="drv")


@case("xdp", "in another namespace, with a name")
def xdp_named(bench: Bench) -> Expected:
    prog = xdp(bench)
    with bench.elsewhere("blue"):
        ifindex = bench.device()
        target = f"{name(bench, ifindex)}@blue"
        bench.set_xdp(ifindex, prog)
    return Expected(id_of(bench.calls, prog), target, attach_type="drv")


@case("xdp", "by a link, in the namespace of a process")
def xdp_of_process(bench: Bench) -> Expected:
    prog = xdp(bench)
    with bench.elsewhere():
        ifindex = bench.device()
        target = f"{name(bench, ifindex)}@{own(bench).removeprefix('netns ')}"
        link = xdp_link(bench, prog, ifindex)
    return Expected(id_of(bench.calls, prog), target, link_id=link)


@case("xdp", "by links that look the same")
def xdp_alike(bench: Bench) -> list[Expected]:
    prog = xdp(bench)
    found = []
    for number in range(2):
        with bench.elsewhere("blue" if number else ""):
            ifindex = bench.device()
            suffix = "blue" if number else own(bench).removeprefix("netns ")
            found.append(Expected(id_of(bench.calls, prog), f"{name(bench, ifindex)}@{suffix}"))
            xdp_link(bench, prog, ifindex)
    return found


# --- traffic control


def classifier(bench: Bench, called: str = "case_cls") -> int:
    """A program for tc, tcx and netkit."""
    return program(bench.calls, type=ProgType.SCHED_CLS, name=called)


@case("tc", "on both sides")
def tc_sides(bench: Bench) -> list[Expected]:
    ifindex, prog = bench.device(), classifier(bench)
    bench.change_net(clsact(ifindex))
    bench.change_net(new_filter(ifindex, INGRESS, prog, b"one.o:[tc]", prio=7, handle=3, FLAGS=1))
    bench.change_net(new_filter(ifindex, EGRESS, prog, prio=1))
    words = ["protocol all", "pref 7", "handle 0x3", "name one.o:[tc]", "direct-action"]
    target = name(bench, ifindex)
    return [
        Expected(id_of(bench.calls, prog), target, 0, words, "netlink", attach_type="ingress"),
        Expected(
            id_of(bench.calls, prog), target, 0, ["protocol all", "pref 1", "handle 0x1"],
            attach_type="egress",
        ),
    ]  # fmt: skip


@case("tc", "several in order")
def tc_order(bench: Bench) -> list[Expected]:
    ifindex = bench.device()
    bench.change_net(clsact(ifindex))
    progs = [classifier(bench) for _ in range(4)]
    # of one priority the newest runs first
    for prog, prio in zip(progs, (9, 5, 5, 1), strict=True):
        bench.change_net(new_filter(ifindex, INGRESS, prog, prio=prio))
    target = name(bench, ifindex)
    turns = zip(progs, (3, 2, 1, 0), strict=True)
    return [Expected(id_of(bench.calls, prog), target, turn) for prog, turn in turns]


@case("tc", "in another namespace, with a name")
def tc_named(bench: Bench) -> Expected:
    prog = classifier(bench)
    with bench.elsewhere("blue"):
        ifindex = bench.device()
        bench.change_net(clsact(ifindex))
        bench.change_net(new_filter(ifindex, EGRESS, prog, prio=1))
        target = f"{name(bench, ifindex)}@blue"
    return Expected(id_of(bench.calls, prog), target, 0, attach_type="egress")


@case("tc", "under a qdisc with queues")
def tc_htb(bench: Bench) -> Expected:
    ifindex, prog = bench.device(), classifier(bench)
    offered(bench, rtnetlink.htb(ifindex, 0x10000), "htb qdisc")
    bench.change_net(new_filter(ifindex, 0x10000, prog, prio=2, CLASSID=0x10001))
    return Expected(
        id_of(bench.calls, prog), name(bench, ifindex), 0,
        ["protocol all", "pref 2", "handle 0x1", "classid 1:1"], attach_type="parent 1:",
    )  # fmt: skip


@case("tc", "in a block that devices share")
def tc_block(bench: Bench) -> list[Expected]:
    prog = classifier(bench)
    both = [bench.device(), bench.device()]
    for ifindex in both:
        offered(bench, clsact(ifindex, block=22), "blocks that devices share")
    offered(bench, new_filter(rtnetlink.BLOCK, 22, prog, prio=4), "blocks that devices share")
    words = ["protocol all", "pref 4", "block 22", "handle 0x1"]
    return [
        Expected(id_of(bench.calls, prog), name(bench, ifindex), 0, words, attach_type="ingress")
        for ifindex in both
    ]


@case("act_bpf", "of a filter")
def action_of_filter(bench: Bench) -> Expected:
    ifindex = bench.device()
    prog = program(bench.calls, type=ProgType.SCHED_ACT, name="case_act")
    bench.change_net(clsact(ifindex))
    actions = rtnetlink.bpf_action(prog, b"act.o:[tc]")
    offered(bench, rtnetlink.matchall(ifindex, INGRESS, actions, 6), "act_bpf")
    words = ["filter matchall", "protocol all", "pref 6", "handle 0x1"]
    return Expected(
        id_of(bench.calls, prog), name(bench, ifindex), 0, [*words, "action 1", "name act.o:[tc]"],
        "netlink", attach_type="ingress",
    )  # fmt: skip


@case("act_bpf", "that no filter uses")
def action_alone(bench: Bench) -> Expected:
    prog = program(bench.calls, type=ProgType.SCHED_ACT, name="case_act")
    offered(bench, rtnetlink.new_action(prog, b"act"), "act_bpf")
    # which index it gets depends on whether the kernel is done with those before it
    return Expected(id_of(bench.calls, prog), own(bench), via="netlink")


# --- tcx, netkit


def refusal(error: SyscallError, what: str) -> Exception:
    """What to raise for an attachment that was refused: NotOffered where the kernel has none."""
    if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
        return NotOffered(f"this kernel has no {what}")
    return error


def on_device(bench: Bench, kind: str, ifindex: int, side: AttachType) -> list[Expected]:
    """Three programs: the second by a link, the third put before the others."""
    first, second, third = (classifier(bench) for _ in range(3))
    attach = ProgAttach(target_fd=ifindex, attach_bpf_fd=first, attach_type=side)
    try:
        bench.calls.prog_attach(attach)
    except SyscallError as error:
        raise refusal(error, kind) from error
    link = bench.calls.link_create(
        LinkCreateTcx(prog_fd=second, target_fd=ifindex, attach_type=side)
    )
    bench.calls.prog_attach(
        ProgAttach(target_fd=ifindex, attach_bpf_fd=third, attach_type=side, attach_flags=BEFORE)
    )
    target = name(bench, ifindex)
    ids = [id_of(bench.calls, prog) for prog in (third, first, second)]
    held = [None, None, link_id(bench.calls, link)]
    return [
        Expected(prog, target, turn, [], "prog_query", by, side.label)
        for turn, (prog, by) in enumerate(zip(ids, held, strict=True))
    ]


@case("tcx", "several in order")
def tcx(bench: Bench) -> list[Expected]:
    return on_device(bench, "tcx", bench.device(), AttachType.TCX_INGRESS)


@case("tcx", "by a link, in another namespace")
def tcx_elsewhere(bench: Bench) -> Expected:
    prog = classifier(bench)
    with bench.elsewhere("blue"):
        ifindex = bench.device()
        target = f"{name(bench, ifindex)}@blue"
        attach = LinkCreateTcx(prog_fd=prog, target_fd=ifindex, attach_type=AttachType.TCX_EGRESS)
        try:
            link = bench.calls.link_create(attach)
        except SyscallError as error:
            raise refusal(error, "tcx") from error
    return Expected(
        id_of(bench.calls, prog),
        target,
        0,
        link_id=link_id(bench.calls, link),
        attach_type="tcx_egress",
    )


@case("netkit", "on the primary end")
def netkit_primary(bench: Bench) -> list[Expected]:
    return on_device(bench, "netkit", bench.netkit()[0], AttachType.NETKIT_PRIMARY)


@case("netkit", "on the peer")
def netkit_peer(bench: Bench) -> list[Expected]:
    return on_device(bench, "netkit", bench.netkit()[0], AttachType.NETKIT_PEER)
