"""The list of attacks in docs/trust.md, made of the tests: `python -m tests.hostile` writes it."""

from __future__ import annotations

import importlib
import inspect
import math
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "trust.md"
BEGIN, END = "<!-- attacks: begin -->\n", "<!-- attacks: end -->\n"


class Attack(NamedTuple):
    """A test: what is tried, and in how many ways."""

    name: str
    words: str
    ways: int


class Kind(NamedTuple):
    """The tests of one file."""

    words: str
    attacks: list[Attack]


def kinds() -> list[Kind]:
    """Every test of this folder."""
    found = []
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(f"tests.hostile.{path.stem}")
        tests = [
            each
            for name, each in vars(module).items()
            if name.startswith("test_") and isinstance(each, FunctionType)
        ]
        words = inspect.getdoc(module) or ""
        found.append(Kind(_line(words), [_attack(test) for test in tests]))
    return found


def _attack(test: FunctionType) -> Attack:
    marks: list[Any] = [
        mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"
    ]
    ways = math.prod(len(list(mark.args[1])) for mark in marks)
    name = test.__name__.removeprefix("test_").replace("_", " ")
    return Attack(name, _line(inspect.getdoc(test) or ""), ways)


def _line(words: str) -> str:
    """Its first paragraph as a line."""
    return " ".join(words.partition("\n\n")[0].split())


def listed(kinds: list[Kind]) -> str:
    """The list in the page."""
    attacks = [attack for kind in kinds for attack in kind.attacks]
    ways = sum(attack.ways for attack in attacks)
    lines = [f"{len(attacks)} tests, which make {ways} attacks and controls.", ""]
    for kind in kinds:
        lines += [f"**{kind.words}**", ""]
        for attack in kind.attacks:
            many = f" ({attack.ways} ways)" if attack.ways > 1 else ""
            lines.append(f"- *{attack.name}*{many}: {attack.words}")
        lines.append("")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with the list as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{listed(kinds())}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
