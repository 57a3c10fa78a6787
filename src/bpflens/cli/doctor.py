"""`bpflens doctor`."""

from __future__ import annotations

import argparse

from bpflens.cli import output
from bpflens.cli.session import Session
from bpflens.present.columns import CHECKS
from bpflens.present.text import clean
from bpflens.snapshot.access import Check, examine


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser.set_defaults(run=show)


def show(session: Session) -> int:
    """Every check. Exit status 0: that something is not permitted is an answer, not a failure."""
    checks = examine(session.system)
    if session.form != "text":
        return output.show(session, output.Choice(CHECKS, session.options), checks, [])
    output.write(line for check in checks for line in _lines(check))
    return 0


MARKS = {True: "ok ", False: "no ", None: "?  "}


def _lines(check: Check) -> list[str]:
    lines = [f"{MARKS[check.ok]} {check.check}: {clean(check.found)}"]
    if check.remedy:
        lines.append(f"    to change it: {clean(check.remedy)}")
    return lines
