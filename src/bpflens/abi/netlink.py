"""rtnetlink messages: header, attributes, and the numbers that name them.

Layouts: include/uapi/linux/{netlink,rtnetlink,if_link}.h. All integers are in native byte order;
messages and attributes are padded to 4 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from bpflens.abi.word import Word
from bpflens.errors import FormatError

NETLINK_ROUTE = 0
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
    NEWQDISC = 36
    DELQDISC = 37
    GETQDISC = 38
    NEWTFILTER = 44
    DELTFILTER = 45
    GETTFILTER = 46


class IfLa(Word):
    """Attributes of a link message that we read."""

    IFNAME = 3
    XDP = 43


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


class TcaBpf(Word):
    """Attributes inside TCA_OPTIONS of a filter of the kind `bpf` (pkt_cls.h)."""

    CLASSID = 3
    OPS_LEN = 4
    OPS = 5
    FD = 6
    NAME = 7
    FLAGS = 8
    FLAGS_GEN = 9
    TAG = 10
    ID = 11


class TcParent(Word):
    """What a filter or qdisc is under: the clsact qdisc itself, or a side of it (pkt_sched.h)."""

    CLSACT = 0xFFFFFFF1
    INGRESS = 0xFFFFFFF2
    EGRESS = 0xFFFFFFF3


INGRESS_HANDLE = 0xFFFF0000
"""The handle of a clsact qdisc, always."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
IFINFO = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, device type, index, flags, change mask."""

TCMSG = struct.Struct("=BxxxiIII")
"""struct tcmsg: family, device index, handle, parent, info (of a filter: priority and protocol)."""


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A whole nlmsg; sequence and port number are 0."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def get_links() -> bytes:
    """The request for all links of a network namespace."""
    return message(NlMsgType.GETLINK, NLM_F_REQUEST | NLM_F_DUMP, IFINFO.pack(0, 0, 0, 0, 0))


def get_qdiscs() -> bytes:
    """The request for all qdiscs of a network namespace."""
    return message(NlMsgType.GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, TCMSG.pack(0, 0, 0, 0, 0))


def get_filters(ifindex: int, parent: int) -> bytes:
    """The request for the filters of a device that are under `parent` (`TcParent`)."""
    body = TCMSG.pack(0, ifindex, 0, parent, 0)
    return message(NlMsgType.GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, body)


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
    at = 0
    while at < len(data):
        if len(data) - at < _ATTRIBUTE.size:
            raise FormatError("netlink attribute header is cut short", at)
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise FormatError(f"netlink attribute of {length} bytes does not fit", at)
        found[kind & NLA_TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found
