"""Records onto stdout, in the form that the options ask for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

from bpflens.cli.options import parts_of
from bpflens.cli.session import Session
from bpflens.model.parts import Part
from bpflens.present import documents
from bpflens.present.columns import Column, Noun
from bpflens.present.text import clean
from bpflens.snapshot.records import ErrorRecord
from bpflens.snapshot.take import LIST_PARTS


class Choice:
    """Which records, which columns, and which parts that takes: from the options, checked first.

    Raises UsageError before anything is asked of the kernel.
    """

    def __init__(self, noun: Noun, options: Any, default: Part = LIST_PARTS) -> None:
        self.noun = noun
        self.limit: int | None = getattr(options, "limit", None)
        self.sort: str | None = getattr(options, "sort", None)
        asked: str | None = getattr(options, "columns", None)
        self.columns = noun.chosen(asked) if asked else None
        named = {c.key for c in self.columns or ()}
        self._test: Callable[[Any], Any] | None = None
        condition: str | None = getattr(options, "where", None)
        if condition or self.sort:
            from bpflens.present import query

            if condition:
                self._test, columns = query.where(noun, condition)
                named |= columns
            for key in query.sort_columns(self.sort or ""):
                named.add(noun.column(key).key)
        self._wanted = {
            column.getter: name
            for column in noun.columns
            if column.names and (name := getattr(options, column.key, None))
        }
        chosen = parts_of(getattr(options, "parts", None), default)
        self.extra = chosen & ~LIST_PARTS
        self.parts = chosen
        for key in named:
            self.parts |= noun.parts.get(key, Part(0))

    def records(self, records: Iterable[Any]) -> Iterable[Any]:
        """Those that were asked for, in the order that was asked for."""
        for get, name in self._wanted.items():
            records = filter(partial(_is, get, name), records)
        if self._test is not None:
            records = filter(self._test, records)
        if self.sort:
            from bpflens.present import query

            records = query.sort(self.noun, records, self.sort)
        return islice(records, self.limit) if self.limit is not None else records


def _is(get: Callable[[Any], Any], name: str, record: Any) -> bool:
    return bool(get(record) == name)


_FEW = 3
"""Lines on stderr about what was refused for the same reason."""


def show(
    session: Session,
    choice: Choice,
    records: Iterable[Any],
    errors: list[ErrorRecord],
    detail: bool = False,
) -> int:
    """Write the records; returns the exit status: 1 where something could not be looked at."""
    noun = choice.noun
    chosen = choice.records(records)
    if session.form != "text":
        columns = choice.columns or noun.document(choice.extra)
        blank = {key: part for key, part in noun.parts.items() if part not in choice.parts}
        write(_data(session.form, noun, columns, chosen, errors, blank))
    elif detail:
        write(_details(choice.columns or noun.columns, chosen))
    else:
        _write_table(session, choice, chosen)
    if session.form != "json":
        tell(errors)
    return 1 if errors else 0


def _data(
    form: str,
    noun: Noun,
    columns: Sequence[Column],
    records: Iterable[Any],
    errors: list[ErrorRecord],
    blank: dict[str, Part],
) -> Iterable[str]:
    if form == "csv":
        return sheet(columns, records)
    items = map(documents.item_of(columns, blank), records)
    if form == "jsonl":
        return documents.lines(items)
    return documents.document(noun.kind, items, errors, lambda: not errors)


def sheet(columns: Sequence[Column], records: Iterable[Any]) -> Iterable[str]:
    """CSV, to the letter for programs; what a terminal would obey is escaped on one."""
    lines = documents.sheet(columns, records)
    if sys.stdout.isatty():
        return map(clean, lines)
    in_utf8()
    return lines


def in_utf8() -> None:
    """Have stdout take UTF-8 whatever the locale is: what follows is a document, no words."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None and not sys.stdout.isatty():
        reconfigure(encoding="utf-8")


def _details(columns: Sequence[Column], records: Iterable[Any]) -> Iterator[str]:
    # present.table is not needed for JSON, which is what programs ask for in a hurry
    from bpflens.present import table

    for at, record in enumerate(records):
        if at:
            yield ""
        yield from table.detail(columns, record)


def _write_table(session: Session, choice: Choice, records: Iterable[Any]) -> None:
    from bpflens.present import table

    width = None if choice.columns else session.width
    lines, hidden = table.table(choice.columns or choice.noun.table(), records, width)
    if session.bold:
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
    write(lines)
    if hidden:
        sys.stdout.flush()
        print(f"not shown here for want of room: {', '.join(hidden)}", file=sys.stderr)


def write(lines: Iterable[str]) -> None:
    """Write lines to stdout, many at a time."""
    out = sys.stdout.write
    lines = iter(lines)
    while piece := list(islice(lines, 1024)):
        out("\n".join(piece) + "\n")


def tell(errors: Sequence[ErrorRecord]) -> None:
    """Say on stderr what could not be looked at; of much that was refused alike, some."""
    sys.stdout.flush()
    alike: dict[tuple[str, str], list[ErrorRecord]] = {}
    for error in errors:
        alike.setdefault((error.kind, error.error), []).append(error)
    for (kind, why), group in alike.items():
        for error in group[:_FEW]:
            which = " ".join(str(part) for part in (kind, error.id, error.path) if part)
            print(f"bpflens: {clean(f'{which}: {why}')}", file=sys.stderr)
        if len(group) > _FEW:
            rest = f"{kind}: and {len(group) - _FEW} more (--json has them): {why}"
            print(f"bpflens: {clean(rest)}", file=sys.stderr)


def note(words: str) -> None:
    """Say something about the data, on stderr and after it."""
    sys.stdout.flush()
    print(f"bpflens: {clean(words)}", file=sys.stderr)
