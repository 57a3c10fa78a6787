"""`bpflens prog dump`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bpflens.cli import output, selectors
from bpflens.cli.session import Session
from bpflens.errors import Unsupported, UsageError
from bpflens.model.program import Program
from bpflens.present import code as present
from bpflens.present import documents
from bpflens.snapshot.code import Code
from bpflens.snapshot.names import Names
from bpflens.snapshot.records import SCHEMA, ErrorRecord

SECONDS = 60
"""That graphviz may take: it lays some graphs out for ever."""


def run(session: Session) -> int:
    """`prog dump PROGRAM`."""
    options = session.options
    noun = present.MACHINE if options.jited else present.INSNS
    choice = output.Choice(noun, options)
    with selectors.one_program(session.system, options.selector) as program:
        code = Code(program, Names(session.system))
        if options.graph:
            return _graph(session, code, options.graph)
        if options.jited:
            return _jited(session, choice, program, code)
        records = choice.records(code.records(options.source))
        if session.form == "text" and not choice.columns:
            flags = {key: getattr(options, key) for key in ("opcodes", "linum", "notes")}
            output.write(present.listing(records, **flags))
        else:
            write_records(session, choice, records, code)
        _tell(code, options.notes)
    return 1 if code.errors else 0


def write_records(
    session: Session, choice: output.Choice, records: Iterable[Any], code: Code
) -> None:
    """Records of one program in the form that was asked for, or as a table."""
    noun = choice.noun
    columns = choice.columns or noun.columns
    items: Iterator[documents.Item] = map(documents.item_of(columns), records)
    if not choice.columns:
        items = map(present.without_none, items)
    match session.form:
        case "json":
            head = {"program": code.program}
            errors: list[ErrorRecord] = []
            items = _then(items, lambda: errors.extend(code.errors))
            output.write(documents.document(noun.kind, items, errors, lambda: not errors, head))
        case "jsonl":
            output.write(documents.lines(items))
        case "csv":
            output.write(output.sheet(columns, records))
        case _:
            from bpflens.present import table

            output.write(table.streamed(choice.columns or noun.table(), records))


def _then(items: Iterator[documents.Item], done: Callable[[], None]) -> Iterator[documents.Item]:
    """The items; and when they have been taken, what is to be done."""
    yield from items
    done()


def _tell(code: Code, notes: bool) -> None:
    """What is hidden from this caller and so not in the listing."""
    for key, words in code.missing.items():
        if not words.startswith("none") and (key != "symbols" or notes):
            output.note(f"{key}: {words}")
    output.tell([each for each in code.errors if each.error not in code.missing.values()])


def _jited(session: Session, choice: output.Choice, program: Program, code: Code) -> int:
    from bpflens.snapshot import machine

    options = session.options
    found = machine.machine_code(program)
    try:
        disassemble = machine.disassembler(options.arch or machine.architecture(session.system))
    except Unsupported as error:
        if session.form != "text":
            raise
        output.write(_hex(found.code, found.func_lens, code))
        output.note(str(error))
        return error.exit_code
    records = choice.records(machine.records(program, code, disassemble, options.source))
    if session.form == "text" and not choice.columns:
        flags = {key: getattr(options, key) for key in ("opcodes", "linum", "notes")}
        output.write(present.machine_listing(records, **flags))
    else:
        write_records(session, choice, records, code)
    _tell(code, options.notes)
    return 1 if code.errors else 0


def _hex(data: bytes, lengths: list[int], code: Code) -> Iterator[str]:
    start = 0
    for number, length in enumerate(lengths):
        if number < len(code.entries):
            yield present.printable(f"{code.function(code.entries[number])}:")
        for at in range(start, start + length, 16):
            yield f"{at - start:4x}:\t{data[at : min(at + 16, start + length)].hex(' ')}"
        start += length


def _graph(session: Session, code: Code, form: str) -> int:
    if session.form not in ("text", "json") or session.options.columns:
        raise UsageError("a graph is text, dot, json or svg")
    if session.form == "json" and form in ("dot", "svg"):
        raise UsageError(f"--json and --graph {form}: give one of them")
    if form == "json" or session.form == "json":
        from bpflens.insn.graph import as_data

        names = {at: code.function(at) for at in code.flow.functions}
        graph = as_data(code.flow) | {
            "functions": [{"at": at, "name": name} for at, name in names.items()]
        }
        head = {"schema": SCHEMA, "kind": "graph", "program": code.program}
        errors = [error._asdict() for error in code.errors]
        output.write([documents.encode(head | graph | {"errors": errors, "complete": not errors})])
        return 1 if errors else 0
    records = code.records(source=False)
    if form in ("dot", "svg"):
        output.in_utf8()
    lines = present.graph(code, "text" if form == "text" else "dot", records, session.options.notes)
    output.write(lines if form != "svg" else [svg("\n".join(lines), "--graph dot")])
    output.tell(code.errors)
    return 1 if code.errors else 0


def svg(dot: str, instead: str) -> str:
    """The drawing that graphviz makes. Raises Unsupported where it is not there; `instead` is the
    option that needs none."""
    import shutil
    import subprocess

    path = shutil.which("dot")
    if path is None:
        raise Unsupported(f"a drawing takes graphviz, which is not installed: {instead} needs none")
    try:
        done = subprocess.run(
            [path, "-Tsvg"], input=dot, capture_output=True, text=True, encoding="utf-8",
            errors="backslashreplace", check=False, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Unsupported(
            f"graphviz has not drawn this in {SECONDS} s: {instead} is at once"
        ) from error
    if done.returncode:
        raise Unsupported(f"graphviz cannot draw this: {done.stderr.strip()[-300:]}")
    return done.stdout.rstrip("\n")
