"""System calls in words, decoded as strace would: for the tracer and for recordings."""

from __future__ import annotations

import errno as codes
from collections.abc import Callable

from bpflens.abi.attrs import ATTRS
from bpflens.abi.enums import AttachType, Cmd, LinkType, MapFlag, MapType, ProgType
from bpflens.abi.record import Record
from bpflens.errors import ENOTSUPP
from bpflens.port.memory import Memory

_ENUMS: dict[str, Callable[[int], object]] = {
    "map_type": lambda value: MapType(value).name,
    "prog_type": lambda value: ProgType(value).name,
    "attach_type": lambda value: AttachType(value).name,
    "expected_attach_type": lambda value: AttachType(value).name if value else 0,
    "link_type": lambda value: LinkType(value).name,
    "map_flags": lambda value: "|".join(MapFlag(value).labels()).upper() or 0,
}
"""Fields whose numbers have names."""

_TEXTS = {"pathname", "name", "license", "tp_name"}
"""Pointers to NUL-terminated text."""

PREVIEW = 16
"""Bytes of a buffer that are shown."""


def call(cmd: int, attr: int, size: int, mem: Memory) -> str:
    """`bpf(CMD, {field=value, …}, size)`; fields that are 0 are left out."""
    word = Cmd(cmd)
    try:
        data = mem.read(attr, size)
    except OSError:
        return f"bpf({word.name}, {attr:#x}, {size})"
    record = ATTRS.get(word)
    inner = data.hex() if record is None else fields(record.decode(data), mem)
    return f"bpf({word.name}, {{{inner}}}, {size})"


def fields(record: Record, mem: Memory) -> str:
    """The fields of a record that are not 0, pointers with what they point at."""
    told = []
    for name, field in type(record).__layout__.items():
        value = getattr(record, name)
        if not value or name.startswith("pad_"):
            continue
        if field.kind == "Ptr":
            text = _pointed(name, value, mem)
        elif isinstance(value, bytes):
            text = '"' + value.decode(errors="backslashreplace") + '"'
        else:
            text = str(_ENUMS[name](value) if name in _ENUMS else value)
        told.append(f"{name}={text}")
    return ", ".join(told)


def _pointed(name: str, address: int, mem: Memory) -> str:
    for start, buffer in mem.pinned():
        if start == address:
            if name in _TEXTS:
                return (
                    '"' + bytes(buffer).partition(b"\0")[0].decode(errors="surrogateescape") + '"'
                )
            if len(buffer) <= PREVIEW:
                return bytes(buffer).hex()
            return f"{bytes(buffer[:PREVIEW]).hex()}...[{len(buffer)}]"
    return f"{address:#x}"


def error(code: int) -> str:
    """`-1 ENOENT`."""
    name = "ENOTSUPP" if code == ENOTSUPP else codes.errorcode.get(code, str(code))
    return f"-1 {name}"
