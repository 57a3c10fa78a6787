"""The same kernels as the conformance suite runs on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.commandline import bench as bench_of


@pytest.fixture(scope="module", params=["linux", "engine-6.18", "engine-6.12", "engine-6.1"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    kind, _, release = request.param.partition("-")
    try:
        made = bench_of(kind, release)
    except NotOffered as reason:
        pytest.skip(str(reason))
    yield made
    made.close()
