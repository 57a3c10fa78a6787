"""What holds on the live kernel holds on older ones: the same tests, run inside the guests."""

from __future__ import annotations

import pytest

from tools.vm.guest import Guest

pytestmark = pytest.mark.vm

CHOSEN = "found_by or recording or no_part or slot"
"""Those that say most in least time: a guest without KVM takes seconds for each."""


def test_the_command_line_does_there_what_it_does_here(guest: Guest) -> None:
    done = guest.run(
        ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly",
         "tests/kernel/test_live.py", "-k", CHOSEN],
        timeout=300,
        env={"BPFLENS_CI": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
