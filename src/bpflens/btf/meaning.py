"""What a type's name says about its values, beyond what its bytes say."""

from __future__ import annotations

from bpflens.btf import types as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf.parse import Btf

_NETWORK_ORDER = frozenset({"__be16", "__be32", "__be64"})
"""`include/uapi/linux/types.h`: numbers that are big-endian on every machine."""

ADDRESSES = frozenset({"in_addr", "in6_addr"})
"""Structs that hold an Internet address."""


def of_number(btf: Btf, type_id: int, raw: int, bits: int) -> str:
    """For an integer: its value in network byte order where its typedef says so, else ""."""
    found = btf[type_id]
    while isinstance(found, t.TRANSPARENT):
        if isinstance(found, t.Typedef) and found.name in _NETWORK_ORDER and bits % 8 == 0:
            swapped = int.from_bytes(raw.to_bytes(bits // 8, btf.byteorder), "big")
            return f"{swapped} in network order"
        found = btf[found.to]
    return ""


def of_address(name: str, data: bytes) -> str:
    """For the bytes of a `struct in_addr` or `in6_addr`: the address as people write it."""
    if name == "in_addr" and len(data) == 4:
        return ".".join(map(str, data))
    if name == "in6_addr" and len(data) == 16:
        import ipaddress  # 8 ms of start-up, and few values hold such an address

        return str(ipaddress.IPv6Address(data))
    return ""
