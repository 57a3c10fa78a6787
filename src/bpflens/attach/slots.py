"""Programs in maps: in slots of prog_array, devmap and cpumap, at socket maps, in tables of
functions (struct_ops)."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from bpflens import limits
from bpflens.abi.enums import AttachType, LinkType, MapType
from bpflens.attach import struct_ops
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure, failure
from bpflens.attach.targets import Targets
from bpflens.errors import BpflensError, NotFound, SyscallError
from bpflens.model.map import Map
from bpflens.model.parts import Missing, Reason
from bpflens.port.query import prog_query

_SLOTS = {
    MapType.PROG_ARRAY: ("prog_array", None),
    MapType.DEVMAP: ("devmap", AttachType.XDP_DEVMAP),
    MapType.DEVMAP_HASH: ("devmap", AttachType.XDP_DEVMAP),
    MapType.CPUMAP: ("cpumap", AttachType.XDP_CPUMAP),
}
_WITH_PROGRAM = 8
"""Bytes of a value of a devmap or cpumap that may have a program: struct bpf_devmap_val."""
_SOCKETS = (MapType.SOCKMAP, MapType.SOCKHASH)
_AT_SOCKETS = (
    AttachType.SK_SKB_STREAM_PARSER,
    AttachType.SK_SKB_STREAM_VERDICT,
    AttachType.SK_SKB_VERDICT,
    AttachType.SK_MSG_VERDICT,
)


def find(places: Places) -> Iterator[Attachment | Failure]:
    """The programs that maps hold. Raises Denied where maps cannot be listed. Since: 4.13."""
    targets = places.targets
    for found in places.system.maps():
        with found:
            try:
                yield from _look(targets, found)
            except NotFound:
                continue
            except (BpflensError, OSError) as error:
                yield failure("slots", f"map {found.id}", error)


def _look(targets: Targets, found: Map) -> Iterator[Attachment | Failure]:
    type = found.type
    if type in _SOCKETS:
        yield from _at_sockets(targets.places, found)
    elif type is MapType.STRUCT_OPS:
        yield from struct_ops.look(targets, found)
    elif type is MapType.PROG_ARRAY or (
        type in _SLOTS and found.basic().value_size >= _WITH_PROGRAM
    ):
        yield from _in_slots(found, *_SLOTS[type])


def _in_slots(found: Map, kind: str, hook: AttachType | None) -> Iterator[Attachment | Failure]:
    walk = found.items(limits.SLOTS.value, limits.SLOT_SECONDS.value)
    for element in walk:
        if element.prog_id:
            slot = int.from_bytes(element.key, "little")
            yield Attachment(
                element.prog_id, kind, f"map {found.id} [{slot}]", None, [], "map", None,
                hook.label if hook else None, None, None, {}, map_id=found.id, slot=str(slot),
            )  # fmt: skip
    if not walk.complete:
        reason = Missing(Reason.LIMITED, f"not all slots were read: {walk.why}")
        yield Failure(kind, f"map {found.id}", str(reason))


def _at_sockets(places: Places, found: Map) -> Iterator[Attachment]:
    """sock_map_bpf_prog_query(). Since: 5.18 (links: 6.10)."""
    for type in _AT_SOCKETS:
        try:
            told = prog_query(places.system.calls, found.fd, type)
        except SyscallError as error:
            if error.errno == errno.EBUSY:
                continue  # a map has a stream's verdict or a socket's (sock_map_progs())
            raise
        for prog_id in told.progs:
            link = next(
                (
                    link.id
                    for link in places.links
                    if link.type is LinkType.SOCKMAP
                    and (link.map_id, link.attach_type) == (found.id, type)
                ),
                None,
            )
            yield Attachment(
                prog_id, "sockmap", f"map {found.id}", None, [], "prog_query", link, type.label,
                None, None, {}, map_id=found.id,
            )  # fmt: skip
