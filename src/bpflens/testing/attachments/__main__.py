"""Run the suite on a kernel and say what came of it, without pytest.

    python -m bpflens.testing.attachments                   the Linux of this machine, as root
    python -m bpflens.testing.attachments engine 6.12       an engine of that release
    python -m bpflens.testing.attachments linux 'xdp*'      some cases only

A line a case: `yes`, `no` with the reason, or `WRONG` with what was found. Exit status: 1 where
something is wrong, else 0.
"""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase

from bpflens.testing.attachments import suite
from bpflens.testing.attachments.table import Column, row_of
from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.conformance.__main__ import bench, say


def run(bench: Bench, patterns: list[str]) -> tuple[Column, int]:
    """Run what the patterns name: the kernel's column, and how many are wrong."""
    column: Column = {}
    wrong = 0
    for case in suite.cases():
        row = row_of(case)
        if not any(fnmatchcase(row, pattern) for pattern in patterns):
            continue
        try:
            column[row] = suite.run(case, bench).reason
        except Exception as error:
            wrong += 1
            say(f"WRONG\t{row}\t{type(error).__name__}: {error}")
        else:
            say(f"no\t{row}\t{column[row]}" if column[row] else f"yes\t{row}")
    return column, wrong


def read(output: str) -> Column:
    """The column in what `main` wrote."""
    lines = [line.split("\t") for line in output.splitlines()]
    return {words[1]: "".join(words[2:]) for words in lines if words[0] in ("yes", "no")}


def main(arguments: list[str]) -> int:
    kind = arguments.pop(0) if arguments else "linux"
    release = arguments.pop(0) if kind == "engine" and arguments else "6.18"
    try:
        kernel = bench(kind, release)
    except NotOffered as reason:
        say(str(reason))
        return 1
    try:
        column, wrong = run(kernel, arguments or ["*"])
    finally:
        kernel.close()
    return 1 if wrong or not column else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
