"""Traffic control by rtnetlink: the clsact qdisc of a device, and the filters on its two sides.

net/sched: sch_api.c, sch_ingress.c, cls_api.c. There is one chain, and only the ingress of devices
can be shared.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.netlink import (
    INGRESS_HANDLE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    TCMSG,
    NlMsgType,
    Tca,
    TcParent,
)
from bpflens.engine.call import U32, err
from bpflens.engine.classifiers import CLASSIFIERS, Classifier, Proto
from bpflens.engine.netlink import nla, parse

if TYPE_CHECKING:
    from bpflens.engine.net import Device, NetNs
    from bpflens.engine.tasks import Task

_FIRST_AUTO = 0xC000
_SIDES = (TcParent.INGRESS, TcParent.EGRESS)
_NO_DEVICE = -1
"""TCM_IFINDEX_MAGIC_BLOCK: the filters of a block that devices share, in the place of an index."""
_STATS2, _STATS = nla(1, bytes(16)) + nla(3, bytes(20)), bytes(40)
"""TCA_STATS_BASIC and TCA_STATS_QUEUE; struct tc_stats: no packet ever passes."""


class Block:
    """Filters of which devices share one set (struct tcf_block)."""

    __slots__ = ("chain", "number", "users")

    def __init__(self, number: int) -> None:
        self.number = number
        self.users = 0
        self.chain: list[Proto] = []


class Clsact:
    """The qdisc that only carries filters, on both sides of a device."""

    __slots__ = ("block", "sides")

    def __init__(self, block: Block | None = None) -> None:
        self.sides: dict[int, list[Proto]] = {side: [] for side in _SIDES}
        self.block = block
        """Of the ingress, where it is shared."""
        if block:
            block.users += 1
            self.sides[TcParent.INGRESS] = block.chain

    def clear(self, netns: NetNs) -> None:
        """clsact_destroy()."""
        kept = None
        if self.block:
            self.block.users -= 1
            if self.block.users:
                kept = self.block.chain
            else:
                del netns.blocks[self.block.number]
        for chain in self.sides.values():
            if chain is not kept:
                for proto in chain:
                    proto.clear()
                chain.clear()


# --- the requests


def new_qdisc(task: Task, flags: int, body: bytes) -> None:
    """tc_modify_qdisc(), for the place of ingress and clsact."""
    (_family, index, handle, parent, _info), told = parse(TCMSG, body)
    device = _device(task, index)
    if parent != TcParent.CLSACT:
        raise err(errno.EOPNOTSUPP)  # no queues here
    device.ingress_queue = True  # dev_ingress_queue_create()
    kind = _kind(told)
    if device.clsact:
        if handle not in (0, INGRESS_HANDLE) and not flags & NLM_F_REPLACE:
            raise err(errno.EEXIST)
        if flags & NLM_F_EXCL:
            raise err(errno.EEXIST)
        if kind not in (None, b"clsact"):
            raise err(errno.EINVAL)
        return
    if not flags & NLM_F_CREATE or kind != b"clsact":
        raise err(errno.ENOENT)
    number = int.from_bytes(told.get(Tca.INGRESS_BLOCK, b""), "little")
    block = task.netns.blocks.setdefault(number, Block(number)) if number else None
    device.clsact = Clsact(block)


def del_qdisc(task: Task, flags: int, body: bytes) -> None:
    """tc_get_qdisc(), for RTM_DELQDISC."""
    (_family, index, handle, parent, _info), told = parse(TCMSG, body)
    device = _device(task, index)
    if not parent:
        raise err(errno.EINVAL)
    if parent & 0xFFFF0000 != INGRESS_HANDLE or not device.ingress_queue:
        raise err(errno.ENOENT)
    if handle and handle != (INGRESS_HANDLE if device.clsact else 0):
        raise err(errno.EINVAL)
    if _kind(told) not in (None, b"clsact" if device.clsact else b"noop"):
        raise err(errno.EINVAL)
    if not device.clsact:
        raise err(errno.ENOENT)
    device.clsact.clear(task.netns)
    device.clsact = None


def new_filter(task: Task, flags: int, body: bytes) -> None:
    """tc_new_tfilter()."""
    (_family, index, handle, parent, info), told = parse(TCMSG, body)
    prio, protocol = info >> 16, info & 0xFFFF
    if not prio and not flags & NLM_F_CREATE:
        raise err(errno.ENOENT)
    chain = _chain(task, index, parent)
    proto = _find(chain, prio, protocol)
    made = proto is None
    if proto is None:
        if Tca.KIND not in told or not protocol:
            raise err(errno.EINVAL)
        kind = CLASSIFIERS.get(_kind(told) or b"")
        if not flags & NLM_F_CREATE or not kind:
            raise err(errno.ENOENT)
        proto = Proto(kind, prio or _auto_prio(chain), protocol)
    elif _kind(told) not in (None, proto.kind.name):
        raise err(errno.EINVAL)
    old = proto.find(handle)
    if old is None and not flags & NLM_F_CREATE:
        raise err(errno.ENOENT)
    if old is not None and flags & NLM_F_EXCL:
        raise err(errno.EEXIST)
    if Tca.OPTIONS not in told:
        raise err(errno.EINVAL)
    proto.put(proto.kind(task, told[Tca.OPTIONS]), old, handle)
    if made:
        chain.append(proto)
        chain.sort(key=lambda one: one.prio)


def del_filter(task: Task, flags: int, body: bytes) -> None:
    """tc_del_tfilter(): one filter, or those of a priority, or all of a side."""
    (_family, index, handle, parent, info), told = parse(TCMSG, body)
    prio, protocol = info >> 16, info & 0xFFFF
    if not prio and (protocol or handle or Tca.KIND in told):
        raise err(errno.ENOENT)
    chain = _chain(task, index, parent)
    if not prio:
        for proto in chain:
            proto.clear()
        chain.clear()
        return
    found = _find(chain, prio, protocol)
    if found is None:
        raise err(errno.ENOENT)
    if _kind(told) not in (None, found.kind.name):
        raise err(errno.EINVAL)
    if handle:
        gone = found.find(handle)
        if gone is None:
            raise err(errno.ENOENT)
        found.filters.remove(gone)
        gone.release()
    else:
        found.clear()
    if not found.filters:
        chain.remove(found)


CHANGES = {
    NlMsgType.NEWQDISC: new_qdisc,
    NlMsgType.DELQDISC: del_qdisc,
    NlMsgType.NEWTFILTER: new_filter,
    NlMsgType.DELTFILTER: del_filter,
}


# --- the dumps


def qdiscs(task: Task, body: bytes) -> list[bytes]:
    """tc_dump_qdisc(): of all devices. What has no handle is not told."""
    rest = nla(Tca.OPTIONS, b"") + nla(Tca.HW_OFFLOAD, b"\0")
    rest += nla(Tca.STATS2, _STATS2) + nla(Tca.STATS, _STATS)
    made = []
    for device in task.netns.devices.values():
        if device.clsact:
            head = TCMSG.pack(0, device.index, INGRESS_HANDLE, TcParent.CLSACT, 1)
            block = device.clsact.block
            shared = nla(Tca.INGRESS_BLOCK, U32.pack(block.number)) if block else b""
            made.append(head + nla(Tca.KIND, b"clsact\0") + shared + rest)
    return made


def filters(task: Task, body: bytes) -> list[bytes]:
    """tc_dump_tfilter(): of one side of one device; nothing where that is not there.

    Each priority comes once by itself, then with each of its filters.
    """
    (_family, index, _handle, parent, _info), _told = parse(TCMSG, body)
    if index == _NO_DEVICE:
        block = task.netns.blocks.get(parent)
        chain = block.chain if block else []
    else:
        device = task.netns.devices.get(index)
        if not device or not device.clsact:
            return []
        chain = device.clsact.sides.get(parent, [])
        block = device.clsact.block
        if block and block.chain is chain:
            index, parent = _NO_DEVICE, block.number
    made = []
    for proto in chain:
        info = proto.prio << 16 | proto.protocol
        made.append(TCMSG.pack(0, index, 0, parent, info) + _words(proto))
        made += [_message(index, parent, proto, one) for one in proto.filters]
    return made


def _words(proto: Proto) -> bytes:
    return nla(Tca.KIND, proto.kind.name + b"\0") + nla(Tca.CHAIN, U32.pack(0))


def _message(index: int, parent: int, proto: Proto, one: Classifier) -> bytes:
    """tcf_fill_node()."""
    head = TCMSG.pack(0, index, one.handle, parent, proto.prio << 16 | proto.protocol)
    return head + _words(proto) + nla(Tca.OPTIONS, one.message())


def get_filter(task: Task, body: bytes) -> list[bytes]:
    """tc_get_tfilter(): one, by priority and handle."""
    (_family, index, handle, parent, info), told = parse(TCMSG, body)
    prio, protocol = info >> 16, info & 0xFFFF
    if not prio:
        raise err(errno.ENOENT)
    chain = _chain(task, index, parent)
    if not chain:
        raise err(errno.EINVAL)  # a chain goes with its last filter
    proto = _find(chain, prio, protocol)
    if proto is None:
        raise err(errno.ENOENT)
    if _kind(told) not in (None, proto.kind.name):
        raise err(errno.EINVAL)
    found = proto.find(handle)
    if found is None:
        raise err(errno.ENOENT)
    return [_message(index, parent, proto, found)]


# --- what they share


def _device(task: Task, index: int) -> Device:
    device = task.netns.devices.get(index)
    if device is None:
        raise err(errno.ENODEV)
    return device


def _chain(task: Task, index: int, parent: int) -> list[Proto]:
    """__tcf_qdisc_find(), __tcf_qdisc_cl_find(), __tcf_block_find()."""
    if index == _NO_DEVICE:
        if parent not in task.netns.blocks:
            raise err(errno.EINVAL)
        return task.netns.blocks[parent].chain
    device = _device(task, index)
    if parent & 0xFFFF0000 != INGRESS_HANDLE or not device.clsact:
        raise err(errno.EINVAL)
    if parent not in device.clsact.sides:
        raise err(errno.ENOENT)
    if device.clsact.block and parent == TcParent.INGRESS:
        raise err(errno.EOPNOTSUPP)  # shared filters are changed by the block's number
    return device.clsact.sides[parent]


def _find(chain: list[Proto], prio: int, protocol: int) -> Proto | None:
    """tcf_chain_tp_find()."""
    for proto in chain:
        if proto.prio == prio:
            if protocol not in (0, proto.protocol):
                raise err(errno.EINVAL)
            return proto
    return None


def _auto_prio(chain: list[Proto]) -> int:
    """tcf_auto_prio(): before the first of those that have one like it."""
    later = [proto.prio for proto in chain if proto.prio >= 0x8000]
    return later[0] - 1 if later else _FIRST_AUTO


def _kind(told: dict[int, bytes]) -> bytes | None:
    return told[Tca.KIND].rstrip(b"\0") if Tca.KIND in told else None
