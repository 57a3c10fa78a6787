"""Run a command on another Linux kernel, with this machine's files.

    python -m tools.vm kernel 6.1                       fetch and unpack Debian's kernel, once
    python -m tools.vm run 6.1 -- python -m pytest tests/kernel

Exit status of `run`: the command's own, 124 when it took too long, 125 when the guest failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.vm.guest import TIMED_OUT, boot
from tools.vm.kernels import KERNELS, VmError, fetch, find

GUEST_FAILED = 125  # as timeout(1) and container tools say that it was not the command that failed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.vm", description="Run commands on other Linux kernels."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("kernel", help="fetch and unpack Debian's kernel, unless it is there")
    verb.add_argument("version", choices=KERNELS)
    verb = verbs.add_parser("run", help="boot a kernel and run a command on it")
    verb.add_argument("version", choices=KERNELS)
    verb.add_argument("--timeout", type=float, default=300.0, metavar="S", help="seconds (300)")
    verb.add_argument("--share", type=Path, metavar="DIR", help="the folder /run/share there")
    verb.add_argument("--memory", default="2G", metavar="SIZE", help="of the guest (2G)")
    verb.add_argument("command", nargs="+", metavar="COMMAND")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.verb == "kernel":
            kernel = fetch(chosen.version)
            print(f"{kernel.release} in {kernel.folder}")
            return 0
        share = chosen.share.resolve(strict=True) if chosen.share else None
        with boot(find(chosen.version), share=share, memory=chosen.memory) as guest:
            return guest.run(chosen.command, timeout=chosen.timeout, stream=True).returncode
    except subprocess.TimeoutExpired:
        print(f"vm: not done after {chosen.timeout:g} s", file=sys.stderr)
        return TIMED_OUT
    except (VmError, OSError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return GUEST_FAILED
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
