"""`bpflens prog match`."""

from __future__ import annotations

from bpflens.cli import output
from bpflens.cli.session import Session
from bpflens.cli.typefile import content
from bpflens.errors import FormatError, NotFound
from bpflens.model.objectprogram import BpfObject
from bpflens.present import code as present
from bpflens.snapshot.match import Matcher, MatchRecord


def run(session: Session) -> int:
    """`prog match FILE`."""
    path = session.options.file
    choice = output.Choice(present.MATCHES, session.options)
    try:
        programs = list(BpfObject(content(path)).programs())
    except FormatError as error:
        raise FormatError(f"{path}: {error.what}", error.offset) from error
    if not programs:
        raise NotFound(f"{path} has no BPF programs")
    matcher = Matcher(session.system, programs)
    found: list[MatchRecord] = list(matcher.records())
    if not found and not matcher.errors and session.form == "text":
        raise NotFound(f"no loaded program comes from {path}")
    status = output.show(session, choice, found, matcher.errors)
    rest = [each.name for each in programs if each.name not in {r.program for r in found}]
    if rest:
        output.note(f"not loaded: {', '.join(rest)}")
    return status if found or matcher.errors else NotFound.exit_code
