"""`bpflens attach`."""

from __future__ import annotations

import argparse

from bpflens.cli import output
from bpflens.cli.options import add_verb
from bpflens.cli.session import Session
from bpflens.present.columns import ATTACHMENTS


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    words = "a line for each place at which a program is attached"
    add_verb(verbs, "list", words, ATTACHMENTS, list_attachments)


def list_attachments(session: Session) -> int:
    """`attach list`."""
    from bpflens.attach.places import Places
    from bpflens.snapshot.attachments import Attachments

    choice = output.Choice(ATTACHMENTS, session.options)
    found = Attachments(Places(session.system))
    return output.show(session, choice, found.records, found.errors)
