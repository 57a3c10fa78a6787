"""`bpflens map`."""

from __future__ import annotations

import argparse

from bpflens.cli import output, selectors
from bpflens.cli.elements import dump_map, get_field, lookup_element
from bpflens.cli.mapedit import add_verbs
from bpflens.cli.options import add_verb, common_options, seconds
from bpflens.cli.reading import KEY_FORMS, reading_options
from bpflens.cli.session import Session
from bpflens.present.columns import ELEMENTS, MAPS
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
    dump.add_argument("--recurse", action="store_true",
                      help="with the elements of the maps inside a map of maps")  # fmt: skip
    lookup = add_verb(verbs, "lookup", "one element of a map", ELEMENTS, lookup_element)
    lookup.add_argument("selector", metavar="MAP", help=selectors.MAP_FORMS)
    lookup.add_argument("key", nargs="?", metavar="KEY",
                        help=f"{KEY_FORMS}; none for a queue or stack")  # fmt: skip
    words = "one field of an element, and nothing else"
    get = verbs.add_parser("get", help=words, description=words, parents=[common_options()])
    get.set_defaults(run=get_field)
    get.add_argument("selector", metavar="MAP", help=selectors.MAP_FORMS)
    get.add_argument("key", metavar="KEY", help=KEY_FORMS)
    get.add_argument("field", metavar="FIELD", nargs="?", default="value",
                     help="value (default), value.packets, key.pid")  # fmt: skip
    add_verbs(verbs, [common_options()])
    for verb in (dump, lookup, get):
        reading_options(verb)
        verb.add_argument("--sum", action="store_true",
                          help="add up what the CPUs have, number by number")  # fmt: skip


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
