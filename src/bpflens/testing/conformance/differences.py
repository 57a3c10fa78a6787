"""Where a kernel differs from Linux 6.18, and why: the only list of that, reviewed.

A row that no longer holds makes the suite fail, so the list cannot go stale.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple


class Difference(NamedTuple):
    """On these kernels, these checks fail, for this reason; both are shell patterns."""

    kernels: str
    checks: str
    reason: str


DIFFERENCES: tuple[Difference, ...] = ()


def reason_for(kernel: str, check: str) -> str:
    """Why this kernel fails this check; empty where it must pass."""
    for row in DIFFERENCES:
        if fnmatchcase(kernel, row.kernels) and fnmatchcase(check, row.checks):
            return row.reason
    return ""
