"""Sockets of every family that a program can be attached to, and what they are called in lists."""

from __future__ import annotations

import socket
from socket import SocketKind
from typing import NamedTuple

from bpflens.abi.rows import SocketRow

ETH_P_ALL = 3


class Family(NamedTuple):
    """A kind of socket by the numbers that a kernel has for it."""

    family: int
    type: SocketKind
    protocol: int = 0
    local: str = ""
    """The address that it is bound to."""


FAMILIES = {
    "udp": Family(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP, "127.0.0.1"),
    "udp6": Family(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_UDP, "::1"),
    "tcp": Family(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "127.0.0.1"),
    "tcp6": Family(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "::1"),
    "raw": Family(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP, "127.0.0.1"),
    "unix": Family(socket.AF_UNIX, socket.SOCK_DGRAM),
    "abstract": Family(socket.AF_UNIX, socket.SOCK_STREAM),
    "unnamed": Family(socket.AF_UNIX, socket.SOCK_SEQPACKET),
    "packet": Family(socket.AF_PACKET, socket.SOCK_RAW, ETH_P_ALL),
    "packets": Family(socket.AF_PACKET, socket.SOCK_DGRAM, ETH_P_ALL),
}
"""`unix` has a path, `packet` a device, `packets` the packets of all devices."""


_FREEBIND: dict[int, tuple[int, int]] = {
    socket.AF_INET: (socket.IPPROTO_IP, 15),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 78),
}
"""IP_FREEBIND, IPV6_FREEBIND (include/uapi/linux/in.h, in6.h)."""


def words(kind: str, port: int, name: str, inode: int) -> str:
    """What such a socket is called; `name` is its path, or its device."""
    found = FAMILIES[kind]
    match kind:
        case "raw":
            return f"raw icmp {found.local}"
        case "unix" | "abstract":
            return f"unix {name}"
        case "unnamed":
            return f"unix socket:[{inode}]"
        case "packet":
            return f"packet {name}"
        case "packets":
            return "packet (every device)"
    host = f"[{found.local}]" if ":" in found.local else found.local
    return f"{kind.rstrip('6')} {host}:{port}"


def row(kind: str, port: int, name: str, ifindex: int) -> SocketRow:
    """What the bulk door tells of it, but for its number and network namespace."""
    found = FAMILIES[kind]
    made = SocketRow(family=found.family, type=found.type, protocol=found.protocol)
    if found.local:
        made.local = socket.inet_pton(found.family, found.local).ljust(16, b"\0")
        made.local_port = port
    if kind in ("unix", "abstract"):
        made.path = name.replace("@", "\0").encode().ljust(108, b"\0")
    made.ifindex = ifindex if kind == "packet" else 0
    return made


def opened(kind: str, name: str, shared: bool = False) -> socket.socket:
    """A real one, bound. `shared`: others may have the same port. Raises OSError."""
    found = FAMILIES[kind]
    protocol = socket.htons(found.protocol) if found.family == socket.AF_PACKET else found.protocol
    made = socket.socket(found.family, found.type, protocol)
    try:
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if found.local:  # also while the loopback device is down
            made.setsockopt(*_FREEBIND[found.family], 1)
            made.bind((found.local, 0))
        elif kind in ("unix", "abstract"):
            made.bind(name.replace("@", "\0"))
        elif kind == "packet":
            made.bind((name, found.protocol))
        if found.type == socket.SOCK_STREAM:
            made.listen()
    except OSError:
        made.close()
        raise
    return made
