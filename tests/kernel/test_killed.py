"""A command that is killed leaves no object, no process and no half of a file."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)"),
]
UNSHARE = ["unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork",
           "--mount-proc", "--kill-child"]  # fmt: skip
FEW, MANY = 2, 200


def killed(times: int, seed: int) -> str:
    """What `tests.kernel.killed` says."""
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.kernel.killed", str(times), str(seed)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count("killed on the way") == 11
    return done.stdout


def test_what_is_killed_leaves_nothing() -> None:
    killed(FEW, 9)


@pytest.mark.soak
def test_what_is_killed_at_many_moments_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("BPFLENS_SEED") or random.getrandbits(32))
    told = killed(MANY, seed)
    with capsys.disabled():
        print(f"\nseed {seed}", told, sep="\n")
