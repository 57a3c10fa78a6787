"""Netlink messages as the engine reads and writes them."""

from __future__ import annotations

import errno
from struct import Struct
from typing import Any

from bpflens.abi.netlink import attributes
from bpflens.engine.call import err
from bpflens.errors import FormatError


def nla(kind: int, data: bytes) -> bytes:
    """A netlink attribute, padded to 4 bytes."""
    size = 4 + len(data)
    head = size.to_bytes(2, "little") + kind.to_bytes(2, "little")
    return (head + data).ljust(size + 3 & ~3, b"\0")


def parse(head: Struct, body: bytes) -> tuple[tuple[Any, ...], dict[int, bytes]]:
    """The fixed part of a message, and its attributes. nlmsg_parse()."""
    if len(body) < head.size:
        raise err(errno.EINVAL)
    return head.unpack_from(body), nested(body[head.size :])


def nested(data: bytes) -> dict[int, bytes]:
    """The attributes in an attribute. nla_parse_nested()."""
    try:
        return attributes(data)
    except FormatError:
        raise err(errno.EINVAL) from None
