"""Instructions that were assembled for this kernel, kept in a file for the next process.

Indexing the kernel's 126,000 types takes longer than listing 5,000 programs should. What is kept is
believed as far as Python believes its own .pyc files: it is ours alone to write, or it is passed
over; it names the kernel build that it was made for; and whatever is in it, the kernel's verifier
has the last word.
"""

from __future__ import annotations

import struct
from binascii import crc32

from bpflens.privatefile import keep, read

_MAGIC = b"bpflens-iterators-1\n"
_HEAD = struct.Struct("=IIII")
"""Checksum of all that follows; length of the identity; BTF ID to attach to; programs."""
_LENGTH = struct.Struct("=I")
_LARGEST = 1 << 16
_MOST = 8

Kept = tuple[int, list[bytes]]
"""The BTF ID of the iterator's target, and programs to try, the best first."""


def load(path: str, identity: bytes) -> Kept | None:
    """What `save` put there for the same identity; None for anything else."""
    content = read(path, _LARGEST)
    return _decode(content, identity) if content is not None else None


def _decode(content: bytes, identity: bytes) -> Kept | None:
    at = len(_MAGIC)
    if content[:at] != _MAGIC or len(content) < at + _HEAD.size:
        return None
    checksum, length, target, count = _HEAD.unpack_from(content, at)
    if crc32(content[at + 4 :]) != checksum or count > _MOST:
        return None
    at += _HEAD.size
    if content[at : at + length] != identity:
        return None
    at += length
    programs: list[bytes] = []
    for _ in range(count):
        (size,) = _LENGTH.unpack_from(content, at) if at + 4 <= len(content) else (0,)
        at += 4
        if not size or size % 8 or at + size > len(content):
            return None
        programs.append(content[at : at + size])
        at += size
    return (target, programs) if at == len(content) else None


def save(path: str, identity: bytes, kept: Kept) -> None:
    """Put it there at once and whole. What keeps it from being written costs time, and no more."""
    target, programs = kept
    parts = (_LENGTH.pack(len(insns)) + insns for insns in programs)
    tail = struct.pack("=III", len(identity), target, len(programs)) + identity + b"".join(parts)
    keep(path, _MAGIC + _LENGTH.pack(crc32(tail)) + tail)
