"""`bpflens attach`."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from bpflens.cli import output
from bpflens.cli.options import add_verb
from bpflens.cli.session import Session
from bpflens.present.columns import ATTACHMENTS

if TYPE_CHECKING:
    from bpflens.snapshot.attachments import Finder


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    words = "a line for each place at which a program is attached"
    verb = add_verb(verbs, "list", words, ATTACHMENTS, list_attachments)
    verb.add_argument("--effective", metavar="CGROUP",
                      help="what runs for the processes of a cgroup (/web.slice), in that order: "
                      "its own programs and those of the cgroups above")  # fmt: skip


def _finder(cgroup: str | None) -> Finder:
    """What finds the attachments: all of them, or what is effective at a cgroup."""
    if cgroup is None:
        from bpflens.attach.everything import find

        return find
    from bpflens.attach.cgroup import effective

    return partial(effective, path=cgroup)


def list_attachments(session: Session) -> int:
    """`attach list`."""
    from bpflens.attach.places import Places
    from bpflens.snapshot.attachments import Attachments

    choice = output.Choice(ATTACHMENTS, session.options)
    found = Attachments(Places(session.system), _finder(session.options.effective))
    return output.show(session, choice, found.records, found.errors)
