"""Programs on network devices: tcx and XDP."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import LinkCreate
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import LinkType
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import TcxLinkInfo, XdpLinkInfo
from bpflens.abi.netlink import (
    IFINFO,
    NETLINK_ROUTE,
    IfLa,
    IfLaXdp,
    attributes,
    get_links,
)
from bpflens.port.calls import Calls
from bpflens.testing.bench import Bench
from bpflens.testing.builders import map, program
from bpflens.testing.conformance.suite import CLOSED, cases, fails, same
from bpflens.testing.hooks import (
    AFTER,
    BEFORE,
    ID,
    LINK,
    REPLACE,
    Hook,
    detach_link,
    id_of,
    link_id,
    update,
)

SKB, DRV, HW = 2, 4, 8
"""XDP_FLAGS_*_MODE."""
SIDES = {"ingress": A.TCX_INGRESS, "egress": A.TCX_EGRESS}


def cls(calls: Calls) -> int:
    return program(calls, type=P.SCHED_CLS)


def xdp(calls: Calls, attach_type: int = 0) -> int:
    return program(calls, "r0 = 2; exit", P.XDP, attach_type=attach_type)


def tcx(bench: Bench, side: A = A.TCX_INGRESS) -> Hook:
    """A side of a new device."""
    return Hook(bench.calls, bench.device(), side)


# --- tcx


@cases(**SIDES)
def check_tcx(bench: Bench, side: A) -> None:
    """A program is attached to a side of a device, and told by the query."""
    it, prog = tcx(bench, side), cls(bench.calls)
    it.attach(prog)
    found = it.query(whole=True)
    same((found.ids, found.links, found.flags), ([id_of(bench.calls, prog)], [0], 0))
    it.detach(prog)
    same(it.ids(), [])


def check_tcx_sides_are_apart(bench: Bench) -> None:
    """What is attached to one side is not at the other."""
    device = bench.device()
    Hook(bench.calls, device, A.TCX_INGRESS).attach(cls(bench.calls))
    same(Hook(bench.calls, device, A.TCX_EGRESS).ids(), [])


def check_tcx_empty(bench: Bench) -> None:
    """A device without programs is at revision 1."""
    found = tcx(bench).query(whole=True)
    same((found.code, found.total, found.flags, found.revision), (0, 0, 0, 1))


def check_tcx_order(bench: Bench) -> None:
    """Programs are in the order in which they came, or where they were put."""
    it = tcx(bench)
    one, two, three, four = (cls(bench.calls) for _ in range(4))
    it.attach(one)
    it.attach(two)
    it.attach(three, BEFORE)
    it.attach(four, AFTER | ID, relative_fd=id_of(bench.calls, one))
    same(it.ids(), [id_of(bench.calls, prog) for prog in (three, one, four, two)])


def check_tcx_takes_each_once(bench: Bench) -> None:
    """The same program twice is EEXIST."""
    it, prog = tcx(bench), cls(bench.calls)
    it.attach(prog)
    fails(errno.EEXIST, it.attach, prog)


def check_tcx_is_full(bench: Bench) -> None:
    """63 programs are at one side of a device; the next is ERANGE."""
    it = tcx(bench)
    for _ in range(63):
        it.attach(cls(bench.calls))
    fails(errno.ERANGE, it.attach, cls(bench.calls))


def check_tcx_replace(bench: Bench) -> None:
    """REPLACE puts a program in the place of another."""
    it = tcx(bench)
    one, two, new = (cls(bench.calls) for _ in range(3))
    it.attach(one)
    it.attach(two)
    it.attach(new, REPLACE, replace_bpf_fd=one)
    same(it.ids(), [id_of(bench.calls, prog) for prog in (new, two)])
    fails(errno.ENOENT, it.attach, cls(bench.calls), REPLACE, replace_bpf_fd=one)


def check_tcx_detach(bench: Bench) -> None:
    """Without a program's fd the last one goes, with BEFORE the first; another is ENOENT."""
    it = tcx(bench)
    progs = [cls(bench.calls) for _ in range(4)]
    for prog in progs:
        it.attach(prog)
    it.detach()
    it.detach(0, BEFORE)
    same(it.ids(), [id_of(bench.calls, prog) for prog in progs[1:3]])
    fails(errno.ENOENT, it.detach, cls(bench.calls))


def check_tcx_detach_of_nothing(bench: Bench) -> None:
    """Where nothing is attached, nothing can be detached (ENOENT)."""
    it = tcx(bench)
    fails(errno.ENOENT, it.detach)
    fails(errno.ENOENT, it.detach, cls(bench.calls))


def check_tcx_detach_unnamed(bench: Bench) -> None:
    """Who names the program needs no capability; who does not needs CAP_NET_ADMIN (EPERM)."""
    it, prog = tcx(bench), cls(bench.calls)
    it.attach(prog)
    nobody = Hook(bench.caller(0), it.target, it.type)
    fails(errno.EPERM, nobody.detach)
    nobody.detach(prog)


@cases(
    side_missing=(ID, 0), both=(BEFORE | AFTER, 0), mode=(1, 0), multi=(2, 0), unknown=(1 << 20, 0),
)  # fmt: skip
def check_tcx_flags(bench: Bench, flags: int, _: int) -> None:
    """Flags that make no sense are EINVAL, or ERANGE where both sides are asked for."""
    it = tcx(bench)
    it.attach(cls(bench.calls))
    relative = id_of(bench.calls, cls(bench.calls)) if flags == ID else 0
    code = errno.ERANGE if flags == BEFORE | AFTER else errno.EINVAL
    fails(code, it.attach, cls(bench.calls), flags, relative_fd=relative)


def check_tcx_relative_to_nothing(bench: Bench) -> None:
    """What it is to be put beside must be there: ENOENT."""
    it = tcx(bench)
    it.attach(cls(bench.calls))
    fails(errno.ENOENT, it.attach, cls(bench.calls), BEFORE | ID, relative_fd=0x7FFFFFF0)
    fails(errno.ENOENT, it.attach, cls(bench.calls), BEFORE, relative_fd=cls(bench.calls))
    fails(errno.EBADF, it.attach, cls(bench.calls), BEFORE, relative_fd=CLOSED)


def check_tcx_revision(bench: Bench) -> None:
    """The revision goes up with each change, and starts again when the list is empty."""
    it = tcx(bench)
    one, two = cls(bench.calls), cls(bench.calls)
    seen = []
    it.attach(one)
    seen.append(it.query(whole=True).revision)
    it.attach(two)
    seen.append(it.query(whole=True).revision)
    it.detach(one)
    seen.append(it.query(whole=True).revision)
    it.detach(two)
    seen.append(it.query(whole=True).revision)
    same(seen, [2, 3, 4, 1])


def check_tcx_expected_revision(bench: Bench) -> None:
    """A change that expects another revision is ESTALE."""
    it = tcx(bench)
    it.attach(cls(bench.calls))
    fails(errno.ESTALE, it.attach, cls(bench.calls), expected_revision=1)
    it.attach(cls(bench.calls), expected_revision=2)


def check_tcx_program_that_does_not_fit(bench: Bench) -> None:
    """Only programs for traffic control go there (EINVAL)."""
    fails(errno.EINVAL, tcx(bench).attach, xdp(bench.calls))
    fails(errno.EBADF, tcx(bench).attach, CLOSED)
    fails(errno.EINVAL, tcx(bench).attach, map(bench.calls))


def check_tcx_absent_device(bench: Bench) -> None:
    """A device that is not there is ENODEV."""
    it = Hook(bench.calls, 999_999, A.TCX_INGRESS)
    fails(errno.ENODEV, it.attach, cls(bench.calls))
    fails(errno.ENODEV, it.detach, cls(bench.calls))
    fails(errno.ENODEV, it.link, cls(bench.calls))
    same(it.query().code, errno.ENODEV)


def check_tcx_query(bench: Bench) -> None:
    """The query counts without room, and is ENOSPC with too little; it takes no flags."""
    it = tcx(bench)
    progs = [cls(bench.calls) for _ in range(3)]
    for prog in progs:
        it.attach(prog)
    same((it.query(0).code, it.query(0).total), (0, 3))
    short = it.query(2)
    same((short.code, short.total), (errno.ENOSPC, 3))
    same(short.ids, [id_of(bench.calls, prog) for prog in progs[:2]])
    same(it.query(4, 1).code, errno.EINVAL)


def check_tcx_link(bench: Bench) -> None:
    """A link tells its device and side; the query tells the link."""
    it, prog = tcx(bench), cls(bench.calls)
    link = it.link(prog)
    told = bench.calls.info(link, TcxLinkInfo)
    same((told.type, told.ifindex, told.attach_type), (LinkType.TCX, it.target, it.type))
    found = it.query(whole=True)
    same((found.ids, found.links), ([id_of(bench.calls, prog)], [link_id(bench.calls, link)]))
    bench.calls.close(link)
    same(it.ids(), [])


def check_tcx_link_is_not_detached_by_program(bench: Bench) -> None:
    """What a link holds is not detached by the program's fd (EBUSY)."""
    it, prog = tcx(bench), cls(bench.calls)
    it.link(prog)
    fails(errno.EBUSY, it.detach, prog)
    fails(errno.EEXIST, it.link, prog)


def check_tcx_link_update(bench: Bench) -> None:
    """A link's program can be replaced, which changes the revision."""
    it = tcx(bench)
    one, two = cls(bench.calls), cls(bench.calls)
    link = it.link(one)
    before = it.query(whole=True).revision
    update(bench.calls, link, two)
    same((it.ids(), it.query(whole=True).revision), ([id_of(bench.calls, two)], before + 1))
    fails(errno.EPERM, update, bench.calls, link, one, REPLACE, one)
    fails(errno.EINVAL, update, bench.calls, link, xdp(bench.calls))


def check_tcx_link_before_a_link(bench: Bench) -> None:
    """A link can be put before another link, by fd or by id."""
    it = tcx(bench)
    one, two, three = (cls(bench.calls) for _ in range(3))
    first = it.link(one)
    it.link(two, BEFORE | LINK, first)
    it.link(three, AFTER | LINK | ID, link_id(bench.calls, first))
    same(it.ids(), [id_of(bench.calls, prog) for prog in (two, one, three)])


def check_tcx_link_detach(bench: Bench) -> None:
    """A link that is detached stays, attached to nothing."""
    it = tcx(bench)
    link = it.link(cls(bench.calls))
    detach_link(bench.calls, link)
    same((bench.calls.info(link, TcxLinkInfo).ifindex, it.ids()), (0, []))
    detach_link(bench.calls, link)
    fails(errno.ENOLINK, update, bench.calls, link, cls(bench.calls))


def check_tcx_device_that_goes(bench: Bench) -> None:
    """When the device goes, its links stay, attached to nothing."""
    it = tcx(bench)
    link = it.link(cls(bench.calls))
    bench.remove_device(it.target)
    same(bench.calls.info(link, TcxLinkInfo).ifindex, 0)
    fails(errno.ENOLINK, update, bench.calls, link, cls(bench.calls))


def check_tcx_link_in_fdinfo(bench: Bench) -> None:
    """fdinfo of a link tells the device and the side."""
    it = tcx(bench, A.TCX_EGRESS)
    told = bench.fdinfo(it.link(cls(bench.calls)))
    same((told["link_type"], told["ifindex"]), ("tcx", str(it.target)))
    same(told["attach_type"], "47 (egress)")


# --- XDP by link


def xdp_link(bench: Bench, device: int, prog: int, flags: int = 0) -> int:
    attr = LinkCreate(prog_fd=prog, target_fd=device, attach_type=A.XDP, flags=flags)
    return bench.calls.link_create(attr)


def shown(bench: Bench, device: int) -> dict[int, bytes]:
    """What the dump of all devices tells about XDP on this one."""
    for message in bench.doors.net.dump(NETLINK_ROUTE, get_links()):
        if IFINFO.unpack_from(message)[2] == device:
            return attributes(attributes(message[IFINFO.size :])[IfLa.XDP])
    raise AssertionError(f"no device {device}")


@cases(driver=(0, 1, IfLaXdp.DRV_PROG_ID), native=(DRV, 1, IfLaXdp.DRV_PROG_ID),
       generic=(SKB, 2, IfLaXdp.SKB_PROG_ID))  # fmt: skip
def check_xdp_link(bench: Bench, flags: int, mode: int, where: int) -> None:
    """An XDP link is told by its info and, by program and mode, by rtnetlink."""
    device, prog = bench.device(), xdp(bench.calls)
    link = xdp_link(bench, device, prog, flags)
    told = bench.calls.info(link, XdpLinkInfo)
    same((told.type, told.ifindex), (LinkType.XDP, device))
    found = shown(bench, device)
    same(found[IfLaXdp.ATTACHED], bytes([mode]))
    id = id_of(bench.calls, prog).to_bytes(4, "little")
    same((found[IfLaXdp.PROG_ID], found[where]), (id, id))
    bench.calls.close(link)
    same(shown(bench, device), {IfLaXdp.ATTACHED: b"\0"})


def check_xdp_is_taken(bench: Bench) -> None:
    """A device has one XDP program in a mode (EBUSY)."""
    device = bench.device()
    xdp_link(bench, device, xdp(bench.calls))
    fails(errno.EBUSY, xdp_link, bench, device, xdp(bench.calls))


def check_xdp_modes_exclude(bench: Bench) -> None:
    """The modes of driver and kernel exclude each other (EEXIST)."""
    device = bench.device()
    xdp_link(bench, device, xdp(bench.calls), DRV)
    fails(errno.EEXIST, xdp_link, bench, device, xdp(bench.calls), SKB)


@cases(two_modes=SKB | DRV, if_noexist=1, replace=16, unknown=32)
def check_xdp_flags(bench: Bench, flags: int) -> None:
    """A link takes one mode and no other flag (EINVAL)."""
    fails(errno.EINVAL, xdp_link, bench, bench.device(), xdp(bench.calls), flags)


def check_xdp_hardware(bench: Bench) -> None:
    """A program that is not made for a device's own processor does not go there (EINVAL)."""
    fails(errno.EINVAL, xdp_link, bench, bench.device(), xdp(bench.calls), HW)


def check_xdp_absent_device(bench: Bench) -> None:
    """A device that is not there is EINVAL, other than for tcx."""
    fails(errno.EINVAL, xdp_link, bench, 999_999, xdp(bench.calls))


@cases(devmap=A.XDP_DEVMAP, cpumap=A.XDP_CPUMAP)
def check_xdp_for_maps(bench: Bench, attach: A) -> None:
    """Programs that were made for maps of devices or CPUs do not go to devices (EINVAL)."""
    fails(errno.EINVAL, xdp_link, bench, bench.device(), xdp(bench.calls, attach))


def check_xdp_update(bench: Bench) -> None:
    """A link's program can be replaced."""
    device = bench.device()
    one, two = xdp(bench.calls), xdp(bench.calls)
    link = xdp_link(bench, device, one)
    update(bench.calls, link, two)
    id = id_of(bench.calls, two).to_bytes(4, "little")
    same(shown(bench, device)[IfLaXdp.PROG_ID], id)
    fails(errno.EPERM, update, bench.calls, link, one, REPLACE, one)
    fails(errno.EINVAL, update, bench.calls, link, cls(bench.calls))


def check_xdp_detach(bench: Bench) -> None:
    """A link that is detached stays, attached to nothing."""
    device = bench.device()
    link = xdp_link(bench, device, xdp(bench.calls))
    detach_link(bench.calls, link)
    same(bench.calls.info(link, XdpLinkInfo).ifindex, 0)
    fails(errno.ENOLINK, update, bench.calls, link, xdp(bench.calls))
    xdp_link(bench, device, xdp(bench.calls))


def check_xdp_device_that_goes(bench: Bench) -> None:
    """When the device goes, its link stays, attached to nothing."""
    device = bench.device()
    link = xdp_link(bench, device, xdp(bench.calls))
    bench.remove_device(device)
    same(bench.calls.info(link, XdpLinkInfo).ifindex, 0)
    fails(errno.ENOLINK, update, bench.calls, link, xdp(bench.calls))


def check_xdp_in_fdinfo(bench: Bench) -> None:
    """fdinfo of a link tells the device."""
    device = bench.device()
    told = bench.fdinfo(xdp_link(bench, device, xdp(bench.calls)))
    same((told["link_type"], told["ifindex"]), ("xdp", str(device)))
