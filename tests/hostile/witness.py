"""Sees whether a file is opened; opening it by O_PATH is not (fsnotify_open())."""

from __future__ import annotations

import ctypes
import os
import struct

from bpflens.testing.on_linux import checked, libc

_IN_ACCESS, _IN_OPEN, _IN_MODIFY, _IN_DELETE_SELF, _IN_DONT_FOLLOW = 1, 0x20, 2, 0x400, 0x02000000
_IN_NONBLOCK = os.O_NONBLOCK
_EVENT = struct.Struct("=iIII")


class Witness:
    """Watches files and directories, of any kind."""

    def __init__(self) -> None:
        self._fd = checked(libc.inotify_init1(_IN_NONBLOCK | os.O_CLOEXEC), "inotify_init1")
        self._names: dict[int, str] = {}

    def watch(self, path: str, name: str = "") -> None:
        """See from now on what happens to it. Raises OSError."""
        mask = _IN_ACCESS | _IN_OPEN | _IN_MODIFY | _IN_DELETE_SELF | _IN_DONT_FOLLOW
        number = libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask))
        self._names[checked(number, f"watch {path}")] = name or path

    def watch_open(self, path: str, name: str) -> None:
        """The same for the file that an fd of a process is of (/proc/PID/fd/N)."""
        held = os.open(path, os.O_PATH)
        try:
            mask = _IN_ACCESS | _IN_OPEN | _IN_MODIFY
            way = f"/proc/self/fd/{held}".encode()
            number = libc.inotify_add_watch(self._fd, way, ctypes.c_uint32(mask))
            self._names[checked(number, f"watch {name}")] = name
        finally:
            os.close(held)

    def opened(self) -> list[str]:
        """What was opened (or read, written, deleted) since the last question."""
        found: set[str] = set()
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return sorted(found)
            at = 0
            while at < len(data):
                number, _, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size + length
                found.add(self._names.get(number, "what is watched no more"))

    def close(self) -> None:
        os.close(self._fd)
