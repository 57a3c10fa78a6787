"""Programs on network namespaces: flow dissectors, socket lookup, netfilter."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import LinkCreate, LinkCreateNetfilter
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import LinkType
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import NetfilterLinkInfo, NetnsLinkInfo
from bpflens.port.calls import Calls
from bpflens.testing.bench import Bench
from bpflens.testing.builders import map, program
from bpflens.testing.conformance.suite import CLOSED, cases, fails, same
from bpflens.testing.hooks import Hook, detach_link, id_of, update

IPV4, IPV6 = 2, 10


def dissector(calls: Calls) -> int:
    return program(calls, type=P.FLOW_DISSECTOR)


def lookup(calls: Calls) -> int:
    return program(calls, "r0 = 1; exit", P.SK_LOOKUP, attach_type=A.SK_LOOKUP)


def netns_link(bench: Bench, prog: int, type: A, target: int | None = None, flags: int = 0) -> int:
    where = bench.netns() if target is None else target
    attr = LinkCreate(prog_fd=prog, target_fd=where, attach_type=type, flags=flags)
    return bench.calls.link_create(attr)


def check_flow_dissector(bench: Bench) -> None:
    """A namespace has one flow dissector; the next one takes its place, not the same again."""
    here = Hook(bench.calls, 0, A.FLOW_DISSECTOR)
    there = Hook(bench.calls, bench.netns(), A.FLOW_DISSECTOR)
    one, two = dissector(bench.calls), dissector(bench.calls)
    here.attach(one)
    same(there.ids(), [id_of(bench.calls, one)])
    here.attach(two)
    same(there.ids(), [id_of(bench.calls, two)])
    fails(errno.EINVAL, here.attach, two)
    fails(errno.ENOENT, here.detach, one)
    here.detach(two)
    same(there.ids(), [])
    fails(errno.ENOENT, here.detach, two)


def check_flow_dissector_arguments(bench: Bench) -> None:
    """It goes to the caller's own namespace: no target, no flags (EINVAL)."""
    prog = dissector(bench.calls)
    fails(errno.EINVAL, Hook(bench.calls, bench.netns(), A.FLOW_DISSECTOR).attach, prog)
    fails(errno.EINVAL, Hook(bench.calls, 0, A.FLOW_DISSECTOR).attach, prog, 1)


def check_flow_dissector_link(bench: Bench) -> None:
    """A link excludes a program without one (EEXIST) and another link (E2BIG)."""
    here = Hook(bench.calls, 0, A.FLOW_DISSECTOR)
    link = netns_link(bench, dissector(bench.calls), A.FLOW_DISSECTOR)
    fails(errno.EEXIST, here.attach, dissector(bench.calls))
    fails(errno.E2BIG, netns_link, bench, dissector(bench.calls), A.FLOW_DISSECTOR)
    bench.calls.close(link)
    prog = dissector(bench.calls)
    here.attach(prog)
    fails(errno.EEXIST, netns_link, bench, dissector(bench.calls), A.FLOW_DISSECTOR)
    here.detach(prog)


def check_socket_lookups(bench: Bench) -> None:
    """There can be many links of socket lookups, in the order in which they came."""
    progs = [lookup(bench.calls) for _ in range(3)]
    links = [netns_link(bench, prog, A.SK_LOOKUP) for prog in progs]
    it = Hook(bench.calls, bench.netns(), A.SK_LOOKUP)
    same(it.ids(), [id_of(bench.calls, prog) for prog in progs])
    bench.calls.close(links[1])
    same(it.ids(), [id_of(bench.calls, progs[at]) for at in (0, 2)])


def check_query(bench: Bench) -> None:
    """A query counts without room, is ENOSPC with too little."""
    for _ in range(3):
        netns_link(bench, lookup(bench.calls), A.SK_LOOKUP)
    it = Hook(bench.calls, bench.netns(), A.SK_LOOKUP)
    same((it.query(0).code, it.query(0).total), (0, 3))
    short = it.query(2)
    same((short.code, short.total, short.flags), (errno.ENOSPC, 3, 0))
    same(it.query(4, 1).code, errno.EINVAL)


def check_query_tells_no_revision(bench: Bench) -> None:
    """Revision and links are not told of namespaces: what the caller had there stays."""
    netns_link(bench, lookup(bench.calls), A.SK_LOOKUP)
    found = Hook(bench.calls, bench.netns(), A.SK_LOOKUP).query(whole=True)
    same((found.revision, found.links), (0xEE, [0xEEEEEEEE]))


def check_link(bench: Bench) -> None:
    """A link tells the namespace and how it is attached."""
    link = netns_link(bench, lookup(bench.calls), A.SK_LOOKUP)
    told = bench.calls.info(link, NetnsLinkInfo)
    same((told.type, told.attach_type), (LinkType.NETNS, A.SK_LOOKUP))
    assert told.netns_ino
    detach_link(bench.calls, link)
    same(bench.calls.info(link, NetnsLinkInfo).netns_ino, 0)
    fails(errno.ENOLINK, update, bench.calls, link, lookup(bench.calls))


def check_link_update(bench: Bench) -> None:
    """A link's program can be replaced."""
    link = netns_link(bench, lookup(bench.calls), A.SK_LOOKUP)
    new = lookup(bench.calls)
    update(bench.calls, link, new)
    same(Hook(bench.calls, bench.netns(), A.SK_LOOKUP).ids(), [id_of(bench.calls, new)])
    fails(errno.EINVAL, update, bench.calls, link, dissector(bench.calls))


def check_what_is_no_namespace(bench: Bench) -> None:
    """A closed fd is EBADF, another file EINVAL; flags are EINVAL."""
    prog = lookup(bench.calls)
    fails(errno.EBADF, netns_link, bench, prog, A.SK_LOOKUP, CLOSED)
    fails(errno.EINVAL, netns_link, bench, prog, A.SK_LOOKUP, bench.plain_file())
    fails(errno.EINVAL, netns_link, bench, prog, A.SK_LOOKUP, map(bench.calls))
    fails(errno.EINVAL, netns_link, bench, prog, A.SK_LOOKUP, None, 1)


def check_socket_lookup_without_a_link(bench: Bench) -> None:
    """A socket lookup is attached by link only (EINVAL)."""
    it = Hook(bench.calls, bench.netns(), A.SK_LOOKUP)
    fails(errno.EINVAL, it.attach, lookup(bench.calls))


# --- netfilter


def filter_link(bench: Bench, pf: int = IPV4, hook: int = 0, priority: int = -128, **f: int) -> int:
    prog = program(bench.calls, "r0 = 1; exit", P.NETFILTER, attach_type=A.NETFILTER)
    attr = LinkCreateNetfilter(
        prog_fd=prog, attach_type=A.NETFILTER, pf=pf, hooknum=hook, priority=priority, **f
    )
    return bench.calls.link_create(attr)


@cases(ipv4=IPV4)
def check_netfilter(bench: Bench, pf: int) -> None:
    """A netfilter program is attached to a hook of a protocol, with a priority."""
    link = filter_link(bench, pf, 1, -7)
    told = bench.calls.info(link, NetfilterLinkInfo)
    same((told.type, told.pf, told.hooknum), (LinkType.NETFILTER, pf, 1))
    same((told.priority, told.flags), (-7, 0))


@cases(
    protocol=({"pf": 5}, errno.EAFNOSUPPORT), hook=({"hook": 5}, errno.EPROTO),
    flags=({"flags": 1}, errno.EINVAL), netfilter_flags=({"netfilter_flags": 2}, errno.EOPNOTSUPP),
    lowest=({"priority": -(1 << 31)}, errno.ERANGE),
    highest=({"priority": (1 << 31) - 1}, errno.ERANGE),
)  # fmt: skip
def check_netfilter_arguments(bench: Bench, wrong: dict[str, int], code: int) -> None:
    """Protocols, hooks, flags and priorities that there are not."""
    fails(code, filter_link, bench, **wrong)


def check_netfilter_priority_is_taken(bench: Bench) -> None:
    """A hook has one program of a priority (EBUSY)."""
    link = filter_link(bench)
    fails(errno.EBUSY, filter_link, bench)
    filter_link(bench, priority=-127)
    bench.calls.close(link)
    filter_link(bench)


def check_netfilter_stays_as_it_is(bench: Bench) -> None:
    """Its link cannot be updated (EOPNOTSUPP), but detached."""
    link = filter_link(bench)
    new = program(bench.calls, "r0 = 1; exit", P.NETFILTER, attach_type=A.NETFILTER)
    fails(errno.EOPNOTSUPP, update, bench.calls, link, new)
    detach_link(bench.calls, link)
    filter_link(bench)
