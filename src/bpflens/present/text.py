"""Values as words, and words that are safe to show.

Names, paths and values come from whoever loaded an object. A terminal must never get a control
character out of them: an escape sequence in a pin's path could rewrite what was printed before.
"""

from __future__ import annotations

import unicodedata
from itertools import groupby
from typing import Any

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that do not print: controls, direction marks, lone surrogates, separators."""


def clean(text: str) -> str:
    """The text with everything that does not print written as an escape (\\x1b, \\u202e)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _HIDDEN else c for c in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else (f"\\U{code:08x}")
    )


def yes_no(value: bool) -> str:
    """A flag in words."""
    return "yes" if value else "no"


def list_text(values: list[Any]) -> str:
    """A list in one cell."""
    return ",".join(str(value) for value in values)


def few_text(values: list[str]) -> str:
    """The first of many in one cell."""
    more = f", and {len(values) - FEW} more" if len(values) > FEW else ""
    return ", ".join(values[:FEW]) + more


FEW = 3


def addresses_text(values: list[int]) -> str:
    """Addresses or offsets in one cell."""
    return ",".join(map(hex, values))


def bytes_text(value: int) -> str:
    """A number of bytes, short: three digits and a binary unit."""
    if value < 1024:
        return str(value)
    amount = float(value)
    for unit in "KMGTPE":
        amount /= 1024
        if amount < 1023.5:  # what would round up to 1024 belongs to the next unit
            return f"{amount:.1f}{unit}" if amount < 9.95 else f"{amount:.0f}{unit}"
    return str(value)


def named_text(named: dict[str, Any]) -> str:
    """An object that another one names: ID, name or type, tag."""
    if "error" in named:
        return f"{named['id']} (gone)"
    words = [str(named["id"]), named.get("name") or named.get("type", "")]
    return " ".join([*words, named["tag"]] if "tag" in named else words)


def per_cpu_text(values: list[dict[str, Any]]) -> str:
    """The values of all CPUs in one cell."""
    return " ".join(f"{v['cpu']}:{v['value']}" for v in values)


def counts_text(counts: dict[str, int]) -> str:
    """`xdp 3, tracepoint 2`."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def sizes_text(maps: list[dict[str, Any]]) -> str:
    """Maps with their memory."""
    return ", ".join(
        f"{m['id']} {m['name'] or m['type']} "
        f"{UNKNOWN if m['memlock_bytes'] is None else bytes_text(m['memlock_bytes'])}"
        for m in maps
    )


def copies_text(copies: list[dict[str, Any]]) -> str:
    """Programs with the number of their copies."""
    return ", ".join(f"{c['count']} of {c['name'] or c['type']} {c['tag']}" for c in copies)


def attachments_text(attachments: list[dict[str, Any]]) -> str:
    """Attachments of one object: `xdp eth0 drv, link 4`."""
    return "; ".join(map(_attachment, attachments))


def _attachment(told: dict[str, Any]) -> str:
    words = [told["kind"], told["target"], told.get("attach_type", "")]
    if "order" in told:
        words.append(f"turn {told['order']}")
    if "prog_id" in told:
        words.append(f"program {told['prog_id']} {told.get('prog_name', '')}".rstrip())
    text = " ".join(filter(None, words))
    more = [*told.get("flags", ()), told.get("holder", "")]
    if "link_id" in told:
        more.insert(0, f"link {told['link_id']}")
    if "cookie" in told:
        more.append(f"cookie {told['cookie']:#x}")
    return ", ".join([text, *filter(None, more)])


def holders_text(holders: list[dict[str, Any]]) -> str:
    """Who holds an object: `pid 812 (nginx) fd 5 as www-data in nginx.service`."""
    return "; ".join(map(_holder, holders))


def _holder(told: dict[str, Any]) -> str:
    text: str = told["words"]
    if "user" in told:
        text += f" as {told['user']}"
    within = told.get("unit") or told.get("container") or told.get("cgroup", "/")
    if within != "/":
        text += f" in {within}"
    return text


def part_text(value: Any) -> str:
    """A typed value, or a part of one, in one cell: `{pid=7, comm="sh", slots=[1, 0 x 63]}`."""
    return value if type(value) is str and value else _part(value)


def _part(value: Any) -> str:
    words: str | None = getattr(value, "words", None)
    if words is not None:
        return words
    match value:
        case dict():
            return "{" + ", ".join(f"{name}={_part(part)}" for name, part in value.items()) + "}"
        case list():
            runs = ((text, sum(1 for _ in run)) for text, run in groupby(map(_part, value)))
            return (
                "["
                + ", ".join(f"{t} x {n}" if n > 3 else ", ".join([t] * n) for t, n in runs)
                + "]"
            )
        case str():
            return f'"{value}"'
        case bool():
            return "true" if value else "false"
        case None:
            return UNKNOWN
    return str(value)


NOTHING = "-"
"""In a cell: there is none."""
UNKNOWN = "?"
"""In a cell: it is not known; `show` and JSON say why."""


def cell(show: Any, value: Any, reason: str) -> str:
    """One value as a cell of a table."""
    if value is None:
        return UNKNOWN if reason else NOTHING
    text: str = show(value)
    return clean(text) or NOTHING
