"""Kernels to run the suite on: this machine's Linux, for root; and the engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.on_linux import LinuxBench


@pytest.fixture(scope="module", params=["linux"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    try:
        made = LinuxBench()
    except NotOffered as reason:
        pytest.skip(str(reason))
    yield made
    made.close()
