"""How fast the engine is, beside Linux and by itself.

    python benchmarks/engine.py [MAPS]      (1,000,000; `make bench` runs this)

First what a listing does to each object, next id → fd → info → close, through the same
`bpflens.port.calls.Calls` on the engine and, for root, on the running kernel: the same programs in
both, in turn in one process, CPU time, medians. The goal: the engine takes twice as long at most.

Then MAPS live maps on the engine: what it costs to create one, to walk to the next, to look one up
by its ID and to remove it, among 1,000 and among all. The goal: twice as long at most. A batch is
timed, and the median batch is told; what Python's garbage collector takes falls to the batch that
it interrupts, so the cost of the whole way up stands beside. A million needs 2 GB and a minute.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from statistics import median

from bpflens.abi.attrs import MapCreate
from bpflens.abi.enums import Cmd, MapType
from bpflens.abi.infos import ProgInfo
from bpflens.engine import Engine
from bpflens.port.calls import Calls
from bpflens.testing.builders import program

PROGRAMS = 300
ROUNDS = 31
FEW = 1_000
BATCH = 500


def spent(work: Callable[[], object]) -> float:
    """Seconds of CPU time, of user and kernel, that it takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


# --- beside Linux


class Listed:
    """Programs of our own on one kernel. Others may come and go between them."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.fds = [program(calls, name="bpfl_bench") for _ in range(PROGRAMS)]
        self.ids = [calls.info(fd, ProgInfo).id for fd in self.fds]

    def look(self) -> None:
        """What a listing does to each."""
        calls = self.calls
        for id in self.ids:
            found = calls.next_id(Cmd.PROG_GET_NEXT_ID, id - 1)
            assert found == id
            fd = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, found)
            calls.info(fd, ProgInfo)
            calls.close(fd)

    def close(self) -> None:
        for fd in self.fds:
            self.calls.close(fd)


def beside_linux() -> None:
    """Print how many objects a second each kernel tells."""
    print("next id, fd, info, close: objects a second of CPU time")
    kernels = {"engine": Calls(Engine().task())}
    if os.geteuid() == 0:
        from bpflens.linux.doors import doors

        kernels["linux"] = Calls(doors().bpf)
    sides: dict[str, Listed] = {}
    times: dict[str, list[float]] = {name: [] for name in kernels}
    try:
        for name, calls in kernels.items():
            sides[name] = Listed(calls)
        for turn in range(ROUNDS + 1):
            for name, side in sides.items():
                took = spent(side.look)
                if turn:  # the first warms the caches
                    times[name].append(took)
    finally:
        for side in sides.values():
            side.close()
    for name, all_times in times.items():
        each = median(all_times) / PROGRAMS
        print(f"  {name:<10} {1 / each:10,.0f} a second   {each * 1e6:6.2f} us each")
    if "linux" in times:
        print(
            f"  the engine takes {median(times['engine']) / median(times['linux']):.2f} x as long"
        )
    else:
        print("  linux      skipped: needs root")


# --- many maps


class Crowd:
    """Live maps on an engine, each held by its fd; the IDs from 1 to `count` are theirs."""

    def __init__(self, count: int) -> None:
        self.calls = Calls(Engine().task(nofile=count + 2 * BATCH))
        self.count = count
        self.fds: list[int] = []
        self.chance = random.Random(1)

    def create(self, count: int) -> None:
        attr = MapCreate(map_type=MapType.HASH, key_size=4, value_size=8, max_entries=1)
        for _ in range(count):
            self.fds.append(self.calls.map_create(attr))

    def walk(self) -> None:
        id = self.chance.randrange(self.count - BATCH)
        for _ in range(BATCH):
            id = self.calls.next_id(Cmd.MAP_GET_NEXT_ID, id) or 0

    def look_up(self) -> None:
        for id in self.chance.choices(range(1, self.count + 1), k=BATCH):
            self.calls.close(self.calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, id))

    def remove(self) -> None:
        for fd in self.fds[-BATCH:]:
            self.calls.close(fd)
        del self.fds[-BATCH:]

    def costs(self) -> dict[str, float]:
        """Seconds for one of each operation, at the number of maps that there are now."""
        steps = {
            "create": lambda: self.create(BATCH),
            "next id": self.walk,
            "fd by id, close": self.look_up,
            "remove": self.remove,
        }
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(ROUNDS):
            for name, step in steps.items():
                times[name].append(spent(step) / BATCH)
        return {name: median(took) for name, took in times.items()}


def resident() -> int:
    """Bytes of this process in memory (the second number of statm is in pages)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def many_maps(count: int) -> None:
    """Print what an operation costs among few maps and among many, and the size of one."""
    print(f"maps on the engine: one operation among {FEW:,} and among {count:,}")
    crowd = Crowd(FEW)
    crowd.create(FEW)
    few = crowd.costs()
    before = resident()
    crowd = Crowd(count)
    rise = spent(lambda: crowd.create(count))
    size = (resident() - before) / count
    many = crowd.costs()
    for name, cost in many.items():
        print(
            f"  {name:<16} {few[name] * 1e6:6.2f} us  {cost * 1e6:6.2f} us"
            f"   {cost / few[name]:5.2f} x"
        )
    print(f"  the way up: {rise:.1f} s, {rise / count * 1e6:.2f} us each")
    print(f"  a map takes {size:,.0f} bytes, its file and its number among them")


def main(count: int) -> int:
    beside_linux()
    many_maps(count)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
