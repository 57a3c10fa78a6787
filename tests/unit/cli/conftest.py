"""Runs the command line in this process, on a scripted kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bpflens import connect
from bpflens.abi.enums import MapType
from bpflens.cli import main
from bpflens.cli.record import sweep
from bpflens.model.system import System
from bpflens.port.cassette import Recorder
from tests.unit.scripted import Bulk, Kernel
from tests.unit.scripted_objects import prog, table, u32, u64


class Result(NamedTuple):
    status: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def kernel() -> Kernel:
    """Two programs and a map of each sort that the commands treat in their own way."""
    made = Kernel(
        prog(1, b"xdp_lb", map_ids=u32(5, 6)),
        prog(2, b"twin"),
        prog(3, b"twin"),
        table(5, elements={u32(n): u64(n * n) for n in range(4)}, name=b"flows"),
        table(6, MapType.PROG_ARRAY, {u32(1): u32(2)}, value_size=4, max_entries=3, name=b"jump"),
        table(7, MapType.QUEUE, {b"": u64(9)}, key_size=0, name=b"todo"),
        table(8, MapType.RINGBUF, key_size=0, value_size=0, name=b"events"),
        table(9, MapType.PERCPU_ARRAY, {u32(0): u64(1, 2)}, max_entries=1, name=b"twin_map"),
        table(10, MapType.ARRAY, {u32(0): u64(1)}, max_entries=1, name=b"twin_map"),
    )
    made.host.pins["/sys/fs/bpf/lb"] = made.objects[0]
    made.host.pins["/sys/fs/bpf/\x1b[2Jflows"] = made.objects[3]
    made.host.files["/proc/self/status"] = b"Uid:\t0\t0\nCapEff:\t000001ffffffffff\n"
    return made


@pytest.fixture
def cli(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs one command; every fd that it opened must be closed when it returns."""
    monkeypatch.setattr(connect, "doors", lambda on="linux": kernel.doors._replace(bulk=Bulk()))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(*words: str) -> Result:
        kernel.log.clear()
        status = main(list(words))
        assert kernel.fds == {}
        return Result(status, *capsys.readouterr())

    return call


@pytest.fixture
def recording(kernel: Kernel, tmp_path: Path) -> str:
    """The same kernel as a file, for processes of their own."""
    recorder = Recorder(kernel.doors._replace(bulk=Bulk()))
    sweep(System(recorder.doors), 100)
    path = tmp_path / "machine.cassette"
    recorder.save(str(path), {"kernel": "scripted"})
    return str(path)
