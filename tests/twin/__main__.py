"""The twin test: `python -m tests.twin --calls 200000`.

Starts itself once more with network, mount, PID and cgroup namespaces of its own, and there sends
the same random calls to the live kernel and to the engine.
"""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

from bpflens.abi.enums import Cmd

_INSIDE = "BPFLENS_TWIN_INSIDE"


def inside(options: argparse.Namespace) -> int:
    """Play stories in the namespaces that the parent made."""
    from tests.twin.story import Difference, Stage, run, shrink

    stage = Stage()
    seen: dict[str, int] = {}

    def tell(difference: Difference) -> None:
        kind = f"{difference.step.cmd} {difference.what.split(':')[0]}"
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] > options.show:
            return
        print(f"--- seed {difference.seed}: {difference.what}")
        for step in shrink(stage, difference):
            print("   ", step)
        sys.stdout.flush()

    try:
        start = time.perf_counter()
        tally, found = run(stage, options.seed, options.calls, options.length, tell)
        took = time.perf_counter() - start
    finally:
        stage.close()
    print(
        f"{tally.calls} calls, {len(found)} differences, "
        f"{tally.deeper} programs that only Linux's verifier sees through, "
        f"{tally.ran} test runs that only Linux makes, "
        f"seed {options.seed}, {took:.1f} s"
    )
    if options.reached:
        for (cmd, error), count in sorted(tally.reached.items()):
            print(f"{_name(cmd):28} {errno.errorcode.get(error, error or 'ok')!s:12} {count}")
    commands = {cmd for cmd, _error in tally.reached}
    print(f"{len(tally.reached)} answers of {len(commands)} commands")
    return 1 if found else 0


def _name(cmd: int) -> str:
    return Cmd(cmd).name if cmd in set(Cmd) else str(cmd)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 if there was no difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.twin", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--length", type=int, default=200, help="calls in a story")
    parser.add_argument("--show", type=int, default=1, help="stories to show of each difference")
    parser.add_argument("--reached", action="store_true", help="how often each answer was given")
    options = parser.parse_args(arguments)
    if os.environ.get(_INSIDE):
        return inside(options)
    if os.geteuid():
        print("needs root, for the live side", file=sys.stderr)
        return 2
    given = sys.argv[1:] if arguments is None else arguments
    command = ["unshare", "--net", "--mount", "--pid", "--cgroup", "--fork", "--mount-proc"]
    command += [sys.executable, "-m", "tests.twin", *given]
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(command, env={**os.environ, _INSIDE: "1"}, cwd=root).returncode


if __name__ == "__main__":
    sys.exit(main())
