"""`bpflens record FILE`."""

from __future__ import annotations

import argparse
import sys

from bpflens.cli.options import count
from bpflens.cli.session import Session
from bpflens.errors import BpflensError, UsageError
from bpflens.model.parts import Part
from bpflens.model.system import System
from bpflens.snapshot.access import examine
from bpflens.snapshot.elements import Describer
from bpflens.snapshot.overview import overview
from bpflens.snapshot.take import Look

MOST = 10_000


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser.add_argument("file", metavar="FILE", help="where to write it; .gz compresses it")
    parser.add_argument(
        "--elements", metavar="N", type=count, default=MOST,
        help="record the elements of maps with at most N entries (default: 10000; 0: none)",
    )  # fmt: skip
    parser.set_defaults(run=record)


def record(session: Session) -> int:
    """Ask the kernel everything that the other commands could ask, and keep the answers."""
    if getattr(session.options, "record", None):
        raise UsageError("give one file: record FILE, or --record FILE with another command")
    errors = sweep(session.system, session.options.elements)
    session.save(session.options.file)
    print(f"recorded in {session.options.file}: bpflens --on {session.options.file}",
          file=sys.stderr)  # fmt: skip
    return 1 if errors else 0


def sweep(system: System, most: int) -> int:
    """Ask everything; returns how many objects could not be looked at."""
    _, errors = overview(system)
    examine(system)
    look = Look(system, ~Part(0))
    for _ in look.programs():
        pass
    for _ in look.maps():
        pass
    describer = Describer(system)
    for found in system.maps():
        with found:
            if found.basic().max_entries > most:
                continue
            try:
                for _ in describer.records(found.items()):
                    pass
            except (BpflensError, OSError):
                continue  # what cannot be read answers the same when the recording is looked at
    return len(errors) + len(look.errors)
