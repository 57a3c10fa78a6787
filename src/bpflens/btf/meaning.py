"""What a type's name and its constants say about values, beyond what their bytes say."""

from __future__ import annotations

from bpflens.btf import types as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpflens.btf.parse import Btf

_NETWORK_ORDER = frozenset({"__be16", "__be32", "__be64"})
"""`include/uapi/linux/types.h`: numbers that are big-endian on every machine."""

ADDRESSES = frozenset({"in_addr", "in6_addr"})
"""Structs that hold an Internet address."""


def is_network_order(btf: Btf, type_id: int) -> bool:
    """Whether the type's name, or a name behind it, says that it is big-endian everywhere."""
    found = btf[type_id]
    while isinstance(found, t.TRANSPARENT):
        if isinstance(found, t.Typedef) and found.name in _NETWORK_ORDER:
            return True
        found = btf[found.to]
    return False


def constants(found: t.AnyEnum, bits: int) -> t.AnyEnum:
    """The enum as a number of so many bits has it: signed or not, its constants in that range.

    Compilers before LLVM 15 do not tell a sign (Linux 6089fb325cf7, "bpf: Add btf enum64 support"),
    and write -1 as 0xffffffff. What is narrower than that number can only mean the negative one.
    """
    if found.signed or bits >= 32 or not any(value >> 31 for _, value in found.values):
        return found
    signed = tuple([(label, value - (value >> 31 << 32)) for label, value in found.values])
    return t.Enum(found.id, found.name, found.size, True, signed)


def of_number(data: bytes) -> str:
    """For the bytes of a number in network order: which number it is."""
    return f"{int.from_bytes(data, 'big')} in network order"


def of_address(name: str, data: bytes) -> str:
    """For the bytes of a `struct in_addr` or `in6_addr`: the address as people write it."""
    if name == "in_addr" and len(data) == 4:
        return ".".join(map(str, data))
    if name == "in6_addr" and len(data) == 16:
        import ipaddress  # 8 ms of start-up, and few values hold such an address

        return str(ipaddress.IPv6Address(data))
    return ""
