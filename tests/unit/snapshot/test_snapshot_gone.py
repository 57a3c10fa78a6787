"""What would go is what goes: worlds that grow by chance on the engine, and then lose something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bpflens.engine.cgroups import Cgroup
from bpflens.engine.links.commands import Iterator
from bpflens.engine.maps.redirect import Devmap
from bpflens.engine.net import NetNs
from bpflens.engine.objects import Object
from bpflens.model.system import System
from bpflens.snapshot.graph import Edge, Indexed
from bpflens.snapshot.lifetime import Chains, freed, ways_to_free
from bpflens.snapshot.relations import Relations
from bpflens.testing.worlds import ACTIONS, Step, World, some_steps

UNSEEN = ("send", "receive", "mapped", "open_netns", "socket", "tunnel")
"""What hides a reference from everybody: an fd in flight, memory of a map whose fd is closed, a
network namespace that only an open file keeps, and a route that does not tell its program."""

SPACES = {"prog": "prog", "map": "map", "link": "link", "btf": "btf"}

steps = st.lists(
    st.tuples(
        st.sampled_from(sorted(set(ACTIONS) - set(UNSEEN))),
        st.integers(0, 255),
        st.integers(0, 255),
    ),
    min_size=10,
    max_size=80,
)


def alive(world: World) -> set[str]:
    """The keys of all objects."""
    return {f"{space}:{id}" for space, idr in world.engine.ids.items() for id in idr.objects}


def seen(world: World) -> Indexed:
    """The graph as the looker sees it."""
    with System(world.looker.doors()) as system:
        told = Relations(system)
        found = Indexed(told.graph)
    assert alive(world) <= found.nodes.keys()
    return found


def kept_by_files(world: World) -> bool:
    """Whether an open file or a socket keeps a network namespace, which nobody is told."""
    truth = world.truth()
    mounted = [one.node for mntns in truth.mntns for one in mntns.mounts.values()]
    inside = [task.netns for task in world.engine.tasks.values()]
    known = Counter([*mounted, *inside, world.engine.netns])
    return any(netns.users > known[netns] for netns in truth.netns)


class Loss(NamedTuple):
    """Something that can go: its key in the graph, and how to make it go."""

    key: str
    happen: Callable[[], None]


def losses(world: World, graph: Indexed) -> list[Loss]:
    """All that this world can lose, as far as it has to do with its objects."""
    found = [Loss(f"pid:{task.pid}", task.exit) for task in world.tasks]
    for path, bpffs in world.looker.mntns.bpffs.items():
        for name in bpffs.entries:
            where = f"{path}/{name}"
            found.append(Loss(f"pin:{where}", partial(world.looker.unlink, where)))
    netns: NetNs = world.looker.netns
    found += [Loss(f"device:{one.name}", one.remove) for one in netns.devices.values()]
    found += [
        Loss(f"cgroup:{group.path}", partial(remove, world, group))
        for group in world.engine.cgroup.family()
        if group.parent
    ]
    return [loss for loss in found if loss.key in graph.nodes]


def remove(world: World, group: Cgroup) -> None:
    """rmdir(2) from the leaves up; the tasks in it go elsewhere before."""
    for child in list(group.children.values()):
        remove(world, child)
    for task in world.tasks:
        if task.cgroup is group:
            task.cgroup = world.engine.cgroup
    group.remove()


@settings(max_examples=200, phases=[phase for phase in Phase if phase is not Phase.shrink])
@given(steps, st.integers(0, 1 << 16))
def test_what_would_go_is_what_goes(told: list[Step], choice: int) -> None:
    world = World().grow(told)
    graph = seen(world)
    found = losses(world, graph)
    if found and not kept_by_files(world):
        lose(world, graph, found[choice % len(found)])


def lose(world: World, graph: Indexed, loss: Loss) -> None:
    """What the graph says would go is what goes."""
    before, slots, unreached = alive(world), redirects(world), world.truth().unreached
    loss.happen()
    world.engine.work()
    if unreached or world.truth().unreached:
        return  # a socket keeps a network namespace in which nobody can look
    # An element of a devmap goes with its device, which no call tells of other namespaces.
    emptied = slots - redirects(world)
    cut = [edge for edge in graph.graph.edges if (edge.source, edge.label) in emptied]
    predicted = {key for key in freed(graph, [loss.key], cut) if key.partition(":")[0] in SPACES}
    assert before - alive(world) == predicted, loss.key


def redirects(world: World) -> set[tuple[str, str]]:
    """The elements of devmaps."""
    maps = world.engine.ids["map"].objects.values()
    devmaps = [found for found in maps if isinstance(found, Devmap)]
    return {(f"map:{found.id}", f"[{at}]") for found in devmaps for at in found.targets}


@settings(max_examples=100, phases=[phase for phase in Phase if phase is not Phase.shrink])
@given(steps, st.integers(0, 1 << 16), st.integers(0, 1 << 16))
def test_a_way_to_free_frees(told: list[Step], which: int, way: int) -> None:
    world = World().grow(told)
    graph = seen(world)
    keys = sorted(alive(world))
    key = keys[which % len(keys)]
    ways, _ = ways_to_free(graph, key, Chains(graph, key))
    if not ways or world.truth().unreached:
        return
    chosen = ways[way % len(ways)]
    for edge in chosen:
        if not undo(world, graph, edge):
            return
    world.engine.work()
    assert key not in alive(world), [graph.nodes[edge.source].words for edge in chosen]


def undo(world: World, graph: Indexed, edge: Edge) -> bool:
    """Do what takes a reference away; False where this test does not know how."""
    source = graph.nodes[edge.source]
    if edge.kind == "pins":
        try:
            world.looker.unlink(source.name)
        except OSError:
            return False
        return True
    if edge.kind != "holds" or not edge.target.startswith(tuple(SPACES)):
        return False
    task = next(task for task in world.tasks if task.pid == source.id)
    for fd, file in list(task.files.files.items()):
        node = file.node
        held = (node.prog, node.map) if isinstance(node, Iterator) else (node,)
        if edge.target in [key_of(each) for each in held if isinstance(each, Object)]:
            task.close(fd)
    return True


def key_of(found: Object) -> str:
    """The key of an object in the graph."""
    return f"{found.space}:{found.id}"


@pytest.mark.parametrize("seed", range(4))
def test_each_loss_of_a_grown_world(seed: int) -> None:
    hidden = (*UNSEEN, "socket", "open_netns", "hang")
    told = [step for step in some_steps(seed, 200) if step[0] not in hidden]
    world = World().grow(told)
    for number in range(len(losses(world, seen(world)))):
        world = World().grow(told)
        graph = seen(world)
        lose(world, graph, losses(world, graph)[number])
