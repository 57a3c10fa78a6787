"""One guest for each of Debian's kernels, booted once and shared by all tests of the session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `tools`, which is not installed

from tools.vm import guest as vm
from tools.vm import kernels


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vm: boots other kernels in QEMU; about half a minute")


@pytest.fixture(scope="session", params=kernels.KERNELS)
def guest(request: pytest.FixtureRequest) -> Iterator[vm.Guest]:
    if "BPFLENS_VM" in os.environ:
        pytest.skip("runs in a guest already")
    try:
        vm.qemu()
        kernel = kernels.find(request.param)
    except kernels.VmError as missing:
        pytest.skip(str(missing))
    with vm.boot(kernel) as guest:
        yield guest
