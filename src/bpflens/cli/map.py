"""`bpflens map`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from bpflens.cli import output, selectors
from bpflens.cli.keys import key_bytes
from bpflens.cli.options import add_verb, seconds
from bpflens.cli.progress import progress
from bpflens.cli.session import Session
from bpflens.model.elements import Element, ElementWalk
from bpflens.model.map import Map
from bpflens.present import documents
from bpflens.present.columns import ELEMENTS, MAPS
from bpflens.snapshot.elements import Describer, fields_of, named_map
from bpflens.snapshot.take import Look


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    add_verb(verbs, "list", "a line a map", MAPS, list_maps)
    show = add_verb(verbs, "show", "all of a map, or of each", MAPS, show_maps)
    show.add_argument("selector", nargs="?", metavar="MAP", help=selectors.MAP_FORMS)
    dump = add_verb(verbs, "dump", "the elements of a map", ELEMENTS, dump_map)
    dump.add_argument("selector", metavar="MAP", help=selectors.MAP_FORMS)
    dump.add_argument("--seconds", type=seconds, metavar="S", help="stop after this time")
    lookup = add_verb(verbs, "lookup", "one element of a map", ELEMENTS, lookup_element)
    lookup.add_argument("selector", metavar="MAP", help=selectors.MAP_FORMS)
    lookup.add_argument(
        "key", nargs="?", metavar="KEY",
        help="a number, or hex:01000000 for the bytes; none for a queue or stack",
    )  # fmt: skip


def list_maps(session: Session) -> int:
    """`map list`."""
    choice = output.Choice(MAPS, session.options)
    look = Look(session.system, choice.parts)
    return output.show(session, choice, look.maps(), look.errors)


def show_maps(session: Session) -> int:
    """`map show [MAP]`."""
    choice = output.Choice(MAPS, session.options)
    look = Look(session.system, choice.parts)
    selector = session.options.selector
    chosen = selectors.maps(session.system, selector) if selector else None
    return output.show(session, choice, look.maps(chosen), look.errors, detail=True)


def dump_map(session: Session) -> int:
    """`map dump MAP`."""
    choice = output.Choice(ELEMENTS, session.options)
    with selectors.one_map(session.system, session.options.selector) as found:
        # Sorting and conditions choose among all elements; without them the walk can stop early.
        early = None if choice.sort or session.options.where else choice.limit
        if early is not None:
            choice.limit = None  # the walk keeps it, and knows whether there was more
        walk = found.items(early, session.options.seconds)
        elements = progress(walk, found.basic().max_entries)
        _write(session, choice, found, elements, walk)
    if walk.complete or walk.limited:
        return 0
    return 1


def lookup_element(session: Session) -> int:
    """`map lookup MAP [KEY]`."""
    choice = output.Choice(ELEMENTS, session.options)
    with selectors.one_map(session.system, session.options.selector) as found:
        key = key_bytes(session.options.key, found.basic().key_size)
        _write(session, choice, found, [found.lookup(key)], None)
    return 0


def _write(
    session: Session,
    choice: output.Choice,
    found: Map,
    elements: Iterable[Element],
    walk: ElementWalk | None,
) -> None:
    columns = choice.columns or tuple(map(ELEMENTS.column, fields_of(found.facts)))
    records = choice.records(Describer(session.system).records(elements))
    match session.form:
        case "json":
            output.write(
                documents.document(
                    ELEMENTS.kind,
                    map(documents.item_of(columns), records),
                    [],
                    lambda: walk is None or walk.complete,
                    {"map": named_map(found)},
                    lambda: {"why": walk.why} if walk and not walk.complete else {},
                )
            )
        case "jsonl":
            output.write(documents.lines(map(documents.item_of(columns), records)))
        case "csv":
            output.write(documents.sheet(columns, records))
        case _:
            from bpflens.present import table

            output.write(table.streamed(columns, records))
    if walk is not None and not walk.complete and session.form != "json":
        output.note(f"not all elements: {walk.why}")
