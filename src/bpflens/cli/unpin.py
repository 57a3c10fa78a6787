"""`bpflens unpin`."""

from __future__ import annotations

import argparse

from bpflens.cli.removal import removal_options
from bpflens.cli.session import Session


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser.add_argument("path", metavar="PATH", help="where an object is pinned")
    removal_options(parser)
    parser.set_defaults(run=unpin)


def unpin(session: Session) -> int:
    """`unpin PATH`."""
    from bpflens.cli import removal

    return removal.unpin(session)
