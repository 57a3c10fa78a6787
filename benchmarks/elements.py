"""Whole-process time and memory of typed dumps: `python benchmarks/elements.py [N [RUNS]]`.

    map dump --json         against `bpftool -j map dump`, of a hash map with N elements (1,000,000)

The key is a struct of two numbers; the value has two counters, a name, six slots and an enum, as
tools have it. Both tell each element's bytes and, beside them, what bpftool calls `formatted`. The
commands are run in turn; times are the smallest and the median of RUNS, CPU time (which a busy
machine stretches less) is the smallest, memory is the largest resident set. Needs root and bpftool.
The goal: twice bpftool's CPU time; its own for `--raw`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import bpflens
from bpflens.abi.enums import MapType
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.port.calls import Calls
from bpflens.testing.builders import btf, map, u32, u64

BPFLENS = str(Path(sys.executable).with_name("bpflens"))


def typed_map(calls: Calls, count: int) -> int:
    """The fd of a hash map with so many elements."""
    made = BtfBuilder()
    s32, number = made.add_int("int", 4, Int.SIGNED), made.add_int("unsigned int", 4)
    wide = made.add_int("unsigned long long", 8)
    name = made.add_array(made.add_int("char", 1, Int.SIGNED), 16, number)
    slots = made.add_array(number, 6, number)
    state = made.add_enum("state", [("IDLE", 0), ("BUSY", 1)])
    key = made.add_struct("flow", 8, [("pid", s32, 0), ("cpu", number, 32)])
    members = [("packets", wide, 0), ("bytes", wide, 64), ("comm", name, 128)]
    members += [("slots", slots, 256), ("state", state, 448)]
    value = made.add_struct("stats", 64, members)
    types = (btf(calls, made.build()), key, value)
    fd = map(calls, MapType.HASH, key_size=8, value_size=64, max_entries=count, btf=types)
    for pid in range(count):
        comm = b"worker/%d" % (pid % 8)
        told = u64(pid, pid * 1500) + comm.ljust(16, b"\0") + u32(*range(6), pid % 2, 0)
        calls.map_update(fd, u32(pid, pid % 64), told)
    return fd


def measure(command: list[str]) -> tuple[float, float, int]:
    """Seconds, seconds of CPU time, and KiB of memory."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def main(count: int = 1_000_000, runs: int = 5) -> int:
    if os.geteuid() != 0 or not shutil.which("bpftool"):
        print("elements: needs root and bpftool")
        return 0
    with bpflens.open() as system:
        fd = typed_map(system.calls, count)
        with bpflens.Map(system, fd) as found:
            id = str(found.id)
            commands = {
                "bpflens map dump --json": [BPFLENS, "map", "dump", id, "--json"],
                "bpflens map dump --raw --json": [BPFLENS, "map", "dump", id, "--raw", "--json"],
                "bpftool -j map dump": ["bpftool", "-j", "map", "dump", "id", id],
            }
            taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in commands}
            for _ in range(runs):
                for name, command in commands.items():
                    taken[name].append(measure(command))
    print(f"{f'{count:,} elements':<32}{'smallest':>9} {'median':>9} {'CPU':>9} {'memory':>9}")
    for name, results in taken.items():
        times, cpu, memory = zip(*results, strict=True)
        told = f"{min(times):7.1f} s {median(times):7.1f} s {min(cpu):7.1f} s"
        print(f"  {name:<30}{told} {max(memory) / 1024:5.0f} MiB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*(int(word.replace(",", "")) for word in sys.argv[1:])))
