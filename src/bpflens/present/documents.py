"""JSON, JSON lines and CSV.

One document is `{"schema", "kind", "items", "errors", "complete"}`, with an item a line, so that
it can be read as it comes and compared with diff. An integer that JavaScript cannot hold (above
2^53 - 1) is a string of its digits, a float that is none "NaN", "Infinity" or "-Infinity". A value
that is null has its reason under "missing". What only some types of object have (the device of a
link) is not there for the others. All text is valid Unicode; bytes that are not UTF-8 stand in hex
beside it (`present.unicode`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any

from bpflens.model.parts import Missing, Part, Reason, not_asked
from bpflens.present.columns import Column, row_of
from bpflens.snapshot.records import SCHEMA, ErrorRecord

SAFE = (1 << 53) - 1

Item = dict[str, Any]

BATCH = 256
"""Items that are encoded in one go: most of the cost of a small one is the call."""

_encode: Callable[[Any], str] = json.JSONEncoder(allow_nan=False).encode


def encode(value: Any) -> str:
    """The value as JSON, in ASCII. Raises ValueError for a float that is no number."""
    text = _encode(value)
    # Every surrogate stands as an escape here, also those of pairs. Most texts have no escape, and
    # one character is found much faster than three.
    if "\\" in text and "\\ud" in text:
        from bpflens.present.unicode import unicode

        text = _encode(unicode(value))
    return text


def item_of(
    columns: Sequence[Column], blank: Mapping[str, Part] = MappingProxyType({})
) -> Callable[[Any], Item]:
    """A function that makes a JSON item of a record; `blank` are fields that were not asked for,
    each with its part."""
    keys = tuple(c.key for c in columns)
    values_of = row_of(tuple(columns))
    wanted = frozenset(keys)
    wide = [c.key for c in columns if c.wide]
    sparse = [c.key for c in columns if c.sparse]
    none = {
        c.key: str(not_asked(blank[c.key]) if c.key in blank else Missing(Reason.NONE, c.none))
        for c in columns
    }

    def item(record: Any) -> Item:
        row = values_of(record)
        values = dict(zip(keys, row, strict=True))
        for key in wide:
            value = values[key]
            if value:  # neither 0 nor null, which most of them are
                values[key] = safe(value)
        reasons = record.missing
        missing = {k: reasons[k] for k in reasons if k in wanted} if reasons else {}
        for key in sparse:
            if values[key] is None and key not in missing:
                del values[key]
        if None in row:
            for key, value in values.items():
                if value is None and key not in missing:
                    missing[key] = none[key]
        values["missing"] = missing
        return values

    return item


_NO_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_WIDE = " " + 16 * "0"
_DIGITS = str.maketrans("123456789[-", "000000000  ")
"""What may be a number above `SAFE`, in JSON that was translated so. Looking for it costs less than
looking at each, and a quarter of what a regular expression does."""


def safe(value: Any) -> Any:
    """The value with every number in it that JSON or JavaScript cannot hold as a string."""
    if isinstance(value, float):
        return value if math.isfinite(value) else _NO_NUMBERS[str(value)]
    if isinstance(value, int):
        return str(int(value)) if not -SAFE <= value <= SAFE else value
    if isinstance(value, dict):
        return {key: safe(part) for key, part in value.items()}
    if isinstance(value, list):
        return [safe(part) for part in value]
    return value


def lines(items: Iterable[Item], apart: bool = False) -> Iterator[str]:
    """A line an item; `apart` where objects inside an item may begin with any key."""
    items = iter(items)
    while apart and (batch := list(islice(items, BATCH))):
        try:
            text = encode(_spaced(batch))
        except ValueError:  # a float that is no number
            text = ""
        if not text or _WIDE in text.translate(_DIGITS):
            text = encode(_spaced(map(safe, batch)))
        yield from text[1:-1].replace(_BETWEEN, "}\n{").split("\n")
    while batch := list(islice(items, BATCH)):
        # Inside a string a quote is escaped, so `}, {"` can only stand between two objects; the
        # first key of an item, which no object inside an item begins with, tells which.
        first = encode(next(iter(batch[0])))
        text = encode(batch)
        yield from text[1:-1].replace("}, {" + first, "}\n{" + first).split("\n")


_BETWEEN = '}, "", {'
"""What stands between two items, and nowhere else: no list of ours has both objects and strings,
and inside a string a quote is escaped."""


def _spaced(items: Iterable[Item]) -> list[Item | str]:
    """The items in a list to encode, a string between any two."""
    return [part for item in items for part in (item, "")][:-1]


def document(
    kind: str,
    items: Iterable[Item],
    errors: Sequence[ErrorRecord],
    complete: Callable[[], bool],
    head: Item | None = None,
    tail: Callable[[], Item] = dict,
    apart: bool = False,
) -> Iterator[str]:
    """The lines of one document. `errors` and `complete` are asked after the last item."""
    first: Item = {"schema": SCHEMA, "kind": kind} | (head or {})
    yield encode(first)[:-1] + ', "items": ['
    before = ""
    for line in lines(items, apart):
        if before:
            yield before + ","
        before = line
    if before:
        yield before
    last: Item = {"errors": [error._asdict() for error in errors], "complete": complete()} | tail()
    yield "], " + encode(last)[1:]


def sheet(columns: Sequence[Column], records: Iterable[Any]) -> Iterator[str]:
    """CSV with a header; lists are joined by blanks, objects are told as in a table, what is
    missing is empty. Text is what JSON has, but for the apostrophe of `_defused`."""
    import csv
    import io

    buffer = io.StringIO(newline="")
    # Before 3.13 it quotes a CR or LF only where one ends lines, too.
    writer = csv.writer(buffer, lineterminator="\r\n")
    take = row_of(tuple(columns))

    def line(values: Iterable[Any]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(values)
        return buffer.getvalue()[:-2]

    yield line(_defused(c.key) for c in columns)
    for record in records:
        yield line(map(_csv_value, columns, take(record)))


def _csv_value(column: Column, value: Any) -> Any:
    kind = type(value)
    if kind is int or value is None:
        return value
    if kind is str:
        return value if value[:1] not in _HEADS and value.isascii() else _defused(value)
    if kind is bool:
        return "true" if value else "false"
    if isinstance(value, dict) or (isinstance(value, list) and value and type(value[0]) is dict):
        return _defused(column.show(value))
    if isinstance(value, list):
        text = " ".join(map(str, value))
        return _defused(text) if value and isinstance(value[0], str) else text
    return _defused(value) if isinstance(value, str) else safe(value)


_FORMULA = frozenset("=+-@\t\r")
"""What a spreadsheet takes a cell for a formula by (CSV injection, as OWASP lists it)."""
_HEADS = _FORMULA | {"'"}


def _defused(text: str) -> str:
    """Text that no spreadsheet runs: an apostrophe is put before a formula, and also before what
    would then read the same (a formula behind apostrophes), so that it can be taken off again."""
    behind = text.lstrip("'") if text[:1] == "'" else text
    from bpflens.rawtext import shown

    return shown(f"'{text}" if behind[:1] in _FORMULA else text)
