"""Tables and detail views, as plain lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bpflens.present.columns import Column, row_of
from bpflens.present.text import cell

GAP = "  "
CUT = "..."
NARROWEST = 8


def table(
    columns: Sequence[Column], records: Iterable[Any], width: int | None = None
) -> tuple[list[str], list[str]]:
    """(lines with the header first, keys of the columns that did not fit in `width`).

    Without a width nothing is cut or left out. With one, columns of the highest rank give way
    first, then long text is cut.
    """
    columns = list(columns)
    take = row_of(tuple(columns))
    rows = []
    for record in records:
        missing = getattr(record, "missing", {})
        values = zip(columns, take(record), strict=True)
        rows.append([cell(c.show, value, missing.get(c.key, "none")) for c, value in values])
    sizes = [
        max(len(column.title), *(len(row[at]) for row in rows)) if rows else len(column.title)
        for at, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    if width is not None:
        shown = _fitting(columns, sizes, width)
    hidden = [c.key for at, c in enumerate(columns) if at not in shown]
    header = [c.title for c in columns]
    return [_line(columns, row, sizes, shown) for row in (header, *rows)], hidden


def _fitting(columns: Sequence[Column], sizes: list[int], width: int) -> list[int]:
    """The columns that fit side by side; `sizes` is made smaller where text must be cut."""
    shown = list(range(len(columns)))

    def need() -> int:
        return sum(sizes[at] for at in shown) + len(GAP) * (len(shown) - 1)

    texts = [at for at in shown if not columns[at].right]
    # Half of what is too long may be the tail of one long cell: cut that before dropping a column.
    for at in texts:
        if need() > width and sizes[at] > 24:
            sizes[at] = max(24, sizes[at] - (need() - width))
    while need() > width and len(shown) > 3:
        shown.remove(max(shown, key=lambda at: columns[at].rank))
    for at in texts:
        if at in shown and need() > width:
            sizes[at] = max(NARROWEST, sizes[at] - (need() - width))
    return shown


def _line(columns: Sequence[Column], row: list[str], sizes: list[int], shown: list[int]) -> str:
    cells = []
    for at in shown:
        text, size = row[at], sizes[at]
        if len(text) > size:
            text = text[: size - len(CUT)] + CUT
        cells.append(text.rjust(size) if columns[at].right else text.ljust(size))
    return GAP.join(cells).rstrip()


def detail(columns: Sequence[Column], record: Any) -> Iterator[str]:
    """One record, a line a field: what is there, and what is not known with its reason.

    What the record is known to have none of is left out.
    """
    missing = getattr(record, "missing", {})
    room = max(len(c.key) for c in columns)
    for column, value in zip(columns, row_of(tuple(columns))(record), strict=True):
        reason = missing.get(column.key, "")
        if value is None:
            if reason and not reason.startswith(("none", "not asked")):
                yield f"{column.key.ljust(room)}{GAP}({cell(str, reason, '')})"
        elif value not in ([], ""):
            yield f"{column.key.ljust(room)}{GAP}{cell(column.show, value, '')}"
