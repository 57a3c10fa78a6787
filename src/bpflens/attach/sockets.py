"""Programs that run for sockets: filters (SO_ATTACH_BPF) and those that share packets out among the
sockets of a port (SO_ATTACH_REUSEPORT_EBPF) or of a group of packet sockets (PACKET_FANOUT_EBPF).

No call of Linux tells of them: the open files of every process do, read in bulk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bpflens.abi.enums import ProgType
from bpflens.abi.rows import SocketRow
from bpflens.attach.files import OpenFile
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure

KINDS = {
    "socket_filter": (ProgType.SOCKET_FILTER,),
    "sk_reuseport": (ProgType.SK_REUSEPORT, ProgType.SOCKET_FILTER),
    "packet_fanout": (ProgType.SOCKET_FILTER,),
}
"""The types of programs that can be there (sk_attach_bpf(), sk_reuseport_attach_bpf(),
fanout_set_data_ebpf())."""

_UNIX, _INET, _INET6, _PACKET = 1, 2, 10, 17
_FAMILIES = {
    15: "key",
    16: "netlink",
    29: "can",
    30: "tipc",
    31: "bluetooth",
    40: "vsock",
    41: "kcm",
    44: "xdp",
}
"""AF_* (include/linux/socket.h) that have no better words here."""
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "icmp6", 132: "sctp", 136: "udplite"}
_RAW = 3
"""SOCK_RAW."""


def find(places: Places) -> Iterator[Attachment | Failure]:
    """The programs of every socket that a process has open. Since: 3.19 (what tells: 5.11).

    A socket that is on its way from one process to another is not seen.
    """
    files = places.files
    if files.bulk is not None:
        error = (
            "no call tells which programs sockets have; an iterator over open files would, "
            f"which needs CAP_BPF and CAP_PERFMON ({files.bulk})"
        )
        for kind, types in KINDS.items():
            if places.loaded(*types):
                yield Failure(kind, "sockets", error)
        return
    for kind, types in KINDS.items():
        if files.elsewhere and places.loaded(*types):
            yield Failure(kind, "sockets of other processes", str(files.elsewhere))
    for use in uses(files.rows):
        yield Attachment(
            use.prog_id,
            use.kind,
            target(places, use.socket),
            None,
            [],
            "files",
            None,
            None,
            None,
            ", ".join(places.file_words(file.pid, file.fd) for file in use.files),
            {},
        )


class Use(NamedTuple):
    """A program that runs for a socket, and the fds of that."""

    kind: str
    prog_id: int
    socket: SocketRow
    files: list[OpenFile]


def uses(rows: list[OpenFile]) -> Iterable[Use]:
    """Each program at each socket once. All sockets of a host have different inode numbers."""
    found: dict[tuple[str, int, int], Use] = {}
    for file in rows:
        if file.socket is None:
            continue
        for kind, prog_id in zip(KINDS, (file.prog_id, file.reuseport_id, file.id), strict=True):
            if prog_id:
                use = Use(kind, prog_id, file.socket, [])
                found.setdefault((kind, prog_id, file.socket.inode), use).files.append(file)
    return found.values()


def target(places: Places, socket: SocketRow) -> str:
    """A socket in words: `udp 127.0.0.1:53`, `tcp [::1]:80@blue`, `unix /run/x`, `packet eth0`."""
    if socket.family == _PACKET and socket.ifindex:
        device = places.devices.get((socket.netns, socket.ifindex))
        if device:  # its name is with its namespace
            return f"packet {device.name}"
    return f"{_bound(socket)}{places.netns_of(socket.netns).suffix}"


def _bound(socket: SocketRow) -> str:
    if socket.family in (_INET, _INET6):
        return _internet(socket)
    if socket.family == _UNIX:
        name = socket.path.rstrip(b"\0").decode(errors="surrogateescape")
        # An abstract name begins with a NUL, for which ss(8) and others write @.
        return f"unix {name.replace(chr(0), '@')}" if name else f"unix socket:[{socket.inode}]"
    if socket.family == _PACKET:
        return f"packet device {socket.ifindex}" if socket.ifindex else "packet (every device)"
    family = _FAMILIES.get(socket.family, f"family {socket.family}")
    return f"{family} socket:[{socket.inode}]"


def _internet(socket: SocketRow) -> str:
    protocol = _PROTOCOLS.get(socket.protocol, f"protocol {socket.protocol}")
    if socket.type == _RAW:  # its port is its protocol
        return f"raw {protocol} {_address(socket.family, socket.local)}"
    ends = [_end(socket.family, socket.local, socket.local_port)]
    if socket.remote_port:
        ends.append(_end(socket.family, socket.remote, socket.remote_port))
    return f"{protocol} {' > '.join(ends)}"


def _end(family: int, address: bytes, port: int) -> str:
    text = _address(family, address)
    return f"[{text}]:{port}" if family == _INET6 else f"{text}:{port}"


def _address(family: int, address: bytes) -> str:
    from ipaddress import IPv4Address, IPv6Address  # 4 ms, for those who have such sockets

    if family == _INET:
        return str(IPv4Address(address[:4]))
    wide = IPv6Address(address)
    mapped = wide.ipv4_mapped  # written so by inet_ntop(3), but by Python only since 3.13
    return f"::ffff:{mapped}" if mapped else str(wide)
