"""A story is a list of steps; both sides live through it, and the first difference is kept."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bpflens.engine import Engine
from tests.twin.callers import engine_callers, linux_callers, named_types
from tests.twin.generate import Generator
from tests.twin.guarded import Guarded
from tests.twin.sides import Side, compare, deeper, runs
from tests.twin.steps import Step
from tests.twin.surroundings import LinuxSurroundings, engine_surroundings


@dataclass
class Difference:
    """Where the two kernels parted."""

    seed: int
    step: Step
    what: str
    story: list[Step]


@dataclass
class Tally:
    """What was counted while stories were played."""

    calls: int = 0
    deeper: int = 0
    """Programs that Linux refused for reasons that the engine does not look for."""
    ran: int = 0
    """Programs that Linux ran for a test."""
    reached: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often a command gave an errno."""


def possible_cpus() -> int:
    """How many CPUs per-CPU values have."""
    with open("/sys/devices/system/cpu/possible") as file:
        text = file.read().strip()
    return int(text.rpartition("-")[2]) + 1


OPTIONS = ("NETKIT", "FPROBE", "UPROBES")
"""What the engine can be without (CONFIG_…)."""


def left_out() -> tuple[str, ...]:
    """What of that this kernel is built without."""
    try:
        with gzip.open("/proc/config.gz", "rt") as file:
            built = {line.partition("=")[0] for line in file if "=" in line}
    except FileNotFoundError:
        return ()
    return tuple(name for name in OPTIONS if f"CONFIG_{name}" not in built)


class Stage:
    """The live kernel, and an engine made anew for each story."""

    def __init__(self) -> None:
        self.ports = linux_callers()
        self.around = LinuxSurroundings()
        self.guarded = Guarded()
        self.cpus = possible_cpus()
        self.without = left_out()
        with open("/sys/kernel/btf/vmlinux", "rb") as file:
            self.vmlinux = file.read()
        self.types = named_types(self.vmlinux)

    def play(self, steps: list[Step], tally: Tally) -> tuple[int, Step | None, str]:
        """Run steps until a difference; returns how many ran, the step, and what differed."""
        engine = Engine(policy="linux", cpus=self.cpus, vmlinux=self.vmlinux, without=self.without)
        task = engine.task(nofile=1 << 16)
        live = Side(self.ports, self.types, self.around.fds, self.guarded, os.getpid())
        callers = engine_callers(engine, task)
        twin = Side(callers, self.types, engine_surroundings(engine, task), None, task.pid)
        count = 0
        try:
            for step in steps:
                count += 1
                a, b = live.run(step), twin.run(step)
                if step.close is None:
                    tally.reached[step.cmd, a.error] += 1
                if deeper(step, a, b):
                    tally.deeper += 1
                    twin.forget(step)
                elif runs(step, a, b):
                    tally.ran += 1
                elif step.close is None:
                    what = compare(step, live, twin, a, b)
                    if what:
                        return count, step, what
            return count, None, ""
        finally:
            live.clean()
            self.around.reset(self.ports[0])
            twin.clean()
            task.exit()

    def close(self) -> None:
        """Leave nothing behind."""
        self.around.close()


def write(seed: int, cpus: int, length: int) -> list[Step]:
    """The story of a seed."""
    generator = Generator(seed, cpus)
    return [generator.next() for _ in range(length)]


def run(
    stage: Stage, seed: int, calls: int, length: int = 200,
    tell: Callable[[Difference], None] | None = None,
) -> tuple[Tally, list[Difference]]:  # fmt: skip
    """Play stories until `calls` calls are made; returns what came of them, and the differences."""
    tally = Tally()
    found: list[Difference] = []
    while tally.calls < calls:
        steps = write(seed, stage.cpus, length)
        count, step, what = stage.play(steps, tally)
        tally.calls += count
        if step:
            difference = Difference(seed, step, what, steps[:count])
            found.append(difference)
            if tell:
                tell(difference)
        seed += 1
    return tally, found


def shrink(stage: Stage, difference: Difference) -> list[Step]:
    """The same difference with as few steps as leaving some out can reach."""
    steps = difference.story
    size = max(len(steps) // 2, 1)
    while size:
        at = 0
        while at < len(steps) - 1:
            shorter = steps[:at] + steps[min(at + size, len(steps) - 1) :]
            _count, step, what = stage.play(shorter, Tally())
            if step is difference.step and what == difference.what:
                steps = shorter
            else:
                at += size
        size //= 2
    return steps


def is_root() -> bool:
    """Whether the live side can be played."""
    return os.geteuid() == 0
