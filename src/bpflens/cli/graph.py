"""`bpflens graph`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from bpflens.cli import output
from bpflens.cli.options import count
from bpflens.cli.session import Session
from bpflens.errors import NotFound, UsageError
from bpflens.rawtext import means

if TYPE_CHECKING:
    from bpflens.attach.places import Places
    from bpflens.snapshot.graph import Edge, Indexed, Node
    from bpflens.snapshot.records import ErrorRecord

FORMS = (
    "prog:12, map:3, link:4, btf:5 (also by name: prog:xdp_lb), pin:/sys/fs/bpf/x, pid:812 or "
    "pid:nginx, device:eth0@blue, cgroup:/web.slice, netns:blue"
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser.add_argument("selector", nargs="?", metavar="NODE",
                        help=f"what is around one node: {FORMS}")  # fmt: skip
    parser.add_argument("--format", choices=("text", "dot", "json", "svg"), default=None,
                        help="default: text; svg needs graphviz's dot")  # fmt: skip
    parser.add_argument("--depth", type=count, default=6, metavar="N",
                        help="levels of the text tree (default: 6)")  # fmt: skip
    parser.add_argument("--subprograms", action="store_true",
                        help="with the functions of programs, and who calls whom")  # fmt: skip
    parser.add_argument("--from", dest="start", metavar="NODE", help="paths from here ...")
    parser.add_argument("--to", dest="end", metavar="NODE", help="... to here: the shortest")
    parser.add_argument("--all", action="store_true", help="with --from and --to: every path")
    parser.add_argument(
        "--if-gone", action="append", metavar="NODE",
        help="what would go too, were this not there (a process that ends, a pin that is removed, "
        "a device); A-B, as in device:eth0-prog:12: were A's hold of B not; can be given again",
    )  # fmt: skip
    parser.set_defaults(run=show)


def show(session: Session) -> int:
    """`graph [NODE]`."""
    from bpflens.snapshot.graph import Indexed
    from bpflens.snapshot.relations import Relations

    options = session.options
    form = _form(session)
    if bool(options.start) != bool(options.end):
        raise UsageError("a path takes both --from and --to")
    told = Relations(session.system)
    whole = told.graph
    if options.subprograms:
        from bpflens.snapshot.subprograms import with_subprograms

        whole = with_subprograms(session.system, whole)
    asked = _Asked(Indexed(whole), told.places)
    if options.start:
        return _paths(session, asked, form)
    if options.if_gone:
        _if_gone(session, asked, form)
    else:
        _whole(session, asked, form)
    if form != "json":
        output.tell(told.errors)
    return 1 if told.errors else 0


class _Asked(NamedTuple):
    """A graph, and the host that its nodes are named of."""

    graph: Indexed
    places: Places

    def node(self, text: str) -> Node:
        """The node that a text names. Raises NotFound, UsageError."""
        from bpflens.attach.pins import spelled

        prefix, _, path = text.partition(":")
        if prefix == "pin" and path and text not in self.graph.nodes:
            text = f"pin:{spelled(self.places, path)}"
        return _node(self.graph, text)


def _form(session: Session) -> str:
    """text, json, dot or svg. Raises UsageError."""
    form: str | None = session.options.format
    if session.form not in ("text", "json"):
        raise UsageError("a graph is text, dot, json or svg")
    if session.form == "json":
        if form not in (None, "json"):
            raise UsageError(f"--json and --format {form}: give one of them")
        return "json"
    return form or "text"


def _whole(session: Session, asked: _Asked, form: str) -> None:
    from bpflens.present import documents
    from bpflens.present import graph as present

    options, graph = session.options, asked.graph
    key = asked.node(options.selector).key if options.selector else None
    if key is not None and form != "text":
        graph = _near(graph, key)
    match form:
        case "json":
            output.write([documents.encode(documents.safe(graph.graph.document()))])
        case "text" if key is not None:
            output.write(present.around(graph, key, options.depth))
        case "text":
            output.write(present.tree(graph, _tops(graph), options.depth))
        case _:
            output.in_utf8()
            lines = present.dot(graph)
            output.write(lines if form == "dot" else [_svg(lines)])


def _svg(lines: Iterable[str]) -> str:
    from bpflens.cli.dump import svg

    return svg("\n".join(lines), "--format dot")


def _tops(graph: Indexed) -> list[str]:
    """Where the tree begins: what nothing keeps, and one node of each cycle."""
    free = [key for key in graph.nodes if not graph.keepers(key)]
    tops = sorted(free, key=lambda key: not graph.leaving[key])  # what is alone comes last
    reached: set[str] = set()
    for start in (*tops, *graph.nodes):
        if start not in reached:
            if start not in tops:
                tops.append(start)
            waiting = [start]
            while waiting:
                key = waiting.pop()
                if key not in reached:
                    reached.add(key)
                    waiting += [edge.target for edge in graph.leaving[key] if edge.keeps]
    return tops


def _near(graph: Indexed, key: str) -> Indexed:
    """The part of the graph that leads to a node or from it."""
    from bpflens.snapshot.graph import Graph, Indexed

    chosen: set[str] = set()
    for forward in (True, False):
        waiting, seen = [key], set[str]()
        while waiting:
            at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            edges = graph.leaving[at] if forward else graph.arriving[at]
            waiting += [edge.target if forward else edge.source for edge in edges]
        chosen |= seen
    whole = graph.graph
    nodes = {at: node for at, node in whole.nodes.items() if at in chosen}
    edges = [edge for edge in whole.edges if edge.source in chosen and edge.target in chosen]
    return Indexed(Graph(nodes, edges, whole.unseen, whole.errors))


def _paths(session: Session, asked: _Asked, form: str) -> int:
    from bpflens.model.parts import Missing, Reason
    from bpflens.present import graph as present
    from bpflens.snapshot.lifetime import paths
    from bpflens.snapshot.records import ErrorRecord

    options, graph = session.options, asked.graph
    if form not in ("text", "json"):
        raise UsageError("paths are text or json")
    start, end = asked.node(options.start), asked.node(options.end)
    found, cut = paths(graph, start.key, end.key, options.all)
    errors = list(graph.graph.errors)
    if cut:
        errors.append(ErrorRecord("path", None, None, str(Missing(Reason.LIMITED, cut))))
    if form == "json":
        items = [{"path": [edge._asdict() for edge in path]} for path in found]
        _document(errors, "paths", items, True)
        return 1 if errors else 0
    if not found:
        output.tell(errors)
        raise NotFound(f"no path leads from {start.words} to {end.words}")
    output.write(present.path_lines(graph, found, cut))
    output.tell(errors)
    return 1 if errors else 0


def _if_gone(session: Session, asked: _Asked, form: str) -> None:
    from bpflens.present import graph as present
    from bpflens.snapshot.lifetime import freed

    if form not in ("text", "json"):
        raise UsageError("what would go is told as text or json")
    graph = asked.graph
    gone: list[str] = []
    cut: list[Edge] = []
    words: list[str] = []
    for text in session.options.if_gone:
        edges = _held(asked, text)
        if edges:
            cut += edges
            first = edges[0]
            source, target = graph.nodes[first.source].words, graph.nodes[first.target].words
            words.append(f"the hold of {source} on {target}")
        else:
            node = asked.node(text)
            gone.append(node.key)
            words.append(node.words)
    found = freed(graph, gone, cut)
    if form == "json":
        items = [graph.nodes[key]._asdict() for key in found]
        _document(graph.graph.errors, "freed", items, not graph.graph.unseen)
        return
    output.write(present.gone_lines(graph, words, found))
    if graph.graph.unseen:
        output.note(f"unless it is held by what cannot be seen: {'; '.join(graph.graph.unseen)}")


def _document(
    errors: list[ErrorRecord], kind: str, items: list[dict[str, Any]], complete: bool
) -> None:
    from bpflens.present import documents

    done = complete and not errors
    output.write(documents.document(kind, items, errors, lambda: done, apart=True))


def _held(asked: _Asked, text: str) -> list[Edge]:
    """The edges that `A-B` names; none where the text names a node."""
    graph = asked.graph
    if text in graph.nodes:
        return []
    for at, char in enumerate(text):
        if char == "-" and ":" in text[at:]:
            try:
                source, target = asked.node(text[:at]), asked.node(text[at + 1 :])
            except (NotFound, UsageError):
                continue
            edges = [edge for edge in graph.leaving[source.key] if edge.target == target.key]
            if not edges:
                raise NotFound(f"{source.words} does not refer to {target.words}")
            return edges
    return []


def _node(graph: Indexed, text: str) -> Node:
    """The node that a text names. Raises NotFound, UsageError."""
    if text in graph.nodes:
        return graph.nodes[text]
    prefix, colon, value = text.partition(":")
    if not colon or not value:
        raise UsageError(f"{text!r} names no node: give {FORMS}")
    named = [
        node
        for node in graph.nodes.values()
        if means(text, node.key)
        or (node.key.partition(":")[0] == prefix and node.name and means(value, node.name))
    ]
    if not named:
        raise NotFound(f"there is no {text} in the graph")
    if len(named) > 1:
        keys = ", ".join(node.key for node in named)
        raise UsageError(f"{text} names {len(named)} nodes: choose one of {keys}")
    return named[0]
