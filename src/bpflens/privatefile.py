"""Every file that bpflens writes: recordings, and what one process keeps for the next.

A file is written beside its place and renamed into it, so that readers see it complete or not at
all. Nothing that lies there is written through: another user may have planted it.
"""

from __future__ import annotations

import os
import stat
from errno import EACCES, EINVAL, EISDIR, ENXIO

_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_THROUGH = os.O_WRONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
_OWN = ("/proc/self/fd", "/proc/thread-self/fd")
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
_LONGEST = 100
"""Bytes of a file's name in that of its unfinished file: eCryptfs takes no more than 143."""
_PIECE = 1 << 20
READER_SECONDS = 3.0
"""How long a FIFO without a reader is waited for: open(2) would wait for ever."""


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


def keep(path: str, content: bytes) -> None:
    """Write what can be made again; what keeps it from being written costs time, no more.

    Its directory is made if it is missing. Whatever lies there is replaced.
    """
    folder, name = os.path.split(path)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        place = os.open(folder, _PLACE)
    except OSError:
        return
    try:
        _replace(place, name, content)
    except OSError:
        pass
    finally:
        os.close(place)


def write(path: str, content: bytes) -> None:
    """Put a file there, for its owner alone to read (mode 0600), at once and whole.

    A symbolic link is replaced, as a regular file is, and never followed. What cannot be replaced
    is written to as it is: `-` (stdout), what stands for an open file of this process (/dev/stdout,
    /dev/fd/N, which a shell gives for `>(command)`), a FIFO, a device. Raises OSError; then a
    regular file that was there is unchanged.
    """
    try:
        number = _own(path)
        if number is not None:
            _all(number, content)
        else:
            _put(path, content)
    except OSError as error:  # with the path that was given, not that of the unfinished file
        raise OSError(error.errno, error.strerror, path) from error


def _put(path: str, content: bytes) -> None:
    folder, name = os.path.split(path)
    # Once: whatever becomes of the path meanwhile, this is the directory that is written in.
    place = os.open(folder or ".", _PLACE)
    try:
        there = _status(place, name or ".")
        if there is None or stat.S_ISREG(there.st_mode):
            _replace(place, name, content)
        elif stat.S_ISDIR(there.st_mode):
            raise OSError(EISDIR, os.strerror(EISDIR))
        elif stat.S_ISLNK(there.st_mode):
            _replace_link(place, name, content)
        else:
            _through(place, name, there, content)
    finally:
        os.close(place)


def _own(path: str) -> int | None:
    """The number of the open file of ours that a path stands for.

    Only the directory's path is resolved: a link that someone else made leads to none of them.
    """
    if path == "-":
        return 1
    folder, name = os.path.split(path)
    folder = os.path.realpath(folder)
    if folder == "/dev":
        return _STANDARD.get(name)
    if name.isdecimal() and folder in map(os.path.realpath, _OWN):
        return int(name)
    return None


def _status(place: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _replace_link(place: int, name: str, content: bytes) -> None:
    """Put a file where a link is, unless it leads to what a file was never meant to replace."""
    try:
        kind = os.stat(name, dir_fd=place).st_mode
    except OSError:  # it leads nowhere
        kind = stat.S_IFREG
    if not stat.S_ISREG(kind):
        raise OSError(EINVAL, "a link to a directory, pipe, socket or device: give its own path")
    _replace(place, name, content)


def _replace(place: int, name: str, content: bytes) -> None:
    # Whose it is, should this process be killed before it is whole.
    unfinished = b".%b.bpflens-%b" % (os.fsencode(name)[:_LONGEST], os.urandom(4).hex().encode())
    try:
        fd = os.open(unfinished, _NEW, 0o600, dir_fd=place)
        try:
            os.fchmod(fd, 0o600)  # where the umask takes even that away
            _all(fd, content)
        finally:
            os.close(fd)
        os.replace(unfinished, os.fsencode(name), src_dir_fd=place, dst_dir_fd=place)
    except BaseException:  # KeyboardInterrupt too
        _remove(place, unfinished)
        raise


def _remove(place: int, name: bytes) -> None:
    try:  # noqa: SIM105 (contextlib costs 4 ms of start-up)
        os.unlink(name, dir_fd=place)
    except OSError:
        pass


def _through(place: int, name: str, there: os.stat_result, content: bytes) -> None:
    """Write to a FIFO or a device."""
    # As fs.protected_fifos: who can put a FIFO into a directory of others would read along.
    trusted = (0, os.geteuid(), os.fstat(place).st_uid)
    if stat.S_ISFIFO(there.st_mode) and there.st_uid not in trusted:
        raise PermissionError(EACCES, "a FIFO of another user")
    if stat.S_ISFIFO(there.st_mode):
        fd = _with_a_reader(place, name)
    else:
        fd = os.open(name, _THROUGH, dir_fd=place)
    try:
        opened = os.fstat(fd)
        if (opened.st_dev, opened.st_ino) != (there.st_dev, there.st_ino):
            raise PermissionError(EACCES, "another file since it was looked at")
        _all(fd, content)
    finally:
        os.close(fd)


def _with_a_reader(place: int, name: str) -> int:
    """A FIFO, once a process has it open for reading. It may come a moment later than we."""
    import time

    until = time.monotonic() + READER_SECONDS
    while True:
        try:
            fd = os.open(name, _THROUGH | os.O_NONBLOCK, dir_fd=place)
        except OSError as error:
            if error.errno != ENXIO:
                raise
            if time.monotonic() > until:
                raise OSError(ENXIO, "no process reads from this FIFO") from None
            time.sleep(0.02)
        else:
            os.set_blocking(fd, True)
            return fd


def _all(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest[:_PIECE]) :]
