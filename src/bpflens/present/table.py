"""Tables and detail views, as plain lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from bpflens.present.columns import Column, row_of
from bpflens.present.text import cell, clean

GAP = "  "
CUT = "..."
NARROWEST = 8
ENOUGH = 24
"""Text is cut to this before a column is left out, and no further."""
ALWAYS = 2
"""Columns up to this rank are cut rather than left out."""


def table(
    columns: Sequence[Column], records: Iterable[Any], width: int | None = None
) -> tuple[list[str], list[str]]:
    """(lines with the header first, keys of the columns that did not fit in `width`).

    Without a width nothing is cut or left out. With one, columns of the highest rank give way
    first, then long text is cut.
    """
    rows = list(_rows(columns, records))
    sizes = _sizes(columns, rows)
    shown = list(range(len(columns))) if width is None else _fitting(columns, sizes, width)
    hidden = [c.key for at, c in enumerate(columns) if at not in shown]
    return [_line(columns, row, sizes, shown) for row in (_titles(columns), *rows)], hidden


def streamed(columns: Sequence[Column], records: Iterable[Any]) -> Iterator[str]:
    """Lines as the records come, for lists that may be too long to hold.

    The first thousand decide the widths; nothing is cut, a longer cell moves its line's rest.
    """
    rows = _rows(columns, records)
    first = list(islice(rows, 1000))
    sizes = _sizes(columns, first)
    shown = list(range(len(columns)))
    for row in chain([_titles(columns)], first, rows):
        yield _line(columns, row, [max(*pair) for pair in zip(sizes, map(len, row), strict=True)],
                    shown)  # fmt: skip


def _titles(columns: Sequence[Column]) -> list[str]:
    return [c.title for c in columns]


def _rows(columns: Sequence[Column], records: Iterable[Any]) -> Iterator[list[str]]:
    take = row_of(tuple(columns))
    for record in records:
        missing = record.missing
        yield [
            cell(
                c.show,
                getattr(record, c.instead) if value is None and c.instead else value,
                missing.get(c.key, ""),
            )
            for c, value in zip(columns, take(record), strict=True)
        ]


def _sizes(columns: Sequence[Column], rows: list[list[str]]) -> list[int]:
    return [
        max(len(c.title), max((len(row[at]) for row in rows), default=0))
        for at, c in enumerate(columns)
    ]


def _fitting(columns: Sequence[Column], sizes: list[int], width: int) -> list[int]:
    """The columns that fit side by side; `sizes` is made smaller where text must be cut."""
    shown = list(range(len(columns)))
    whole = list(sizes)

    def room() -> int:
        return width - sum(sizes[at] for at in shown) - len(GAP) * (len(shown) - 1)

    # Half of what is too long may be the tail of one long cell: cut that before dropping a column.
    texts = [at for at in shown if not columns[at].right]
    for at in texts:
        sizes[at] = min(sizes[at], ENOUGH)
    while room() < 0 and len(shown) > 3:
        last = max(shown, key=lambda at: columns[at].rank)
        if columns[last].rank <= ALWAYS:
            break
        shown.remove(last)
    texts = [at for at in texts if at in shown]
    while room() < 0 and any(sizes[at] > NARROWEST for at in texts):
        sizes[max(texts, key=lambda at: sizes[at])] -= 1
    for at in texts:
        sizes[at] = min(whole[at], sizes[at] + max(0, room()))
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
    missing = record.missing
    names = [clean(c.key) for c in columns]  # a field's name comes from whoever made the types
    room = max(map(len, names))
    for name, column, value in zip(names, columns, row_of(tuple(columns))(record), strict=True):
        reason = missing.get(column.key, "")
        if value is None:
            if reason:
                yield f"{name.ljust(room)}{GAP}({cell(str, reason, '')})"
        elif column.each and value:
            for at, item in enumerate(value):
                head = name if at == 0 else ""
                yield f"{head.ljust(room)}{GAP}{cell(column.show, [item], '')}"
        elif column.parts or value not in ([], ""):
            yield f"{name.ljust(room)}{GAP}{cell(column.show, value, '')}"
