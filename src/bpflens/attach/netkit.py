"""Programs on what the two ends of a pair of netkit devices send, by PROG_QUERY."""

from __future__ import annotations

from collections.abc import Iterator

from bpflens.abi.enums import AttachType, ProgType
from bpflens.attach.networks import Visit
from bpflens.attach.record import Attachment
from bpflens.attach.tcx import ask

TYPES = (ProgType.SCHED_CLS,)

_SIDES = (AttachType.NETKIT_PRIMARY, AttachType.NETKIT_PEER)


def look(visit: Visit) -> Iterator[Attachment]:
    """The programs of netkit in a network namespace, each at the primary end, which has those of
    both. Since: 6.7."""
    pairs = [device for device in visit.devices.values() if device.kind == "netkit"]
    yield from ask(visit, "netkit", pairs, _SIDES)
