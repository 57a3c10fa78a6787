"""What finders find in worlds that grow by chance is what is attached there, all and no more."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpflens.attach.everything import find
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.engine.tasks import Task
from bpflens.model.system import System
from bpflens.testing.attached import Attached, Placed
from bpflens.testing.worlds import ACTIONS, Step, World, some_steps

STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(ACTIONS)), st.integers(0, 255), st.integers(0, 255)),
    max_size=60,
)


def look(task: Task) -> list[Attachment | Failure]:
    with System(task.doors()) as system:
        return list(find(Places(system)))


def check(world: World) -> None:
    """Root sees all that can be seen."""
    found = look(world.looker)
    assert [each for each in found if isinstance(each, Failure)] == []
    records = [each for each in found if isinstance(each, Attachment)]
    truth = Attached(world.truth(), world.looker)
    told = {Placed(each.kind, each.prog_id or 0, each.target) for each in records}
    assert truth.shown - told == set(), "not found"
    assert told - truth.shown - truth.hidden == set(), "not there"
    check_links(world, records)


def check_links(world: World, records: list[Attachment]) -> None:
    """A link is told once, and of its own program; a table of functions has several."""
    links = world.engine.ids["link"].objects
    linked = [each for each in records if each.link_id is not None and each.kind != "struct_ops"]
    told = Counter(each.link_id for each in linked)
    assert [id for id, times in told.items() if times > 1] == []
    assert [each for each in linked if links[each.link_id or 0].prog.id != each.prog_id] == []


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_all_and_no_more_in_any_world(steps: list[Step]) -> None:
    check(World().grow(steps))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("release", ["6.18", "6.12", "6.1"])
def test_all_and_no_more_in_a_big_world(seed: int, release: str) -> None:
    check(World(release).grow(some_steps(seed, 250)))


@pytest.mark.parametrize("seed", range(4))
def test_whoever_looks_is_told_nothing_that_is_not_there(seed: int) -> None:
    world = World().grow(some_steps(seed, 250))
    truth = Attached(world.truth(), world.looker)
    programs: set[int | None] = {each.prog_id for each in truth.shown | truth.hidden}
    programs.add(None)  # a route does not tell it
    powerless, trusted = world.engine.task(uid=1000), world.engine.task(uid=1000, caps=[21])
    for task in (powerless, trusted):
        found = look(task)
        assert {each.prog_id for each in found if isinstance(each, Attachment)} <= programs
    assert any(isinstance(each, Failure) for each in look(powerless))
