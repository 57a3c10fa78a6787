"""A file system in user space whose daemon does not answer (/dev/fuse, without libfuse)."""

from __future__ import annotations

import os
import select
import stat
import struct
import threading
from enum import Enum

from bpflens.testing.on_linux import checked, libc

DEVICE = (10, 229)
_VERSION, _INIT_OUT = (7, 31), 64
_LOOKUP, _FORGET, _GETATTR, _BATCH_FORGET = 1, 2, 3, 42
_IN, _OUT = struct.Struct("=IIQQIIII"), struct.Struct("=IiQ")
_ROOM = 1 << 17


class Silence(Enum):
    """How a daemon does not answer."""

    UNREAD = "takes no request"
    """Who waits can be killed."""
    TAKEN = "takes each request"
    """Who waits cannot even be killed (request_wait_answer())."""


class Daemon:
    """One that has mounted its file system. Who waits for it waits until its process ends.

    Only root's file system makes root wait: that of a user namespace refuses who is not in it
    (fuse_allow_current_process()).
    """

    def __init__(self, path: str, device: str) -> None:
        """Mount it, with a device node of fuse. Raises OSError."""
        self._fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        data = f"fd={self._fd},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0,allow_other"
        checked(libc.mount(b"silent", os.fsencode(path), b"fuse", 6, data.encode()), "mount fuse")
        unique = _IN.unpack_from(os.read(self._fd, _ROOM))[2]
        told = struct.pack("=IIIIHHI", *_VERSION, 0, 0, 0, 0, 4096)
        self._answer(unique, told.ljust(_INIT_OUT, b"\0"))
        self._end = threading.Event()
        self._server: threading.Thread | None = None

    def answer(self) -> None:
        """Answer until `silent`: whatever name is looked up is an empty directory, which is to be
        asked for again each time."""
        self._server = threading.Thread(target=self._serve, daemon=True)
        self._server.start()

    def silent(self, silence: Silence) -> None:
        """Answer nothing from now on."""
        self._end.set()
        if self._server:
            self._server.join()
        if silence is Silence.TAKEN:
            threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while os.read(self._fd, _ROOM):
            pass

    def _serve(self) -> None:
        while not self._end.is_set():
            if not select.select([self._fd], [], [], 0.02)[0]:
                continue
            _, kind, unique, node, *_ = _IN.unpack_from(os.read(self._fd, _ROOM))
            if kind in (_FORGET, _BATCH_FORGET):  # which have no answer
                continue
            number = node if kind == _GETATTR else node + 1
            # struct fuse_attr: ino, size, blocks, times; then mode, nlink, uid, gid, rdev, blksize
            attr = struct.pack("=6Q3I", number, 0, 0, 0, 0, 0, 0, 0, 0)
            attr += struct.pack("=7I", stat.S_IFDIR | 0o755, 2, 0, 0, 0, 4096, 0)
            if kind == _LOOKUP:
                self._answer(unique, struct.pack("=4Q2I", number, 0, 0, 0, 0, 0) + attr)
            elif kind == _GETATTR:
                self._answer(unique, struct.pack("=QII", 0, 0, 0) + attr)
            else:
                self._answer(unique, b"", -38)  # ENOSYS

    def _answer(self, unique: int, data: bytes, error: int = 0) -> None:
        os.write(self._fd, _OUT.pack(_OUT.size + len(data), error, unique) + data)
