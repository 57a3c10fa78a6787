"""Programs on the ingress and egress of devices (tcx), by PROG_QUERY."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from bpflens.abi.enums import AttachType, ProgType
from bpflens.attach.networks import ABSENT, Device, Visit
from bpflens.attach.record import Attachment
from bpflens.errors import SyscallError
from bpflens.port.query import prog_query

TYPES = (ProgType.SCHED_CLS,)

_SIDES = (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS)
_ELSEWHERE = frozenset({errno.ENODEV, errno.ENXIO, errno.EACCES})
"""The device is gone; it is no netkit device; it is the end of a pair that is not asked
(netkit_dev_fetch())."""


def look(visit: Visit) -> Iterator[Attachment]:
    """The programs of tcx in a network namespace. Since: 6.6."""
    yield from ask(visit, "tcx", list(visit.devices.values()), _SIDES)


def ask(
    visit: Visit, kind: str, devices: list[Device], sides: tuple[AttachType, ...]
) -> Iterator[Attachment]:
    """The programs in a device's lists (bpf_mprog_query()), with their links."""
    for device in devices:
        for side in sides:
            try:
                told = prog_query(visit.system.calls, device.ifindex, side, links=True)
            except SyscallError as error:
                if error.errno in ABSENT:
                    return
                if error.errno in _ELSEWHERE:
                    continue
                raise
            for turn, (prog_id, link_id) in enumerate(zip(told.progs, told.links, strict=True)):
                yield Attachment(
                    prog_id, kind, device.name, turn, [],
                    "prog_query", link_id or None, side.label, None, None, {},
                )  # fmt: skip
