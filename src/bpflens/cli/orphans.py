"""`bpflens orphans`."""

from __future__ import annotations

import argparse

from bpflens.cli import output
from bpflens.cli.options import columns_help, count, list_options
from bpflens.cli.session import Session
from bpflens.present.graph import ORPHANS
from bpflens.snapshot.orphans import MANY, VERDICTS, orphans


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the command."""
    list_options(parser, ORPHANS)
    parser.add_argument("--many", type=count, default=MANY, metavar="N",
                        help=f"copies that are worth a row (default: {MANY})")  # fmt: skip
    room = max(map(len, VERDICTS))
    verdicts = [f"  {name.ljust(room)}  {words}" for name, words in VERDICTS.items()]
    parser.epilog = "\n".join(["verdicts:", *verdicts, "", columns_help(ORPHANS)])
    parser.set_defaults(run=show)


def show(session: Session) -> int:
    """`orphans`."""
    choice = output.Choice(ORPHANS, session.options)
    found, errors = orphans(session.system, max(session.options.many, 2))
    return output.show(session, choice, found, errors)
