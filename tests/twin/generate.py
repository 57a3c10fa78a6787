"""Random steps: valid, half valid and broken, weighted towards what gets past the first check."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.twin.attachments import Attachments
from tests.twin.debug import Debug
from tests.twin.elements import Elements
from tests.twin.ids import Numbers
from tests.twin.infos import Infos
from tests.twin.loads import Loads
from tests.twin.lone import Lone
from tests.twin.pins import Pins
from tests.twin.steps import CALLERS, Step


class Generator(Elements, Loads, Debug, Infos, Numbers, Pins, Attachments, Lone):
    """Writes a story. Whether a step works is not known to it, only hoped."""

    def __init__(self, seed: int, cpus: int) -> None:
        super().__init__(random.Random(seed), cpus)
        self.writers: list[tuple[int, Callable[[], Step]]] = [
            (14, self.map_create),
            (22, self.lookup),
            (26, self.update),
            (10, self.delete),
            (12, self.next_key),
            (6, self.pop),
            (2, self.freeze),
            (14, self.batch),
            (9, self.prog_load),
            (3, self.btf_load),
            (2, self.functions_btf),
            (7, self.debug_load),
            (14, self.info),
            (4, self.by_id),
            (4, self.next_id),
            (3, self.pin),
            (3, self.get),
            (2, self.bind),
            (3, self.other),
            (4, self.test_run),
            (5, self.close),
            (2, self.junk),
            (9, self.attachable),
            (10, self.link_create),
            (3, self.raw_tracepoint),
            (4, self.link_update),
            (2, self.link_detach),
            (2, self.iter_create),
            (7, self.prog_attach),
            (5, self.prog_detach),
            (6, self.prog_query),
            (3, self.task_fd_query),
        ]

    def next(self) -> Step:
        """The next step of the story."""
        self.number += 1
        weights = [weight for weight, _writer in self.writers]
        writer = self.random.choices(self.writers, weights)[0][1]
        step = writer()
        if self.rarely(0.08) and step.close is None:
            step.caller = self.random.randrange(1, len(CALLERS))
        return step
