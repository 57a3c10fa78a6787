"""Run a command on another Linux kernel, with this machine's files.

    python -m tools.vm kernel 6.1 7.2                   fetch and unpack Debian's kernels, once
    python -m tools.vm bpftool                          the same for its newest bpftool
    python -m tools.vm run 6.1 -- python -m pytest tests/kernel
    python -m tools.vm run 7.2 --file probe.py --out DIR -- python probe.py

Exit status of `run`: the command's own, 124 when it took too long, 125 when the guest failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.vm.archive import VmError
from tools.vm.guest import TIMED_OUT, boot
from tools.vm.kernels import KERNELS, fetch, fetch_bpftool, find

GUEST_FAILED = 125  # as timeout(1) and container tools say that it was not the command that failed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.vm", description="Run commands on other Linux kernels."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("kernel", help="fetch and unpack Debian's kernel, unless it is there")
    verb.add_argument("versions", nargs="+", metavar="VERSION", help=f"{', '.join(KERNELS)}, ...")
    verbs.add_parser("bpftool", help="fetch and unpack Debian's newest bpftool, and print its path")
    verb = verbs.add_parser("run", help="boot a kernel and run a command on it")
    verb.add_argument("version", help="one that was fetched")
    verb.add_argument("--timeout", type=float, default=300.0, metavar="S", help="seconds (300)")
    verb.add_argument("--file", type=Path, action="append", metavar="FILE",
                      help="run among copies of these files")  # fmt: skip
    verb.add_argument("--out", type=Path, metavar="DIR", help="where the files it writes there go")
    verb.add_argument("--share", type=Path, metavar="DIR", help="the folder /run/share there")
    verb.add_argument("--memory", default="2G", metavar="SIZE", help="of the guest (2G)")
    verb.add_argument("command", nargs="+", metavar="COMMAND")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.verb == "kernel":
            for version in chosen.versions:
                kernel = fetch(version)
                print(f"{kernel.release} in {kernel.folder}")
            return 0
        if chosen.verb == "bpftool":
            print(fetch_bpftool())
            return 0
        share = chosen.share.resolve(strict=True) if chosen.share else None
        with boot(find(chosen.version), share=share, memory=chosen.memory) as guest:
            files = {path.name: path.read_bytes() for path in chosen.file or ()}
            among = files if chosen.file or chosen.out else None
            timeout: float = chosen.timeout
            done = guest.run(chosen.command, timeout=timeout, stream=True, files=among)
            for name, contents in done.files.items() if chosen.out else ():
                if files.get(name) != contents:
                    (chosen.out / name).parent.mkdir(parents=True, exist_ok=True)
                    (chosen.out / name).write_bytes(contents)
            return done.returncode
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
