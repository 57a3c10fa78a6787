"""`Memory`: what a call may point at, and nothing beside it."""

from __future__ import annotations

import ctypes
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.port.memory import Memory


def refused(call: object) -> bool:
    assert callable(call)
    with pytest.raises(OSError, match="Bad address") as caught:
        call()
    return caught.value.errno == errno.EFAULT


def test_an_address_is_the_one_that_c_would_see() -> None:
    buffer = bytearray(b"abcdefgh")
    address = Memory().pin(buffer)
    assert ctypes.string_at(address, 8) == b"abcdefgh"


def test_what_the_kernel_writes_is_in_the_buffer() -> None:
    mem, buffer = Memory(), bytearray(8)
    address = mem.pin(buffer)
    mem.write(address + 2, b"xyz")
    assert buffer == b"\0\0xyz\0\0\0"
    assert mem.read(address + 1, 3) == b"\0xy"


def test_an_empty_buffer_has_no_address() -> None:
    mem = Memory()
    assert mem.pin(bytearray()) == 0
    assert mem.pinned() == []


def test_nothing_is_read_or_written_beyond_the_edges() -> None:
    mem, buffer = Memory(), bytearray(8)
    at = mem.pin(buffer)
    assert mem.read(at, 8) == bytes(8)
    assert refused(lambda: mem.read(at, 9))
    assert refused(lambda: mem.read(at - 1, 1))
    assert refused(lambda: mem.read(at + 8, 1))
    assert refused(lambda: mem.write(at + 5, b"1234"))
    assert buffer == bytes(8)


def test_null_is_no_address_but_no_bytes_of_it_are_fine() -> None:
    mem = Memory()
    assert refused(lambda: mem.read(0, 1))
    assert refused(lambda: mem.write(0, b"x"))
    assert mem.read(0, 0) == b""
    mem.write(0, b"")


def test_a_buffer_keeps_its_size_while_it_is_pinned() -> None:
    mem, buffer = Memory(), bytearray(8)
    mem.pin(buffer)
    with pytest.raises(BufferError):
        buffer.extend(b"more")
    with pytest.raises(BufferError):
        buffer.clear()
    del mem
    buffer.extend(b"more")
    assert len(buffer) == 12


def test_one_memory_does_not_see_the_buffers_of_another() -> None:
    buffer = bytearray(8)
    at = Memory().pin(buffer)
    assert refused(lambda: Memory().read(at, 1))


@given(st.lists(st.integers(1, 64), min_size=1, max_size=12), st.data())
def test_each_address_finds_its_own_buffer(sizes: list[int], data: st.DataObject) -> None:
    mem = Memory()
    buffers = [bytearray([number]) * size for number, size in enumerate(sizes)]
    addresses = [mem.pin(buffer) for buffer in buffers]
    at = data.draw(st.integers(0, len(buffers) - 1))
    offset = data.draw(st.integers(0, sizes[at] - 1))
    assert mem.read(addresses[at] + offset, sizes[at] - offset) == bytes(buffers[at][offset:])
    mem.write(addresses[at], b"\xff")
    assert [buffer[0] for buffer in buffers].count(0xFF) == 1
    assert buffers[at][0] == 0xFF


def test_the_pinned_are_listed_by_address() -> None:
    mem = Memory()
    buffers = [bytearray(size) for size in (100, 1, 50)]
    addresses = [mem.pin(buffer) for buffer in buffers]
    assert [at for at, _ in mem.pinned()] == sorted(addresses)
    assert all(any(found is buffer for _, found in mem.pinned()) for buffer in buffers)
