"""Kernels to run the suite on: this machine's Linux, for root; and the engine's releases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpflens.testing.bench import Bench, NotOffered


def bench_of(kernel: str) -> Bench:
    """The bench by its name, or a skip with the reason."""
    if kernel == "linux":
        from bpflens.testing.on_linux import LinuxBench

        try:
            return LinuxBench()
        except NotOffered as reason:
            pytest.skip(str(reason))
    pytest.importorskip("bpflens.engine.engine", exc_type=ImportError)
    from bpflens.testing.on_engine import EngineBench

    return EngineBench(kernel.removeprefix("engine-"))


@pytest.fixture(scope="module", params=["linux", "engine-6.18", "engine-6.12", "engine-6.1"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = bench_of(request.param)
    yield made
    made.close()
