"""`bpflens prog`."""

from __future__ import annotations

import argparse

from bpflens.cli import output, selectors
from bpflens.cli.options import add_verb
from bpflens.cli.session import Session
from bpflens.present.columns import PROGRAMS
from bpflens.snapshot.take import Look


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    add_verb(verbs, "list", "a line a program", PROGRAMS, list_programs)
    show = add_verb(verbs, "show", "all of a program, or of each", PROGRAMS, show_programs)
    show.add_argument("selector", nargs="?", metavar="PROGRAM", help=selectors.PROGRAM_FORMS)


def list_programs(session: Session) -> int:
    """`prog list`."""
    choice = output.Choice(PROGRAMS, session.options)
    look = Look(session.system, choice.parts)
    return output.show(session, choice, look.programs(), look.errors)


def show_programs(session: Session) -> int:
    """`prog show [PROGRAM]`."""
    choice = output.Choice(PROGRAMS, session.options)
    look = Look(session.system, choice.parts)
    selector = session.options.selector
    chosen = selectors.programs(session.system, selector) if selector else None
    return output.show(session, choice, look.programs(chosen), look.errors, detail=True)
