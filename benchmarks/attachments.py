"""The list of attachments and their holders beside bpftool: `python -m benchmarks.attachments`.

On a host with 200 network namespaces, 2,000 cgroups, 300 processes with 50 BPF fds each and 1,000
attachments (`bpflens.testing.crowd`), whole-process, in turn:

    bpflens attach list --json
    bpflens graph --json            every object with everything that holds it
    bpftool -j net in each namespace, cgroup tree, perf and link, one after another

An argument N makes everything N times fewer. The goal is a third of what those take together. Needs
root and bpftool.
"""

from __future__ import annotations

import os
import shutil
import sys

import bpflens
from benchmarks.listing import BPFLENS, report
from bpflens.testing.crowd import NETNS, Size, crowd

PEERS = f"""
for netns in {NETNS}/*; do nsenter --net="$netns" bpftool -j net; done
bpftool -j net
bpftool -j cgroup tree
bpftool -j perf
bpftool -j link
"""


def fewer(part: int) -> Size:
    """A crowd with everything so many times fewer."""
    whole = Size()
    return Size(
        whole.netns // part,
        whole.cgroups // part,
        whole.processes // part,
        whole.fds,
        whole.attachments // part,
    )


def main(part: int) -> int:
    if os.geteuid() != 0 or not shutil.which("bpftool"):
        print("attachments: needs root and bpftool")
        return 0
    size = fewer(part)
    with bpflens.open() as system, crowd(system.calls, size):
        report(
            f"the list of attachments: {size}",
            {
                "bpflens attach list --json": [BPFLENS, "attach", "list", "--json"],
                "bpflens graph --json": [BPFLENS, "graph", "--json"],
                "bpftool, one after another": ["sh", "-c", PEERS],
            },
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 1))
