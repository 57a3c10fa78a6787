"""What a random step is made of: numbers, names of fds, and bytes."""

from __future__ import annotations

import random

from bpflens.abi.record import Record
from tests.twin.steps import Named, Step
from tests.twin.surroundings import BPFFS, CGROUP, CHILD, DIRECTORY, NETNS, NULL, PERF, TRACED, UDP

SURROUNDINGS = (NULL, BPFFS, DIRECTORY, UDP, PERF, CGROUP, NETNS, CHILD, TRACED)


class Thing:
    """What a step made, as far as the generator needs to know."""

    def __init__(self, step: int, kind: str, attr: Record | None = None, type: int = 0) -> None:
        self.step = step
        self.kind = kind
        self.attr = attr
        self.type = type
        """Of a program or of a link's program."""


class Choices:
    """The source of all that is random in a story, and what the story has made so far."""

    def __init__(self, source: random.Random, cpus: int) -> None:
        self.random = source
        self.cpus = cpus
        self.things: list[Thing] = []
        self.number = 0

    # --- choices

    def pick(self, *options: int) -> int:
        return self.random.choice(options)

    def rarely(self, chance: float = 0.06) -> bool:
        return self.random.random() < chance

    def thing(self, kind: str, *types: int) -> Thing | None:
        """Something made before, of a kind; newer ones more often."""
        found = [t for t in self.things if t.kind == kind]
        if types:
            found = [t for t in found if t.attr and getattr(t.attr, "map_type", 0) in types]
        if not found:
            return None
        return found[-1 - min(int(self.random.expovariate(0.4)), len(found) - 1)]

    def fd(self, kind: str, *types: int) -> tuple[int, Thing | None]:
        """The name of an fd, mostly of the wanted kind."""
        if self.rarely():
            return self.pick(*SURROUNDINGS, *[t.step for t in self.things[-8:]], 10**6), None
        thing = self.thing(kind, *types)
        return (thing.step if thing else 10**6), thing

    def noise(self, size: int) -> bytes:
        if self.rarely(0.3):
            return bytes([self.random.randrange(256)]) * size
        return self.random.randbytes(size)

    def step(self, cmd: int, record: Record | bytes, **more: object) -> Step:
        """A step, its attr now and then of another size or with more bytes."""
        attr = record if isinstance(record, bytes) else record.encode()
        made = Step(self.number, cmd, attr, **more)  # type: ignore[arg-type]
        if self.rarely(0.03):
            made.size = self.pick(0, 1, 4, 8, 16, len(attr) - 1, 167, 168, 169, 4096, 4097)
        if self.rarely(0.03):
            extra = self.pick(1, 4, 8, 40, 168, 200, 4000)
            made.attr = attr + bytes(extra - 1) + bytes([self.pick(0, 1)])
        elif made.size > len(attr):
            made.attr = attr.ljust(made.size, b"\0")
        elif len(attr) < 64:
            made.attr = attr + bytes(8)  # so that what is written past the size shows
            made.size = len(attr) if made.size < 0 else made.size
        if self.rarely(0.004):
            made.bad_attr = True
        return made

    def pointer(self, step_names: list[Named], at: int, buffer: int) -> None:
        """A pointer at `at`, now and then to nowhere or NULL."""
        if self.rarely(0.025):
            if self.rarely(0.5):
                step_names.append(Named(at, "ptr", -1))
            return
        step_names.append(Named(at, "ptr", buffer))

    def made(self, kind: str, attr: Record | None = None, type: int = 0) -> None:
        """Remember what the step at hand makes."""
        self.things.append(Thing(self.number, kind, attr, type))
