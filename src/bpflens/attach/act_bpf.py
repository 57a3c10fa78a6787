"""Programs as actions of filters of traffic control (act_bpf), by rtnetlink."""

from __future__ import annotations

from collections.abc import Iterator

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import (
    ACT_BPF,
    FILTER_ACTIONS,
    TCAMSG,
    TcaAct,
    TcaActBpf,
    attributes,
    get_actions,
)
from bpflens.attach.filters import number
from bpflens.attach.networks import ABSENT, Visit, text
from bpflens.attach.record import Attachment
from bpflens.errors import FormatError

TYPES = (ProgType.SCHED_ACT,)


def look(visit: Visit) -> Iterator[Attachment]:
    """The programs of act_bpf in a network namespace: at each filter that has one as an action,
    and those that no filter has. Since: 4.13 (ID)."""
    turns: dict[tuple[int, str, int], int] = {}
    used: set[int] = set()
    for found in visit.filters:
        place = found.device.ifindex, found.side, found.chain
        for told in _actions(found.options.get(FILTER_ACTIONS.get(found.kind, -1), b"")):
            used.add(_index(told))
            turn = turns[place] = turns.get(place, -1) + 1
            yield Attachment(
                number(told, TcaActBpf.ID), "act_bpf", found.device.name, turn,
                [f"filter {found.kind}", *found.words(), *_flags(told)], "netlink", None,
                found.side, None, None, {},
            )  # fmt: skip
    for told in _all(visit):
        if _index(told) not in used:
            yield Attachment(
                number(told, TcaActBpf.ID), "act_bpf", visit.netns.words, None,
                [*_flags(told), "no filter uses it"], "netlink", None, None, None, None, {},
            )  # fmt: skip


def _all(visit: Visit) -> Iterator[dict[int, bytes]]:
    try:
        messages = visit.dump(get_actions("bpf"))
    except OSError as error:
        if error.errno in ABSENT:
            return
        raise
    for message in messages:
        yield from _actions(attributes(message[TCAMSG.size :]).get(TcaAct.TAB, b""))


def _actions(table: bytes) -> Iterator[dict[int, bytes]]:
    """The options of those actions in a list that are programs."""
    for action in attributes(table).values():
        told = attributes(action)
        if text(told.get(TcaAct.KIND, b"")) == "bpf" and TcaAct.OPTIONS in told:
            options = attributes(told[TcaAct.OPTIONS])
            if number(options, TcaActBpf.ID):  # a classic filter has none
                yield options


def _index(told: dict[int, bytes]) -> int:
    parms = told.get(TcaActBpf.PARMS, b"")
    if len(parms) < ACT_BPF.size:
        raise FormatError("action is cut short", len(parms))
    return int(ACT_BPF.unpack_from(parms)[0])


def _flags(told: dict[int, bytes]) -> Iterator[str]:
    yield f"action {_index(told)}"
    if name := text(told.get(TcaActBpf.NAME, b"")):
        yield f"name {name}"
