"""`bpflens prog explain`."""

from __future__ import annotations

from bpflens.cli import output, selectors
from bpflens.cli.dump import write_records
from bpflens.cli.session import Session
from bpflens.present import code as present
from bpflens.snapshot.code import Code
from bpflens.snapshot.explain import statements
from bpflens.snapshot.names import Names


def run(session: Session) -> int:
    """`prog explain PROGRAM`."""
    choice = output.Choice(present.STATEMENTS, session.options)
    with selectors.one_program(session.system, session.options.selector) as program:
        code = Code(program, Names(session.system))
        records = choice.records(statements(code))
        if session.form == "text" and not choice.columns:
            output.write(present.explanation(code, records))
        else:
            write_records(session, choice, records, code)
    if "symbols" in code.missing:
        output.note(f"helpers and kernel functions have no names: {code.missing['symbols']}")
    return 1 if code.errors else 0
