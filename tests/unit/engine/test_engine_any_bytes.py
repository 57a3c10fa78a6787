"""Whatever bytes come in, the answer is a result or an errno, and nothing stays behind."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from bpflens.abi.attrs import MapCreate, ProgLoad
from bpflens.engine import Engine
from bpflens.engine.tasks import Task
from bpflens.insn import encode
from bpflens.insn.build import R0, exit_, mov
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory

CALLS = 1500


def world(engine: Engine) -> Task:
    """A task with a few objects, so that small numbers name something."""
    task = engine.task(nofile=64)
    calls = Calls(task)
    for type in (1, 2, 3, 11, 12, 22):
        attr = MapCreate(map_type=type, key_size=4, value_size=4, max_entries=4)
        attr.map_flags = 1 if type == 11 else 0
        attr.inner_map_fd = 3
        if type == 11:
            attr.key_size = 8
        if type == 22:
            attr.key_size = 0
        calls.map_create(attr)
    for type in (1, 6, 17):
        calls.prog_load(ProgLoad(prog_type=type), encode([mov(R0, 0), exit_()]))
    return task


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("release", ["6.1", "6.12", "6.18"])
def test_any_bytes_give_a_result_or_an_errno(seed: int, release: str) -> None:
    source = random.Random(seed)
    engine = Engine(release=release)
    task = world(engine)
    for _ in range(CALLS):
        mem = Memory()
        buffers = [bytearray(source.randbytes(source.choice((8, 16, 64, 300)))) for _ in range(2)]
        attr = bytearray(source.choice((4, 16, 32, 64, 128, 168)))
        for at in range(0, len(attr) - 3, 4):
            small = source.choice((0, 0, 0, 1, 2, 3, 4, 5, 6, 8, 9, 12, source.getrandbits(32)))
            attr[at : at + 4] = small.to_bytes(4, "little")
        for at in range(0, len(attr) - 7, 8):
            if source.random() < 0.4:
                attr[at : at + 8] = mem.pin(source.choice(buffers)).to_bytes(8, "little")
        with suppress(OSError):
            task.bpf(source.randrange(40), mem.pin(attr), len(attr), mem)
    task.exit()
    left = {kind: len(idr) for kind, idr in engine.ids.items()}
    held = sum(len(entries.entries) for entries in engine.mounts.values())
    attached = engine.netns.hooks or any(d.xdp or d.tcx for d in engine.netns.devices.values())
    if not held and not attached:
        assert left == {"prog": 0, "map": 0, "btf": 1, "link": 0}
