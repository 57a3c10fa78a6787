"""XDP programs on devices, by rtnetlink."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from bpflens.abi.netlink import (
    IFINFO,
    NETLINK_ROUTE,
    IfLa,
    IfLaXdp,
    attributes,
    get_links,
)
from bpflens.attach.places import Netns, Places
from bpflens.attach.record import Attachment, Failure
from bpflens.errors import FormatError
from bpflens.model.system import System

MODES = {IfLaXdp.DRV_PROG_ID: "drv", IfLaXdp.SKB_PROG_ID: "skb", IfLaXdp.HW_PROG_ID: "hw"}
"""In the driver, generic, offloaded. rtnl_xdp_fill() has an attribute for each with a program."""


def find(places: Places) -> Iterator[Attachment | Failure]:
    """The XDP programs of every network namespace. Since: 4.18 (one ID a mode)."""
    for netns in places.netns:
        try:
            if netns.own:
                yield from attachments(places.system, netns)
                continue
            with places.system.doors.net.entered(netns.path):
                yield from attachments(places.system, netns)
        except (OSError, FormatError) as error:
            yield Failure("xdp", netns.words, str(error))


def attachments(system: System, netns: Netns | None = None) -> Iterator[Attachment]:
    """The XDP programs in the network namespace that the thread is in. Raises OSError,
    FormatError."""
    suffix = netns.suffix if netns else ""
    for message in system.doors.net.dump(NETLINK_ROUTE, get_links()):
        if len(message) < IFINFO.size:
            raise FormatError("link message is cut short", len(message))
        told = attributes(message[IFINFO.size :])
        inner = attributes(told.get(IfLa.XDP, b""))
        name = told.get(IfLa.IFNAME, b"").rstrip(b"\0").decode(errors="replace")
        for attribute, mode in MODES.items():
            if len(inner.get(attribute, b"")) == 4:
                (prog_id,) = struct.unpack("=I", inner[attribute])
                yield Attachment(
                    prog_id, "xdp", name + suffix, None, [], "netlink", None, mode, None, None, {}
                )
