"""Links of programs to cgroups."""

from __future__ import annotations

import errno

from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import LinkType
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import CgroupLinkInfo, ProgInfo
from bpflens.testing.bench import Bench, eventually
from bpflens.testing.builders import program
from bpflens.testing.conformance.cgroups import MULTI, OVERRIDE, hook, skb
from bpflens.testing.conformance.suite import cases, fails, same
from bpflens.testing.hooks import BEFORE, LINK, REPLACE, Hook, detach_link, id_of, link_id, update


def check_tells_where(bench: Bench) -> None:
    """A link tells its cgroup and how it is attached; the mode is MULTI."""
    group = bench.cgroup()
    it, prog = Hook(bench.calls, group.fd, A.CGROUP_INET_INGRESS), skb(bench.calls)
    link = it.link(prog)
    told = bench.calls.info(link, CgroupLinkInfo)
    same((told.type, told.cgroup_id, told.attach_type), (LinkType.CGROUP, group.id, it.type))
    same((it.query().flags, it.ids()), (MULTI, [id_of(bench.calls, prog)]))
    bench.calls.close(link)
    same(it.ids(), [])


def check_repeats(bench: Bench) -> None:
    """The same program can be linked twice."""
    it, prog = hook(bench), skb(bench.calls)
    it.link(prog)
    it.link(prog)
    same(it.ids(), [id_of(bench.calls, prog)] * 2)


def check_is_not_detached_by_program(bench: Bench) -> None:
    """What a link holds is not detached by the program's fd (ENOENT)."""
    it, prog = hook(bench), skb(bench.calls)
    it.link(prog)
    fails(errno.ENOENT, it.detach, prog)


def check_update(bench: Bench) -> None:
    """A link's program can be replaced, if it is the one that was expected (EPERM)."""
    it = hook(bench)
    one, two = skb(bench.calls), skb(bench.calls)
    link = it.link(one)
    update(bench.calls, link, two)
    same(it.ids(), [id_of(bench.calls, two)])
    fails(errno.EPERM, update, bench.calls, link, one, REPLACE, one)
    update(bench.calls, link, one, REPLACE, two)
    same(it.ids(), [id_of(bench.calls, one)])
    update(bench.calls, link, one)


def check_update_of_another_type(bench: Bench) -> None:
    """The new program must be of the same type (EINVAL)."""
    link = hook(bench).link(skb(bench.calls))
    fails(errno.EINVAL, update, bench.calls, link, program(bench.calls, type=P.XDP))


def check_detach(bench: Bench) -> None:
    """A link that is detached stays, attached to nothing; once more does no harm."""
    it = hook(bench)
    prog = skb(bench.calls)
    link = it.link(prog)
    detach_link(bench.calls, link)
    same(it.ids(), [])
    told = bench.calls.info(link, CgroupLinkInfo)
    same((told.cgroup_id, told.prog_id), (0, bench.calls.info(prog, ProgInfo).id))
    detach_link(bench.calls, link)
    fails(errno.ENOLINK, update, bench.calls, link, skb(bench.calls))


@cases(override=OVERRIDE, multi=MULTI, replace=REPLACE, unknown=128)
def check_flags(bench: Bench, flags: int) -> None:
    """A link takes no modes (EINVAL)."""
    fails(errno.EINVAL, hook(bench).link, skb(bench.calls), flags)


def check_beside_a_single(bench: Bench) -> None:
    """Beside a program that is alone there can be no link (EPERM)."""
    it = hook(bench)
    it.attach(skb(bench.calls))
    fails(errno.EPERM, it.link, skb(bench.calls))


def check_before_a_link(bench: Bench) -> None:
    """A link can be put before another link."""
    it = hook(bench)
    one, two = skb(bench.calls), skb(bench.calls)
    first = it.link(one)
    it.link(two, BEFORE | LINK, first)
    same(it.ids(), [id_of(bench.calls, prog) for prog in (two, one)])
    assert link_id(bench.calls, first)


def check_cgroup_that_goes(bench: Bench) -> None:
    """When the cgroup is removed, its links stay, attached to nothing (ENOLINK)."""
    group = bench.cgroup()
    it = Hook(bench.calls, group.fd, A.CGROUP_INET_INGRESS)
    link = it.link(skb(bench.calls))
    bench.remove_cgroup(group)
    eventually(
        lambda: bench.calls.info(link, CgroupLinkInfo).cgroup_id == 0, "the link was detached"
    )
    fails(errno.ENOLINK, update, bench.calls, link, skb(bench.calls))


def check_in_fdinfo(bench: Bench) -> None:
    """fdinfo of a link tells the cgroup and how it is attached."""
    group = bench.cgroup()
    link = Hook(bench.calls, group.fd, A.CGROUP_INET_EGRESS).link(skb(bench.calls))
    told = bench.fdinfo(link)
    same(
        (told["link_type"], told["cgroup_id"], told["attach_type"]),
        ("cgroup", str(group.id), "1"),
    )
