"""The index of a large BTF, kept in a file, so that the next process need not walk all records.

A file belongs to one content: its name is the SHA-256 of the BTF. It holds where each record begins
and at what offset its name is, as two arrays of native 32-bit words, and a checksum over all of it.
Nothing in it is believed beyond that. A file that is cut short, altered, or not ours alone to write
is passed over and written again; and should one lie in spite of that, what is read through it is
checked against the BTF's own bounds, so that the worst it can give is a wrong answer about types or
a FormatError.

This is the one module of the room that touches files. Which directory, the caller says.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from hashlib import sha256

from bpflens.btf.parse import MAX_TYPES, Btf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Index: TypeAlias = tuple[memoryview, memoryview]

_MAGIC = b"bpflens-btf-1" + sys.byteorder[:1].encode()
_HEADER = struct.Struct("=14sI")
_CHECKSUM_SIZE = 32


def load(data: bytes | bytearray | memoryview, directory: str) -> Btf:
    """The types in `data`, by the index that an earlier process left in `directory`, or a new one.

    The directory is made if it is missing. What keeps the index from being read or written costs
    time and nothing else. Raises FormatError as `Btf.parse` does.
    """
    path = os.path.join(directory, sha256(data).hexdigest() + ".btfindex")
    index = _read(path)
    if index is not None:
        return Btf(data, index=index)
    btf = Btf.parse(data)
    _write(path, btf.index)
    return btf


def _read(path: str) -> Index | None:
    """The index in a file; None where there is none that can be believed."""
    largest = _HEADER.size + 8 * MAX_TYPES + _CHECKSUM_SIZE
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        ours = status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
        if not ours or not stat.S_ISREG(status.st_mode) or status.st_size > largest:
            return None
        content = _read_all(fd, status.st_size)
    except OSError:
        return None
    finally:
        os.close(fd)
    return _decode(content)


def _read_all(fd: int, size: int) -> bytes:
    with os.fdopen(fd, "rb", buffering=0, closefd=False) as file:
        return file.read(size) or b""


def _decode(content: bytes) -> Index | None:
    if len(content) < _HEADER.size + _CHECKSUM_SIZE:
        return None
    magic, count = _HEADER.unpack_from(content)
    if magic != _MAGIC or len(content) != _HEADER.size + 8 * count + _CHECKSUM_SIZE:
        return None
    view = memoryview(content)
    if sha256(view[:-_CHECKSUM_SIZE]).digest() != content[-_CHECKSUM_SIZE:]:
        return None
    middle = _HEADER.size + 4 * count
    return view[_HEADER.size : middle].cast("I"), view[middle:-_CHECKSUM_SIZE].cast("I")


def _write(path: str, index: Index) -> None:
    """Puts the file there at once and whole: readers see it complete or not at all."""
    positions, names = index
    content = _HEADER.pack(_MAGIC, len(positions)) + positions.tobytes() + names.tobytes()
    unfinished = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(unfinished, flags, 0o600)
    except OSError:
        return
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content + sha256(content).digest())
        os.replace(unfinished, path)
    except OSError:
        os.unlink(unfinished)
