"""A machine that is busy with BPF: real tools, in a mount namespace of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Tools = tuple[tuple[str, ...], ...]

TOOLS: Tools = (
    ("bpftrace", "-e", "tracepoint:syscalls:sys_enter_execve { @[comm] = count(); }"),
    ("execsnoop",),
    ("opensnoop",),
)
MORE_TOOLS: Tools = (("runqlat",), ("syscount",), ("softirqs",))
"""Whose maps hold more kinds of types."""
PATIENCE = 60.0


def missing(tools: Tools = TOOLS) -> list[str]:
    """Which of the tools are not installed."""
    return [t for t in ("bpftool", "unshare", *(tool[0] for tool in tools)) if not shutil.which(t)]


def bpftool(*arguments: str) -> Any:
    """What bpftool says, from JSON."""
    done = subprocess.run(
        ["bpftool", "-j", *arguments], check=False, capture_output=True, text=True
    )
    return json.loads(done.stdout)


@contextmanager
def tools(tools: Tools = TOOLS, programs: int = 5) -> Iterator[list[int]]:
    """These tools with at least so many programs loaded; gives the programs' IDs.

    By default bpftrace and two of libbpf-tools.
    """
    before = {program["id"] for program in bpftool("prog", "show")}
    # tracefs is mounted where only these processes see it; it may be mounted already.
    script = 'mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null; exec "$@"'
    running = [
        subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script, "sh", *tool],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for tool in tools
    ]
    try:
        yield _loaded(before, wanted=programs)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            _ended(process)


def _ended(process: subprocess.Popen[bytes]) -> None:
    """Waits for a tool that was told to end; bpftrace can lose the first signal."""
    for insist in (process.terminate, process.kill):
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            insist()
        else:
            return
    process.wait()


def _loaded(before: set[int], wanted: int) -> list[int]:
    """The programs that came since, when there are enough and no more come."""
    end = time.monotonic() + PATIENCE
    last: list[int] = []
    while time.monotonic() < end:
        new = sorted({program["id"] for program in bpftool("prog", "show")} - before)
        if len(new) >= wanted and new == last:
            return new
        last = new
        time.sleep(0.5)
    raise TimeoutError(f"after {PATIENCE:.0f} s only these programs were loaded: {last}")
