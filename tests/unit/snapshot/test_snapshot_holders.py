"""Holders against the engine's own counts: everybody who has a reference is found, nobody else."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpflens.attach.places import Places
from bpflens.engine.engine import Engine
from bpflens.engine.links.tracing import PerfLink
from bpflens.model.system import System
from bpflens.snapshot.holders import Holder, Holders
from bpflens.testing.truth import Reference, Truth
from bpflens.testing.worlds import ACTIONS, Step, World, some_steps

SPACES = {"program": "prog", "map": "map", "link": "link", "btf": "btf"}
KINDS = {"": "file", "socket_filter": "socket", "sk_reuseport": "reuseport"}
ONCE = ("event", "reuseport")
STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(ACTIONS)), st.integers(0, 255), st.integers(0, 255)),
    max_size=60,
)


class Told(Truth):
    """The references that can be found: a network namespace must have a process or a mount, an
    event an fd. An event that a link keeps is that link's."""

    def __init__(self, engine: Engine, places: Places) -> None:
        self._reached = {netns.inode for netns in places.netns}
        super().__init__(engine)

    def _namespaces(self) -> None:
        super()._namespaces()
        known = [netns for netns in self.netns if netns.inode in self._reached]
        self.hidden = known != self.netns
        self.netns = known
        links = self.engine.ids["link"].objects.values()
        linked = [link.event for link in links if isinstance(link, PerfLink)]
        seen = [file.node for file, fds in self.files.items() if fds]
        self.events = [each for each in self.events if each in seen and each not in linked]


def look(world: World) -> Holders:
    return Holders(Places(System(world.looker.doors())))


def found(held: list[Holder], truth: Truth) -> Counter[str]:
    """Holders as they can be compared: several fds of one file are one reference."""
    numbers = {fd: at for at, fds in enumerate(truth.files.values()) for fd in fds}
    result: Counter[str] = Counter()
    files: set[tuple[str, int]] = set()
    for holder in held:
        if holder.pid is not None:
            assert holder.fd is not None
            files.add((holder.kind or "", numbers[holder.pid, holder.fd]))
        elif holder.kind == "struct_ops":
            result["kernel"] += 1
        elif holder.kind == "sockmap":
            result[holder.target or ""] += 1
        elif holder.how in ("link", "program", "map"):
            result[holder.words] += 1
        else:
            result[f"map {holder.map_id}" if holder.how == "slot" else holder.how] += 1
    for kind, _ in files:
        result[KINDS.get(kind, "event")] += 1
    return once(result)


def once(counts: Counter[str]) -> Counter[str]:
    """Sockets do not tell which group they are in, nor events which of those at one place is a
    link's: of these it counts whether there are any."""
    return Counter({what: 1 if what in ONCE else count for what, count in (+counts).items()})


def true(references: list[Reference]) -> Counter[str]:
    """The same of references; memory that is mapped and files in flight cannot be found."""
    result: Counter[str] = Counter()
    for one in references:
        match one.kind:
            case "file" | "iterator":
                result["file"] += bool(one.fds)
            case "pin":
                result["pin"] += bool(one.paths)
            case "program" | "link" | "map":
                result[one.name.partition(" [")[0]] += 1
            case "mapping":
                continue
            case "kernel" | "event" | "reuseport" | "socket":
                result[one.kind] += 1
            case _:
                result["attachment"] += 1
    return once(result)


def compare(world: World) -> None:
    holders = look(world)
    truth = Told(world.engine, holders.places)
    for kind, space in SPACES.items():
        assert holders.unseen(kind) == []
        for id in world.engine.ids[space].objects:
            held = holders.of(kind, id)
            told, wanted = found(held.holders, truth), true(truth.of(space, id))
            if not world.engine.release.perf_link_info and "event" not in wanted:
                del told["event"]  # which of two links it is by cannot be told before 6.6
            # A link of XDP tells a device's number and no namespace: one that cannot be found is
            # taken for what is attached without a link at a device of that number.
            # A route tells no program: which of those of its type it has is said not to be seen.
            routes = [each for each in held.unseen if each.what.startswith("lwt ")]
            fewer = not told - wanted and bool(truth.hidden or routes)
            assert told == wanted or fewer, (kind, id, held)
            assert routes or bool(held.holders) != bool(held.unseen)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_every_reference_is_found_in_any_world(steps: list[Step]) -> None:
    compare(World().grow(steps))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("release", ["6.18", "6.12", "6.1"])
def test_every_reference_is_found_in_a_big_world(seed: int, release: str) -> None:
    compare(World(release).grow(some_steps(seed, 300)))
