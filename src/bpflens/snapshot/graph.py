"""The object graph: what there is as nodes, who refers to whom as edges. Plain data.

Every edge points from what refers to what is referred to, and says whether that keeps it alive. So
an object lives as long as an edge that keeps it leads there, and what it would take to free it, or
what would go with it, can be read off (`snapshot.lifetime`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

from bpflens.snapshot.records import SCHEMA, ErrorRecord

OBJECTS = ("program", "map", "link", "btf")
"""Kinds of nodes that the kernel frees when nothing keeps them."""

PLACES = ("device", "cgroup", "netns", "hook")
"""Kinds of nodes at which programs run. They are there whether or not a program is."""

ROOTS = (*PLACES, "process", "pin", "mount", "mntns", "kernel")
"""Kinds of nodes where a chain begins: what keeps these is another question."""

PREFIXES = {
    "program": "prog",
    "process": "pid",
}
"""Kind of node → how its keys begin, where that is not the kind itself."""


class Node(NamedTuple):
    """Something that refers to BPF objects, or is one. The fields' names are the JSON keys."""

    key: str
    """`prog:12`, `map:3`, `link:4`, `btf:5`, `pin:/sys/fs/bpf/x`, `pid:812`, `device:eth0@blue`,
    `cgroup:/web.slice`, `netns:blue`, `mount:/run/netns/blue`, `socket:udp 0.0.0.0:53`, `event:…`,
    `hook:lsm file_open`, `func:12/1`, `kernel:`."""
    kind: str
    """program, subprogram, map, link, btf; pin, process, mount, mntns; device, cgroup, netns,
    hook; socket, event; kernel."""
    id: int | None
    """Of an object: its ID; of a process: its pid."""
    name: str
    type: str | None
    """Kind of program, map, link, hook."""

    @property
    def words(self) -> str:
        """The node in words: `program 12 xdp_lb`, `pid 812 (nginx)`, `device eth0`."""
        if self.kind == "process":
            return f"pid {self.id} ({self.name})" if self.name else f"pid {self.id}"
        if self.kind in ("pin", "mount"):
            return self.name
        if self.kind == "kernel":
            return "the kernel or a module"
        if self.kind == "hook":
            return f"{self.type} {self.name}".rstrip()
        parts = (self.kind, "" if self.id is None else str(self.id), self.name)
        noun = {"btf": "BTF", "mntns": "mount namespace"}.get(self.kind, self.kind)
        return " ".join(filter(None, (noun, *parts[1:])))


class Edge(NamedTuple):
    """One node refers to another. The fields' names are the JSON keys."""

    source: str
    target: str
    kind: str
    """One of `KINDS`."""
    keeps: bool
    """Whether it keeps its target alive."""
    label: str = ""
    """Which: `fd 5`, `[3]` of a slot, `ingress`."""
    user: bool = False
    """Whether it is a reference by user space, of which maps keep a count of their own."""
    needs_user: bool = False
    """Whether it goes when user space has no reference to its source any more: the slots of a
    prog_array, the programs of a sockmap (map_release_uref)."""
    ends: bool = False
    """Whether the target goes with its source, whatever else keeps it."""


class Kind(NamedTuple):
    """A kind of edge in words, from its source and from its target."""

    words: str
    back: str
    undo: str
    """What takes it away; empty where only the end of its source does."""


KINDS = {
    "holds": Kind("holds", "held by", "{source} closes {label}"),
    "pins": Kind("pins", "pinned at", "unpin {source}"),
    "links": Kind("runs", "run by", ""),
    "runs": Kind("runs", "attached to", "detach {target} from {source}"),
    "may-run": Kind("may run", "perhaps attached to", ""),
    "attached-to": Kind("attached to", "has", ""),
    "uses": Kind("uses", "used by", ""),
    "tail-calls": Kind("jumps to", "tail call from", "delete {label} of {source}"),
    "contains": Kind("contains", "in", "delete {label} of {source}"),
    "replaces": Kind("replaces a function of", "extended by", ""),
    "traces": Kind("traces", "traced by", ""),
    "iterates": Kind("walks over", "walked over by", ""),
    "types": Kind("has", "types of", ""),
    "part": Kind("has", "part of", ""),
    "calls": Kind("calls", "called by", ""),
    "in": Kind("is in", "with", "{source} ends"),
    "names": Kind("is", "at", "unmount {source}"),
    "paired": Kind("is paired with", "paired with", ""),
}
"""Every kind of edge."""


class Graph(NamedTuple):
    """All nodes and edges of one look."""

    nodes: dict[str, Node]
    edges: list[Edge]
    unseen: list[str]
    """What could not be looked at, and may keep objects alive that seem free."""
    errors: list[ErrorRecord]

    def document(self) -> dict[str, Any]:
        """The graph as JSON has it."""
        return {
            "schema": SCHEMA,
            "kind": "graph",
            "nodes": [node._asdict() for node in self.nodes.values()],
            "edges": [edge._asdict() for edge in self.edges],
            "unseen": self.unseen,
            "errors": [error._asdict() for error in self.errors],
            "complete": not self.errors and not self.unseen,
        }


class Indexed:
    """A graph whose edges can be found from either end."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = graph.nodes

    @cached_property
    def leaving(self) -> dict[str, list[Edge]]:
        """Node → the edges from it."""
        found: dict[str, list[Edge]] = {key: [] for key in self.nodes}
        for edge in self.graph.edges:
            found[edge.source].append(edge)
        return found

    @cached_property
    def arriving(self) -> dict[str, list[Edge]]:
        """Node → the edges to it."""
        found: dict[str, list[Edge]] = {key: [] for key in self.nodes}
        for edge in self.graph.edges:
            found[edge.target].append(edge)
        return found

    def perhaps(self, key: str) -> list[Edge]:
        """The edges from places that may run a program: they do not tell which."""
        return [edge for edge in self.arriving[key] if edge.kind == "may-run"]

    def keepers(self, key: str) -> list[Edge]:
        """The edges that keep a node alive."""
        return [edge for edge in self.arriving[key] if edge.keeps]


def graph(
    nodes: Iterable[Node],
    edges: Iterable[Edge],
    unseen: Iterable[str] = (),
    errors: Iterable[ErrorRecord] = (),
) -> Graph:
    """A graph of these. An edge that is told twice comes once, one of what has gone not at all."""
    known = {node.key: node for node in nodes}
    sound = [e for e in dict.fromkeys(edges) if e.source in known and e.target in known]
    return Graph(known, sound, list(unseen), list(errors))
