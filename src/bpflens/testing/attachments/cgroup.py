"""Programs at cgroups: every attach type, every mode, any order, with links and without."""

from __future__ import annotations

from functools import partial

from bpflens.abi.attrs import ProgLoad
from bpflens.abi.enums import AttachType, ProgType
from bpflens.btf.types import Func
from bpflens.errors import SyscallError
from bpflens.model.parts import Missing
from bpflens.model.system import System
from bpflens.testing.attachments.suite import Expected, case
from bpflens.testing.bench import Bench, Cgroup, NotOffered
from bpflens.testing.builders import code, load, program
from bpflens.testing.hooks import (
    AFTER,
    BEFORE,
    PREORDER,
    REPLACE,
    Hook,
    detach_link,
    id_of,
    link_id,
    update,
)

OVERRIDE, MULTI = 1, 2

A, P = AttachType, ProgType
TYPES = {
    P.CGROUP_SKB: (A.CGROUP_INET_INGRESS, A.CGROUP_INET_EGRESS),
    P.CGROUP_SOCK: (
        A.CGROUP_INET_SOCK_CREATE, A.CGROUP_INET_SOCK_RELEASE, A.CGROUP_INET4_POST_BIND,
        A.CGROUP_INET6_POST_BIND,
    ),
    P.SOCK_OPS: (A.CGROUP_SOCK_OPS,),
    P.CGROUP_DEVICE: (A.CGROUP_DEVICE,),
    P.CGROUP_SYSCTL: (A.CGROUP_SYSCTL,),
    P.CGROUP_SOCKOPT: (A.CGROUP_GETSOCKOPT, A.CGROUP_SETSOCKOPT),
    P.CGROUP_SOCK_ADDR: (
        A.CGROUP_INET4_BIND, A.CGROUP_INET6_BIND, A.CGROUP_INET4_CONNECT, A.CGROUP_INET6_CONNECT,
        A.CGROUP_UDP4_SENDMSG, A.CGROUP_UDP6_SENDMSG, A.CGROUP_UDP4_RECVMSG, A.CGROUP_UDP6_RECVMSG,
        A.CGROUP_INET4_GETPEERNAME, A.CGROUP_INET6_GETPEERNAME, A.CGROUP_INET4_GETSOCKNAME,
        A.CGROUP_INET6_GETSOCKNAME,
    ),
}  # fmt: skip
"""All but LSM_CGROUP and those of unix sockets."""
UNIX = (
    A.CGROUP_UNIX_CONNECT, A.CGROUP_UNIX_SENDMSG, A.CGROUP_UNIX_RECVMSG, A.CGROUP_UNIX_GETPEERNAME,
    A.CGROUP_UNIX_GETSOCKNAME,
)  # fmt: skip
"""Since: 6.7."""


class Place(Hook):
    """A hook of a cgroup, with programs that fit."""

    def prog(self) -> int:
        """A new program for it that lets everything pass."""
        type = next(
            (type for type, hooks in TYPES.items() if self.type in hooks), P.CGROUP_SOCK_ADDR
        )
        fixed = type not in (P.SOCK_OPS, P.CGROUP_DEVICE, P.CGROUP_SYSCTL)
        return program(self.calls, "r0 = 1; exit", type, attach_type=self.type if fixed else 0)

    def expect(self, cgroup: Cgroup, prog: int, **more: object) -> Expected:
        """What must be told of one of them."""
        found = Expected(id_of(self.calls, prog), cgroup.name, attach_type=self.type.label)
        return found._replace(**more)  # type: ignore[arg-type]


def _place(bench: Bench, cgroup: Cgroup, type: AttachType = A.CGROUP_INET_EGRESS) -> Place:
    return Place(bench.calls, cgroup.fd, type)


def _all(bench: Bench, hooks: list[AttachType], linked: bool) -> list[Expected]:
    cgroup = bench.cgroup()
    wanted = []
    for type in hooks:
        place = _place(bench, cgroup, type)
        prog = place.prog()
        if linked:
            link = link_id(bench.calls, place.link(prog))
            wanted.append(place.expect(cgroup, prog, order=0, flags=["multi"], link_id=link))
        else:
            place.attach(prog)
            wanted.append(place.expect(cgroup, prog, flags=[]))
    return wanted


@case("cgroup", "every attach type")
def every_type(bench: Bench) -> list[Expected]:
    return _all(bench, [hook for hooks in TYPES.values() for hook in hooks], linked=False)


@case("cgroup", "every attach type, by link")
def every_type_by_link(bench: Bench) -> list[Expected]:
    return _all(bench, [hook for hooks in TYPES.values() for hook in hooks], linked=True)


@case("cgroup", "unix sockets")
def unix(bench: Bench) -> list[Expected]:
    try:
        _place(bench, bench.cgroup(), UNIX[0]).prog()
    except SyscallError as error:
        raise NotOffered("this kernel has no such attach types (Linux 6.7)") from error
    return _all(bench, list(UNIX), linked=False)


@case("cgroup", "a hook of the LSM")
def lsm(bench: Bench) -> list[Expected]:
    cgroup, other = bench.cgroup(), bench.cgroup()
    wanted: list[Expected] = []
    for name in ("socket_bind", "socket_create", "socket_bind"):
        prog = _lsm_prog(bench, name)
        try:
            Hook(bench.calls, cgroup.fd, A.LSM_CGROUP).attach(prog, MULTI)
        except SyscallError as error:
            raise NotOffered("this kernel has no LSM programs (CONFIG_BPF_LSM)") from error
        order = len([each for each in wanted if (each.attach_type or "").endswith(name)])
        wanted.append(
            Expected(
                id_of(bench.calls, prog), cgroup.name, order, ["multi"],
                attach_type=f"lsm_cgroup {name}",
            )
        )  # fmt: skip
    prog = _lsm_prog(bench, "socket_listen")
    link = Hook(bench.calls, other.fd, A.LSM_CGROUP).link(prog)
    by_link = Expected(id_of(bench.calls, prog), other.name, 0, link_id=link_id(bench.calls, link))
    return [*wanted, by_link._replace(attach_type="lsm_cgroup socket_listen")]


def _lsm_prog(bench: Bench, hook: str) -> int:
    with System(bench.doors) as system:
        types = system.kernel_types()
    function = None if isinstance(types, Missing) else types.find(f"bpf_lsm_{hook}", Func)
    if function is None:
        raise NotOffered("this kernel has no hooks of the LSM for programs (CONFIG_BPF_LSM)")
    attr = ProgLoad(prog_type=P.LSM, expected_attach_type=A.LSM_CGROUP, attach_btf_id=function.id)
    try:
        return load(bench.calls, attr, code("r0 = 1; exit"))
    except SyscallError as error:
        raise NotOffered("this kernel loads no LSM programs (CONFIG_BPF_LSM)") from error


@case("cgroup", "alone, and in place of another")
def alone(bench: Bench) -> Expected:
    cgroup = bench.cgroup()
    place = _place(bench, cgroup)
    place.attach(place.prog())
    second = place.prog()
    place.attach(second)
    return place.expect(cgroup, second, flags=[])


@case("cgroup", "may be overridden below")
def override(bench: Bench) -> list[Expected]:
    above = bench.cgroup()
    below = bench.cgroup(above)
    first, second = _place(bench, above), _place(bench, below)
    progs = first.prog(), second.prog()
    first.attach(progs[0], OVERRIDE)
    second.attach(progs[1], OVERRIDE)
    return [
        first.expect(above, progs[0], flags=["override"]),
        second.expect(below, progs[1], flags=["override"]),
    ]


@case("cgroup", "several, with and without links")
def several(bench: Bench) -> list[Expected]:
    cgroup = bench.cgroup()
    place = _place(bench, cgroup)
    first, second = place.prog(), place.prog()
    place.attach(first, MULTI)
    links = [place.link(second), place.link(second), place.link(first)]
    place.attach(second, MULTI)
    held = [link_id(bench.calls, link) for link in links]
    expect = partial(place.expect, cgroup, flags=["multi"])
    return [
        expect(first, order=0),
        expect(second, order=1, link_id=held[0]),
        expect(second, order=2, link_id=held[1]),
        expect(first, order=3, link_id=held[2]),
        expect(second, order=4),
    ]


@case("cgroup", "one replaced, one link with another program")
def replaced(bench: Bench) -> list[Expected]:
    cgroup = bench.cgroup()
    place = _place(bench, cgroup)
    first, second, third, fourth = (place.prog() for _ in range(4))
    place.attach(first, MULTI)
    link = place.link(second)
    place.attach(third, MULTI | REPLACE, replace_bpf_fd=first)
    update(bench.calls, link, fourth)
    return [
        place.expect(cgroup, third, order=0),
        place.expect(cgroup, fourth, order=1, link_id=link_id(bench.calls, link)),
    ]


@case("cgroup", "before and after others")
def ordered(bench: Bench) -> list[Expected]:
    cgroup = bench.cgroup()
    place = _place(bench, cgroup)
    progs = [place.prog() for _ in range(4)]
    place.attach(progs[0], MULTI)
    _since_order(lambda: place.attach(progs[1], MULTI | BEFORE, relative_fd=progs[0]))
    place.attach(progs[2], MULTI | AFTER, relative_fd=progs[1])
    link = place.link(progs[3], BEFORE)
    order = [progs[3], progs[1], progs[2], progs[0]]
    wanted = [place.expect(cgroup, prog, order=turn) for turn, prog in enumerate(order)]
    return [wanted[0]._replace(link_id=link_id(bench.calls, link)), *wanted[1:]]


@case("cgroup", "some before the cgroups above (BPF_F_PREORDER)")
def preorder(bench: Bench) -> list[Expected]:
    above = bench.cgroup()
    cgroup = bench.cgroup(above)
    higher, place = _place(bench, above), _place(bench, cgroup)
    upper = [higher.prog() for _ in range(2)]
    higher.attach(upper[0], MULTI)
    _since_order(lambda: higher.attach(upper[1], MULTI | PREORDER))
    progs = [place.prog() for _ in range(4)]
    for at, prog in enumerate(progs):
        place.attach(prog, MULTI | (PREORDER if at in (1, 3) else 0))
    order = [progs[1], progs[3], progs[0], progs[2]]
    return [
        higher.expect(above, upper[1], order=0),
        higher.expect(above, upper[0], order=1),
        *(place.expect(cgroup, prog, order=turn) for turn, prog in enumerate(order)),
    ]


def _since_order(attach: object) -> None:
    assert callable(attach)
    try:
        attach()
    except SyscallError as error:
        raise NotOffered(
            "this kernel cannot order the programs of a cgroup (Linux 6.16)"
        ) from error


@case("cgroup", "the same program at many cgroups")
def nested(bench: Bench) -> list[Expected]:
    made = [bench.cgroup()]
    for _ in range(4):
        made.append(bench.cgroup(made[-1]))
    prog = _place(bench, made[0]).prog()
    for cgroup in made:
        _place(bench, cgroup).attach(prog, MULTI)
    return [_place(bench, cgroup).expect(cgroup, prog, order=0) for cgroup in made]


@case("cgroup", "a link that was detached is none")
def detached(bench: Bench) -> Expected:
    cgroup, gone = bench.cgroup(), bench.cgroup()
    place = _place(bench, cgroup)
    prog = place.prog()
    detach_link(bench.calls, place.link(prog))
    _place(bench, gone).link(prog)
    bench.remove_cgroup(gone)
    place.attach(prog)
    return place.expect(cgroup, prog, flags=[])
