"""Parts of typed values: taken by a path, and spread over the columns of a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bpflens.errors import UsageError
from bpflens.present import table
from bpflens.present.columns import ELEMENTS, Column, Noun
from bpflens.present.text import few_text, part_text
from bpflens.rawtext import shown, whole

_PATH = re.compile(r"(\.[^.\[\]]+|\[[0-9]{1,10}\])*")
_STEP = re.compile(r"\.[^.\[\]]+|\[[0-9]+\]")
_INDEX = re.compile(r"\[([0-9]+)\]")

MOST_SPREAD = 8
"""Fields of a key or value that get a column each; more stand in one cell."""


def taker(whole: Callable[[Any], Any], key: str, path: str) -> Callable[[Any], Any]:
    """Takes the part of a column's value that a path names, as `.packets` or `[3].x`.

    What it returns is None where the value is missing. Raises UsageError, itself for what is no
    path, and later for what the value does not have.
    """
    if not _PATH.fullmatch(path):
        raise UsageError(f"{key + path!r} is no path: write it like value.packets or value[3]")

    steps = [int(s[1:-1]) if s[0] == "[" else s[1:] for s in _STEP.findall(path)]

    def take(record: Any) -> Any:
        value = whole(record)
        try:
            for step in steps:
                value = value[step]
            return value
        except (LookupError, TypeError):
            return slowly(record)

    def slowly(record: Any) -> Any:
        value, rest = whole(record), path
        while rest and value is not None:
            value, rest = _step(value, rest, key + path)
        return value

    return take


def _step(value: Any, rest: str, path: str) -> tuple[Any, str]:
    """What the first step of `rest` leads to, and the steps behind it."""
    index = _INDEX.match(rest)
    if index:
        at = int(index[1])
        if isinstance(value, list) and at < len(value):
            return value[at], rest[index.end() :]
        what = f"an array of {len(value)}" if isinstance(value, list) else "no array"
        raise UsageError(f"{path}: there is no [{at}], it is {what}")
    rest = rest[1:]
    if isinstance(value, dict):
        # A static variable of a function has a dot in its name: `sys_exit.zero`.
        for name in sorted(value, key=len, reverse=True):
            if _begins(rest, name):
                return value[name], rest[len(name) :]
        alike = [name for name in value if not whole(name) and _begins(rest, shown(name))]
        if len(alike) > 1:
            raise UsageError(f"{path}: give the bytes of one of: {few_text(alike)}")
        if alike:
            return value[alike[0]], rest[len(shown(alike[0])) :]
    names = f"there are: {', '.join(value)}" if isinstance(value, dict) else "it has no fields"
    raise UsageError(f"{path}: there is no {re.split(r'[.[]', rest)[0]}; {names}")


def _begins(path: str, name: str) -> bool:
    """Whether the first step of a path is this name."""
    return path == name or path.startswith((f"{name}.", f"{name}["))


def typed_elements(per_cpu: bool, summed: bool) -> Noun:
    """The columns of elements whose keys or values have types: conditions and tables see those.

    What has no type keeps its bytes.
    """
    columns = {column.key: column for column in ELEMENTS.columns}
    columns["key"] = _typed(columns["key"], "key", "key")
    if summed:
        value = columns["value"]._replace(help="the values of all CPUs, added up")
        columns["value"] = _typed(value, "sum", "value")
    elif not per_cpu:
        columns["value"] = _typed(columns["value"], "value", "value")
    values = _typed(columns["values"], "values", "values")
    columns["values"] = values._replace(show=_values_text)
    return Noun(ELEMENTS.kind, tuple(columns.values()))


def _typed(column: Column, part: str, field: str) -> Column:
    def get(record: Any) -> Any:
        formatted = record.formatted
        if formatted is not None and part in formatted:
            return formatted[part]
        return getattr(record, field)

    return column._replace(get=get, parts=True, show=part_text)


def _values_text(values: list[dict[str, Any]]) -> str:
    return " ".join(f"{v['cpu']}:{part_text(v['value'])}" for v in values)


def spread(columns: tuple[Column, ...], record: Any, most: int = MOST_SPREAD) -> tuple[Column, ...]:
    """The columns, and in place of one whose value has fields a column for each field.

    All records of a map have the same fields, so one record tells.
    """
    result: list[Column] = []
    for column in columns:
        value = column.getter(record) if column.parts else None
        found = list(leaves(value)) if isinstance(value, dict) else []
        if not found or len(found) > most or not found[0][0]:
            result.append(column)
            continue
        for names, part in found:
            key = column.key + dotted(names)
            get = _follower(column.getter, names)
            result.append(column.renamed(key, get)._replace(right=isinstance(part, int)))
    return tuple(result)


def _follower(whole: Callable[[Any], Any], names: tuple[str, ...]) -> Callable[[Any], Any]:
    """Takes the field at the end of these names, whatever characters are in them."""

    def take(record: Any) -> Any:
        value = whole(record)
        for name in names:
            if value is None:
                return None
            value = value[name]
        return value

    return take


def leaves(value: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The names that lead to what has no fields of its own, with what is there."""
    if isinstance(value, dict) and value and not hasattr(value, "words"):
        for name, part in value.items():
            yield from leaves(part, (*names, name))
    else:
        yield names, value


def dotted(names: tuple[str, ...]) -> str:
    """Names as the path that leads along them: `.stats.packets`."""
    return "".join(f".{name}" for name in names)


def nested(columns: tuple[Column, ...], records: Iterable[Any]) -> Iterator[str]:
    """Elements of a map of maps, each with those of the map inside as a table of its own."""
    for record in records:
        yield from table.detail(columns, record)
        if record.inner is not None:
            yield from (f"    {line}" for line in _inner_lines(record.inner))


def _inner_lines(inner: Any) -> Iterator[str]:
    typed = "formatted" in inner.fields
    noun = typed_elements("values" in inner.fields, False) if typed else ELEMENTS
    columns = tuple(noun.column(field) for field in inner.fields if field != "formatted")
    if typed and inner.records:
        columns = spread(columns, inner.records[0])
    yield from table.streamed(columns, inner.records)
    if not inner.complete:
        yield f"not all elements: {inner.why}"
