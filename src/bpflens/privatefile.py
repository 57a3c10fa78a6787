"""Files that are ours alone to write: what one process keeps for the next.

Which file, the caller says, and checks what is in it.
"""

from __future__ import annotations

import os
import stat


def read(path: str, largest: int) -> bytes | None:
    """The content of a file that nobody else can have written; None for anything else.

    It is believed as far as Python believes its own .pyc files: a regular file, no link, root's or
    ours, writable to no group and to no other user, of at most `largest` bytes.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        ours = status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
        if not ours or not stat.S_ISREG(status.st_mode) or status.st_size > largest:
            return None
        return os.read(fd, status.st_size)
    except OSError:
        return None
    finally:
        os.close(fd)


def replace(path: str, content: bytes) -> None:
    """Puts the file there at once and whole: readers see it complete or not at all.

    Its directory is made if it is missing. What keeps it from being written costs time, no more.
    """
    unfinished = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(unfinished, flags, 0o600)
    except OSError:
        return
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        os.replace(unfinished, path)
    except OSError:
        _remove(unfinished)


def _remove(path: str) -> None:
    try:  # noqa: SIM105 (contextlib costs 4 ms of start-up)
        os.unlink(path)
    except OSError:
        pass
