"""The conformance suite on Debian's kernels."""

from __future__ import annotations

import pytest

from bpflens.testing.conformance import suite
from tools.vm.guest import Guest

pytestmark = pytest.mark.vm


@pytest.mark.kernels("6.1", "6.12", pytest.param("7.2", marks=pytest.mark.soak))
def test_the_kernel_conforms_or_differs_as_listed(guest: Guest) -> None:
    done = guest.run(["python3", "-m", "bpflens.testing.conformance", "linux"], timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.splitlines()[-1]
    assert summary.startswith(f"linux {guest.kernel.version}: {len(suite.checks())} checks: ")
