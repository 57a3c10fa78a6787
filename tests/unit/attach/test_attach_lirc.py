"""Infrared receivers, which no kernel at hand has: what is asked, and what comes of the answers."""

from __future__ import annotations

import errno
import os

import pytest

from bpflens.abi.attrs import ProgQuery
from bpflens.abi.enums import AttachType, Cmd, ProgType
from bpflens.abi.infos import ProgInfo
from bpflens.attach import lirc
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.engine.engine import Engine
from bpflens.model.system import System
from bpflens.port.memory import Memory

IDS = (7, 5)


class Receivers:
    """The doors of an engine on which /dev/lirc0 has programs, and /dev/lirc1 is not ours."""

    def __init__(self) -> None:
        self.inner = Engine().task().doors()
        self.open_: list[str] = []

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        assert path == "/dev"
        return [(name, False) for name in ("lirc0", "lirc1", "lirc2", "null")]

    def open(self, path: str) -> int:
        refused = {"/dev/lirc1": errno.EACCES, "/dev/lirc2": errno.ENOENT}
        if path in refused:
            raise OSError(refused[path], os.strerror(refused[path]))
        self.open_.append(path)
        return 99

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        asked = ProgQuery.decode(mem.read(attr, size), size)
        assert (cmd, asked.target_fd, asked.attach_type) == (
            Cmd.PROG_QUERY,
            99,
            AttachType.LIRC_MODE2,
        )
        if asked.prog_ids:
            mem.write(asked.prog_ids, b"".join(id.to_bytes(4, "little") for id in IDS))
        mem.write(attr + 24, len(IDS).to_bytes(4, "little"))
        return 0

    def close(self, fd: int | None = None) -> None:
        if fd is not None:
            assert fd == 99
            self.open_.pop()


@pytest.fixture
def places() -> Places:
    door = Receivers()
    made = Places(System(door.inner._replace(bpf=door, host=door)))  # type: ignore[arg-type]
    made.programs = {7: ProgInfo(id=7, type=ProgType.LIRC_MODE2)}
    return made


def test_the_programs_of_a_receiver_in_their_order(places: Places) -> None:
    found = list(lirc.find(places))
    told = [each for each in found if isinstance(each, Attachment)]
    assert [(each.prog_id, each.target, each.order) for each in told] == [
        (7, "/dev/lirc0", 0),
        (5, "/dev/lirc0", 1),
    ]
    assert [each.target for each in found if isinstance(each, Failure)] == ["/dev/lirc1"]
    assert places.host.open_ == []  # type: ignore[attr-defined]


def test_where_no_such_program_is_loaded_nothing_is_opened(places: Places) -> None:
    places.programs = {}
    assert list(lirc.find(places)) == []
