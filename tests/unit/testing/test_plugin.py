"""The pytest plugin, as another project would use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run(*arguments: str, source: Path) -> subprocess.CompletedProcess[str]:
    """pytest in another process and folder, with the plugin."""
    command = [sys.executable, "-m", "pytest", "-p", "bpflens.testing.plugin", "-q"]
    command += ["-p", "no:cacheprovider", "--strict-markers", *arguments]
    path = str(ROOT / "src")
    # Only by -p: where bpflens is installed, its entry point would register the plugin once more.
    return subprocess.run(
        command,
        cwd=source.parent,
        env={
            "PYTHONPATH": path,
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
    )


def test_the_example_runs() -> None:
    example = ROOT / "examples" / "test_my_tool.py"
    done = run(str(example), source=example)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_each_test_has_its_own_engine(tmp_path: Path) -> None:
    source = tmp_path / "test_own.py"
    source.write_text(
        "import pytest\n"
        "from bpflens.testing.builders import program\n"
        "@pytest.mark.parametrize('round', [1, 2])\n"
        "def test_first_id(bpf_calls, bpf_system, round):\n"
        "    program(bpf_calls)\n"
        "    assert [p.id for p in bpf_system.programs()] == [1]\n"
    )
    done = run(str(source), source=source)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_nothing_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    source = tmp_path / "test_none.py"
    source.write_text(
        "import sys\n"
        "def test_none():\n"
        "    assert not [m for m in sys.modules if m.startswith('bpflens.engine')]\n"
    )
    done = run(str(source), source=source)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
