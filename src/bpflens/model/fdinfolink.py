"""A link as the fdinfo of an open file tells it: to those who may ask the kernel for no link.

Its lines are those of bpf_link_show_fdinfo() and of the type's show_fdinfo(): fewer things than the
link's info has, and under other names.
"""

from __future__ import annotations

from typing import Any

from bpflens.abi.enums import LinkType, PerfEventType
from bpflens.model.link import LinkFacts
from bpflens.model.parts import Missing, Reason
from bpflens.port.fdinfo import field

_SAME = (
    "attach_type", "cookie", "cgroup_id", "ifindex", "netns_ino", "map_id", "target_obj_id",
    "target_btf_id", "tid", "pid", "offset", "ref_ctr_offset", "config", "missed",
)  # fmt: skip
_NUMBERS = {line: line for line in _SAME} | {
    "type": "event_type",
    "cnt": "probe_count",
    "kprobe_cnt": "probe_count",
    "uprobe_cnt": "probe_count",
}
_TEXTS = {"tp_name": "tp_name", "target_name": "target_name", "path": "path"}
"""Line of fdinfo → field of `LinkFacts`."""

_NAMES = {
    PerfEventType.KPROBE: "func_name",
    PerfEventType.KRETPROBE: "func_name",
    PerfEventType.UPROBE: "file_name",
    PerfEventType.URETPROBE: "file_name",
}
"""Which of our fields the line `name` of a perf event's link is."""

_TYPES = {type.label: type for type in LinkType} | {
    "perf": LinkType.PERF_EVENT,
    "kretprobe_multi": LinkType.KPROBE_MULTI,
    "uretprobe_multi": LinkType.UPROBE_MULTI,
}
_EVENTS = {type.label: type for type in PerfEventType}

_UNTOLD = Missing(Reason.RESTRICTED, "fdinfo does not tell it here (needs CAP_SYS_ADMIN)")
_NEEDED = {LinkType.PERF_EVENT: "perf_event_type"} | dict.fromkeys(
    (LinkType.KPROBE_MULTI, LinkType.UPROBE_MULTI, LinkType.TRACING_MULTI), "probe_count"
)
"""Without which field nothing is known of where a link of this type is."""


def facts(text: bytes) -> LinkFacts | None:
    """What the fdinfo of a link tells; None for another kind of file."""
    id, type = _number(text, "link_id"), _TYPES.get(_text(text, "link_type"))
    if id is None or type is None:
        return None
    values = many(text) if type is LinkType.TRACING_MULTI else _numbers(text)
    for line, ours in _TEXTS.items():
        if name := _text(text, line):
            values[ours] = name
    event = _EVENTS.get(_text(text, "event_type"))
    if event is not None:
        values["perf_event_type"] = event
        if event in _NAMES:
            values[_NAMES[event]] = _text(text, "name")
    needed = _NEEDED.get(type)
    missing = {needed: _UNTOLD} if needed and needed not in values else {}
    return LinkFacts(id, type, _number(text, "prog_id") or 0, missing, **values)


def many(text: bytes) -> dict[str, Any]:
    """What the fdinfo of a tracing_multi link tells, by the fields of `LinkFacts`. Since: 7.2.

    A line for each function, `OBJECT TYPE COOKIE SYMBOL`, is below a head
    (bpf_tracing_multi_show_fdinfo()).
    """
    values = _numbers(text)
    rows = [line.split() for line in text.partition(b"\nobj-id")[2].splitlines()[1:]]
    functions = [[int(word) for word in row[:3]] for row in rows if len(row) > 3]
    if functions:
        objects, types, cookies = zip(*functions, strict=True)
        values |= {"target_obj_id": objects[0], "target_btf_ids": list(types)}
        values["cookies"] = list(cookies)
    return values


def _numbers(text: bytes) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for line, ours in _NUMBERS.items():
        if (number := _number(text, line)) is not None:
            values[ours] = number
    return values


def _text(text: bytes, line: str) -> str:
    told = field(text, line.encode())
    return "" if told is None else told.decode(errors="surrogateescape")


def _number(text: bytes, line: str) -> int | None:
    """A number, behind which words may stand: `46 (ingress)`."""
    word = _text(text, line).partition(" ")[0]
    try:
        return int(word, 0)
    except ValueError:
        return None
