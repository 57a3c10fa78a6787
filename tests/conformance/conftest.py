"""Kernels to run the suite on: this machine's Linux, for root; and the engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpflens.testing.bench import Bench, NotOffered


@pytest.fixture(scope="module", params=["linux", "engine"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made: Bench
    if request.param == "linux":
        from bpflens.testing.on_linux import LinuxBench

        try:
            made = LinuxBench()
        except NotOffered as reason:
            pytest.skip(str(reason))
    else:
        pytest.importorskip("bpflens.engine.engine", exc_type=ImportError)
        from bpflens.testing.on_engine import EngineBench

        made = EngineBench()
    yield made
    made.close()
