"""What holds on the live kernel holds on older ones: the same tests, run inside the guests."""

from __future__ import annotations

import pytest

from tools.vm.guest import Guest

pytestmark = pytest.mark.vm

CHOSEN = "found_by or recording or no_part or slot"
"""Those that say most in least time: a guest without KVM takes seconds for each."""

BESIDE = (
    "tests/kernel/test_beside_bpftool.py",
    "tests/kernel/test_links_beside_bpftool.py",
    "tests/kernel/test_attachments_beside_bpftool.py",
    "tests/kernel/test_bulk.py",
)
"""Lists, dumps, attachments and bulk reads, each beside bpftool or the plain calls."""


def passes(guest: Guest, *words: str, timeout: float, env: dict[str, str] | None = None) -> None:
    """pytest in the guest runs tests, and all of them pass."""
    done = guest.run(
        ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *words],
        timeout=timeout,
        env={"BPFLENS_CI": "", **(env or {})},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


# On the newest kernel `test_newest.py` runs the command line in a tenth of the time.
@pytest.mark.kernels("6.1", "6.12", pytest.param("7.2", marks=pytest.mark.soak))
def test_the_command_line_does_there_what_it_does_here(guest: Guest) -> None:
    passes(guest, "tests/kernel/test_live.py", "-k", CHOSEN, timeout=300)


@pytest.mark.kernels("7.2")
def test_bulk_reads_of_the_newest_kernel_are_as_plain_ones(guest: Guest) -> None:
    chosen = "types_are_told_alike or nobody_asked or refuses"
    passes(guest, "tests/kernel/test_bulk.py", "-k", chosen, timeout=300)


@pytest.mark.soak
@pytest.mark.kernels("7.2")
@pytest.mark.parametrize("file", BESIDE)
def test_the_newest_kernel_is_shown_as_the_newest_bpftool_shows_it(
    guest: Guest, bpftool: str, file: str
) -> None:
    env = {"PATH": f"{bpftool.rpartition('/')[0]}:{guest.path}"}
    passes(guest, file, timeout=1200, env=env)
