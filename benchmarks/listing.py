"""Whole-process time beside the peers: `make bench`, or `python benchmarks/listing.py [N …]`.

    prog list --json        against `bpftool -j prog show`, with N programs loaded (50, 5000)
    --version               against `python -c pass`

The commands are run in turn, many times, in one run; a ratio is of the medians. Programs are
`r0 = 0; exit` socket filters. Needs root and bpftool; 5,000 programs need `ulimit -n` of 5,100.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import bpflens
from bpflens.testing.builders import program

BPFLENS = str(Path(sys.executable).with_name("bpflens"))
ROUNDS = 21


def measure(commands: dict[str, list[str]]) -> dict[str, float]:
    """Median wall time of each command in milliseconds, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(ROUNDS + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            if turn:  # the first warms the caches
                times[name].append((time.perf_counter() - start) * 1000)
    return {name: median(values) for name, values in times.items()}


def report(title: str, commands: dict[str, list[str]]) -> None:
    """Print the medians and how many times the last each is."""
    found = measure(commands)
    base = list(found.values())[-1]
    print(title)
    for name, value in found.items():
        print(f"  {name:<28} {value:8.1f} ms   {value / base:5.2f} x")


def main(counts: list[int]) -> int:
    report(
        "start-up",
        {
            "bpflens --version": [BPFLENS, "--version"],
            "python -c pass": [sys.executable, "-c", "pass"],
        },
    )
    if os.geteuid() != 0 or not shutil.which("bpftool"):
        print("listing: needs root and bpftool")
        return 0
    for count in counts:
        with bpflens.open() as system, ExitStack() as held:
            for _ in range(count):
                held.callback(system.calls.close, program(system.calls, name="bpfl_bench"))
            report(
                f"list of {count} programs",
                {
                    "bpflens prog list --json": [BPFLENS, "prog", "list", "--json"],
                    "bpftool -j prog show": ["bpftool", "-j", "prog", "show"],
                },
            )
    return 0


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]] or [50, 5000]))
