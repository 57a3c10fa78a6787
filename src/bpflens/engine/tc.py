"""Traffic control by rtnetlink: the clsact qdisc of a device, and cls_bpf filters on its two sides.

net/sched: sch_api.c, sch_ingress.c, cls_api.c, cls_bpf.c. There is one chain, and there are no
actions beside a filter.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import (
    INGRESS_HANDLE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    TCMSG,
    NlMsgType,
    Tca,
    TcaBpf,
    TcParent,
)
from bpflens.engine.call import U32, err
from bpflens.engine.netlink import nested, nla, parse
from bpflens.engine.progs.classic import MOST, SIZE, check_classic

if TYPE_CHECKING:
    from bpflens.engine.net import Device
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.tasks import Task

_SKIP_HW, _SKIP_SW, _NOT_IN_HW = 1, 2, 8
"""TCA_CLS_FLAGS_* (include/uapi/linux/pkt_cls.h)."""
_ACT_DIRECT = 1
_NAME_LEN = 256
_FIRST_AUTO = 0xC000
_SIDES = (TcParent.INGRESS, TcParent.EGRESS)
_CHAIN_KIND = nla(Tca.KIND, b"bpf\0") + nla(Tca.CHAIN, U32.pack(0))
_STATS2, _STATS = nla(1, bytes(16)) + nla(3, bytes(20)), bytes(40)
"""TCA_STATS_BASIC and TCA_STATS_QUEUE; struct tc_stats: no packet ever passes."""


class Filter:
    """A program of cls_bpf (struct cls_bpf_prog)."""

    __slots__ = ("classid", "flags", "gen_flags", "handle", "name", "ops", "prog")

    def __init__(self, task: Task, options: bytes) -> None:
        """cls_bpf_set_parms()."""
        from bpflens.engine.progs.prog import Prog

        told = nested(options)
        self.handle = 0
        self.name = _name(told)
        self.classid = _number(told, TcaBpf.CLASSID)
        self.flags = _number(told, TcaBpf.FLAGS)
        self.gen_flags = _number(told, TcaBpf.FLAGS_GEN)
        classic = TcaBpf.OPS in told and TcaBpf.OPS_LEN in told
        if classic == (TcaBpf.FD in told):
            raise err(errno.EINVAL)
        if self.flags & ~_ACT_DIRECT or self.gen_flags not in (0, _SKIP_HW, _SKIP_SW):
            raise err(errno.EINVAL)
        self.ops = b""
        """The instructions of a classic program, which is no object and has no ID."""
        self.prog: Prog | None = None
        if classic:
            self.ops = _classic(told)
            return
        self.prog = task.files.get(_number(told, TcaBpf.FD), Prog)
        if self.prog.type != ProgType.SCHED_CLS:
            raise err(errno.EINVAL)

    def message(self) -> bytes:
        """The options of a filter: cls_bpf_dump()."""
        data = b""
        if self.classid:
            data += nla(TcaBpf.CLASSID, U32.pack(self.classid))
        if self.prog:
            if self.name is not None:
                data += nla(TcaBpf.NAME, self.name + b"\0")
            data += nla(TcaBpf.ID, U32.pack(self.prog.id)) + nla(TcaBpf.TAG, self.prog.tag)
        else:
            count = len(self.ops) // SIZE
            data += nla(TcaBpf.OPS_LEN, count.to_bytes(2, "little")) + nla(TcaBpf.OPS, self.ops)
        if self.flags:
            data += nla(TcaBpf.FLAGS, U32.pack(self.flags))
        return data + nla(TcaBpf.FLAGS_GEN, U32.pack(self.gen_flags | _NOT_IN_HW))

    def release(self) -> None:
        """__cls_bpf_delete_prog()."""
        if self.prog:
            self.prog.drop()


class Proto:
    """The filters of one priority (struct tcf_proto), the newest first."""

    __slots__ = ("filters", "prio", "protocol")

    def __init__(self, prio: int, protocol: int) -> None:
        self.prio = prio
        self.protocol = protocol
        self.filters: list[Filter] = []

    def find(self, handle: int) -> Filter | None:
        """cls_bpf_get()."""
        return next((one for one in self.filters if one.handle == handle), None)

    def put(self, new: Filter, old: Filter | None, handle: int) -> None:
        """cls_bpf_change(), its second half."""
        if old and old.gen_flags != new.gen_flags:
            raise err(errno.EINVAL)
        if new.gen_flags & _SKIP_SW:
            raise err(errno.EOPNOTSUPP)  # cls_bpf_offload(): there is no such hardware
        used = {one.handle for one in self.filters}
        new.handle = handle or next(n for n in range(1, len(used) + 2) if n not in used)
        if new.prog:
            new.prog.hold()
        if old:
            self.filters[self.filters.index(old)] = new
            old.release()
        else:
            self.filters.insert(0, new)

    def clear(self) -> None:
        """cls_bpf_destroy()."""
        while self.filters:
            self.filters.pop().release()


class Clsact:
    """The qdisc that only carries filters, on both sides of a device."""

    __slots__ = ("sides",)

    def __init__(self) -> None:
        self.sides: dict[int, list[Proto]] = {side: [] for side in _SIDES}

    def clear(self) -> None:
        """clsact_destroy()."""
        for chain in self.sides.values():
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
    device.clsact = Clsact()


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
    device.clsact.clear()
    device.clsact = None


def new_filter(task: Task, flags: int, body: bytes) -> None:
    """tc_new_tfilter()."""
    (_family, index, handle, parent, info), told = parse(TCMSG, body)
    prio, protocol = info >> 16, info & 0xFFFF
    if not prio and not flags & NLM_F_CREATE:
        raise err(errno.ENOENT)
    chain = _chain(_device(task, index), parent)
    proto = _find(chain, prio, protocol)
    made = proto is None
    if proto is None:
        if Tca.KIND not in told or not protocol:
            raise err(errno.EINVAL)
        if not flags & NLM_F_CREATE or _kind(told) != b"bpf":
            raise err(errno.ENOENT)
        proto = Proto(prio or _auto_prio(chain), protocol)
    elif _kind(told) not in (None, b"bpf"):
        raise err(errno.EINVAL)
    old = proto.find(handle)
    if old is None and not flags & NLM_F_CREATE:
        raise err(errno.ENOENT)
    if old is not None and flags & NLM_F_EXCL:
        raise err(errno.EEXIST)
    if Tca.OPTIONS not in told:
        raise err(errno.EINVAL)
    proto.put(Filter(task, told[Tca.OPTIONS]), old, handle)
    if made:
        chain.append(proto)
        chain.sort(key=lambda one: one.prio)


def del_filter(task: Task, flags: int, body: bytes) -> None:
    """tc_del_tfilter(): one filter, or those of a priority, or all of a side."""
    (_family, index, handle, parent, info), told = parse(TCMSG, body)
    prio, protocol = info >> 16, info & 0xFFFF
    if not prio and (protocol or handle or Tca.KIND in told):
        raise err(errno.ENOENT)
    chain = _chain(_device(task, index), parent)
    if not prio:
        for proto in chain:
            proto.clear()
        chain.clear()
        return
    found = _find(chain, prio, protocol)
    if found is None:
        raise err(errno.ENOENT)
    if _kind(told) not in (None, b"bpf"):
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
    kind = nla(Tca.KIND, b"clsact\0") + nla(Tca.OPTIONS, b"") + nla(Tca.HW_OFFLOAD, b"\0")
    rest = kind + nla(Tca.STATS2, _STATS2) + nla(Tca.STATS, _STATS)
    return [
        TCMSG.pack(0, device.index, INGRESS_HANDLE, TcParent.CLSACT, 1) + rest
        for device in task.netns.devices.values()
        if device.clsact
    ]


def filters(task: Task, body: bytes) -> list[bytes]:
    """tc_dump_tfilter(): of one side of one device; nothing where that is not there.

    Each priority comes once by itself, then with each of its filters.
    """
    (_family, index, _handle, parent, _info), _told = parse(TCMSG, body)
    device = task.netns.devices.get(index)
    if not device or not device.clsact:
        return []
    made = []
    for proto in device.clsact.sides.get(parent, []):
        info = proto.prio << 16 | proto.protocol
        made.append(TCMSG.pack(0, index, 0, parent, info) + _CHAIN_KIND)
        made += [_message(index, parent, proto, one) for one in proto.filters]
    return made


def _message(index: int, parent: int, proto: Proto, one: Filter) -> bytes:
    """tcf_fill_node()."""
    head = TCMSG.pack(0, index, one.handle, parent, proto.prio << 16 | proto.protocol)
    return head + _CHAIN_KIND + nla(Tca.OPTIONS, one.message())


def get_filter(task: Task, body: bytes) -> list[bytes]:
    """tc_get_tfilter(): one, by priority and handle."""
    (_family, index, handle, parent, info), told = parse(TCMSG, body)
    prio, protocol = info >> 16, info & 0xFFFF
    if not prio:
        raise err(errno.ENOENT)
    chain = _chain(_device(task, index), parent)
    if not chain:
        raise err(errno.EINVAL)  # a chain goes with its last filter
    proto = _find(chain, prio, protocol)
    if proto is None:
        raise err(errno.ENOENT)
    if _kind(told) not in (None, b"bpf"):
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


def _chain(device: Device, parent: int) -> list[Proto]:
    """__tcf_qdisc_find(), __tcf_qdisc_cl_find()."""
    if parent & 0xFFFF0000 != INGRESS_HANDLE or not device.clsact:
        raise err(errno.EINVAL)
    if parent not in device.clsact.sides:
        raise err(errno.ENOENT)
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


def _number(told: dict[int, bytes], kind: int) -> int:
    """A u32; validate_nla() of one that is cut is ERANGE."""
    data = told.get(kind)
    if data is None:
        return 0
    if len(data) < 4:
        raise err(errno.ERANGE)
    return int(U32.unpack_from(data)[0])


def _classic(told: dict[int, bytes]) -> bytes:
    """cls_bpf_prog_from_ops()."""
    data, count = told[TcaBpf.OPS], int.from_bytes(told[TcaBpf.OPS_LEN][:2], "little")
    if not 0 < count <= MOST or count * SIZE != len(data):
        raise err(errno.EINVAL)
    check_classic(data)
    return data


def _name(told: dict[int, bytes]) -> bytes | None:
    """A string with its NUL (NLA_NUL_STRING)."""
    data = told.get(TcaBpf.NAME)
    if data is None:
        return None
    if b"\0" not in data[: _NAME_LEN + 1]:
        raise err(errno.EINVAL)
    return data.partition(b"\0")[0]
