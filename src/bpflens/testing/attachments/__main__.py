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
from bpflens.testing.bench import Bench
from bpflens.testing.commandline import main, say


def run(bench: Bench, patterns: list[str]) -> bool:
    """Run what the patterns name, and tell the kernel's column."""
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
    return bool(column) and not wrong


def read(output: str) -> Column:
    """The column in what `run` wrote."""
    lines = [line.split("\t") for line in output.splitlines()]
    return {words[1]: "".join(words[2:]) for words in lines if words[0] in ("yes", "no")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], __doc__ or "", run))
