"""The conformance suite on every kernel that is at hand."""

from __future__ import annotations

import pytest

from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.conformance import suite


@pytest.mark.parametrize("check", suite.checks(), ids=lambda check: check.name)
def test_conforms(bench: Bench, check: suite.Check) -> None:
    try:
        reason = suite.judge(check, bench)
    except NotOffered as missing:
        pytest.skip(str(missing))
    if reason:
        pytest.xfail(reason)
