"""`bpflens link`."""

from __future__ import annotations

import argparse

from bpflens.cli import selectors
from bpflens.cli.listing import Found, add_list_and_show
from bpflens.cli.options import add_verb
from bpflens.cli.removal import removal_options
from bpflens.cli.session import Session
from bpflens.model.parts import Part
from bpflens.model.system import System
from bpflens.present.links import LINKS


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    forms = selectors.LINK_FORMS
    add_list_and_show(verbs, LINKS, "link", forms, _look, Part.BASIC, Part.HOLDERS)
    words = "take a link's program off what it is attached to; the link stays, and does nothing"
    detach = add_verb(verbs, "detach", words, None, detach_link)
    detach.add_argument("selector", metavar="LINK", help=selectors.LINK_FORMS)
    removal_options(detach)


def _look(system: System, parts: Part, selector: str | None) -> Found:
    from bpflens.snapshot.links import LinkLook

    look = LinkLook(system, parts)
    chosen = selectors.links(system, selector) if selector else None
    return look.links(chosen), look.errors


def detach_link(session: Session) -> int:
    """`link detach LINK`."""
    from bpflens.cli import removal

    return removal.detach(session)
