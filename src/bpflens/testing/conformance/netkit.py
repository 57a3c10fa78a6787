"""Programs on pairs of netkit devices. Since: 6.7."""

from __future__ import annotations

import errno

from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd, LinkType
from bpflens.abi.infos import NetkitLinkInfo
from bpflens.testing.bench import Bench, eventually
from bpflens.testing.conformance.devices import cls, xdp
from bpflens.testing.conformance.suite import cases, fails, same
from bpflens.testing.hooks import BEFORE, ID, REPLACE, Hook, detach_link, id_of, link_id, update

ENDS = {"primary": A.NETKIT_PRIMARY, "peer": A.NETKIT_PEER}


def end(bench: Bench, which: A = A.NETKIT_PRIMARY) -> Hook:
    """An end of a new pair, by the index of the primary one."""
    return Hook(bench.calls, bench.netkit()[0], which)


@cases(**ENDS)
def check_attach(bench: Bench, which: A) -> None:
    """A program is attached to an end, and told by the query."""
    it, prog = end(bench, which), cls(bench.calls)
    same(it.query(whole=True)[:2] + it.query(whole=True)[4:], (0, 0, 0, 1))
    it.attach(prog)
    found = it.query(whole=True)
    same((found.ids, found.links, found.flags), ([id_of(bench.calls, prog)], [0], 0))
    same(found.revision, 2)
    it.detach(prog)
    same((it.ids(), it.query(whole=True).revision), ([], 1))


def check_ends_are_apart(bench: Bench) -> None:
    """What is attached to one end is not at the other; both are reached by the primary one."""
    primary, peer = bench.netkit()
    one, two = (Hook(bench.calls, primary, which) for which in ENDS.values())
    one.attach(cls(bench.calls))
    same((len(one.ids()), two.ids()), (1, []))
    for which in ENDS.values():
        other = Hook(bench.calls, peer, which)
        same(other.query().code, errno.EACCES)
        fails(errno.EACCES, other.attach, cls(bench.calls))
        fails(errno.EACCES, other.detach, cls(bench.calls))
        fails(errno.EACCES, other.link, cls(bench.calls))


def check_beside_tcx(bench: Bench) -> None:
    """A netkit device has tcx as any other."""
    primary, peer = bench.netkit()
    it = Hook(bench.calls, peer, A.TCX_EGRESS)
    it.attach(cls(bench.calls))
    same((len(it.ids()), Hook(bench.calls, primary, A.NETKIT_PEER).ids()), (1, []))


def check_other_devices(bench: Bench) -> None:
    """Another kind of device is ENXIO, one that is not there ENODEV."""
    bench.netkit()
    for target, code in ((bench.device(), errno.ENXIO), (1, errno.ENXIO), (999_999, errno.ENODEV)):
        it = Hook(bench.calls, target, A.NETKIT_PRIMARY)
        fails(code, it.attach, cls(bench.calls))
        fails(code, it.detach, cls(bench.calls))
        fails(code, it.link, cls(bench.calls))
        same(it.query().code, code)


def check_order(bench: Bench) -> None:
    """Programs are ordered, replaced and limited as those of tcx."""
    it = end(bench)
    one, two, three, new = (cls(bench.calls) for _ in range(4))
    it.attach(one)
    it.attach(two)
    it.attach(three, BEFORE | ID, relative_fd=id_of(bench.calls, two))
    it.attach(new, REPLACE, replace_bpf_fd=one)
    same(it.ids(), [id_of(bench.calls, prog) for prog in (new, three, two)])
    fails(errno.EEXIST, it.attach, two)
    fails(errno.ENOENT, it.detach, one)
    fails(errno.ESTALE, it.attach, cls(bench.calls), expected_revision=1)
    fails(errno.EINVAL, it.attach, xdp(bench.calls))
    same(it.query(2).code, errno.ENOSPC)
    same(it.query(2, 1).code, errno.EINVAL)


def check_nothing_to_detach(bench: Bench) -> None:
    """Where nothing is attached, nothing can be detached (ENOENT)."""
    fails(errno.ENOENT, end(bench).detach)
    fails(errno.ENOENT, end(bench, A.NETKIT_PEER).detach, cls(bench.calls))


@cases(**ENDS)
def check_link(bench: Bench, which: A) -> None:
    """A link tells the device of its end, which for the peer is the other one."""
    pair = bench.netkit()
    it, prog = Hook(bench.calls, pair[0], which), cls(bench.calls)
    link = it.link(prog)
    told = bench.calls.info(link, NetkitLinkInfo)
    index = pair[which == A.NETKIT_PEER]
    same((told.type, told.ifindex, told.attach_type), (LinkType.NETKIT, index, which))
    same(it.query(whole=True).links, [link_id(bench.calls, link)])
    word = "primary" if which == A.NETKIT_PRIMARY else "peer"
    lines = bench.fdinfo(link)
    same((lines["link_type"], lines["ifindex"]), ("netkit", str(index)))
    same(lines["attach_type"], f"{int(which)} ({word})")
    fails(errno.EBUSY, it.detach, prog)
    fails(errno.EEXIST, it.link, prog)
    new = cls(bench.calls)
    update(bench.calls, link, new)
    same(it.ids(), [id_of(bench.calls, new)])
    fails(errno.EPERM, update, bench.calls, link, prog, 4, prog)
    for _ in range(2):
        detach_link(bench.calls, link)
    same((bench.calls.info(link, NetkitLinkInfo).ifindex, it.ids()), (0, []))
    fails(errno.ENOLINK, update, bench.calls, link, prog)


@cases(primary=0, peer=1)
def check_pair_goes(bench: Bench, which: int) -> None:
    """With one end the other goes too; links stay, attached to nothing, programs go."""
    pair = bench.netkit()
    links = []
    for attach in ENDS.values():
        it = Hook(bench.calls, pair[0], attach)
        links.append(it.link(cls(bench.calls)))
        prog = cls(bench.calls)
        id = id_of(bench.calls, prog)
        it.attach(prog)
        bench.calls.close(prog)
    bench.remove_device(pair[which])
    same([bench.calls.info(link, NetkitLinkInfo).ifindex for link in links], [0, 0])
    fails(errno.ENOLINK, update, bench.calls, links[0], cls(bench.calls))
    eventually(
        lambda: bench.calls.next_id(Cmd.PROG_GET_NEXT_ID, id - 1) != id, "the program is gone"
    )
    same(Hook(bench.calls, pair[0], A.NETKIT_PRIMARY).query().code, errno.ENODEV)
