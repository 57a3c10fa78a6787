"""What keeps the network namespace that a test is in alive when the test has left it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_NAMED = "/run/netns"
_MS_BIND = 0x1000
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def name(name: str) -> Callable[[], None]:
    """Give it a name, as ip-netns(8) does, in the caller's mount namespace alone; the result takes
    the name away. Raises OSError."""
    # a /run of its own: what is below the host's is not the test's to change
    _mount(b"tmpfs", "/run", b"tmpfs", 0)
    path = f"{_NAMED}/{name}"
    os.mkdir(_NAMED)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o444))
    _mount(b"/proc/thread-self/ns/net", path, None, _MS_BIND)

    def end() -> None:
        for place in (path, "/run"):
            _libc.umount2(place.encode(), _MNT_DETACH)

    return end


def _mount(source: bytes, path: str, kind: bytes | None, flags: int) -> None:
    if _libc.mount(source, path.encode(), kind, flags, None):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)


def keep() -> Callable[[], None]:
    """Leave a process in it, without any open file; the result ends that process."""
    pid = os.fork()
    if not pid:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.closerange(0, 1 << 16)
        while True:
            signal.pause()

    def end() -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    return end
