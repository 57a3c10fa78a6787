"""`Memory`: the part of a caller's memory that a call may point at.

A C caller hands bpf(2) addresses. Here a buffer is *pinned* first, which gives its address; the
address goes into the attr. Linux uses it as it is. A kernel in Python (the engine, a replay)
reads and writes through this object, which knows every pinned range and answers EFAULT for the
rest, as copy_from_user() would.
"""

from __future__ import annotations

import ctypes
import errno
import os
from bisect import bisect_right


class Memory:
    """Pinned buffers by address."""

    __slots__ = ("_buffers", "_holds", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._buffers: list[bytearray] = []
        self._holds: list[ctypes.c_char] = []

    def pin(self, buffer: bytearray) -> int:
        """Return the address of `buffer`, which cannot be resized while this object lives.

        An empty buffer has no address: 0 (NULL).
        """
        if not buffer:
            return 0
        hold = ctypes.c_char.from_buffer(buffer)
        address = ctypes.addressof(hold)
        at = bisect_right(self._starts, address)
        self._starts.insert(at, address)
        self._buffers.insert(at, buffer)
        self._holds.insert(at, hold)
        return address

    def pinned(self) -> list[tuple[int, bytearray]]:
        """Every buffer with its address, in order of address."""
        return list(zip(self._starts, self._buffers, strict=True))

    def read(self, address: int, size: int) -> bytes:
        """Copy `size` bytes from the caller; OSError(EFAULT) where they are not all pinned."""
        buffer, offset = self._find(address, size)
        return bytes(buffer[offset : offset + size])

    def write(self, address: int, data: bytes) -> None:
        """Copy `data` to the caller; OSError(EFAULT) where the range is not all pinned."""
        buffer, offset = self._find(address, len(data))
        buffer[offset : offset + len(data)] = data

    def _find(self, address: int, size: int) -> tuple[bytearray, int]:
        if size == 0:
            return bytearray(), 0
        at = bisect_right(self._starts, address) - 1
        if at >= 0:
            offset = address - self._starts[at]
            if offset + size <= len(self._buffers[at]):
                return self._buffers[at], offset
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
