"""A walk over the directories of one bpffs, while others may change them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bpflens import limits
from bpflens.linux.foreign import Foreign
from bpflens.port.calls import CallNotFound
from bpflens.port.doors import PinFile, PinFiles, Unread

Identify = Callable[[int, str, int, int], PinFile]
"""(O_PATH fd, path, inode number, that of the directory) → what the file pins. Raises OSError."""


class _LimitReached(Exception):
    """No more is read; the words say why."""


class PinWalk:
    """The pins below a directory of a bpffs.

    Each directory is opened by its path from the top, so that one fd is open and not one for each
    level; what lies deeper than a path may be long (PATH_MAX) is told as not read.
    """

    def __init__(self, foreign: Foreign, top: int, identify: Identify) -> None:
        self._foreign = foreign
        self._top = top
        self._identify = identify
        self._names = 0
        self._pins = 0
        self._waiting: list[tuple[str, int]] = []

    def read(self, inode: int) -> PinFiles:
        """All of them; `inode` is that of the directory where the walk begins."""
        found = PinFiles([], [])
        self._waiting = [("", inode)]
        try:
            while self._waiting:
                self._settled(*self._waiting.pop(), found)
        except _LimitReached as limit:
            found.unread.append(Unread("", 0, str(limit)))
        return found

    def _settled(self, path: str, inode: int, found: PinFiles) -> None:
        """A directory in which no name vanished while it was read."""
        part, inner = PinFiles([], []), list[tuple[str, int]]()
        for _ in range(limits.PIN_TRIES.value):
            part, inner = PinFiles([], []), list[tuple[str, int]]()
            try:
                steady = self._directory(path, inode, part, inner)
            except OSError as error:
                found.unread.append(_unread(path, error))
                return
            except _LimitReached:
                found.found.extend(part.found)
                raise
            if steady:
                break
        else:
            part.unread.append(Unread(path, 0, str(limits.PIN_TRIES)))
        found.found.extend(part.found)
        found.unread.extend(part.unread)
        self._waiting += reversed(inner)

    def _directory(
        self, path: str, inode: int, found: PinFiles, inner: list[tuple[str, int]]
    ) -> bool:
        """One look at a directory; False: a name vanished."""
        steady = True
        with self._opened(path) as folder:
            for entry in self._entries(folder):
                below = f"{path}/{entry.name}" if path else entry.name
                if entry.is_dir(follow_symlinks=False):
                    inner.append((below, entry.inode()))
                    continue
                self._pins += 1
                if self._pins > limits.PINS.value:
                    raise _LimitReached(str(limits.PINS))
                try:
                    fd = self._foreign.entry(folder, entry.name)
                    try:
                        found.found.append(self._identify(fd, below, entry.inode(), inode))
                    finally:
                        os.close(fd)
                except CallNotFound:
                    continue  # a file of the kernel's own that names no object
                except OSError as error:
                    # ELOOP: it was no symbolic link when its name was read
                    if error.errno in (errno.ENOENT, errno.ELOOP):
                        steady = False
                    else:
                        found.unread.append(_unread(below, error))
        return steady

    def _entries(self, folder: int) -> Iterator[os.DirEntry[str]]:
        """Directories and files, sorted. A symbolic link holds nothing (bpf_symlink()): what it
        leads to is met by its own path."""
        kept: list[os.DirEntry[str]] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                self._names += 1
                if self._names > limits.PIN_NAMES.value:
                    raise _LimitReached(str(limits.PIN_NAMES))
                if not entry.is_symlink():
                    kept.append(entry)
        return iter(sorted(kept, key=lambda entry: entry.name))

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        folder = self._foreign.folder(self._top, path or ".")
        try:
            yield folder
        finally:
            os.close(folder)


def _unread(path: str, error: OSError) -> Unread:
    return Unread(path, error.errno or 0, WORDS.get(error.errno or 0, error.strerror or str(error)))


WORDS = {
    errno.ELOOP: "it is a symbolic link, which pins nothing",
    errno.EXDEV: "another mount covers it",
}
"""What openat2(2) refuses below a mount, in words."""
