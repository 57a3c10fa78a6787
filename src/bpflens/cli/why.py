"""`bpflens why`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from bpflens.cli import output, selectors
from bpflens.cli.session import Session
from bpflens.errors import Denied, NotFound, UsageError
from bpflens.model.system import System

if TYPE_CHECKING:
    from bpflens.model.link import Link
    from bpflens.model.map import Map
    from bpflens.model.program import Program
    from bpflens.snapshot.graph import Indexed

_NAMED: dict[str, Callable[[System, str], Iterator[Any]]] = {
    "prog": selectors.programs,
    "map": selectors.maps,
    "link": selectors.links,
}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser.add_argument(
        "kind", choices=tuple(_NAMED), metavar="prog|map|link", help="the kind of object"
    )
    parser.add_argument("selector", metavar="SELECTOR",
                        help="12, name:xdp_lb, pin:/sys/fs/bpf/x: as show has it")  # fmt: skip
    parser.set_defaults(run=why)


def why(session: Session) -> int:
    """`why prog|map|link SELECTOR`."""
    from bpflens.model.parts import Missing, Reason
    from bpflens.present import documents
    from bpflens.present import graph as present
    from bpflens.snapshot.graph import Indexed
    from bpflens.snapshot.records import ErrorRecord
    from bpflens.snapshot.relations import Relations
    from bpflens.snapshot.why import why as explain

    if session.form == "csv":
        raise UsageError("chains are no table: give --json or --jsonl")
    options = session.options
    keys = _keys(session.system, options.kind, options.selector)
    told = Relations(session.system)
    graph = Indexed(told.graph)
    if told.denied and not any(key in graph.nodes for key in keys):
        raise told.denied
    found = [explain(graph, key) for key in _there(graph, keys)]
    errors = told.errors + [
        ErrorRecord(each.node.kind, each.node.id, None, str(Missing(Reason.LIMITED, each.cut)))
        for each in found
        if each.cut
    ]
    if session.form == "text":
        for at, each in enumerate(found):
            output.write([""] * bool(at))
            output.write(present.why_lines(graph, each))
        output.tell(errors)
    else:
        items = [present.why_item(graph, each) for each in found]
        complete = not (errors or told.unseen)
        if session.form == "json":
            output.write(documents.document("why", items, errors, lambda: complete))
        else:
            output.write(documents.lines(items, apart=True))
    return 1 if errors else 0


def _keys(system: System, kind: str, selector: str) -> list[str]:
    """The keys of the objects that a selector names. Raises UsageError, NotFound, Denied."""
    keys = []
    named: Iterator[Program | Map | Link] = _NAMED[kind](system, selector)
    try:
        for found in named:
            with found:
                keys.append(f"{kind}:{found.id}")
    except Denied:
        id = selector.removeprefix("id:")
        if not id.isdecimal():
            raise
        return [f"{kind}:{int(id)}"]  # an open file of our own may be known by it
    return keys


def _there(graph: Indexed, keys: list[str]) -> Iterator[str]:
    """Those that are still there. Raises NotFound where none is."""
    found = [key for key in keys if key in graph.nodes]
    if not found:
        raise NotFound(f"{', '.join(keys)} is not there")
    yield from found
