"""Network devices and XDP programs by rtnetlink, as tests need them: add, remove, attach."""

from __future__ import annotations

import os
import socket
import struct

from bpflens.abi.netlink import (
    IFINFO,
    NETLINK_ROUTE,
    NLM_F_REQUEST,
    IfLa,
    IfLaXdp,
    NlMsgType,
    error_code,
    message,
    messages,
)

RTM_DELLINK, RTM_SETLINK = 17, 19
NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x4, 0x200, 0x400
IFLA_LINKINFO, IFLA_INFO_KIND = 18, 1
NLA_F_NESTED = 0x8000


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def add_veth(name: str) -> None:
    """Add a pair of veth devices; the other end gets a name of the kernel's choice."""
    body = IFINFO.pack(0, 0, 0, 0, 0)
    body += attribute(IfLa.IFNAME, name.encode() + b"\0")
    body += attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"veth"))
    ask(message(NlMsgType.NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body))


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
        nested += attribute(8, struct.pack("=i", expected_fd))  # IFLA_XDP_EXPECTED_FD
    body = IFINFO.pack(0, 0, ifindex, 0, 0) + attribute(IfLa.XDP | NLA_F_NESTED, nested)
    return message(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, body)


def ask(request: bytes) -> None:
    """Send a request that is only acknowledged. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as door:
        door.bind((0, 0))
        door.send(request)
        for kind, _, body in messages(door.recv(1 << 16)):
            if kind == NlMsgType.ERROR and (code := error_code(body)):
                raise OSError(code, os.strerror(code))
