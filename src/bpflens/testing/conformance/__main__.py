"""Run the suite on a kernel and say what came of it, without pytest.

    python -m bpflens.testing.conformance                   the Linux of this machine, as root
    python -m bpflens.testing.conformance engine 6.12       an engine of that release
    python -m bpflens.testing.conformance linux 'tries.*'   some checks only

Exit status: 0 where everything is as it should be or listed as different, else 1.
"""

from __future__ import annotations

import sys
from collections import Counter
from fnmatch import fnmatchcase

from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.commandline import main, say
from bpflens.testing.conformance import suite


def run(bench: Bench, patterns: list[str]) -> bool:
    """Run what the patterns name, and count."""
    counts: Counter[str] = Counter()
    for check in suite.checks():
        if not any(fnmatchcase(check.name, pattern) for pattern in patterns):
            continue
        try:
            outcome = "differ as listed" if suite.judge(check, bench) else "pass"
        except NotOffered as missing:
            outcome = "cannot run"
            say(f"{check.name}: skipped: {missing}")
        except Exception as error:
            outcome = "FAIL"
            say(f"{check.name}: {check.says}\n    {type(error).__name__}: {error}")
        counts[outcome] += 1
    told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
    say(f"{bench.name}: {counts.total()} checks: {told}")
    return bool(counts) and not counts["FAIL"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], __doc__ or "", run))
