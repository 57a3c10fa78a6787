"""XDP programs on the devices of a network namespace, by rtnetlink."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from bpflens.abi.netlink import (
    IFINFO,
    NETLINK_ROUTE,
    IfLa,
    IfLaXdp,
    attributes,
    get_links,
)
from bpflens.errors import FormatError
from bpflens.model.system import System


class XdpAttachment(NamedTuple):
    """A program on a device. A device can have one for each mode."""

    ifindex: int
    device: str
    mode: str
    """drv (in the driver), skb (generic) or hw (offloaded)."""
    prog_id: int


MODES = {IfLaXdp.DRV_PROG_ID: "drv", IfLaXdp.SKB_PROG_ID: "skb", IfLaXdp.HW_PROG_ID: "hw"}


def attachments(system: System) -> Iterator[XdpAttachment]:
    """The XDP programs in the network namespace of the caller. Since: 4.18 (one ID a mode).

    Raises OSError, FormatError.
    """
    for message in system.doors.net.dump(NETLINK_ROUTE, get_links()):
        if len(message) < IFINFO.size:
            raise FormatError("link message is cut short", len(message))
        ifindex = IFINFO.unpack_from(message)[2]
        told = attributes(message[IFINFO.size :])
        # rtnl_xdp_fill() writes an attribute for each mode that has a program.
        inner = attributes(told.get(IfLa.XDP, b""))
        name = told.get(IfLa.IFNAME, b"").rstrip(b"\0").decode(errors="replace")
        for kind, mode in MODES.items():
            if len(inner.get(kind, b"")) == 4:
                prog_id: int = struct.unpack("=I", inner[kind])[0]
                yield XdpAttachment(ifindex, name, mode, prog_id)
