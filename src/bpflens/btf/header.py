"""The header of a BTF file: in which byte order it is, and where its sections are."""

from __future__ import annotations

from bpflens import limits
from bpflens.btf.types import Record
from bpflens.errors import FormatError, TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

MAGIC = 0xEB9F
HEADER_SIZE = 24
"""Of `struct btf_header` before Linux 7.2, which adds the layout section."""

_KINDS = 128
_LAYOUT_SIZE = 4
"""Of `struct btf_layout`, of which there is one for each kind."""


class Header(Record):
    """Places in bytes from the start of the file; `layout` is a copy of that section, or empty."""

    byteorder: Literal["little", "big"]
    types_at: int
    types_len: int
    strings_at: int
    strings_len: int
    layout: bytes


def read_header(view: memoryview) -> Header:
    """The header, its sections known to be within the file. Raises FormatError.

    A header that is longer than we know is read as far as we know it: what the fields of today say
    holds in it, too.
    """
    if len(view) < HEADER_SIZE:
        raise FormatError("BTF header cut short", len(view))
    byteorder = _byteorder(view)
    if view[2] != 1:
        raise FormatError(f"BTF version {view[2]} is not known", 2)

    def field(at: int) -> int:
        return int.from_bytes(view[at : at + 4], byteorder)

    header_len = field(4)
    if not HEADER_SIZE <= header_len <= len(view):
        raise FormatError(f"BTF header of {header_len} bytes", 4)

    def section(at: int, what: str) -> tuple[int, int]:
        start, size = header_len + field(at), field(at + 4)
        if start + size > len(view):
            raise FormatError(f"{what} section runs past the end", at + 4)
        if size > limits.BTF_SECTION_BYTES.value:
            what = f"{what} section of {size} bytes: {limits.BTF_SECTION_BYTES}"
            raise TooLarge(what, at + 4)
        return start, size

    types_at, types_len = section(8, "type")
    if field(8) % 4 or types_len % 4:
        raise FormatError("type section is not made of 32-bit words", 8)
    strings_at, strings_len = section(16, "string")
    layout = b""
    if header_len >= HEADER_SIZE + 8:
        layout_at, layout_len = section(24, "layout")
        layout = bytes(view[layout_at : layout_at + min(layout_len, _KINDS * _LAYOUT_SIZE)])
    return Header(byteorder, types_at, types_len, strings_at, strings_len, layout)


def _byteorder(view: memoryview) -> Literal["little", "big"]:
    """The one in which the first two bytes are the magic number."""
    if int.from_bytes(view[:2], "little") == MAGIC:
        return "little"
    if int.from_bytes(view[:2], "big") == MAGIC:
        return "big"
    raise FormatError("no BTF: wrong magic number", 0)
