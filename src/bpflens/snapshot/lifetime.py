"""What keeps an object alive, what it would take to free it, and what would go with it.

Linux counts references; nobody searches for what can be reached. So a cycle keeps itself, and a map
has a second count, of user space's references alone: a prog_array lets its programs go when that
count reaches zero, which is what breaks the cycle of a program and the array that it is in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from bpflens import limits
from bpflens.snapshot.graph import KINDS, ROOTS, Edge, Indexed

Chain = tuple[Edge, ...]
"""Edges that keep, from a root to the object."""


def freed(graph: Indexed, gone: Collection[str] = (), cut: Collection[Edge] = ()) -> list[str]:
    """The nodes that would go if these nodes and edges were gone, in the order in which they do.

    What nothing visible keeps is kept by something unseen: it stays.
    """
    kept = Counter(edge.target for edge in graph.graph.edges if _may_keep(edge))
    used = Counter(edge.target for edge in graph.graph.edges if edge.user)
    dead = {key for key in gone if key in graph.nodes}
    lost: set[Edge] = set()
    waiting: list[Edge] = [*cut]
    for key in dead:
        waiting += graph.leaving[key]
    order: list[str] = []
    while waiting:
        edge = waiting.pop(0)
        if edge in lost:
            continue
        lost.add(edge)
        target = edge.target
        if edge.user:
            used[target] -= 1
            if not used[target]:
                waiting += [found for found in graph.leaving[target] if found.needs_user]
        if _may_keep(edge):
            kept[target] -= 1
        if target not in dead and (edge.ends or (_may_keep(edge) and not kept[target])):
            dead.add(target)
            order.append(target)
            waiting += graph.leaving[target]
    return order


def _may_keep(edge: Edge) -> bool:
    """Whether it keeps its target, or perhaps does: then that is not said to go."""
    return edge.keeps or edge.kind == "may-run"


class Chains:
    """The ways on which an object is kept alive; `cut` says why these are not all."""

    def __init__(self, graph: Indexed, key: str) -> None:
        self.graph = graph
        self.cut = ""
        self._steps = 0
        self.found: list[Chain] = []
        for chain in self._back(key, False, (), frozenset([key])):
            if len(self.found) >= limits.CHAINS.value:
                self.cut = str(limits.CHAINS)
                break
            self.found.append(chain)
        self.found.sort(key=len)

    def _back(
        self, key: str, needs_user: bool, tail: Chain, seen: frozenset[str]
    ) -> Iterator[Chain]:
        self._steps += 1
        if self._steps > limits.CHAIN_STEPS.value:
            self.cut = str(limits.CHAIN_STEPS)
            return
        keepers = self.graph.keepers(key)
        if tail and (not keepers or self.graph.nodes[key].kind in ROOTS):
            yield tail
            return
        for edge in keepers:
            # An array whose slots last only while user space has it is no way to them otherwise.
            if edge.source not in seen and (edge.user or not needs_user):
                inner = seen | {edge.source}
                yield from self._back(edge.source, edge.needs_user, (edge, *tail), inner)


def ways_to_free(graph: Indexed, key: str, chains: Chains) -> tuple[list[list[Edge]], str]:
    """(the smallest sets of edges without which the object goes, why these are not all).

    Only edges that somebody can take away: an fd, a pin, an attachment, a slot of a map. None where
    nobody can, or where it is not known what keeps the object.
    """
    cut = chains.cut
    sets: list[frozenset[Edge]] = [frozenset()] if chains.found else []
    for chain in chains.found:
        doors = [edge for edge in chain if KINDS[edge.kind].undo]
        grown = {one for one in sets if not one.isdisjoint(doors)}
        for one in sets:
            if one.isdisjoint(doors):
                grown |= {one | {edge} for edge in doors}
        sets = _smallest(grown)
        if len(sets) > limits.WAYS.value:
            sets, cut = sets[: limits.WAYS.value], str(limits.WAYS)
    ordered = [[edge for edge in graph.graph.edges if edge in one] for one in sets]
    perhaps = graph.perhaps(key)  # is told beside the ways
    return [one for one in ordered if key in freed(graph, cut=[*one, *perhaps])], cut


def _smallest(sets: set[frozenset[Edge]]) -> list[frozenset[Edge]]:
    """Those that hold no other."""
    result: list[frozenset[Edge]] = []
    for one in sorted(sets, key=lambda edges: (len(edges), sorted(edges))):
        if not any(known <= one for known in result):
            result.append(one)
    return result


def paths(graph: Indexed, start: str, end: str, every: bool = False) -> tuple[list[Chain], str]:
    """(the shortest ways along edges from one node to another, or all; why these are not all)."""
    most = limits.CHAINS.value
    shortest = _shortest(graph, start, end, most)
    if not shortest or not every:
        return shortest[:most], str(limits.CHAINS) if len(shortest) > most else ""
    found: list[Chain] = []
    steps = 0
    waiting: list[tuple[str, Chain]] = [(start, ())]
    while waiting:
        steps += 1
        if steps > limits.CHAIN_STEPS.value:
            return sorted(found, key=len), str(limits.CHAIN_STEPS)
        if len(found) >= most:
            return sorted(found, key=len), str(limits.CHAINS)
        key, chain = waiting.pop(0)
        if key == end and chain:
            found.append(chain)
            continue
        seen = {start, *(edge.target for edge in chain)}
        waiting += [
            (edge.target, (*chain, edge))
            for edge in graph.leaving[key]
            if edge.target not in seen or edge.target == end
        ]
    return found, ""


def _shortest(graph: Indexed, start: str, end: str, most: int) -> list[Chain]:
    """No more than one beyond `most`."""
    level: dict[str, list[Chain]] = {start: [()]}
    seen = {start}
    while level:
        following: dict[str, list[Chain]] = {}
        for key, chains in level.items():
            for edge in graph.leaving[key]:
                if edge.target not in seen or (edge.target == end and key != end):
                    known = following.setdefault(edge.target, [])
                    known += [(*chain, edge) for chain in chains][: most - len(known) + 1]
        if end in following:
            return following[end]
        seen |= following.keys()
        level = following
    return []
