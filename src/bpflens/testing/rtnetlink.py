"""Network devices and programs on them by rtnetlink, as tests need them: add, remove, attach."""

from __future__ import annotations

import os
import socket
import struct

from bpflens.abi.netlink import (
    IFINFO,
    INGRESS_HANDLE,
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    TCMSG,
    IfLa,
    IfLaXdp,
    NlMsgType,
    Tca,
    TcaBpf,
    TcParent,
    attributes,
    error_code,
    message,
    messages,
)

RTM_DELLINK = 17
NLM_F_ACK = 0x4
IFLA_LINK, IFLA_LINKINFO, IFLA_INFO_KIND = 5, 18, 1
NLA_F_NESTED = 0x8000
NEW = NLM_F_CREATE | NLM_F_EXCL
ETH_P_ALL = socket.htons(3)
"""The protocol of filters that see every packet."""


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def add_pair(name: str, kind: str) -> None:
    """Add a pair of veth or netkit devices; the other end gets a name of the kernel's choice."""
    body = IFINFO.pack(0, 0, 0, 0, 0)
    body += attribute(IfLa.IFNAME, name.encode() + b"\0")
    body += attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, kind.encode()))
    ask(message(NlMsgType.NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body))


def peer_of(ifindex: int) -> int:
    """The index of the other end of a pair."""
    answer = _exchange(message(NlMsgType.GETLINK, NLM_F_REQUEST, IFINFO.pack(0, 0, ifindex, 0, 0)))
    _kind, _flags, body = next(messages(answer))
    return int.from_bytes(attributes(body[IFINFO.size :])[IFLA_LINK], "little")


def remove(ifindex: int) -> None:
    """Remove a device."""
    body = IFINFO.pack(0, 0, ifindex, 0, 0)
    ask(message(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, body))


def set_xdp(ifindex: int, fd: int, flags: int = 0, expected_fd: int | None = None) -> bytes:
    """The request that attaches an XDP program to a device; -1 detaches."""
    nested = attribute(IfLaXdp.FD, struct.pack("=i", fd))
    if flags:
        nested += attribute(IfLaXdp.FLAGS, struct.pack("=I", flags))
    if expected_fd is not None:
        nested += attribute(IfLaXdp.EXPECTED_FD, struct.pack("=i", expected_fd))
    body = IFINFO.pack(0, 0, ifindex, 0, 0) + attribute(IfLa.XDP | NLA_F_NESTED, nested)
    return message(NlMsgType.SETLINK, NLM_F_REQUEST | NLM_F_ACK, body)


def clsact(ifindex: int, flags: int = NEW, handle: int = INGRESS_HANDLE) -> bytes:
    """The request that gives a device a clsact qdisc."""
    body = TCMSG.pack(0, ifindex, handle, TcParent.CLSACT, 0) + attribute(Tca.KIND, b"clsact\0")
    return message(NlMsgType.NEWQDISC, NLM_F_REQUEST | NLM_F_ACK | flags, body)


def no_clsact(ifindex: int) -> bytes:
    """The request that takes it away."""
    body = TCMSG.pack(0, ifindex, INGRESS_HANDLE, TcParent.CLSACT, 0)
    return message(NlMsgType.DELQDISC, NLM_F_REQUEST | NLM_F_ACK, body)


def new_filter(
    ifindex: int, parent: int, fd: int | None, name: bytes | None = None, *,
    prio: int = 0, handle: int = 0, flags: int = NEW, protocol: int = ETH_P_ALL,
    kind: bytes = b"bpf", **words: int,
) -> bytes:  # fmt: skip
    """The request that puts a program under a side of a clsact qdisc.

    `words` are more attributes by their names in `TcaBpf`: CLASSID, FLAGS, FLAGS_GEN.
    """
    options = b"" if fd is None else attribute(TcaBpf.FD, struct.pack("=I", fd))
    if name is not None:
        options += attribute(TcaBpf.NAME, name + b"\0")
    for word, value in words.items():
        options += attribute(TcaBpf[word], struct.pack("=I", value))
    body = TCMSG.pack(0, ifindex, handle, parent, prio << 16 | protocol)
    body += attribute(Tca.KIND, kind + b"\0") + attribute(Tca.OPTIONS, options)
    return message(NlMsgType.NEWTFILTER, NLM_F_REQUEST | NLM_F_ACK | flags, body)


def del_filter(
    ifindex: int, parent: int, *, prio: int = 0, handle: int = 0, protocol: int = 0,
    kind: bytes | None = None,
) -> bytes:  # fmt: skip
    """The request that removes one filter, those of a priority, or all of a side."""
    body = TCMSG.pack(0, ifindex, handle, parent, prio << 16 | protocol)
    if kind is not None:
        body += attribute(Tca.KIND, kind + b"\0")
    return message(NlMsgType.DELTFILTER, NLM_F_REQUEST | NLM_F_ACK, body)


def ask(request: bytes) -> None:
    """Send a request that is only acknowledged. Raises OSError."""
    for kind, _, body in messages(_exchange(request)):
        if kind == NlMsgType.ERROR and (code := error_code(body)):
            raise OSError(code, os.strerror(code))


def _exchange(request: bytes) -> bytes:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as door:
        door.bind((0, 0))
        door.send(request)
        return door.recv(1 << 16)
