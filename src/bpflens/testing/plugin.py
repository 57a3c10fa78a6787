"""A pytest plugin: BPF to test against, without root and without a kernel that has it.

    def test_my_tool_finds_the_program(bpf_calls, bpf_system):
        program(bpf_calls, name="mine")
        assert [p.name for p in my_tool.programs(bpf_system)] == ["mine"]

Each test gets an engine of its own. `@pytest.mark.bpf(release="6.1", policy="linux")` says which;
the arguments are those of `bpflens.engine.engine.Engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

# Nothing of bpflens is imported before a test asks for it: pytest loads this in every run.
if TYPE_CHECKING:
    from bpflens.engine.engine import Engine
    from bpflens.engine.tasks import Task
    from bpflens.model.system import System
    from bpflens.port.calls import Calls


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "bpf(**engine): which engine the fixtures bpf_… give")


@pytest.fixture
def bpf_engine(request: pytest.FixtureRequest) -> Engine:
    """A BPF object system of this test's own, empty."""
    found = pytest.importorskip("bpflens.engine.engine", exc_type=ImportError)
    marker = request.node.get_closest_marker("bpf")
    options: dict[str, Any] = dict(marker.kwargs) if marker else {}
    made: Engine = found.Engine(**options)
    return made


@pytest.fixture
def bpf_task(bpf_engine: Engine) -> Task:
    """A process of root's. Others: `bpf_engine.task(uid=1000)`."""
    return bpf_engine.task()


@pytest.fixture
def bpf_calls(bpf_task: Task) -> Calls:
    """bpf(2) as that process calls it: what `bpflens.testing.builders` take."""
    from bpflens.port.calls import Calls

    return Calls(bpf_task.doors().bpf)


@pytest.fixture
def bpf_system(bpf_task: Task) -> Iterator[System]:
    """The engine's objects as `bpflens` shows them to root."""
    from bpflens.model.system import System

    with System(bpf_task.doors()) as system:
        yield system


@pytest.fixture
def bpf_user(bpf_engine: Engine) -> Callable[..., Calls]:
    """Calls of another user: `bpf_user(1000)`, or with capabilities `bpf_user(1000, caps=[39])`."""
    from bpflens.port.calls import Calls

    def calls(uid: int, caps: list[int] | None = None) -> Calls:
        return Calls(bpf_engine.task(uid=uid, caps=caps).doors().bpf)

    return calls
