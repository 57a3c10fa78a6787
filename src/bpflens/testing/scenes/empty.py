"""A machine on which nothing is loaded."""

from __future__ import annotations

from bpflens.engine.engine import Engine
from bpflens.engine.tasks import Task


def scene() -> Task:
    """The machine, and a task of root's that looks at it."""
    return Engine().task(comm="bpflens")
