"""The functions of programs as nodes of the object graph, and which of them calls which."""

from __future__ import annotations

from collections.abc import Iterator

from bpflens.errors import BpflensError
from bpflens.model.system import System
from bpflens.snapshot.code import Code
from bpflens.snapshot.graph import Edge, Graph, Node, graph
from bpflens.snapshot.names import Names


def with_subprograms(system: System, whole: Graph) -> Graph:
    """The graph with the functions of every program that has more than one.

    What is not shown to this caller has none: its instructions tell them.
    """
    names = Names(system)
    nodes, edges = [*whole.nodes.values()], [*whole.edges]
    for program in whole.nodes.values():
        if program.kind != "program" or program.id is None:
            continue
        try:
            with system.program(program.id) as found:
                code = Code(found, names)
                for part in _functions(program, code):
                    if isinstance(part, Node):
                        nodes.append(part)
                    else:
                        edges.append(part)
        except (BpflensError, OSError):
            continue
    return graph(nodes, edges, whole.unseen, whole.errors)


def _functions(program: Node, code: Code) -> Iterator[Node | Edge]:
    flow = code.flow
    if len(flow.functions) < 2:
        return
    keys = {at: f"func:{program.id}/{number}" for number, at in enumerate(flow.functions)}
    for at, key in keys.items():
        yield Node(key, "subprogram", None, code.function(at), None)
        yield Edge(program.key, key, "part", True)
    for edge in flow.edges:
        if edge.kind in ("call", "callback") and edge.target in keys:
            caller = flow.functions[flow.block_of(edge.source).function]
            yield Edge(keys[caller], keys[edge.target], "calls", False)
