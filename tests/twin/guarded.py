"""Memory for the live side that ends where its buffers end, so that a write past them is EFAULT."""

from __future__ import annotations

import ctypes

from bpflens.port.memory import Memory

_PAGE = 4096
_SLOT = 300
"""Pages of a buffer; one more, after them, cannot be touched."""
_SLOTS = 8
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Guarded(Memory):
    """Buffers are copied to the end of their slots; `fetch` copies them back."""

    __slots__ = ("_base", "_used")

    def __init__(self) -> None:
        super().__init__()
        size = _SLOTS * (_SLOT + 1) * _PAGE
        self._base: int = _libc.mmap(None, size, 3, 0x22, -1, 0)  # private, anonymous
        for slot in range(_SLOTS):
            _libc.mprotect(self._base + (slot * (_SLOT + 1) + _SLOT) * _PAGE, _PAGE, 0)
        self._used: list[tuple[int, bytearray]] = []

    def pin(self, buffer: bytearray) -> int:
        if not buffer:
            return 0
        end = self._base + (len(self._used) * (_SLOT + 1) + _SLOT) * _PAGE
        at = end - len(buffer)
        ctypes.memmove(at, bytes(buffer), len(buffer))
        self._used.append((at, buffer))
        return at

    def fetch(self) -> None:
        """Copy back what the kernel wrote, and forget the buffers."""
        for at, buffer in self._used:
            buffer[:] = ctypes.string_at(at, len(buffer))
        self._used.clear()
