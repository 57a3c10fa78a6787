"""`bpflens prog`."""

from __future__ import annotations

import argparse

from bpflens.cli import selectors
from bpflens.cli.listing import Found, add_list_and_show
from bpflens.cli.options import add_verb
from bpflens.cli.session import Session
from bpflens.model.parts import Part
from bpflens.model.system import System
from bpflens.present import code
from bpflens.present.columns import PROGRAMS
from bpflens.snapshot.take import TIES, Look


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    add_list_and_show(verbs, PROGRAMS, "program", selectors.PROGRAM_FORMS, _look, shown=TIES)
    dump = add_verb(verbs, "dump", "the instructions of a program", code.INSNS, dump_program)
    _dump_options(dump)
    explain = add_verb(
        verbs,
        "explain",
        "what a program does, by its instructions",
        code.STATEMENTS,
        explain_program,
    )
    explain.add_argument("selector", metavar="PROGRAM", help=selectors.PROGRAM_FORMS)
    match = add_verb(
        verbs, "match", "which loaded programs come from an object file", code.MATCHES, match_file
    )
    match.add_argument("file", metavar="FILE.o", help="an ELF object with BPF programs")


def _dump_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("selector", metavar="PROGRAM", help=selectors.PROGRAM_FORMS)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--xlated", action="store_true",
                      help="the instructions as the verifier left them (default)")  # fmt: skip
    form.add_argument("--jited", action="store_true", help="the machine code made from them")
    form.add_argument("--graph", choices=("text", "dot", "json", "svg"),
                      help="the flow graph; svg needs graphviz's dot")  # fmt: skip
    parser.add_argument("--source", action=argparse.BooleanOptionalAction, default=True,
                        help="source lines, where the program has BTF (default: yes)")  # fmt: skip
    parser.add_argument("--opcodes", action="store_true", help="the bytes of each instruction")
    parser.add_argument("--linum", action="store_true", help="file, line and column of the source")
    parser.add_argument("--notes", action="store_true",
                        help="behind an instruction: the map, function, slot it names")  # fmt: skip
    parser.add_argument("--arch", choices=("x86-64", "arm64"),
                        help="of the machine code (default: what the kernel tells)")  # fmt: skip


def _look(system: System, parts: Part, selector: str | None) -> Found:
    look = Look(system, parts)
    chosen = selectors.programs(system, selector) if selector else None
    return look.programs(chosen), look.errors


def dump_program(session: Session) -> int:
    """`prog dump PROGRAM`."""
    from bpflens.cli import dump  # and with it BTF and instructions: 20 ms that no list needs

    return dump.run(session)


def explain_program(session: Session) -> int:
    """`prog explain PROGRAM`."""
    from bpflens.cli import explain

    return explain.run(session)


def match_file(session: Session) -> int:
    """`prog match FILE.o`."""
    from bpflens.cli import match

    return match.run(session)
