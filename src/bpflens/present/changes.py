"""A change to an element: what it was and what it becomes, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bpflens.present.columns import ELEMENTS
from bpflens.present.documents import Item, item_of, safe
from bpflens.present.parts import dotted, leaves
from bpflens.present.text import clean, part_text
from bpflens.snapshot.records import SCHEMA


def document(map: Item, before: Any, after: Any, done: bool) -> Item:
    """The change for programs; an element that is not there is null."""
    sides = {"before": _item(before), "after": _item(after)}
    return {"schema": SCHEMA, "kind": "change", "map": map} | sides | {"done": done}


def _item(record: Any) -> Item | None:
    if record is None:
        return None
    single = record.value is not None
    fields = ["key", "value" if single else "values"]
    if record.formatted is not None:
        fields.append("formatted")
    item: Item = safe(item_of(tuple(map(ELEMENTS.column, fields)))(record))
    return item


def lines(before: Any, after: Any) -> Iterator[str]:
    """The change for people: a line for each field that differs, `value.packets  7 -> 8`."""
    old, new = _fields(before), _fields(after)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    room = max(map(len, names), default=0)
    for name in names:
        sides = (clean(old.get(name, NOT_THERE)), clean(new.get(name, NOT_THERE)))
        yield f"{clean(name).ljust(room)}  {sides[0]} -> {sides[1]}"
    if not names:
        yield "no difference"


NOT_THERE = "(none)"


def _fields(record: Any) -> dict[str, str]:
    """Each field of a record's value with its text."""
    if record is None:
        return {}
    formatted = record.formatted or {}
    if "value" in formatted:
        values = {"value": formatted["value"]}
    elif "values" in formatted:
        values = {f"cpu {v['cpu']} value": v["value"] for v in formatted["values"]}
    elif record.value is not None:
        values = {"value": record.value}
    else:
        values = {f"cpu {v['cpu']} value": v["value"] for v in record.values}
    return {
        name + dotted(names): part_text(part)
        for name, value in values.items()
        for names, part in leaves(value)
    }
