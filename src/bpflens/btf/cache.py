"""The index of a large BTF, kept in a file, so that the next process need not walk all records.

A file belongs to one content: its name is the BLAKE2b hash of all that the walk looks at. It holds
where each record begins and at what offset its name is, as two arrays of native 32-bit words, and a
checksum over them. Nothing in it is believed beyond that. A file that is cut short, altered, or not
ours alone to write is passed over and written again; and should one lie in spite of that, what is
read through it is checked against the BTF's own bounds, so that the worst it can give is a wrong
answer about types or a FormatError.

Which directory, the caller says.
"""

from __future__ import annotations

import os
import struct
import sys
from _blake2 import blake2b  # hashlib would have OpenSSL loaded: 3 ms of start-up
from binascii import crc32

from bpflens.btf.header import read_header
from bpflens.btf.parse import MAX_TYPES, Btf
from bpflens.privatefile import keep, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Index: TypeAlias = tuple[memoryview, memoryview]

_MAGIC = f"bpflens-btf-2 {sys.byteorder[0]}".encode().ljust(16)
_HEADER = struct.Struct("=16sII")
"""What it is, the checksum of all that follows the header, and the number of types."""
_LARGEST = _HEADER.size + 8 * MAX_TYPES


def load(data: bytes | bytearray | memoryview, directory: str) -> Btf:
    """The types in `data`, by the index that an earlier process left in `directory`, or a new one.

    The directory is made if it is missing. What keeps the index from being read or written costs
    time and nothing else. Raises FormatError as `Btf.parse` does.
    """
    path = os.path.join(directory, _name(data) + ".btfindex")
    content = read(path, _LARGEST)
    index = _decode(content) if content is not None else None
    if index is not None:
        return Btf(data, index=index)
    btf = Btf.parse(data)
    keep(path, _encode(btf.index))
    return btf


def _name(data: bytes | bytearray | memoryview) -> str:
    """The same for every BTF that has the same index. Raises FormatError."""
    view = memoryview(data).cast("B")
    header = read_header(view)
    types = view[header.types_at : header.types_at + header.types_len]
    of_header = f"{header.byteorder} {header.layout.hex()}\n".encode()
    hashed = blake2b(of_header, digest_size=32)
    hashed.update(types)
    return hashed.hexdigest()


def _decode(content: bytes) -> Index | None:
    if len(content) < _HEADER.size:
        return None
    magic, checksum, count = _HEADER.unpack_from(content)
    if magic != _MAGIC or len(content) != _HEADER.size + 8 * count:
        return None
    words = memoryview(content)[_HEADER.size :]
    if crc32(words) != checksum:
        return None
    return words[: 4 * count].cast("I"), words[4 * count :].cast("I")


def _encode(index: Index) -> bytes:
    positions, names = index
    words = positions.tobytes() + names.tobytes()
    return _HEADER.pack(_MAGIC, crc32(words), len(positions)) + words
