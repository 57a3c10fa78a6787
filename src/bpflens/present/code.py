"""Instructions as lines and columns: what bpftool prints, and our notes behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bpflens.present.columns import Column, Noun
from bpflens.present.text import clean, list_text

if TYPE_CHECKING:
    from bpflens.insn.graph import Lines, Name
    from bpflens.insn.listing import Row
    from bpflens.present.documents import Item
    from bpflens.snapshot.code import Code, InsnRecord
    from bpflens.snapshot.explain import Statement
    from bpflens.snapshot.machine import MachineRecord


def map_text(told: dict[str, Any]) -> str:
    """A map, and the place in its value that is meant."""
    if "error" in told:
        words = f"map {told['id']} (not to be opened)"
    else:
        words = f"map {told['id']} {told['name'] or '(no name)'} ({told['type']})"
    if "offset" in told:
        words += f": {told['variable'] or 'offset ' + str(told['offset'])}"
    return words


def call_text(told: dict[str, Any]) -> str:
    """What is called."""
    return f"{told['kind']} {told['name']}" if told.get("name") else told["kind"]


_SOURCE = (
    Column("source", "SOURCE", "the source line that begins here", none="none begins here"),
    Column("file", "FILE", "the source file", none="no source line begins here"),
    Column("line", "LINE", "the line in it", 0, True, none="no source line begins here"),
    Column("column", "COLUMN", "the column in it", 0, True, none="no source line begins here"),
)

INSNS = Noun(
    "instructions",
    (
        Column("at", "AT", "slot: what jumps and source lines count in", 1, True),
        Column("text", "INSTRUCTION", "the instruction in the kernel's words", 2),
        Column("opcodes", "OPCODES", "its bytes, hex"),
        Column("function", "FUNCTION", "the function that it belongs to", 3),
        Column("prototype", "PROTOTYPE", "the function that begins here",
               none="no function begins here, or no BTF tells"),
        *_SOURCE,
        Column("map", "MAP", "the map that is loaded", show=map_text, none="loads no map"),
        Column("call", "CALL", "what is called", show=call_text, none="no call"),
        Column("target", "TO", "the slot that it may lead to", 0, True, none="leads on"),
    ),
)  # fmt: skip

MACHINE = Noun(
    "machine code",
    (
        Column("at", "AT", "bytes from the start of the function", 1, True),
        Column("address", "ADDRESS", "where it is in the kernel", wide=True, show=hex),
        Column("text", "INSTRUCTION", "the instruction, as assembly", 2),
        Column("opcodes", "OPCODES", "its bytes, hex"),
        Column("function", "FUNCTION", "the function that it belongs to", 3),
        Column("prototype", "PROTOTYPE", "the function that begins here",
               none="no function begins here, or no BTF tells"),
        *_SOURCE,
        Column("call", "CALL", "the kernel function that is called", none="no call, or unknown"),
    ),
)  # fmt: skip


STATEMENTS = Noun(
    "statements",
    (
        Column("about", "ABOUT", "helper, kfunc, subprogram, map, effect, return, function", 1),
        Column("name", "NAME", "whose statement it is", 2, none="it has no name"),
        Column("what", "WHAT", "what is said", 3),
        Column("number", "NUMBER", "ID of a helper or map, value returned, first slot", 4, True,
               none="it has no number"),
        Column("at", "AT", "slots of the instructions that it rests on", 5, show=list_text),
        Column("instructions", "INSTRUCTIONS", "those instructions", show=" | ".join),
    ),
)  # fmt: skip

MATCHES = Noun(
    "matches",
    (
        Column("id", "ID", "the loaded program", 1, True),
        Column("type", "TYPE", "its kind", 2),
        Column("name", "NAME", "its name", 3),
        Column("tag", "TAG", "its tag", 4),
        Column("program", "IN FILE", "the program of the file that it comes from", 5),
        Column("section", "SECTION", "where in the file that is", 6),
        Column("by", "BY", "how one can tell: tag, BTF, instructions", 7, show=list_text),
        Column("lines", "LINES", "source lines of the loaded program", 8, True),
        Column("lines_same", "SAME", "of those, how many the file has", 8, True),
        Column("insns", "INSNS", "instructions of the loaded program", 9, True),
        Column("insns_same", "SAME", "of those, how many the file has in the same order", 9, True),
    ),
)

HEADINGS = {
    "helper": "calls helpers",
    "kfunc": "calls kernel functions",
    "subprogram": "calls its own functions",
    "register": "calls through registers",
    "map": "uses maps",
    "effect": "can do",
    "return": "returns",
    "function": "consists of",
}


def explanation(code: Code, records: Iterable[Statement]) -> Iterator[str]:
    """Statements under headings, each with its slots and the first instruction."""
    told = code.program
    yield printable(f"program {told['id']} {told['type']} {told['name']} {told['tag']}: "
                    f"{len(code.insns)} instructions")  # fmt: skip
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for record in records:
        name, what, place = record.name or "", record.what, ""
        if record.about == "map":
            name = f"{record.number} {name}"
        if what == "called":
            what = ""
        if record.at:
            more = f" and {len(record.at) - 4} more" if len(record.at) > 4 else ""
            slots = ", ".join(map(str, record.at[:4])) + more
            place = f"at {slots}: {record.instructions[0]}"
        groups.setdefault(record.about, []).append((name, what, place))
    for about, rows in groups.items():
        yield ""
        yield HEADINGS[about]
        names, whats = (max(len(row[column]) for row in rows) for column in (0, 1))
        for name, what, place in rows:
            cells = [name.ljust(names), what.ljust(whats) if whats else "", place]
            yield printable("  " + "  ".join(cell for cell in cells if cell).rstrip())


def without_none(item: Item) -> Item:
    """The item without the fields that it is known to have none of: most, of an instruction."""
    missing = {k: words for k, words in item["missing"].items() if not words.startswith("none")}
    short = {k: v for k, v in item.items() if v is not None or k in missing}
    short["missing"] = missing
    return short


def printable(line: str) -> str:
    """A line that is safe to show; tabs stay, since source lines have them."""
    return line if line.isascii() and line.isprintable() else "\t".join(
        clean(piece) for piece in line.split("\t")
    )  # fmt: skip


def listing(
    records: Iterable[InsnRecord], *, opcodes: bool, linum: bool, notes: bool
) -> Iterator[str]:
    """The lines of `bpftool prog dump xlated`, with notes at the end of each where wanted."""
    from bpflens.insn.listing import lines

    said: dict[int, str] = {}

    def rows() -> Iterator[Row]:
        for record in records:
            said.clear()
            said[record.at] = remark(record)
            yield record.row

    note: Callable[[Row], str] | None = (lambda row: said[row.at]) if notes else None
    return map(printable, lines(rows(), opcodes=opcodes, linum=linum, note=note))


def remark(record: InsnRecord) -> str:
    """What there is to say of an instruction that its text does not."""
    words = []
    if record.map is not None:
        words.append(map_text(record.map))
    if record.call is not None:
        words.append(call_text(record.call))
    if record.target is not None:
        words.append(f"to {record.target}" if record.call is None else f"at {record.target}")
    return " ".join(words)


def machine_listing(
    records: Iterable[MachineRecord], *, opcodes: bool, linum: bool, notes: bool
) -> Iterator[str]:
    """The lines of `bpftool prog dump jited`."""
    from bpflens.insn.listing import source_line

    first = True
    for record in records:
        if record.at == 0:
            if not first:
                yield ""
            first = False
            if record.prototype:
                yield printable(f"{record.prototype}:")
            yield printable(f"{record.symbol}:")
        if record.told is not None:
            yield printable(source_line(record.told, linum=linum))
        note = f"  // {record.call}" if notes and record.call else ""
        yield printable(f"{record.at:4x}:\t{record.text}{note}")
        if opcodes:
            yield f"\t{bytes.fromhex(record.opcodes).hex(' ')}"


def graph(code: Code, form: str, records: Iterable[InsnRecord], notes: bool) -> Iterator[str]:
    """The flow graph as text or in DOT, each block with its instructions."""
    from bpflens.insn.graph import as_dot, as_text

    words = {
        record.at: f"{record.at}: {record.text}"
        + (f"  // {said}" if notes and (said := remark(record)) else "")
        for record in records
    }
    body: Lines = lambda block: [  # noqa: E731
        words[at] for at in range(block.start, block.end) if at in words
    ]
    name: Name = code.function
    lines = as_dot(code.flow, name, body) if form == "dot" else as_text(code.flow, name, body)
    return map(printable, lines)
