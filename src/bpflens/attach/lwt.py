"""Programs of routes (lightweight tunnels, seg6local), by rtnetlink."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import (
    NEXTHOP,
    RTMSG,
    SEG6_LOCAL_BPF,
    Encap,
    LwtBpf,
    LwtBpfProg,
    Rta,
    attributes,
    get_routes,
)
from bpflens.attach.filters import number
from bpflens.attach.networks import ABSENT, Visit, text
from bpflens.attach.record import Attachment
from bpflens.errors import FormatError
from bpflens.model.parts import Missing, Reason

_DIRECTIONS = {
    LwtBpf.IN: ProgType.LWT_IN,
    LwtBpf.OUT: ProgType.LWT_OUT,
    LwtBpf.XMIT: ProgType.LWT_XMIT,
}
TYPES = (*_DIRECTIONS.values(), ProgType.LWT_SEG6LOCAL)

_FAMILIES = (2, 10)
"""AF_INET, AF_INET6."""
_MAIN = 254


class Hop(NamedTuple):
    """A next hop of a route, of which each can have its own programs."""

    route: str
    table: int
    encap: int
    programs: dict[int, bytes]
    """RTA_ENCAP."""


def look(visit: Visit) -> Iterator[Attachment]:
    """The programs of the routes of a network namespace. Since: 4.10 (seg6local: 4.18)."""
    for family in _FAMILIES:
        try:
            messages = visit.dump(get_routes(family))
        except OSError as error:
            if error.errno in ABSENT:
                continue
            raise
        for message in messages:
            for hop in _hops(visit, family, message):
                yield from _attachments(visit, hop)


def _hops(visit: Visit, family: int, message: bytes) -> Iterator[Hop]:
    if len(message) < RTMSG.size:
        raise FormatError("route message is cut short", len(message))
    _family, bits, _src, _tos, table, *_rest = RTMSG.unpack_from(message)
    told = attributes(message[RTMSG.size :])
    table = number(told, Rta.TABLE) or table
    if Rta.ENCAP in told:
        route = _route(visit, family, bits, told, number(told, Rta.OIF))
        yield Hop(route, table, number(told, Rta.ENCAP_TYPE), attributes(told[Rta.ENCAP]))
    hops, at = told.get(Rta.MULTIPATH, b""), 0
    while at + NEXTHOP.size <= len(hops):
        length, _flags, _hops, device = NEXTHOP.unpack_from(hops, at)
        if not NEXTHOP.size <= length <= len(hops) - at:
            raise FormatError("next hop does not fit", at)
        own = attributes(hops[at + NEXTHOP.size : at + length])
        if Rta.ENCAP in own:
            route = _route(visit, family, bits, told, device)
            yield Hop(route, table, number(own, Rta.ENCAP_TYPE), attributes(own[Rta.ENCAP]))
        at += (length + 3) & ~3


def _route(visit: Visit, family: int, bits: int, told: dict[int, bytes], device: int) -> str:
    """`route 10.1.0.0/16 dev eth0@blue`."""
    from ipaddress import ip_address  # takes 3 ms

    size = 4 if family == _FAMILIES[0] else 16
    address = ip_address(told.get(Rta.DST, b"")[:size].ljust(size, b"\0"))
    there = visit.devices.get(device)
    name = there.name if there else f"{device}{visit.netns.suffix}"
    return f"route {address}/{bits} dev {name}" if bits else f"route default dev {name}"


def _attachments(visit: Visit, hop: Hop) -> Iterator[Attachment]:
    flags = [f"table {hop.table}"] if hop.table != _MAIN else []
    if hop.encap == Encap.SEG6_LOCAL and SEG6_LOCAL_BPF in hop.programs:
        told = attributes(hop.programs[SEG6_LOCAL_BPF])
        yield Attachment(
            number(told, LwtBpfProg.FD), "lwt", hop.route, None, [*flags, *_named(told)],
            "netlink", None, "seg6local", None, None, {},
        )  # fmt: skip
    if hop.encap != Encap.BPF:
        return
    for direction, type in _DIRECTIONS.items():
        if direction in hop.programs:
            told = attributes(hop.programs[direction])
            prog_id, missing = _which(visit, type, text(told.get(LwtBpfProg.NAME, b"")))
            yield Attachment(
                prog_id, "lwt", hop.route, None, [*flags, *_named(told)],
                "netlink", None, type.label, None, None, missing,
            )  # fmt: skip


def _named(told: dict[int, bytes]) -> list[str]:
    return [f"name {text(told[LwtBpfProg.NAME])}"] if LwtBpfProg.NAME in told else []


def _which(visit: Visit, type: ProgType, name: str) -> tuple[int | None, dict[str, str]]:
    """The program of a route, of which the kernel tells no more than what its loader called it
    (bpf_fill_lwt_prog()): known where only one of that type is loaded."""
    programs = visit.places.programs
    if programs is None:
        why = Missing(Reason.RESTRICTED, f"the kernel tells no ID of {name!r}, and no programs")
        return None, {"prog_id": str(why)}
    known = [id for id, info in programs.items() if info.type == type]
    if len(known) == 1:
        return known[0], {}
    few = ", ".join(map(str, known))
    why = Missing(Reason.UNSUPPORTED, f"the kernel tells no ID of {name!r}; one of programs {few}")
    return None, {"prog_id": str(why)}
