"""Random steps with the commands that stand alone, and with none."""

from __future__ import annotations

import struct

from bpflens.abi.attrs import EnableStats, ProgLoad, ProgStreamRead, ProgTestRun, TokenCreate
from bpflens.abi.enums import Cmd, ProgType
from tests.twin.choices import SURROUNDINGS, Choices
from tests.twin.steps import Buffer, Named, Step

_LIVE_FRAMES = 2
"""BPF_F_TEST_XDP_LIVE_FRAMES."""
_RUN = (
    *(("data_size_in", size) for size in (0, 13, 14, 20, 64)),
    *(("data_size_out", size) for size in (8, 64)),
    *(("ctx_size_in", size) for size in (8, 24, 56, 72, 96, 104, 192, 200)),
    *(("ctx_size_out", size) for size in (8, 200)),
    *(("repeat", 2), ("duration", 1), ("batch_size", 64)),
    *(("flags", flags) for flags in (1, _LIVE_FRAMES, 4, 8)),
    *(("cpu", cpu) for cpu in (1, 9999)),
)
"""Arguments of a test run that some types take and others refuse."""


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

    def test_run(self) -> Step:
        """What fails before anything runs, and what runs on a few bytes."""
        fd, thing = self.fd("prog")
        type = thing.attr.prog_type if thing and isinstance(thing.attr, ProgLoad) else 0
        packet = type not in (ProgType.RAW_TRACEPOINT, ProgType.SYSCALL, ProgType.SK_LOOKUP)
        record = ProgTestRun(data_size_in=self.pick(14, 20, 64, 64) if packet else 0)
        if type == ProgType.SK_LOOKUP:
            record.ctx_size_in = self.pick(8, 72)
        for _ in range(self.pick(0, 0, 0, 1, 1, 2)):
            name, value = self.random.choice(_RUN)
            setattr(record, name, value)
        if record.flags == _LIVE_FRAMES:
            record.batch_size = 257  # too many: no frame shall reach a device
        names = [Named(0, "fd", fd)]
        buffers = [Buffer(bytes(200)) for _ in range(4)]
        buffers[2].data = bytes(192) + bytes(7) + bytes([self.pick(0, 0, 1)])
        sizes = (
            *(record.data_size_in, record.data_size_out),
            *(record.ctx_size_in, record.ctx_size_out),
        )
        for buffer, (at, size) in enumerate(zip((16, 24, 48, 56), sizes, strict=True)):
            if bool(size) != self.rarely(0.04):
                self.pointer(names, at, buffer)
        return self.step(Cmd.PROG_TEST_RUN, record, names=names, buffers=buffers)

    def close(self) -> Step:
        if not self.things:
            return self.junk()
        thing = self.random.choice(self.things)
        self.things.remove(thing)
        return Step(self.number, 0, close=thing.step)

    def junk(self) -> Step:
        """Any command with any words; none that could reach past the test's own things."""
        safe = [c for c in Cmd if "NEXT_ID" not in c.name]
        cmd = int(self.random.choice(safe)) if not self.rarely(0.2) else self.pick(38, 39, 1 << 20)
        words = [self.pick(0, 0, 0, 1, 2, 4, 0xFFFFFFFF) for _ in range(self.pick(1, 4, 10, 42))]
        made = Step(self.number, cmd, struct.pack(f"<{len(words)}I", *words))
        made.names = [Named(0, "fd", 10**6)]  # a closed fd first, so that little gets further
        made.loose = True
        return made
