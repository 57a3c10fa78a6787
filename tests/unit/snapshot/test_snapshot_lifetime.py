"""What keeps an object, what frees it, what goes with what: on graphs by hand and by chance."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from bpflens.snapshot.graph import Edge, Graph, Indexed, Node, graph
from bpflens.snapshot.lifetime import Chains, freed, paths, ways_to_free

Told = tuple[str, str, str]
"""Source, kind of edge, target."""

_KINDS = {"prog": "program", "pid": "process"}


def drawn(*told: Told) -> Indexed:
    """A graph of these edges. A prog_array's slots, `tail-calls`, last while user space has it."""
    nodes: dict[str, Node] = {}
    edges = []
    for source, kind, target in told:
        for key in (source, target):
            name = key.partition(":")[0]
            nodes[key] = Node(key, _KINDS.get(name, name), None, key, None)
        edges.append(
            Edge(source, target, kind, kind != "attached-to", "", kind in ("holds", "pins"),
                 kind == "tail-calls")
        )  # fmt: skip
    return Indexed(graph(nodes.values(), edges))


BALANCER = (
    ("pid:1", "holds", "map:1"),
    ("pid:1", "holds", "link:1"),
    ("pin:/jumps", "pins", "map:1"),
    ("link:1", "links", "prog:1"),
    ("link:1", "attached-to", "device:eth0"),
    ("prog:1", "uses", "map:1"),
    ("map:1", "tail-calls", "prog:2"),
    ("prog:2", "uses", "map:1"),
)
"""A link runs a program that jumps by an array, which the program in it uses too."""


def test_an_array_that_user_space_leaves_lets_its_programs_go() -> None:
    found = drawn(*BALANCER)
    assert freed(found, ["pin:/jumps"]) == []
    (closing,) = (e for e in found.leaving["pid:1"] if e.target == "map:1")
    assert freed(found, ["pin:/jumps"], [closing]) == ["prog:2"]


def test_a_cycle_of_program_and_array_goes_with_its_process() -> None:
    found = drawn(*BALANCER)
    gone = freed(found, ["pid:1", "pin:/jumps"])
    assert set(gone) == {"link:1", "prog:1", "prog:2", "map:1"}


def test_a_cycle_that_nothing_breaks_stays() -> None:
    found = drawn(("pid:1", "holds", "prog:1"), ("prog:1", "uses", "map:1"),
                  ("map:1", "contains", "prog:1"))  # fmt: skip
    assert freed(found, ["pid:1"]) == []
    alone = drawn(("prog:1", "uses", "map:1"), ("map:1", "contains", "prog:1"))
    assert Chains(alone, "prog:1").found == []


def test_only_users_of_an_array_are_a_way_to_what_is_in_it() -> None:
    chains = Chains(drawn(*BALANCER), "prog:2").found
    assert {chain[0].source for chain in chains} == {"pid:1", "pin:/jumps"}
    assert {len(chain) for chain in chains} == {2}


def test_what_would_free_it() -> None:
    found = drawn(*BALANCER)
    ways, cut = ways_to_free(found, "prog:2", Chains(found, "prog:2"))
    assert not cut
    assert [[(edge.source, edge.target) for edge in way] for way in ways] == [
        [("map:1", "prog:2")],
        [("pid:1", "map:1"), ("pin:/jumps", "map:1")],
    ]


def test_what_nothing_visible_keeps_stays() -> None:
    found = drawn(("map:1", "types", "btf:1"), ("pid:1", "holds", "map:2"))
    assert freed(found, ["pid:1"]) == ["map:2"]
    assert freed(found, ["map:1"]) == ["btf:1"]


def test_paths() -> None:
    found = drawn(*BALANCER)
    shortest, cut = paths(found, "pid:1", "prog:2")
    assert not cut
    assert [[edge.kind for edge in path] for path in shortest] == [["holds", "tail-calls"]]
    every, _ = paths(found, "pid:1", "prog:2", every=True)
    assert [[edge.kind for edge in path] for path in every] == [
        ["holds", "tail-calls"],
        ["holds", "links", "uses", "tail-calls"],
    ]
    assert paths(found, "prog:2", "pid:1") == ([], "")


_OBJECTS = [f"prog:{n}" for n in range(3)] + [f"map:{n}" for n in range(3)]
_OUTSIDE = ["pid:1", "pid:2", "pin:/a", "device:eth0"]
_EDGES: list[Told] = [
    *((source, "holds", target) for source in _OUTSIDE[:2] for target in _OBJECTS),
    *((_OUTSIDE[2], "pins", target) for target in _OBJECTS),
    *((_OUTSIDE[3], "runs", target) for target in _OBJECTS[:3]),
    *((source, "uses", target) for source in _OBJECTS[:3] for target in _OBJECTS[3:]),
    *((source, "tail-calls", target) for source in _OBJECTS[3:4] for target in _OBJECTS[:3]),
    *((source, "contains", target) for source in _OBJECTS[4:] for target in _OBJECTS[:4]),
]


def possible(told: list[Told]) -> bool:
    """An array without users is empty."""
    used = {target for _, kind, target in told if kind in ("holds", "pins")}
    return all(source in used for source, kind, _ in told if kind == "tail-calls")


worlds = st.lists(st.sampled_from(_EDGES), min_size=1, max_size=14, unique=True).filter(possible)


@given(worlds)
def test_each_way_frees_and_nothing_less_does(told: list[Told]) -> None:
    found = drawn(*told)
    for key in found.nodes:
        ways, _ = ways_to_free(found, key, Chains(found, key))
        for way in ways:
            assert key in freed(found, cut=way)
            for less in combinations(way, len(way) - 1):
                assert key not in freed(found, cut=less)


@given(worlds)
def test_what_all_holders_leave_goes_unless_it_keeps_itself(told: list[Told]) -> None:
    found = drawn(*told)
    outside = [key for key in found.nodes if key in _OUTSIDE]
    gone = set(freed(found, outside))
    for key in found.nodes:
        if key in gone:
            assert Chains(found, key).found
    rest = Graph(
        {key: node for key, node in found.nodes.items() if key not in gone | set(outside)},
        [e for e in found.graph.edges if {e.source, e.target}.isdisjoint(gone | set(outside))],
        [],
        [],
    )
    left = Indexed(rest)
    for key in found.nodes:
        if key not in gone and key not in outside and found.keepers(key):
            # it is in a cycle, behind one, or held by what nothing visible keeps
            assert left.keepers(key) or any(e.needs_user for e in found.keepers(key))


@given(worlds, st.sets(st.sampled_from(_OUTSIDE)), st.sampled_from(_OUTSIDE))
def test_more_gone_frees_no_less(told: list[Told], gone: set[str], more: str) -> None:
    found = drawn(*told)
    assert set(freed(found, gone)) <= set(freed(found, gone | {more})) | {more}


def test_nothing_gone_frees_nothing() -> None:
    assert freed(drawn(*BALANCER)) == []
