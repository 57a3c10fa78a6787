"""The filters of traffic control in a network namespace, in the order in which they run."""

from __future__ import annotations

import sys
from typing import NamedTuple

from bpflens.abi.netlink import (
    TCMSG,
    Tca,
    TcParent,
    attributes,
    get_classes,
    get_filters,
    get_qdiscs,
)
from bpflens.attach.networks import Device, Visit, text
from bpflens.errors import FormatError

_SIDES = {TcParent.INGRESS: Tca.INGRESS_BLOCK, TcParent.EGRESS: Tca.EGRESS_BLOCK}
"""Of a clsact qdisc: a side, and what names the block of filters that it shares with others."""

_QUEUES = frozenset({"noqueue", "pfifo_fast", "pfifo", "bfifo", "pfifo_head_drop", "mq", "fq"})
"""Qdiscs that take no filters, and that devices have by themselves."""
_WITH_CLASSES = frozenset({"htb", "hfsc"})
"""Qdiscs whose classes take filters of their own (htb_tcf_block(), hfsc_tcf_block())."""


class Filter(NamedTuple):
    """A filter at one of the places where it runs: a shared one runs at several."""

    device: Device
    side: str
    """`ingress`, `egress`, or what it is under of another qdisc: `parent 1:1`."""
    kind: str
    """`bpf`, `u32`, `flower`…"""
    protocol: int
    """As in an Ethernet frame, in network byte order."""
    priority: int
    chain: int
    handle: int
    block: int
    """Number of the block of filters that devices share; 0: it is not shared."""
    options: dict[int, bytes]

    def words(self) -> list[str]:
        """Where it stands, in the words of tc(8)."""
        said = [f"protocol {_protocol(self.protocol)}", f"pref {self.priority}"]
        said += [f"chain {self.chain}"] if self.chain else []
        said += [f"block {self.block}"] if self.block else []
        return [*said, f"handle {self.handle:#x}"]


def read(visit: Visit) -> list[Filter]:
    """Every filter of a network namespace. Raises OSError, FormatError."""
    found: list[Filter] = []
    classful: list[Device] = []
    for head, told in _messages(visit, get_qdiscs()):
        _family, index, handle, _parent, _info = head
        device = visit.devices.get(index)
        kind = text(told.get(Tca.KIND, b""))
        if device is None or kind in _QUEUES:
            continue
        if kind in ("clsact", "ingress"):
            for side, shared in _SIDES.items():
                if kind == "clsact" or side == TcParent.INGRESS:
                    found += _under(visit, device, side, side.label, number(told, shared))
            continue
        found += _under(visit, device, handle, f"parent {handle >> 16:x}:")
        if kind in _WITH_CLASSES and device not in classful:
            classful.append(device)
    for device in classful:
        for head, told in _messages(visit, get_classes(device.ifindex)):
            if text(told.get(Tca.KIND, b"")) in _WITH_CLASSES:
                parent = head[2]
                words = f"parent {parent >> 16:x}:{parent & 0xFFFF:x}"
                found += _under(visit, device, parent, words)
    return found


def _under(visit: Visit, device: Device, parent: int, side: str, block: int = 0) -> list[Filter]:
    """The filters of one place: tcf_chain_dump() goes by chain, then by priority, then through
    the list of a priority, as classification does."""
    found: list[Filter] = []
    for head, told in _messages(visit, get_filters(device.ifindex, parent)):
        _family, _index, handle, _parent, info = head
        if Tca.OPTIONS not in told:
            continue  # a priority itself
        made = Filter(
            device, side, text(told.get(Tca.KIND, b"")), info & 0xFFFF, info >> 16,
            number(told, Tca.CHAIN), handle, block, attributes(told[Tca.OPTIONS]),
        )  # fmt: skip
        found.append(made)
    return found


def _messages(
    visit: Visit, request: bytes
) -> list[tuple[tuple[int, int, int, int, int], dict[int, bytes]]]:
    messages = visit.dump(request)
    if any(len(message) < TCMSG.size for message in messages):
        raise FormatError("message of traffic control is cut short", 0)
    return [(TCMSG.unpack_from(each), attributes(each[TCMSG.size :])) for each in messages]


def number(told: dict[int, bytes], kind: int) -> int:
    """The number in an attribute, 0 where there is none."""
    return int.from_bytes(told.get(kind, b""), sys.byteorder)


_PROTOCOLS = {0x0003: "all", 0x0800: "ip", 0x0806: "arp", 0x8100: "802.1Q", 0x86DD: "ipv6"}


def _protocol(number: int) -> str:
    value = int.from_bytes(number.to_bytes(2, sys.byteorder), "big")
    return _PROTOCOLS.get(value, f"{value:#06x}")
