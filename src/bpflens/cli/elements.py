"""`bpflens map dump|lookup|get`: the elements of a map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from bpflens.abi.mapfacts import Value
from bpflens.cli import output, selectors
from bpflens.cli.progress import progress
from bpflens.cli.reading import Typing, columns_for, key_of
from bpflens.cli.session import Session
from bpflens.errors import UsageError
from bpflens.model.elements import ElementWalk, find
from bpflens.model.map import Map
from bpflens.model.parts import is_limited
from bpflens.model.typed import Readings
from bpflens.present import documents
from bpflens.present.columns import ELEMENTS, Column
from bpflens.present.text import cell
from bpflens.snapshot.elements import Describer, ElementRecord, fields_of, named_map
from bpflens.snapshot.records import ErrorRecord, limited


def dump_map(session: Session) -> int:
    """`map dump MAP`."""
    options = session.options
    typing = Typing(session)
    _check(session)
    with selectors.one_map(session.system, options.selector) as found:
        recurse = options.recurse and found.facts.value is Value.MAP_ID
        # What the options say is then about the maps inside: the outer values are their IDs.
        how = Readings() if recurse else typing.of(found)
        view = View(session, found, how, options.sum)
        choice = view.choice
        # Sorting and conditions choose among all elements; without them the walk can stop early.
        early = None if choice.sort or options.where else choice.limit
        if early is not None:
            choice.limit = None  # the walk keeps it, and knows whether there was more
        walk = found.items(early, options.seconds)
        elements = progress(walk, found.basic().max_entries)
        if recurse:
            records = view.describer.recursed(elements, typing.of)
        else:
            records = view.describer.records(elements)
        view.write(records, walk)
    return 1 if view.errors else 0


def lookup_element(session: Session) -> int:
    """`map lookup MAP [KEY]`."""
    typing = Typing(session)
    _check(session)
    with selectors.one_map(session.system, session.options.selector) as found:
        how = typing.of(found)
        view = View(session, found, how, session.options.sum)
        key = key_of(session.options.key, found, how.key)
        view.write(view.describer.records([find(found, key)]), None, detail=True)
    return 1 if view.errors else 0


def get_field(session: Session) -> int:
    """`map get MAP KEY FIELD`."""
    options = session.options
    typing = Typing(session)
    with selectors.one_map(session.system, options.selector) as found:
        how = typing.of(found)
        view = View(session, found, how, options.sum)
        column = view.column(options.field)
        key = key_of(options.key, found, how.key)
        (record,) = view.noted(view.describer.records([find(found, key)]), None)
        value = column.getter(record)
        if session.form in ("json", "jsonl"):
            output.write([documents.encode(documents.safe(value))])
        else:
            output.write([_in_a_line(column, value)])
    output.tell(view.errors)
    return 1 if view.errors else 0


def _in_a_line(column: Column, value: object) -> str:
    """One value in one line."""
    return cell(column.show, value, "")


def _check(session: Session) -> None:
    """What can be wrong with columns and conditions whichever map it is, before it is opened."""
    options = session.options
    if options.where or options.sort or options.columns:
        from bpflens.present.parts import typed_elements

        output.Choice(typed_elements(False, True), options)


class View:
    """The elements of one map in the form that the options ask for."""

    def __init__(self, session: Session, found: Map, how: Readings, add_up: bool) -> None:
        self.session = session
        self.found = found
        self.how = how
        self.typed = bool(how.key or how.value)
        self.recurse: bool = getattr(session.options, "recurse", False)
        per_cpu = found.facts.per_cpu
        if add_up and not per_cpu:
            raise UsageError(f"--sum: map {found.id} has one value for all CPUs")
        if add_up and how.value is None:
            raise UsageError(f"--sum: say what the values of map {found.id} are with --value-as")
        self.add_up = add_up
        try:
            self.choice = output.Choice(columns_for(found, how, add_up), session.options)
        except UsageError as error:
            raise UsageError(f"{error}{self._hint()}") from error
        self.describer = Describer(session.system, how, per_cpu, add_up)
        self.errors: list[ErrorRecord] = []
        """What could not be read, when the elements have been written."""

    def column(self, field: str | None) -> Column:
        """The column of a field; None for the value, or the values of all CPUs."""
        if field is None:
            each_cpu = self.found.facts.per_cpu and not self.add_up
            return self.choice.noun.column("values" if each_cpu else "value")
        try:
            return self.choice.noun.column(field)
        except UsageError as error:
            raise UsageError(f"{error}{self._hint()}") from error

    def _hint(self) -> str:
        if not self.typed:
            return f"; map {self.found.id} tells no types: --key-as and --value-as can"
        if self.found.facts.per_cpu and not self.add_up:
            return f"; map {self.found.id} has a value for each CPU: --sum adds them up"
        return ""

    def write(
        self, records: Iterable[ElementRecord], walk: ElementWalk | None, detail: bool = False
    ) -> None:
        """Write the records, and whether those are all."""
        form = self.session.form
        chosen = self.choice.records(self.noted(records, walk))
        if form == "text":
            output.write(self._text(chosen, detail))
        elif form == "csv":
            output.write(self._sheet(chosen))
        else:
            items = map(documents.item_of(self._data_columns()), chosen)
            if form == "jsonl":
                output.write(documents.lines(items, self.typed or self.recurse))
            else:
                output.write(self._document(items, walk))
        if form != "json":
            if walk is not None and walk.limited:
                output.note(f"not all elements: {walk.why}")
            if self.how.why and not is_limited(self.how.why):
                output.note(f"bytes, because the types cannot be read: {self.how.why}")
            output.tell(self.errors)

    def noted(
        self, records: Iterable[ElementRecord], walk: ElementWalk | None
    ) -> Iterator[ElementRecord]:
        """The records; what could not be read of them, or of those that the walk did not reach, is
        among the errors."""
        for record in records:
            inner, path = record.inner, record.key
            self.errors += limited("element", None, path, record.missing)
            if inner is not None:
                for each in inner.records:
                    self.errors += limited("element", None, path, each.missing)
                if not inner.complete:
                    self.errors.append(ErrorRecord("element", None, path, inner.why))
            yield record
        if is_limited(self.how.why):
            self.errors.append(ErrorRecord("map", self.found.id, None, self.how.why))
        if walk is not None and not walk.complete and not walk.limited:
            why = f"not all elements: {walk.why}"
            self.errors.append(ErrorRecord("map", self.found.id, None, why))

    def _document(self, items: Iterable[documents.Item], walk: ElementWalk | None) -> Iterator[str]:
        head = {"map": named_map(self.found)}
        if self.typed:
            named = {"key": self.how.key, "value": self.how.value}
            head["types"] = {part: one.name for part, one in named.items() if one}
        return documents.document(
            ELEMENTS.kind,
            items,
            self.errors,
            lambda: not self.errors and (walk is None or walk.complete),
            head,
            lambda: {"why": walk.why} if walk and not walk.complete else {},
            self.typed or self.recurse,
        )

    def _fields(self) -> tuple[str, ...]:
        typed = self.typed or bool(self.how.why)
        inner = ("elements",) if self.recurse else ()
        return (*fields_of(self.found.facts, typed), *inner)

    def _data_columns(self) -> tuple[Column, ...]:
        """For programs: `key`, `value` and `values` are bytes, whatever is known beside them."""
        plain = {column.key: column for column in ELEMENTS.columns}
        if self.choice.columns:
            return tuple(plain.get(column.key, column) for column in self.choice.columns)
        return tuple(plain[field] for field in self._fields())

    def _table_columns(self) -> tuple[Column, ...]:
        """For people: what is known in place of the bytes."""
        if self.choice.columns:
            return self.choice.columns
        fields = [field for field in self._fields() if field not in ("formatted", "elements")]
        if self.add_up:
            fields = ["value" if field == "values" else field for field in fields]
        return tuple(self.choice.noun.column(field) for field in fields)

    def _sheet(self, records: Iterable[ElementRecord]) -> Iterable[str]:
        columns, records = self._spread(self._table_columns(), records)
        return output.sheet(columns, records)

    def _spread(
        self, columns: tuple[Column, ...], records: Iterable[ElementRecord], most: int = 1 << 20
    ) -> tuple[tuple[Column, ...], Iterable[ElementRecord]]:
        """The columns with a column for each field of keys and values, as the first record has."""
        if not self.typed or self.choice.columns:
            return columns, records
        from bpflens.present.parts import spread

        records = iter(records)
        first = next(records, None)
        if first is None:
            return columns, ()
        return spread(columns, first, most), chain((first,), records)

    def _text(self, records: Iterable[ElementRecord], detail: bool) -> Iterable[str]:
        from bpflens.present import table
        from bpflens.present.parts import MOST_SPREAD, nested

        columns = self._table_columns()
        if self.recurse:
            return nested(columns, records)
        alone = self.typed and self.how.key is None and self.found.basic().max_entries == 1
        if (detail and self.typed) or alone:  # global data: a line a variable
            columns, records = self._spread(columns, records)
            return (line for record in records for line in table.detail(columns, record))
        columns, records = self._spread(columns, records, MOST_SPREAD)
        return table.streamed(columns, records)
