"""Worlds on the engine that grow by any sequence of numbers, for tests that must hold in all.

    world = World()
    for action, a, b in steps:      # from hypothesis, or from random
        world.do(action, a, b)

Everything is done through the doors, or is a system call of a task. The numbers choose among what
there is; what the kernel refuses does not happen. `world.looker` is a task of root's that does
nothing; `world.truth()` tells who refers to what.
"""

from __future__ import annotations

from bpflens.testing.worlds import functions, hooks, objects, places
from bpflens.testing.worlds.world import ACTIONS, Step, World, some_steps

FAMILIES = (functions, hooks, objects, places)
"""Imported so that they register their actions."""

__all__ = ["ACTIONS", "FAMILIES", "Step", "World", "some_steps"]
