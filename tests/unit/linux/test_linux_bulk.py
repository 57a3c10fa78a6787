"""What an iterator is assembled for is assembled once in a process."""

from __future__ import annotations

import pytest

from bpflens.engine.engine import Engine
from bpflens.linux import iterators
from bpflens.linux.bulk import LinuxBulk
from bpflens.linux.host import LinuxHost
from bpflens.port.calls import Calls


class Host(LinuxHost):
    """A machine whose kernel has this build."""

    def __init__(self, build: bytes) -> None:
        super().__init__()
        self.build = build

    def read(self, path: str, most: int = 0) -> bytes:
        return self.build if path == "/sys/kernel/notes" else b"0-1\n"


def test_what_was_made_serves_every_system_on_the_same_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LinuxBulk, "_known", {})
    monkeypatch.setattr(iterators, "may_load", lambda _: None)
    calls = Calls(Engine().task())
    made: list[str] = []

    def asked(build: bytes, name: str, here: bytes = b"") -> bytes:
        def make() -> tuple[int, list[bytes]]:
            made.append(name)
            return 7, [bytes(8) + bytes([len(made)]) * 8]

        target, (insns,) = LinuxBulk(Host(build))._kept(calls, name, None, make, here)
        assert target == 7
        return insns

    first = asked(b"one", "tasks")
    assert asked(b"one", "tasks") == first
    others = [asked(b"two", "tasks"), asked(b"one", "cgroups"), asked(b"one", "tasks", b"boot")]
    assert made == ["tasks", "tasks", "cgroups", "tasks"]
    assert len({first, *others}) == 4
