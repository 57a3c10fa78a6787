"""A flow graph for people and programs: lines, DOT, plain data.

A block that calls a function many times has an edge for each call; people are shown one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bpflens.insn.flow import Block, Edge, Flow

Lines = Callable[[Block], list[str]]
"""The text of a block's instructions."""
Name = Callable[[int], str]
"""The name of the function that starts at a slot."""


def _number(entry: int) -> str:
    return f"function at {entry}"


def _leaving(flow: Flow) -> dict[int, list[Edge]]:
    leaving: dict[int, list[Edge]] = {}
    for edge in flow.edges:
        leaving.setdefault(edge.source, []).append(edge)
    return leaving


def as_text(flow: Flow, name: Name = _number, body: Lines | None = None) -> Iterator[str]:
    """The graph as indented lines: functions, their blocks, where each block goes."""
    leaving = _leaving(flow)
    headers = {loop.header for loop in flow.loops}
    function = -1
    for block in flow.blocks:
        if block.function != function:
            function = block.function
            yield f"{name(flow.functions[function])}:"
        ways = dict.fromkeys(f"{edge.kind} {edge.target}" for edge in leaving.get(block.start, ()))
        marks = ["loop header"] * (block.start in headers) + ["never reached"] * (
            not block.reachable
        )
        noted = f" ({', '.join(marks)})" if marks else ""
        yield f"  {block.start}-{block.end - 1}{noted} -> {', '.join(ways) or 'end'}"
        for line in body(block) if body else ():
            yield f"    {line}"
    for loop in flow.loops:
        how = f"blocks {', '.join(map(str, loop.body))}" if loop.body else "blocks not told"
        kind = "loop" if loop.natural else "irreducible loop"
        yield f"{kind} at {loop.header}, back from {', '.join(map(str, loop.back_edges))}: {how}"
    for bad in flow.bad:
        yield f"at {bad.at}: {bad.why}" + ("" if bad.target is None else f" ({bad.target})")


_STYLES = {
    "fallthrough": "",
    "taken": ' [color="blue"]',
    "call": ' [style="dashed"]',
    "callback": ' [style="dotted"]',
}


def _quoted(text: str) -> str:
    """A DOT string. What a terminal or a renderer would act on is shown as a question mark."""
    safe = "".join(char if char.isprintable() else "?" for char in text)
    return safe.replace("\\", "\\\\").replace('"', '\\"')


def as_dot(flow: Flow, name: Name = _number, body: Lines | None = None) -> Iterator[str]:
    """The graph as a Graphviz digraph, a cluster for each function."""
    yield "digraph program {"
    yield '  node [shape="box", fontname="monospace"];'
    function = -1
    for block in flow.blocks:
        if block.function != function:
            if function >= 0:
                yield "  }"
            function = block.function
            yield f"  subgraph cluster_{flow.functions[function]} {{"
            yield f'    label="{_quoted(name(flow.functions[function]))}";'
        shown = body(block) if body else [f"{block.start}-{block.end - 1}"]
        label = "".join(f"{_quoted(line)}\\l" for line in shown)
        gray = "" if block.reachable else ', color="gray"'
        yield f'    b{block.start} [label="{label}"{gray}];'
    if function >= 0:
        yield "  }"
    yield from dict.fromkeys(
        f"  b{edge.source} -> b{edge.target}{_STYLES[edge.kind]};" for edge in flow.edges
    )
    yield "}"


def as_data(flow: Flow) -> dict[str, Any]:
    """The graph as lists and dicts, for JSON; the keys are the records' field names."""
    return {
        key: [item._asdict() if hasattr(item, "_asdict") else item for item in items]
        for key, items in flow._asdict().items()
    }
