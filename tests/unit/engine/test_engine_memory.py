"""Maps as memory: what a process maps is the map itself."""

from __future__ import annotations

import errno

import pytest

from bpflens.abi.attrs import MapCreate
from bpflens.abi.enums import MapFlag, MapType
from bpflens.engine import Engine
from bpflens.engine.tasks import Task
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls


@pytest.fixture
def task() -> Task:
    return Engine().task()


def array(task: Task, flags: int = MapFlag.MMAPABLE) -> int:
    attr = MapCreate(map_type=MapType.ARRAY, key_size=4, value_size=8, max_entries=2)
    attr.map_flags = flags
    return Calls(task).map_create(attr)


def refused(code: int, task: Task, fd: int, write: bool = False) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011
        task.mmap(fd, 4096, write=write)
    assert caught.value.errno == code


def test_a_write_to_the_memory_is_a_write_to_the_map(task: Task) -> None:
    fd = array(task)
    with task.mmap(fd, 16, write=True) as mapping:
        mapping.data[8:16] = b"abcdefgh"
        assert Calls(task).map_lookup(fd, b"\1\0\0\0", 8) == b"abcdefgh"


def test_a_map_that_is_mapped_for_writing_cannot_be_frozen(task: Task) -> None:
    fd = array(task)
    mapping = task.mmap(fd, 16, write=True)
    with pytest.raises(OSError, match="busy"):
        Calls(task).map_freeze(fd)
    mapping.close()
    Calls(task).map_freeze(fd)
    refused(errno.EPERM, task, fd, write=True)


def test_memory_keeps_a_map_alive(task: Task) -> None:
    fd = array(task)
    mapping = task.mmap(fd, 16)
    task.close(fd)
    assert len(task.engine.ids["map"]) == 1
    mapping.close()
    assert len(task.engine.ids["map"]) == 0


def test_what_cannot_be_mapped(task: Task) -> None:
    refused(errno.EINVAL, task, array(task, 0))
    refused(errno.EACCES, task, array(task, MapFlag.MMAPABLE | MapFlag.RDONLY_PROG), write=True)
    attr = MapCreate(map_type=MapType.HASH, key_size=4, value_size=8, max_entries=2)
    refused(ENOTSUPP, task, Calls(task).map_create(attr))


def test_a_ring_begins_with_the_positions(task: Task) -> None:
    fd = Calls(task).map_create(MapCreate(map_type=MapType.RINGBUF, max_entries=4096))
    with task.mmap(fd, 3 * 4096) as mapping:
        assert bytes(mapping.data[:8]) == bytes(8)
    with pytest.raises(OSError, match="not permitted"):
        task.mmap(fd, 8192, write=True)
