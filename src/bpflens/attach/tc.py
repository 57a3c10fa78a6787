"""Programs as filters of traffic control (cls_bpf), by rtnetlink."""

from __future__ import annotations

from collections.abc import Iterator

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import TcaBpf
from bpflens.attach.filters import Filter, number
from bpflens.attach.networks import Visit, text
from bpflens.attach.record import Attachment

TYPES = (ProgType.SCHED_CLS,)

_WORDS = {1: "skip_hw", 2: "skip_sw", 4: "in_hw"}
"""TCA_CLS_FLAGS_* (pkt_cls.h)."""


def look(visit: Visit) -> Iterator[Attachment]:
    """The programs of cls_bpf in a network namespace. Since: 4.13 (ID).

    A classic filter (TCA_BPF_OPS) is no program that has an ID.
    """
    turns: dict[tuple[int, str, int], int] = {}
    for found in visit.filters:
        prog_id = number(found.options, TcaBpf.ID)
        if found.kind != "bpf" or not prog_id:
            continue
        place = found.device.ifindex, found.side, found.chain
        # Not by handle: of one priority the newest runs first (cls_bpf_change()).
        turn = turns[place] = turns.get(place, -1) + 1
        yield Attachment(
            prog_id, "tc", found.device.name, turn, [*found.words(), *_flags(found)], "netlink",
            None, found.side, None, None, {},
        )  # fmt: skip


def _flags(found: Filter) -> Iterator[str]:
    if name := text(found.options.get(TcaBpf.NAME, b"")):
        yield f"name {name}"
    if classid := number(found.options, TcaBpf.CLASSID):
        yield f"classid {classid >> 16:x}:{classid & 0xFFFF:x}"
    if number(found.options, TcaBpf.FLAGS) & 1:
        yield "direct-action"
    bits = number(found.options, TcaBpf.FLAGS_GEN)
    yield from (word for bit, word in _WORDS.items() if bits & bit)
