"""A world, and the actions that are known."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress

from bpflens.engine.engine import Engine
from bpflens.engine.tasks import Task
from bpflens.errors import BpflensError
from bpflens.testing.on_engine import few_types
from bpflens.testing.truth import Truth
from bpflens.testing.worlds.choices import pick

Step = tuple[str, int, int]
"""An action by its name, and two numbers that choose what it is done with."""


class World:
    """An engine, its tasks, and what can happen there."""

    def __init__(self, release: str = "6.18", policy: str = "linux") -> None:
        self.engine = Engine(release, policy, vmlinux=few_types())
        self.looker = self.engine.task(comm="looker")
        self.tasks = [self.engine.task(comm="first")]
        self.tasks[0].netns.add("eth0")
        self.count = 0

    def do(self, action: str, a: int, b: int) -> None:
        """One step."""
        with suppress(OSError, BpflensError):
            ACTIONS[action](self, pick(self.tasks, a), a // 4, b)
        self.engine.work()

    def grow(self, steps: Sequence[Step]) -> World:
        """All steps, one after another."""
        for step in steps:
            self.do(*step)
        return self

    def truth(self) -> Truth:
        """Who refers to what, now."""
        return Truth(self.engine)

    def name(self, stem: str) -> str:
        """A name that nothing has."""
        self.count += 1
        return f"{stem}{self.count}"


def some_steps(seed: int, count: int = 200) -> list[Step]:
    """Steps by chance."""
    source = random.Random(seed)
    names = sorted(ACTIONS)
    return [
        (source.choice(names), source.randrange(256), source.randrange(256)) for _ in range(count)
    ]


Action = Callable[[World, Task, int, int], None]
ACTIONS: dict[str, Action] = {}
"""Name → what is done by a task with two numbers."""


def action(function: Action) -> Action:
    """Register the decorated function by its name."""
    ACTIONS[function.__name__] = function
    return function
