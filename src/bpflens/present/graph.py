"""The object graph as words, as a tree of text, as DOT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from bpflens.present.columns import Column, Noun
from bpflens.present.text import bytes_text, clean, few_text, list_text, yes_no
from bpflens.snapshot.graph import KINDS, OBJECTS, Edge, Indexed, Node
from bpflens.snapshot.lifetime import Chain
from bpflens.snapshot.orphans import VERDICTS
from bpflens.snapshot.why import Why, undo

ORPHANS = Noun(
    "orphans",
    (
        Column("kind", "KIND", "program, map or link", 1),
        Column("id", "ID", "the object, or the first of its copies", 1, True),
        Column("type", "TYPE", "its type", 4),
        Column("name", "NAME", "its name", 2),
        Column("verdict", "VERDICT", ", ".join(VERDICTS), 1),
        Column("certain", "CERTAIN", "whether all was seen that could say otherwise", 3,
               show=yes_no),
        Column("holders", "HELD BY", "who holds it", 2, show=few_text),
        Column("copies", "COPIES", "how many there are", 5, True),
        Column("ids", "IDS", "their IDs", show=list_text),
        Column("memlock_bytes", "MEM", "bytes that the kernel accounts for", 7, True,
               show=bytes_text, none="a link has none of its own"),
        Column("loaded_at", "LOADED", "when it was loaded (UTC)",
               none="only of programs is it known"),
        Column("why", "WHY", "why it is listed, or why that cannot be told", 6),
    ),
)  # fmt: skip

MOST = 20
"""Chains, and ways to free, that are shown to a person."""


def named(node: Node) -> str:
    """A node in words, an object with its type: `program 12 xdp_lb (xdp)`."""
    typed = f" ({node.type})" if node.kind in OBJECTS and node.type else ""
    return node.words + typed


def chain(graph: Indexed, edges: Chain) -> str:
    """A chain in a line: `pid 2 (balancerd) fd 7 -> map 3 jumps [1] -> program 2 pick`."""
    hops = [f"{_source(graph, edge)} {_verb(edge)}".rstrip() for edge in edges]
    return " -> ".join([*hops, graph.nodes[edges[-1].target].words])


def _source(graph: Indexed, edge: Edge) -> str:
    """Where an edge begins, in words; a link with what it is attached to."""
    node = graph.nodes[edge.source]
    if node.kind != "link":
        return node.words
    places = [place for place in graph.leaving[node.key] if place.kind in _AT]
    at = [
        f"{graph.nodes[place.target].words} {place.label}".rstrip()
        for place in places
        if place.target != edge.target  # where the edge leads is said behind it
    ]
    if places and not at:
        return node.words
    return f"{node.words} ({', '.join(at) or 'attached to nothing'})"


_AT = ("attached-to", "replaces", "traces")
"""Edges from a link to what it is attached to."""

_SHORT = {"holds": "", "pins": "(pin)", "tail-calls": "", "contains": ""}
"""Edges whose label says enough, or whose kind is said otherwise between nodes."""


def _verb(edge: Edge) -> str:
    verb = _SHORT.get(edge.kind, KINDS[edge.kind].words)
    if edge.label and edge.kind in ("replaces", "traces"):
        return f"{edge.kind} {edge.label} of"
    return f"{verb} {edge.label}".strip() if edge.label else verb


def why_lines(graph: Indexed, found: Why) -> Iterator[str]:
    """Why an object is there."""
    yield from map(clean, _why_lines(graph, found))


def _why_lines(graph: Indexed, found: Why) -> Iterator[str]:
    yield named(found.node)
    if found.chains:
        yield "is kept by"
        yield from _some([f"  {chain(graph, edges)}" for edges in found.chains])
    elif found.cycle:
        yield "is kept only by objects that it keeps itself: nobody can free it"
        yield from _some([f"  {chain(graph, (edge,))}" for edge in found.cycle])
    elif found.cut:
        yield "is kept in ways that were not followed to their ends"
    else:
        yield "is kept by nothing that can be seen"
    if found.ways:
        yield "to free it" if len(found.ways) == 1 else "to free it, one of"
        lines = []
        for at, way in enumerate(found.ways, 1):
            mark = "  " if len(found.ways) == 1 else f"  {at}. "
            lines.append(mark + "; and ".join(undone(graph, way)))
        yield from _some(lines)
    elif found.chains and not found.cut:
        yield "nobody can free it: what keeps it cannot be taken away"
    if found.cut:
        yield f"  (these are not all ways: {found.cut})"
    if found.unseen:
        yield "what may keep it too" if found.chains else "what may keep it"
        for how, group in groupby(found.unseen, lambda each: each.how):
            yield from _some([f"  {each.what}" for each in group])
            yield f"    to find out: {how}"


def undone(graph: Indexed, way: list[Edge]) -> list[str]:
    """What has to be done to take these references away; what one process does, in one."""
    fds: dict[str, list[str]] = {}
    for edge in way:
        if edge.kind == "holds":
            fds.setdefault(edge.source, []).append(edge.label.removeprefix("fd "))
    told = [
        f"{graph.nodes[key].words} closes fd {', '.join(labels)}, or ends"
        for key, labels in fds.items()
    ]
    return told + [undo(graph, edge) for edge in way if edge.kind != "holds"]


def _some(lines: list[str]) -> Iterator[str]:
    yield from lines[:MOST]
    if len(lines) > MOST:
        yield f"  and {len(lines) - MOST} more: --json has them"


def why_item(graph: Indexed, found: Why) -> dict[str, Any]:
    """The same as an item of a JSON document."""
    return {
        "object": found.node._asdict(),
        "chains": [[edge._asdict() for edge in edges] for edges in found.chains],
        "ways_to_free": [
            [{"do": undo(graph, edge)} | edge._asdict() for edge in way] for way in found.ways
        ],
        "complete": not found.cut,
        "cycle": [edge._asdict() for edge in found.cycle],
        "unseen": [each._asdict() for each in found.unseen],
    }


def path_lines(graph: Indexed, found: list[Chain], cut: str) -> Iterator[str]:
    """Paths, a line each."""
    for edges in found:
        yield clean(chain(graph, edges))
    if cut:
        yield f"(these are not all: {cut})"


def gone_lines(graph: Indexed, gone: Iterable[str], freed: list[str]) -> Iterator[str]:
    """What would go with something."""
    subject = " and ".join(gone)
    if not freed:
        yield clean(f"without {subject} everything else would stay")
        return
    yield clean(f"without {subject} these would go, in this order")
    for key in freed:
        yield clean(f"  {named(graph.nodes[key])}")


# --- the tree


def tree(graph: Indexed, tops: Iterable[str], depth: int) -> Iterator[str]:
    """What each node refers to, and what that refers to, so many levels deep.

    What was shown with all below it is only named the next time.
    """
    shown: set[str] = set()
    for top in tops:
        yield clean(named(graph.nodes[top]))
        yield from _below(graph, top, depth, "  ", shown, (top,))


def _below(
    graph: Indexed, key: str, depth: int, indent: str, shown: set[str], above: tuple[str, ...]
) -> Iterator[str]:
    edges = graph.leaving[key]
    if not depth:
        if edges:
            yield f"{indent}... {len(edges)} more (--depth)"
        return
    shown.add(key)
    for edge in edges:
        node = graph.nodes[edge.target]
        line = f"{indent}{_ahead(edge, named(node))}"
        again = ""
        if edge.target in above:
            again = " (a cycle)"
        elif edge.target in shown and graph.leaving[edge.target]:
            again = " (see above)"
        yield clean(line) + again
        if edge.keeps and not again:
            yield from _below(graph, edge.target, depth - 1, indent + "  ", shown,
                              (*above, edge.target))  # fmt: skip


def _ahead(edge: Edge, target: str) -> str:
    """An edge and where it leads, below its source."""
    if edge.kind == "attached-to":
        return f"attached to {target} {edge.label}".rstrip()
    verb = "" if edge.kind == "pins" else _verb(edge)
    return f"{verb} {target}".lstrip()


def around(graph: Indexed, key: str, depth: int) -> Iterator[str]:
    """One node: what refers to it, above, and what it refers to, below."""
    yield clean(named(graph.nodes[key]))
    arriving = graph.arriving[key]
    if arriving:
        yield "  referred to by"
        for edge in arriving:
            keeps = "" if edge.keeps else " (does not keep it)"
            yield clean(f"    {chain(graph, (edge,)).rpartition(' -> ')[0]}{keeps}")
    if graph.leaving[key]:
        yield "  refers to"
        yield from _below(graph, key, depth, "    ", set(), (key,))


# --- DOT

_SHAPES = {"program": "box", "map": "cylinder", "link": "cds", "btf": "note", "pin": "folder",
           "process": "ellipse", "subprogram": "box"}  # fmt: skip


def dot(graph: Indexed) -> Iterator[str]:
    """The graph as a Graphviz digraph; a dashed edge keeps nothing alive."""
    yield "digraph objects {"
    yield '  rankdir="LR"; node [fontname="monospace"];'
    for node in graph.nodes.values():
        shape = _SHAPES.get(node.kind, "hexagon")
        yield f'  {_quoted(node.key)} [label={_quoted(named(node))}, shape="{shape}"];'
    for edge in graph.graph.edges:
        style = "" if edge.keeps else ', style="dashed"'
        label = _quoted(f"{edge.kind} {edge.label}".strip())
        yield f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [label={label}{style}];"
    yield "}"


def _quoted(text: str) -> str:
    return '"' + clean(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
