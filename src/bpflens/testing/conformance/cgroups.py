"""Programs on cgroups: modes, order, links, queries, inheritance."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import ProgQuery
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd, MapType
from bpflens.abi.enums import ProgType as P
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import Bench, Cgroup
from bpflens.testing.builders import map, program, u32
from bpflens.testing.conformance.suite import CLOSED, cases, fails, same
from bpflens.testing.hooks import (
    AFTER,
    BEFORE,
    ID,
    PREORDER,
    REPLACE,
    Hook,
    id_of,
)

OVERRIDE, MULTI, EFFECTIVE = 1, 2, 1
PASS = "r0 = 1; exit"


def skb(calls: Calls) -> int:
    """A program for packets that come in."""
    return program(calls, PASS, P.CGROUP_SKB)


def hook(bench: Bench, parent: Cgroup | None = None) -> Hook:
    """The ingress of a new cgroup."""
    return Hook(bench.calls, bench.cgroup(parent).fd, A.CGROUP_INET_INGRESS)


HOOKS: dict[str, tuple[P, int]] = {
    "inet_egress": (P.CGROUP_SKB, A.CGROUP_INET_EGRESS),
    "sock_create": (P.CGROUP_SOCK, A.CGROUP_INET_SOCK_CREATE),
    "sock_release": (P.CGROUP_SOCK, A.CGROUP_INET_SOCK_RELEASE),
    "post_bind": (P.CGROUP_SOCK, A.CGROUP_INET4_POST_BIND),
    "sock_ops": (P.SOCK_OPS, A.CGROUP_SOCK_OPS),
    "device": (P.CGROUP_DEVICE, A.CGROUP_DEVICE),
    "bind4": (P.CGROUP_SOCK_ADDR, A.CGROUP_INET4_BIND),
    "connect6": (P.CGROUP_SOCK_ADDR, A.CGROUP_INET6_CONNECT),
    "sendmsg4": (P.CGROUP_SOCK_ADDR, A.CGROUP_UDP4_SENDMSG),
    "getpeername": (P.CGROUP_SOCK_ADDR, A.CGROUP_INET4_GETPEERNAME),
    "unix_connect": (P.CGROUP_SOCK_ADDR, A.CGROUP_UNIX_CONNECT),
    "sysctl": (P.CGROUP_SYSCTL, A.CGROUP_SYSCTL),
    "getsockopt": (P.CGROUP_SOCKOPT, A.CGROUP_GETSOCKOPT),
    "setsockopt": (P.CGROUP_SOCKOPT, A.CGROUP_SETSOCKOPT),
}


@cases(**HOOKS)
def check_hook(bench: Bench, type: P, attach: A) -> None:
    """A program can be attached to each hook of a cgroup, and is what the query tells."""
    it = Hook(bench.calls, bench.cgroup().fd, attach)
    prog = program(bench.calls, PASS, type, attach_type=attach)
    it.attach(prog)
    same(it.ids(), [id_of(bench.calls, prog)])
    it.detach(prog)
    same(it.ids(), [])


def check_empty(bench: Bench) -> None:
    """A cgroup starts with nothing attached."""
    found = hook(bench).query()
    same((found.code, found.total, found.flags), (0, 0, 0))


@cases(none=0, override=OVERRIDE, multi=MULTI)
def check_mode_is_told(bench: Bench, mode: int) -> None:
    """The query tells in which mode programs were attached."""
    it = hook(bench)
    it.attach(skb(bench.calls), mode)
    same(it.query().flags, mode)


@cases(none=0, override=OVERRIDE)
def check_single_is_replaced(bench: Bench, mode: int) -> None:
    """Without MULTI there is one program: the next one takes its place."""
    it = hook(bench)
    it.attach(skb(bench.calls), mode)
    second = skb(bench.calls)
    it.attach(second, mode)
    same(it.ids(), [id_of(bench.calls, second)])
    it.attach(second, mode)
    same(it.ids(), [id_of(bench.calls, second)])


def check_single_is_detached_by_any_fd(bench: Bench) -> None:
    """Without MULTI the program to detach need not be named, or may be another."""
    it = hook(bench)
    for fd in (0, CLOSED, skb(bench.calls)):
        it.attach(skb(bench.calls))
        it.detach(fd)
        same(it.ids(), [])
    fails(errno.ENOENT, it.detach)


def check_multi_keeps_the_order(bench: Bench) -> None:
    """With MULTI there are several, in the order in which they came."""
    it = hook(bench)
    progs = [skb(bench.calls) for _ in range(4)]
    for prog in progs:
        it.attach(prog, MULTI)
    same(it.ids(), [id_of(bench.calls, prog) for prog in progs])
    it.detach(progs[1])
    same(it.ids(), [id_of(bench.calls, progs[at]) for at in (0, 2, 3)])


def check_multi_takes_each_once(bench: Bench) -> None:
    """The same program twice is EINVAL."""
    it, prog = hook(bench), skb(bench.calls)
    it.attach(prog, MULTI)
    fails(errno.EINVAL, it.attach, prog, MULTI)


def check_multi_names_what_to_detach(bench: Bench) -> None:
    """With MULTI the program to detach is named: none EINVAL, another ENOENT."""
    it = hook(bench)
    it.attach(skb(bench.calls), MULTI)
    fails(errno.EINVAL, it.detach, 0)
    fails(errno.EINVAL, it.detach, CLOSED)
    fails(errno.ENOENT, it.detach, skb(bench.calls))


def check_multi_is_full(bench: Bench) -> None:
    """64 programs are at one hook of a cgroup; the next is E2BIG."""
    it = hook(bench)
    for _ in range(64):
        it.attach(skb(bench.calls), MULTI)
    fails(errno.E2BIG, it.attach, skb(bench.calls), MULTI)


@cases(none_multi=(0, MULTI), multi_override=(MULTI, OVERRIDE), override_none=(OVERRIDE, 0))
def check_modes_do_not_mix(bench: Bench, first: int, second: int) -> None:
    """While something is attached, its mode is the one to use (EPERM)."""
    it = hook(bench)
    it.attach(skb(bench.calls), first)
    fails(errno.EPERM, it.attach, skb(bench.calls), second)


def check_mode_is_forgotten(bench: Bench) -> None:
    """When the last program went, any mode will do."""
    it, prog = hook(bench), skb(bench.calls)
    it.attach(prog, MULTI)
    it.detach(prog)
    same(it.query().flags, 0)
    it.attach(prog, OVERRIDE)


@cases(both=OVERRIDE | MULTI, unknown=128, replace_alone=REPLACE)
def check_flags(bench: Bench, flags: int) -> None:
    """Modes exclude each other, REPLACE is for MULTI, other flags are unknown (EINVAL)."""
    fails(errno.EINVAL, hook(bench).attach, skb(bench.calls), flags)


def check_replace(bench: Bench) -> None:
    """REPLACE puts a program in the place of another, which must be there (ENOENT)."""
    it = hook(bench)
    one, two, new = (skb(bench.calls) for _ in range(3))
    it.attach(one, MULTI)
    it.attach(two, MULTI)
    it.attach(new, MULTI | REPLACE, replace_bpf_fd=one)
    same(it.ids(), [id_of(bench.calls, new), id_of(bench.calls, two)])
    fails(errno.ENOENT, it.attach, skb(bench.calls), MULTI | REPLACE, replace_bpf_fd=one)


def check_replace_needs_a_program(bench: Bench) -> None:
    """What is to be replaced is named by a program's fd: closed EBADF, another kind EINVAL."""
    it, new = hook(bench), skb(bench.calls)
    it.attach(skb(bench.calls), MULTI)
    fails(errno.EBADF, it.attach, new, MULTI | REPLACE, replace_bpf_fd=CLOSED)
    fails(errno.EINVAL, it.attach, new, MULTI | REPLACE, replace_bpf_fd=map(bench.calls))


@cases(
    xdp=(P.XDP, 0, errno.EINVAL), egress_only=(P.CGROUP_SKB, A.CGROUP_INET_EGRESS, 0),
    sock=(P.CGROUP_SOCK, A.CGROUP_INET_SOCK_CREATE, errno.EINVAL),
)  # fmt: skip
def check_program_that_does_not_fit(bench: Bench, type: P, attach: int, code: int) -> None:
    """The program must be for that hook (EINVAL); cgroup_skb looks at it only if enforced."""
    prog = program(bench.calls, PASS, type, attach_type=attach)
    if code:
        fails(code, hook(bench).attach, prog)
    else:
        hook(bench).attach(prog)


def check_attach_type_of_addresses(bench: Bench) -> None:
    """A program for addresses goes only where it was loaded for (EINVAL)."""
    prog = program(bench.calls, PASS, P.CGROUP_SOCK_ADDR, attach_type=A.CGROUP_INET4_BIND)
    it = Hook(bench.calls, bench.cgroup().fd, A.CGROUP_INET6_BIND)
    fails(errno.EINVAL, it.attach, prog)


def check_what_is_no_cgroup(bench: Bench) -> None:
    """A closed fd or another file is no cgroup (EBADF), to attach, detach and query."""
    prog = skb(bench.calls)
    for target in (CLOSED, bench.plain_file(), map(bench.calls)):
        it = Hook(bench.calls, target, A.CGROUP_INET_INGRESS)
        fails(errno.EBADF, it.attach, prog)
        fails(errno.EBADF, it.detach, prog)
        same(it.query().code, errno.EBADF)


# --- queries


def check_query_counts(bench: Bench) -> None:
    """Without room the query only counts; with too little it is ENOSPC with what fits."""
    it = hook(bench)
    progs = [skb(bench.calls) for _ in range(3)]
    for prog in progs:
        it.attach(prog, MULTI)
    ids = [id_of(bench.calls, prog) for prog in progs]
    same((it.query(0).code, it.query(0).total), (0, 3))
    short = it.query(2)
    same((short.code, short.total, short.ids), (errno.ENOSPC, 3, ids[:2]))


def check_query_flags(bench: Bench) -> None:
    """EFFECTIVE is the only flag of a query (EINVAL)."""
    it = hook(bench)
    for flags in (2, 3, 1 << 31):
        same(it.query(4, flags).code, errno.EINVAL)


def check_query_tells_each_mode(bench: Bench) -> None:
    """The flags of each program can be asked for, but not of those in effect (EINVAL)."""
    it = hook(bench)
    it.attach(skb(bench.calls), MULTI)
    mem = Memory()
    each = bytearray(8)
    attr = ProgQuery(target_fd=it.target, prog_cnt=2, prog_ids=mem.pin(bytearray(8)))
    attr.prog_attach_flags = mem.pin(each)
    bench.calls.call(Cmd.PROG_QUERY, attr, mem)
    same(bytes(each), b"\2" + bytes(7))
    attr.query_flags, attr.prog_cnt = EFFECTIVE, 2
    fails(errno.EINVAL, bench.calls.call, Cmd.PROG_QUERY, attr, mem)


def check_revision(bench: Bench) -> None:
    """The revision goes up with each change."""
    it = hook(bench)
    one, two = skb(bench.calls), skb(bench.calls)
    seen = [it.query(whole=True).revision]
    for prog in (one, two):
        it.attach(prog, MULTI)
        seen.append(it.query(whole=True).revision)
    for prog in (one, two):
        it.detach(prog)
        seen.append(it.query(whole=True).revision)
    same(seen, [1, 2, 3, 4, 5])


def check_revision_of_those_in_effect(bench: Bench) -> None:
    """Of the programs in effect the revision told is 0."""
    it = hook(bench)
    it.attach(skb(bench.calls), MULTI)
    same(it.query(8, EFFECTIVE, whole=True).revision, 0)


def check_expected_revision(bench: Bench) -> None:
    """A change that expects another revision is ESTALE."""
    it = hook(bench)
    fails(errno.ESTALE, it.attach, skb(bench.calls), MULTI, expected_revision=7)
    it.attach(skb(bench.calls), MULTI, expected_revision=1)
    same(it.query(whole=True).revision, 2)


# --- order


def check_before_and_after(bench: Bench) -> None:
    """A program can be put before or after another."""
    it = hook(bench)
    one, two, three, four = (skb(bench.calls) for _ in range(4))
    it.attach(one, MULTI)
    it.attach(two, MULTI | BEFORE, relative_fd=one)
    it.attach(three, MULTI | AFTER | ID, relative_fd=id_of(bench.calls, two))
    it.attach(four, MULTI | BEFORE)
    same(it.ids(), [id_of(bench.calls, prog) for prog in (four, two, three, one)])


def check_relative_to_nothing(bench: Bench) -> None:
    """What it is to be put beside must be attached (ENOENT)."""
    it = hook(bench)
    it.attach(skb(bench.calls), MULTI)
    fails(errno.ENOENT, it.attach, skb(bench.calls), MULTI | BEFORE, relative_fd=skb(bench.calls))


def check_inherited(bench: Bench) -> None:
    """In effect are a cgroup's own programs first, then those of the cgroups above."""
    top = bench.cgroup()
    above, below = (
        Hook(bench.calls, group.fd, A.CGROUP_INET_INGRESS) for group in (top, bench.cgroup(top))
    )
    one, two = skb(bench.calls), skb(bench.calls)
    above.attach(one, MULTI)
    below.attach(two, MULTI)
    same(below.ids(), [id_of(bench.calls, two)])
    same(below.ids(EFFECTIVE), [id_of(bench.calls, prog) for prog in (two, one)])
    same(below.query(8, EFFECTIVE).flags, 0)


def check_preorder(bench: Bench) -> None:
    """PREORDER programs run first, those of the cgroups above before those below."""
    top = bench.cgroup()
    above, below = (
        Hook(bench.calls, group.fd, A.CGROUP_INET_INGRESS) for group in (top, bench.cgroup(top))
    )
    a, b, c, d = (skb(bench.calls) for _ in range(4))
    above.attach(a, MULTI)
    above.attach(b, MULTI | PREORDER)
    below.attach(c, MULTI)
    below.attach(d, MULTI | PREORDER)
    same(below.ids(EFFECTIVE), [id_of(bench.calls, prog) for prog in (b, d, c, a)])
    same(below.ids(), [id_of(bench.calls, prog) for prog in (c, d)])


def check_none_forbids_below(bench: Bench) -> None:
    """Under a program without OVERRIDE or MULTI no other can be attached (EPERM)."""
    top = bench.cgroup()
    above = Hook(bench.calls, top.fd, A.CGROUP_INET_INGRESS)
    above.attach(skb(bench.calls))
    below = hook(bench, top)
    for mode in (0, OVERRIDE, MULTI):
        fails(errno.EPERM, below.attach, skb(bench.calls), mode)


def check_override(bench: Bench) -> None:
    """With OVERRIDE the program below is in effect instead of the one above."""
    top = bench.cgroup()
    above = Hook(bench.calls, top.fd, A.CGROUP_INET_INGRESS)
    below = hook(bench, top)
    one, two = skb(bench.calls), skb(bench.calls)
    above.attach(one, OVERRIDE)
    same(below.ids(EFFECTIVE), [id_of(bench.calls, one)])
    below.attach(two, OVERRIDE)
    same(below.ids(EFFECTIVE), [id_of(bench.calls, two)])


def check_cgroup_that_is_gone(bench: Bench) -> None:
    """To a cgroup that was removed nothing is attached, though its folder is open (ENOENT)."""
    cgroup = bench.cgroup()
    it = Hook(bench.calls, cgroup.fd, A.CGROUP_INET_INGRESS)
    prog = skb(bench.calls)
    bench.remove_cgroup(cgroup)
    fails(errno.ENOENT, it.attach, prog)
    fails(errno.ENOENT, it.link, prog)
    fails(errno.ENOENT, it.detach, prog)
    same(it.query().code, errno.ENOENT)
    array = map(bench.calls, MapType.CGROUP_ARRAY)
    fails(errno.ENOENT, bench.calls.map_update, array, bytes(4), u32(cgroup.fd))
