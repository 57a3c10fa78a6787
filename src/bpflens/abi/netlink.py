"""Netlink messages: header, attributes, and the numbers that name them.

Layouts: include/uapi/linux/{netlink,rtnetlink,if_link,pkt_cls,lwtunnel}.h and
linux/netfilter/nfnetlink_hook.h. All integers are in native byte order, but for netfilter's, which
are big-endian; messages and attributes are padded to 4 bytes.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from bpflens.abi.word import Word
from bpflens.errors import FormatError

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
NLM_F_REQUEST = 0x1
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
"""Of requests that make something new."""
NLA_TYPE_MASK = 0x3FFF
"""The two top bits of an attribute's type are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER)."""


class NlMsgType(Word):
    """Message types (include/uapi/linux/{netlink,rtnetlink}.h)."""

    NOOP = 1
    ERROR = 2
    DONE = 3
    NEWLINK = 16
    GETLINK = 18
    SETLINK = 19
    NEWROUTE = 24
    DELROUTE = 25
    GETROUTE = 26
    NEWQDISC = 36
    DELQDISC = 37
    GETQDISC = 38
    NEWTCLASS = 40
    GETTCLASS = 42
    NEWTFILTER = 44
    DELTFILTER = 45
    GETTFILTER = 46
    NEWACTION = 48
    DELACTION = 49
    GETACTION = 50
    GETHOOK = 12 << 8
    """NFNL_SUBSYS_HOOK, NFNL_MSG_HOOK_GET."""


class IfLa(Word):
    """Attributes of a link message that we read."""

    IFNAME = 3
    LINK = 5
    LINKINFO = 18
    EXT_MASK = 29
    LINK_NETNSID = 37
    XDP = 43


class IfLaInfo(Word):
    """Attributes inside IFLA_LINKINFO."""

    KIND = 1
    DATA = 2


EXT_SKIP_STATS = 8
"""RTEXT_FILTER_SKIP_STATS of IFLA_EXT_MASK: without counters a link message is a third."""


class IfLaXdp(Word):
    """Attributes inside IFLA_XDP."""

    FD = 1
    ATTACHED = 2
    FLAGS = 3
    PROG_ID = 4
    DRV_PROG_ID = 5
    SKB_PROG_ID = 6
    HW_PROG_ID = 7
    EXPECTED_FD = 8


class XdpAttached(Word):
    """IFLA_XDP_ATTACHED: in which modes programs are attached."""

    NONE = 0
    DRV = 1
    SKB = 2
    HW = 3
    MULTI = 4


class Tca(Word):
    """Attributes of a qdisc or filter message (include/uapi/linux/rtnetlink.h)."""

    KIND = 1
    OPTIONS = 2
    STATS = 3
    STATS2 = 7
    CHAIN = 11
    HW_OFFLOAD = 12
    INGRESS_BLOCK = 13
    EGRESS_BLOCK = 14


class TcaBpf(Word):
    """Attributes inside TCA_OPTIONS of a filter of the kind `bpf` (pkt_cls.h)."""

    ACT = 1
    CLASSID = 3
    OPS_LEN = 4
    OPS = 5
    FD = 6
    NAME = 7
    FLAGS = 8
    FLAGS_GEN = 9
    TAG = 10
    ID = 11


class TcaAct(Word):
    """Attributes of an action, inside a list of them by number (pkt_cls.h)."""

    TAB = 1
    """Of the answer to RTM_GETACTION: the list itself."""
    KIND = 1
    OPTIONS = 2


class TcaActBpf(Word):
    """Attributes inside TCA_ACT_OPTIONS of an action of the kind `bpf` (tc_act/tc_bpf.h)."""

    PARMS = 2
    FD = 5
    NAME = 6
    TAG = 8
    ID = 9


FILTER_ACTIONS = {
    "basic": 3, "bpf": TcaBpf.ACT, "cgroup": 1, "flow": 9, "flower": 3, "fw": 4, "matchall": 2,
    "route": 6, "u32": 7,
}  # fmt: skip
"""Kind of filter → which attribute inside TCA_OPTIONS is its list of actions (TCA_*_ACT)."""


class TcParent(Word):
    """What a filter or qdisc is under: the clsact qdisc itself, or a side of it (pkt_sched.h)."""

    CLSACT = 0xFFFFFFF1
    INGRESS = 0xFFFFFFF2
    EGRESS = 0xFFFFFFF3


INGRESS_HANDLE = 0xFFFF0000
"""The handle of a clsact qdisc, always."""


class Rta(Word):
    """Attributes of a route message, and of each of its next hops (rtnetlink.h)."""

    DST = 1
    OIF = 4
    MULTIPATH = 9
    TABLE = 15
    ENCAP_TYPE = 21
    ENCAP = 22


class Encap(Word):
    """RTA_ENCAP_TYPE: kinds of lightweight tunnels that run programs (lwtunnel.h)."""

    BPF = 6
    SEG6_LOCAL = 7


class LwtBpf(Word):
    """Attributes inside RTA_ENCAP of the kind bpf: a program each, by `LwtBpfProg`."""

    IN = 1
    OUT = 2
    XMIT = 3


class LwtBpfProg(Word):
    """What is told of such a program, and of that of a seg6local route: there FD is its ID."""

    FD = 1
    NAME = 2


SEG6_LOCAL_BPF = 8
"""The attribute inside RTA_ENCAP of the kind seg6local (seg6_local.h)."""


class HookAttr(Word):
    """Attributes of a netfilter hook (NFNLA_HOOK_*)."""

    HOOKNUM = 1
    PRIORITY = 2
    CHAIN_INFO = 6


class HookInfo(Word):
    """Attributes inside CHAIN_INFO: what is there, of which type."""

    DESC = 1
    TYPE = 2


HOOK_TYPE_BPF = 2
HOOK_BPF_ID = 1
"""NFNL_HOOK_TYPE_BPF, and the attribute inside DESC (NFNLA_HOOK_BPF_ID). Since: 6.4."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
IFINFO = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, device type, index, flags, change mask."""

TCMSG = struct.Struct("=BxxxiIII")
"""struct tcmsg: family, device index, handle, parent, info (of a filter: priority and protocol)."""

RTMSG = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, length of the destination, of the source, tos, table, who made it, scope,
type, flags."""

NEXTHOP = struct.Struct("=HBBi")
"""struct rtnexthop: length with attributes, flags, hops, device index."""

TCAMSG = struct.Struct("=Bxxx")
"""struct tcamsg: family."""

NFGENMSG = struct.Struct(">BBH")
"""struct nfgenmsg: family, version, resource."""

ACT_BPF = struct.Struct("=5i")
"""struct tc_act_bpf: index, capabilities, action, references, filters that use it."""


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A whole nlmsg; sequence and port number are 0."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def _dump(kind: NlMsgType, body: bytes) -> bytes:
    return message(kind, NLM_F_REQUEST | NLM_F_DUMP, body)


def get_links() -> bytes:
    """The request for all links of a network namespace, without counters."""
    mask = attribute(IfLa.EXT_MASK, EXT_SKIP_STATS.to_bytes(4, sys.byteorder))
    return _dump(NlMsgType.GETLINK, IFINFO.pack(0, 0, 0, 0, 0) + mask)


def get_qdiscs() -> bytes:
    """The request for all qdiscs of a network namespace."""
    return _dump(NlMsgType.GETQDISC, TCMSG.pack(0, 0, 0, 0, 0))


def get_classes(ifindex: int) -> bytes:
    """The request for the classes of a device's qdiscs."""
    return _dump(NlMsgType.GETTCLASS, TCMSG.pack(0, ifindex, 0, 0, 0))


def get_filters(ifindex: int, parent: int) -> bytes:
    """The request for the filters of a device that are under `parent` (`TcParent`)."""
    return _dump(NlMsgType.GETTFILTER, TCMSG.pack(0, ifindex, 0, parent, 0))


def get_actions(kind: str) -> bytes:
    """The request for all actions of a kind."""
    name = attribute(TcaAct.KIND, kind.encode() + b"\0")
    table = attribute(TcaAct.TAB, attribute(1, name))
    return _dump(NlMsgType.GETACTION, TCAMSG.pack(0) + table)


def get_routes(family: int) -> bytes:
    """The request for the routes of an address family, in all tables."""
    return _dump(NlMsgType.GETROUTE, RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))


def get_hooks(family: int, hook: int) -> bytes:
    """The request for what is at a hook of netfilter (NETLINK_NETFILTER)."""
    number = attribute(HookAttr.HOOKNUM, hook.to_bytes(4, "big"))
    return _dump(NlMsgType.GETHOOK, NFGENMSG.pack(family, 0, 0) + number)


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Split what one recv() gave into (type, flags, body). Raises FormatError."""
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise FormatError("netlink message header is cut short", at)
        length, kind, flags, _seq, _port = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            raise FormatError(f"netlink message of {length} bytes does not fit", at)
        yield kind, flags, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def error_code(body: bytes) -> int:
    """The errno in the body of an NLMSG_ERROR."""
    if len(body) < 4:
        raise FormatError("netlink error without a code", 0)
    code: int = struct.unpack_from("=i", body)[0]
    return -code


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by type (the last of a kind wins). Raises FormatError."""
    found: dict[int, bytes] = {}
    at, end = 0, len(data)
    unpack, head = _ATTRIBUTE.unpack_from, _ATTRIBUTE.size
    while at < end:
        if end - at < head:
            raise FormatError("netlink attribute header is cut short", at)
        length, kind = unpack(data, at)
        if not head <= length <= end - at:
            raise FormatError(f"netlink attribute of {length} bytes does not fit", at)
        found[kind & NLA_TYPE_MASK] = data[at + head : at + length]
        at += length + 3 & ~3
    return found
