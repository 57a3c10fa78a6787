"""`bpflens map`."""

from __future__ import annotations

import argparse

from bpflens.cli import selectors
from bpflens.cli.elements import dump_map, get_field, lookup_element
from bpflens.cli.listing import Found, add_list_and_show
from bpflens.cli.mapedit import add_verbs
from bpflens.cli.options import add_verb, seconds
from bpflens.cli.reading import KEY_FORMS, reading_options
from bpflens.model.parts import Part
from bpflens.model.system import System
from bpflens.present.columns import ELEMENTS, MAPS
from bpflens.snapshot.take import TIES, Look


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    add_list_and_show(verbs, MAPS, "map", selectors.MAP_FORMS, _look, shown=TIES)
    dump = add_verb(verbs, "dump", "the elements of a map", ELEMENTS, dump_map)
    dump.add_argument("selector", metavar="MAP", help=selectors.MAP_FORMS)
    dump.add_argument("--seconds", type=seconds, metavar="S", help="stop after this time")
    dump.add_argument("--recurse", action="store_true",
                      help="with the elements of the maps inside a map of maps")  # fmt: skip
    lookup = add_verb(verbs, "lookup", "one element of a map", ELEMENTS, lookup_element)
    lookup.add_argument("selector", metavar="MAP", help=selectors.MAP_FORMS)
    lookup.add_argument("key", nargs="?", metavar="KEY",
                        help=f"{KEY_FORMS}; none for a queue or stack")  # fmt: skip
    get = add_verb(verbs, "get", "one field of an element, and nothing else", None, get_field)
    get.add_argument("selector", metavar="MAP", help=selectors.MAP_FORMS)
    get.add_argument("key", metavar="KEY", help=KEY_FORMS)
    get.add_argument("field", metavar="FIELD", nargs="?",
                     help="value (values of each CPU) if none, value.packets, key.pid")  # fmt: skip
    add_verbs(verbs)
    for verb in (dump, lookup, get):
        reading_options(verb)
        verb.add_argument("--sum", action="store_true",
                          help="add up what the CPUs have, number by number")  # fmt: skip


def _look(system: System, parts: Part, selector: str | None) -> Found:
    look = Look(system, parts)
    chosen = selectors.maps(system, selector) if selector else None
    return look.maps(chosen), look.errors
