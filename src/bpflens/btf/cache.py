"""The index of a large BTF, kept in a file, so that the next process need not walk all records.

A file belongs to one content: its name is the SHA-256 of the BTF. It holds where each record begins
and at what offset its name is, as two arrays of native 32-bit words, and a checksum over all of it.
Nothing in it is believed beyond that. A file that is cut short, altered, or not ours alone to write
is passed over and written again; and should one lie in spite of that, what is read through it is
checked against the BTF's own bounds, so that the worst it can give is a wrong answer about types or
a FormatError.

Which directory, the caller says.
"""

from __future__ import annotations

import os
import struct
import sys
from hashlib import sha256

from bpflens import privatefile
from bpflens.btf.parse import MAX_TYPES, Btf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Index: TypeAlias = tuple[memoryview, memoryview]

_MAGIC = b"bpflens-btf-1" + sys.byteorder[:1].encode()
_HEADER = struct.Struct("=14sI")
_CHECKSUM_SIZE = 32
_LARGEST = _HEADER.size + 8 * MAX_TYPES + _CHECKSUM_SIZE


def load(data: bytes | bytearray | memoryview, directory: str) -> Btf:
    """The types in `data`, by the index that an earlier process left in `directory`, or a new one.

    The directory is made if it is missing. What keeps the index from being read or written costs
    time and nothing else. Raises FormatError as `Btf.parse` does.
    """
    path = os.path.join(directory, sha256(data).hexdigest() + ".btfindex")
    content = privatefile.read(path, _LARGEST)
    index = _decode(content) if content is not None else None
    if index is not None:
        return Btf(data, index=index)
    btf = Btf.parse(data)
    privatefile.replace(path, _encode(btf.index))
    return btf


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


def _encode(index: Index) -> bytes:
    positions, names = index
    content = _HEADER.pack(_MAGIC, len(positions)) + positions.tobytes() + names.tobytes()
    return content + sha256(content).digest()
