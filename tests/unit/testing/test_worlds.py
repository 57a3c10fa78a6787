"""Worlds that grow by chance: the engine counts each reference once, and finders find them all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpflens.engine.maps.struct_ops import INUSE, StructOps
from bpflens.testing.truth import Truth
from bpflens.testing.worlds import ACTIONS, Step, World, some_steps

STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(ACTIONS)), st.integers(0, 255), st.integers(0, 255)),
    max_size=80,
)
GROWN = (1, 2, 3, 5, 8, 13)
"""Seeds of bigger worlds, which hypothesis makes seldom."""


def end(world: World) -> None:
    """Every task ends, and everything that is attached goes."""
    engine = world.engine
    for task in (*world.tasks, world.looker):
        task.exit()
    for path in list(engine.mntns.mounts):
        engine.mntns.unmount(path)
    for cgroup in reversed(list(engine.cgroup.family())):
        if cgroup.parent:
            cgroup.remove()
        else:
            for hook in cgroup.hooks.values():
                hook.clear()
    for found in list(engine.ids["map"].objects.values()):
        if isinstance(found, StructOps) and found.state == INUSE:
            found.delete(bytes(4))  # without a link it stays registered
    engine.netns.free()
    engine.work()


def survivors(world: World) -> dict[str, list[int]]:
    """The IDs that are left, but for the kernel's own BTF."""
    left = {space: sorted(idr.objects) for space, idr in world.engine.ids.items()}
    left["btf"].remove(1)
    return {space: ids for space, ids in left.items() if ids}


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_every_reference_is_counted_once(steps: list[Step]) -> None:
    world = World()
    for step in steps:
        world.do(*step)
        world.truth().check()
    end(world)
    assert survivors(world) == {}


@pytest.mark.parametrize("seed", GROWN)
@pytest.mark.parametrize("release", ["6.18", "6.1"])
def test_a_big_world_leaves_nothing_behind(seed: int, release: str) -> None:
    world = World(release).grow(some_steps(seed, 400))
    Truth(world.engine).check()
    end(world)
    assert survivors(world) == {}
