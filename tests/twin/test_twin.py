"""The engine does what the live kernel does, call by call and byte by byte."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.twin.story import is_root, write
from tests.twin.verdicts import tally

ROOT = Path(__file__).resolve().parents[2]


def why_not() -> str:
    """Why the live side cannot be played here; "" if it can."""
    if not is_root():
        return "needs root, for namespaces and the live side"
    if not platform.release().startswith("6.18"):
        return "the engine is compared as 6.18; this is another kernel"
    if not shutil.which("unshare") or not shutil.which("ip"):
        return "needs unshare and ip"
    return ""


def test_a_story_is_the_same_each_time_it_is_written() -> None:
    assert [str(step) for step in write(7, 2, 50)] == [str(step) for step in write(7, 2, 50)]


def test_both_kernels_do_the_same() -> None:
    if why_not():
        pytest.skip(why_not())
    ran = subprocess.run(
        [sys.executable, "-m", "tests.twin", "--calls", "6000", "--seed", "1"],
        cwd=ROOT, capture_output=True, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_program_that_linux_takes_is_refused() -> None:
    if why_not():
        pytest.skip(why_not())
    seen, wrong = tally(seed=11, count=3000)
    assert not wrong, wrong[0]
    assert seen["both take"] >= 100
    assert seen["both refuse"] > seen["only Linux refuses"]
