"""`make run`: the main job of bpflens, on whatever machine this is.

First on the engine's demo world, which runs anywhere. Then on the live kernel; where that is not
allowed, or holds no program, this is said, and the same commands are shown on a recording of a
machine that was busy.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = "engine:demo"
RECORDING = "examples/busy.cassette.gz"

LOOK: tuple[list[str], ...] = (
    [],
    ["prog", "list", "--limit", "15"],
    ["map", "list", "--limit", "15"],
    ["attach", "list", "--limit", "15"],
    ["orphans", "--limit", "15"],
)
"""What is shown of every kernel."""

CLOSER: tuple[list[str], ...] = (
    ["prog", "show", "name:xdp_balance"],
    ["map", "dump", "name:backends"],
    ["map", "dump", "name:jumps"],
)
"""What is shown of the recording, of which we know what is in it."""


def bpflens(*arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the command line from this checkout; needs no installation."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "bpflens", *arguments],
        env=os.environ | {"PYTHONPATH": path},
        cwd=ROOT,
        text=True,
        capture_output=quiet,
        check=False,
    )


def show(*arguments: str) -> None:
    """Run a command with its line before it, as in a terminal."""
    print("$ bpflens " + " ".join(arguments), flush=True)
    bpflens(*arguments)
    print(flush=True)


DEMO_CLOSER: tuple[list[str], ...] = (
    ["why", "prog", "name:only_port_80"],
    ["prog", "dump", "name:xdp_balance"],
    ["map", "dump", "name:backends"],
)
"""What is shown of the demo besides."""


def main() -> int:
    print("== a small machine in Python (bpflens --on engine:demo) ==\n", flush=True)
    for command in (*LOOK, *DEMO_CLOSER):
        show("--on", DEMO, *command)
    print("== this machine ==\n", flush=True)
    asked = bpflens("prog", "list", "--jsonl", quiet=True)
    if asked.returncode in (0, 1) and asked.stdout.strip():
        for command in LOOK:
            show(*command)
        return 0
    if asked.returncode in (0, 1):
        show()
        print("No program is loaded on this machine.")
    else:
        print(asked.stderr.strip())
        show("doctor")
    print("So here is the same on a recording of a busy one.\n")
    print(f"== {RECORDING} ==\n", flush=True)
    for command in (*LOOK, *CLOSER):
        show("--on", RECORDING, *command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
