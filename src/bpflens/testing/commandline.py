"""The command line of a suite: which kernel to run it on, and which part of it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bpflens.testing.bench import Bench, NotOffered


def bench(kind: str, release: str) -> Bench:
    """The bench by its name. Raises NotOffered."""
    if kind == "engine":
        from bpflens.testing.on_engine import EngineBench

        return EngineBench(release)
    from bpflens.testing.on_linux import LinuxBench

    return LinuxBench()


def say(line: str) -> None:
    """A line of output."""
    sys.stdout.write(f"{line}\n")


def main(arguments: list[str], words: str, run: Callable[[Bench, list[str]], bool]) -> int:
    """`run` what the patterns name, and say whether all was well. Returns the exit status.

    `words` is the help: to ask for it, or for a kernel that there is not, runs nothing.
    """
    kind = arguments.pop(0) if arguments else "linux"
    if kind not in ("linux", "engine"):
        say(words)
        return 0 if kind in ("-h", "--help") else 2
    release = arguments.pop(0) if kind == "engine" and arguments else "6.18"
    try:
        kernel = bench(kind, release)
    except NotOffered as reason:
        say(str(reason))
        return 1
    try:
        return 0 if run(kernel, arguments or ["*"]) else 1
    finally:
        kernel.close()
