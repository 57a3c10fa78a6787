"""This checkout beside another commit, in one run: `python -m benchmarks.compare COMMIT [N]`.

On the crowded host of `benchmarks.attachments` (an argument N makes everything N times fewer), in
turn, with the same interpreter:

    bpflens attach list --json
    bpflens why prog …          the program of 200 devices
    bpflens why map …           a map that 300 processes hold

What is printed are ratios of this checkout to that commit, which is checked out into a git worktree
that is removed afterwards:

    system calls    counted by strace, of all processes of a command
    instructions    in user mode: by perf, where the machine counts them; else, with --valgrind, by
                    valgrind, for which a small N is to be chosen (it makes a command 50 times
                    slower)
    CPU time        user and system, the least of many runs: where nothing counts instructions

valgrind 3.19 has neither openat2(2) nor BPF iterators: both commits do then what they do without.
The bound is 1.1. Needs root, git, strace.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import bpflens
from benchmarks.attachments import fewer
from bpflens.testing.crowd import crowd

BOUND = 1.1
ROUNDS = 9

Measure = Callable[[str, list[str]], float]
"""What a command costs, with the modules of a folder."""


def main() -> int:
    options = _options()
    if os.geteuid() != 0 or not shutil.which("strace"):
        print("compare: needs root and strace")
        return 0
    size = fewer(options.part)
    here = os.path.dirname(os.path.dirname(bpflens.__file__))
    with (
        checkout(options.commit) as there,
        bpflens.open() as system,
        crowd(system.calls, size) as made,
    ):
        print(f"this checkout beside {options.commit}, on {size}")
        map = next(_maps(made.pids[0]))
        worst = 0.0
        for words in (
            ["attach", "list", "--json"],
            ["why", "prog", "name:crowd_xdp"],
            ["why", "map", map],
        ):
            for what, measure in _measures(options.valgrind).items():
                ours, theirs = beside(measure, here, f"{there}/src", words)
                counts = what != "CPU time"
                shown = f"{ours:,.0f} / {theirs:,.0f}" if counts else f"{ours:.3f} / {theirs:.3f} s"
                print(f"  {' '.join(words):<28} {what:<14} {shown:>31}   {ours / theirs:5.3f} x")
                worst = max(worst, ours / theirs if counts else 0)
    print(f"the largest ratio of counts is {worst:.3f}; the bound is {BOUND}")
    return int(worst > BOUND)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="cost beside another commit")
    parser.add_argument("commit")
    parser.add_argument("part", type=int, nargs="?", default=1)
    parser.add_argument("--valgrind", action="store_true")
    return parser.parse_args()


@contextmanager
def checkout(commit: str) -> Iterator[str]:
    """A git worktree of that commit."""
    with tempfile.TemporaryDirectory(prefix="bpflens-compare-") as above:
        folder = f"{above}/tree"
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        git = ["git", "-C", root, "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", folder, commit], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", folder], check=True)


def _maps(pid: int) -> Iterator[str]:
    """The IDs of maps that a process has open."""
    for name in os.listdir(f"/proc/{pid}/fdinfo"):
        with open(f"/proc/{pid}/fdinfo/{name}") as file:
            if found := re.search(r"^map_id:\s*(\d+)$", file.read(), re.MULTILINE):
                yield found[1]


def beside(measure: Measure, ours: str, theirs: str, words: list[str]) -> tuple[float, float]:
    """What both cost: the least of runs in turn. The first runs warm what is kept between runs."""
    found: dict[str, list[float]] = {ours: [], theirs: []}
    rounds = ROUNDS if measure is cpu_time else 1
    for folder in (ours, theirs):
        cpu_time(folder, words)
    for _ in range(rounds):
        for folder, values in found.items():
            values.append(measure(folder, words))
    return min(found[ours]), min(found[theirs])


def _measures(valgrind: bool) -> dict[str, Measure]:
    found: dict[str, Measure] = {"system calls": system_calls}
    if counts_instructions():
        found["instructions"] = instructions
    elif valgrind:
        found["instructions"] = instructions_by_valgrind
    return found | {"CPU time": cpu_time}


def run(before: list[str], folder: str, words: list[str]) -> str:
    """Run it below another command; what that says on stderr."""
    env = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": ""}
    command = [*before, sys.executable, "-P", "-m", "bpflens", *words]
    done = subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True)  # fmt: skip
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stderr


def system_calls(folder: str, words: list[str]) -> float:
    """Of all its processes."""
    with tempfile.NamedTemporaryFile("r") as file:
        run(["strace", "-f", "-c", "-o", file.name], folder, words)
        total = re.search(r"^\s*100\.00\s+[\d.]+\s+\d*\s+(\d+).*total$", file.read(), re.MULTILINE)
    assert total
    return float(total[1])


def counts_instructions() -> bool:
    """Whether this machine has a counter of them."""
    if not shutil.which("perf"):
        return False
    done = subprocess.run(["perf", "stat", "-x,", "-e", "instructions:u", "true"],
                          capture_output=True, text=True)  # fmt: skip
    return done.returncode == 0 and done.stderr.partition(",")[0].isdecimal()


def instructions(folder: str, words: list[str]) -> float:
    told = run(["perf", "stat", "-x,", "-e", "instructions:u"], folder, words)
    return float(told.splitlines()[-1].partition(",")[0])


def instructions_by_valgrind(folder: str, words: list[str]) -> float:
    told = run(["valgrind", "--tool=callgrind", "--cache-sim=no", "--trace-children=yes",
                "--callgrind-out-file=/dev/null"], folder, words)  # fmt: skip
    return float(sum(int(each) for each in re.findall(r"Collected : (\d+)", told)))


def cpu_time(folder: str, words: list[str]) -> float:
    """In seconds, with its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run([], folder, words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
