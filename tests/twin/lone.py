"""Random steps with the commands that stand alone, and with none."""

from __future__ import annotations

import struct

from bpflens.abi.attrs import EnableStats, ProgStreamRead, TokenCreate
from bpflens.abi.enums import Cmd
from tests.twin.choices import SURROUNDINGS, Choices
from tests.twin.steps import Buffer, Named, Step


class Lone(Choices):
    """Writes steps that belong to no other room."""

    def other(self) -> Step:
        which = self.pick(0, 1, 2)
        if which == 0:
            step = self.step(Cmd.ENABLE_STATS, EnableStats(type=self.pick(0, 1)), makes="other")
            self.made("other")
            return step
        if which == 1:
            names = [Named(4, "fd", self.pick(*SURROUNDINGS, 10**6))]
            return self.step(Cmd.TOKEN_CREATE, TokenCreate(flags=self.pick(0, 0, 1)), names=names)
        names = [Named(16, "fd", self.fd("prog")[0]), Named(0, "ptr", 0)]
        record = ProgStreamRead(stream_buf_len=8, stream_id=self.pick(0, 1, 2, 3))
        return self.step(
            Cmd.PROG_STREAM_READ_BY_FD, record, names=names, buffers=[Buffer(bytes(8))]
        )

    def close(self) -> Step:
        if not self.things:
            return self.junk()
        thing = self.random.choice(self.things)
        self.things.remove(thing)
        return Step(self.number, 0, close=thing.step)

    def junk(self) -> Step:
        """Any command with any words; none that could reach past the test's own things."""
        safe = [c for c in Cmd if c != Cmd.PROG_TEST_RUN and "NEXT_ID" not in c.name]
        cmd = int(self.random.choice(safe)) if not self.rarely(0.2) else self.pick(38, 39, 1 << 20)
        words = [self.pick(0, 0, 0, 1, 2, 4, 0xFFFFFFFF) for _ in range(self.pick(1, 4, 10, 42))]
        made = Step(self.number, cmd, struct.pack(f"<{len(words)}I", *words))
        made.names = [Named(0, "fd", 10**6)]  # a closed fd first, so that little gets further
        made.loose = True
        return made
