"""Every way to attach a program on Debian's kernels: shown right, or the docs say why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpflens.testing.attachments import table
from bpflens.testing.attachments.__main__ import read
from tools.vm.guest import Guest

pytestmark = pytest.mark.vm

PAGE = Path(__file__).resolve().parents[2] / "docs" / "attachments.md"


def test_shown_as_the_docs_say(guest: Guest) -> None:
    done = guest.run(["python3", "-m", "bpflens.testing.attachments", "linux"], timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    column = table.of_page(PAGE.read_text())[f"linux {guest.kernel.version}"]
    assert read(done.stdout) == column, "run: python -m tools.attachments"
