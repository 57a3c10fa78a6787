"""XDP programs on devices, by rtnetlink."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import IfLaXdp, attributes
from bpflens.attach.networks import Linked, Visit
from bpflens.attach.record import Attachment

TYPES = (ProgType.XDP,)

MODES = {IfLaXdp.DRV_PROG_ID: "drv", IfLaXdp.SKB_PROG_ID: "skb", IfLaXdp.HW_PROG_ID: "hw"}
"""In the driver, generic, offloaded. rtnl_xdp_fill() has an attribute for each with a program."""


def look(visit: Visit) -> Iterator[Linked]:
    """The XDP programs of a network namespace. Since: 4.18 (one ID a mode)."""
    for device in visit.devices.values():
        inner = attributes(device.xdp)
        for attribute, mode in MODES.items():
            if attribute in inner:
                prog_id = int.from_bytes(inner[attribute], sys.byteorder)
                found = Attachment(
                    prog_id, "xdp", device.name, None, [], "netlink", None, mode, None, None, {}
                )
                yield Linked(found, ("xdp", device.ifindex, prog_id))
