"""Guests with Debian's kernels. One boot of a kernel serves all tests that leave it as it was.

A test that takes `guest` runs on every kernel of `KERNELS`, or on those that `@pytest.mark.kernels`
names. One after which a kernel is not the same (a sysctl, a panic) takes `own_guest`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `tools`, which is not installed

from tools.vm import guest as vm
from tools.vm import kernels
from tools.vm.archive import VmError

_told: list[str] = []
"""What each guest took, for the end of the run."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "guest" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("kernels")
        versions = marker.args if marker else tuple(kernels.KERNELS)
        metafunc.parametrize("guest", versions, indirect=True, scope="session")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _told:
        terminalreporter.line(line)


def _kernel(version: str) -> kernels.Kernel:
    if "BPFLENS_VM" in os.environ:
        pytest.skip("runs in a guest already")
    try:
        vm.qemu()
        return kernels.find(version)
    except VmError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def guest(request: pytest.FixtureRequest) -> Iterator[vm.Guest]:
    """A guest that the tests of a kernel share: each leaves it as it was."""
    kernel = _kernel(request.param)
    started = time.monotonic()
    with vm.boot(kernel) as guest:
        yield guest
        whole = time.monotonic() - started
        _told.append(
            f"guest {kernel.version} ({kernel.release}): {whole:.0f} s, of which "
            f"{guest.boot_seconds:.0f} s to boot"
        )


@pytest.fixture
def own_guest() -> Iterator[Callable[[str], vm.Guest]]:
    """Boots a kernel for one test alone, which may do with it what it likes."""
    with ExitStack() as stack:
        yield lambda version: stack.enter_context(vm.boot(_kernel(version)))


@pytest.fixture(scope="session")
def bpftool() -> str:
    """Debian's newest bpftool, which runs in guests too."""
    try:
        return str(kernels.find_bpftool())
    except VmError as missing:
        pytest.skip(str(missing))
