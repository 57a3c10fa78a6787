"""A scene from a user's file: what is wrong in it is told with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

import bpflens
from bpflens.errors import UsageError

GOOD = """
from bpflens.engine import Engine
from bpflens.port.calls import Calls
from bpflens.testing.builders import program

def scene():
    task = Engine(release="6.12").task(uid=1000)
    program(Calls(task), name="hello")
    return task
"""
BAD = {
    "error": ("def scene():\n    raise ValueError('no')", "line 2: ValueError: no"),
    "missing_file": ("open('/nowhere')", "line 1: FileNotFoundError"),
    "missing_key": ("{}['scene']", "line 1: KeyError"),
    "syntax": ("def scene(:", "SyntaxError: invalid syntax"),
    "arguments": ("def scene(engine): pass", "missing 1 required positional argument"),
    "nothing": ("x = 1", "does not define a scene"),
    "no_function": ("scene = 3", "does not define a scene"),
    "no_task": ("def scene(): return 5", "does not define a scene"),
}


def written(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return f"engine:{path}"


def test_a_scene_of_ones_own(tmp_path: Path) -> None:
    seen = bpflens.look(written(tmp_path, GOOD))
    assert [program.name for program in seen.programs] == ["hello"]


@pytest.mark.parametrize("kind", BAD)
def test_what_is_wrong_in_it(tmp_path: Path, kind: str) -> None:
    text, words = BAD[kind]
    with pytest.raises(UsageError, match=r"mine\.py") as caught:
        bpflens.open(written(tmp_path, text))
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.py", "/tmp", "Demo"])
def test_what_is_no_file(name: str) -> None:
    with pytest.raises(UsageError, match="there is no scene"):
        bpflens.open(f"engine:{name}")
