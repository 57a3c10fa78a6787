"""Programs at network namespaces: flow_dissector, sk_lookup, netfilter."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bpflens.abi.attrs import LinkCreateNetfilter
from bpflens.abi.enums import AttachType, LinkType, ProgType
from bpflens.abi.netlink import (
    HOOK_BPF_ID,
    HOOK_TYPE_BPF,
    NFGENMSG,
    HookAttr,
    HookInfo,
)
from bpflens.engine.call import err
from bpflens.engine.creds import Cap
from bpflens.engine.links.base import Link, finish, maker
from bpflens.engine.links.prog_attach import Hook, hook, prog_of_type
from bpflens.engine.links.query import answer
from bpflens.engine.net import NetNs
from bpflens.engine.netlink import nla, parse

if TYPE_CHECKING:
    from bpflens.abi.attrs import LinkCreate, ProgAttach, ProgQuery
    from bpflens.engine.call import Call
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.tasks import Task

_FIELDS = struct.Struct("=II")
_BE32 = struct.Struct(">i")
_NF_FIELDS = struct.Struct("=IIiI")
_LIMITS = {AttachType.FLOW_DISSECTOR: 1, AttachType.SK_LOOKUP: 64}
"""How many links a namespace takes."""


class NetnsLink(Link):
    """A program at a network namespace."""

    __slots__ = ("netns",)

    type = LinkType.NETNS
    netns: NetNs | None

    def release(self) -> None:
        if self.netns:
            self.netns.hooks[self.attach_type].remove(self)
            self.netns = None

    def netns_gone(self) -> None:
        """bpf_netns_link_auto_detach()."""
        self.netns = None

    def detach(self) -> None:
        self.release()

    def update(self, call: Call, new: Prog, old: Prog | None) -> None:
        """bpf_netns_link_update_prog()."""
        if old and old is not self.prog:
            raise err(errno.EPERM)
        if self.prog and new.type != self.prog.type:
            raise err(errno.EINVAL)
        if not self.netns:
            raise err(errno.ENOLINK)
        self.replace(new)

    def fields(self, call: Call, data: bytearray) -> None:
        _FIELDS.pack_into(data, 16, self.netns.inode if self.netns else 0, self.attach_type)

    def lines(self) -> str:
        inode = self.netns.inode if self.netns else 0
        return f"netns_ino:\t{inode}\nattach_type:\t{self.attach_type}\n"


def _links(netns: NetNs, attach: int) -> list[NetnsLink]:
    return [one for one in netns.hooks.get(attach, []) if isinstance(one, NetnsLink)]


@maker(ProgType.FLOW_DISSECTOR, ProgType.SK_LOOKUP)
def link(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """netns_bpf_link_create()."""
    if attr.flags:
        raise err(errno.EINVAL)
    netns = call.task.files.get(attr.target_fd, NetNs)
    made = NetnsLink(call.engine, call.task.creds, prog, attr.attach_type)
    made.netns = None

    def attach() -> None:
        there = netns.hooks.setdefault(attr.attach_type, [])
        links = _links(netns, attr.attach_type)
        if len(links) >= _LIMITS[AttachType(attr.attach_type)]:
            raise err(errno.E2BIG)
        if len(there) > len(links):
            raise err(errno.EEXIST)  # a program without a link is there
        there.append(made)
        made.netns = netns

    return finish(call, made, attach)


@hook(AttachType.FLOW_DISSECTOR, AttachType.SK_LOOKUP)
class Netns(Hook):
    """PROG_ATTACH, PROG_DETACH and PROG_QUERY on a network namespace."""

    def attach(self, call: Call, attr: ProgAttach, prog: Prog) -> None:
        """netns_bpf_prog_attach()."""
        if attr.attach_type != AttachType.FLOW_DISSECTOR:
            raise err(errno.EINVAL)
        if attr.target_fd or attr.attach_flags or attr.replace_bpf_fd:
            raise err(errno.EINVAL)
        there = call.task.netns.hooks.setdefault(attr.attach_type, [])
        if _links(call.task.netns, attr.attach_type):
            raise err(errno.EEXIST)
        if there and there[0] is prog:
            raise err(errno.EINVAL)
        prog.hold()
        if there:
            there.pop().drop()
        there.append(prog)

    def detach(self, call: Call, attr: ProgAttach, prog: Prog | None) -> None:
        """netns_bpf_prog_detach()."""
        if attr.attach_type != AttachType.FLOW_DISSECTOR or attr.target_fd:
            raise err(errno.EINVAL)
        found = prog_of_type(call, attr.attach_bpf_fd, ProgType.FLOW_DISSECTOR)
        netns = call.task.netns
        if _links(netns, attr.attach_type):
            raise err(errno.EINVAL)
        there = netns.hooks.get(attr.attach_type, [])
        if not there or there[0] is not found:
            raise err(errno.ENOENT)
        there.pop().drop()

    def query(self, call: Call, attr: ProgQuery) -> None:
        """netns_bpf_prog_query()."""
        if attr.query_flags:
            raise err(errno.EINVAL)
        netns = call.task.files.get(attr.target_fd, NetNs)
        there = netns.hooks.get(attr.attach_type, [])
        ids = [one.prog.id if isinstance(one, NetnsLink) and one.prog else one.id for one in there]
        call.put_u32(12, 0)
        call.put_u32(24, len(ids))
        answer(call, attr, [(attr.prog_ids, ids)])


class NetfilterLink(Link):
    """A program on a netfilter hook (nf_bpf_link.c)."""

    __slots__ = ("netns", "place")

    type = LinkType.NETFILTER
    netns: NetNs | None
    place: tuple[int, int, int, int]

    def release(self) -> None:
        if self.netns:
            self.netns.filters.remove(self)
            self.netns.drop()
            self.netns = None

    def detach(self) -> None:
        self.release()

    def update(self, call: Call, new: Prog, old: Prog | None) -> None:
        raise err(errno.EOPNOTSUPP)

    def fields(self, call: Call, data: bytearray) -> None:
        _NF_FIELDS.pack_into(data, 16, *self.place)

    def lines(self) -> str:
        family, number, priority, _flags = self.place
        return f"pf:\t{family}\thooknum:\t{number}\tprio:\t{priority}\n"


_FAMILIES = (2, 10)
_HOOKS = 5
_FIRST, _LAST = -(1 << 31), (1 << 31) - 1


def hooks(task: Task, body: bytes) -> list[bytes]:
    """nfnl_hook_dump(): what is at one hook, by priority. Since: 6.4 (programs)."""
    if task.engine.release.prog_types <= ProgType.NETFILTER:
        raise err(errno.EINVAL)  # nfnetlink_hook is not built
    task.require(Cap.NET_ADMIN)
    (family, _version, _resource), told = parse(NFGENMSG, body)
    wanted = family, int.from_bytes(told.get(HookAttr.HOOKNUM, b""), "big")
    found = [one for one in task.netns.filters if one.place[:2] == wanted]
    return [
        NFGENMSG.pack(family, 0, 0)
        + nla(HookAttr.HOOKNUM, _BE32.pack(wanted[1]))
        + nla(HookAttr.PRIORITY, _BE32.pack(one.place[2]))
        + nla(
            HookAttr.CHAIN_INFO,
            nla(HookInfo.TYPE, _BE32.pack(HOOK_TYPE_BPF))
            + nla(HookInfo.DESC, nla(HOOK_BPF_ID, _BE32.pack(one.prog.id))),
        )
        for one in sorted(found, key=lambda one: one.place[2])
    ]


@maker(ProgType.NETFILTER)
def netfilter(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """bpf_nf_link_attach()."""
    if attr.flags:
        raise err(errno.EINVAL)
    more = LinkCreateNetfilter.decode(call.raw)
    # bpf_nf_check_pf_and_hooks()
    if more.pf not in _FAMILIES:
        raise err(errno.EAFNOSUPPORT)
    if more.hooknum >= _HOOKS:
        raise err(errno.EPROTO)
    if more.netfilter_flags:
        raise err(errno.EOPNOTSUPP)  # no defragmentation here
    if more.priority in (_FIRST, _LAST):
        raise err(errno.ERANGE)
    made = NetfilterLink(call.engine, call.task.creds, prog, attr.attach_type)
    made.place = (more.pf, more.hooknum, more.priority, more.netfilter_flags)
    made.netns = None
    netns = call.task.netns

    def attach() -> None:
        if any(other.place[:3] == made.place[:3] for other in netns.filters):
            raise err(errno.EBUSY)
        netns.filters.append(made)
        netns.hold()
        made.netns = netns

    return finish(call, made, attach)
