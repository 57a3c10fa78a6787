"""Tables of functions that stand in for a kernel interface, by the maps that hold them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from bpflens.abi.enums import LinkType
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.attach.targets import Targets
from bpflens.btf import types as t
from bpflens.btf.parse import Btf
from bpflens.errors import FormatError
from bpflens.model.map import Map
from bpflens.model.parts import Missing

_STATE = struct.Struct("=4xI")
"""struct bpf_struct_ops_common_value: how many use the table, and its state."""
_IN_USE, _READY = 1, 3
"""BPF_STRUCT_OPS_STATE_INUSE: registered; _READY: registered while there is a link. Since: 6.4."""


class Table(NamedTuple):
    """A table of functions, as far as it was filled."""

    registered: bool
    """Whether the kernel uses it by itself, and not for a link."""
    linked: bool
    """Whether it is for links."""
    programs: list[tuple[str, int]]
    """The members that are programs, with their IDs."""


def look(targets: Targets, found: Map) -> Iterator[Attachment | Failure]:
    """The programs of one map, if it is registered. Raises BpflensError."""
    places = targets.places
    table = read(places, found)
    if isinstance(table, Missing):
        yield Failure("struct_ops", f"map {found.id}", str(table))
        return
    link = _link(places, found.id) if table.linked else None
    if not table.registered and link is None:
        return
    name = targets.struct_ops(found.id)
    for member, prog_id in table.programs:
        yield Attachment(
            prog_id,
            "struct_ops",
            f"map {found.id}" if isinstance(name, Missing) else name,
            None,
            [],
            "map",
            link,
            member,
            None,
            None,
            {"target": str(name)} if isinstance(name, Missing) else {},
            map_id=found.id,
        )


def read(places: Places, found: Map) -> Table | Missing:
    """The table that a map is. Raises BpflensError.

    Whoever reads the value gets the ID of each program in place of its function
    (bpf_struct_ops_map_sys_lookup_elem()). Since: 5.6.
    """
    value = found.lookup(bytes(4)).values[0]
    (state,) = _STATE.unpack_from(value)
    if not state:  # nothing was put in
        return Table(False, False, [])
    types = _types(places, found)
    if isinstance(types, Missing):
        return types
    programs = list(_functions(types, found.basic().btf_vmlinux_value_type_id, value))
    return Table(state == _IN_USE, state == _READY, programs)


def _link(places: Places, map_id: int) -> int | None:
    for link in places.links:
        if link.type is LinkType.STRUCT_OPS and link.map_id == map_id:
            return link.id
    return None


def _types(places: Places, found: Map) -> Btf | Missing:
    """The types that the value's type is one of: a module's, since 6.9, or the kernel's."""
    btf_id = found.basic().btf_vmlinux_id
    told = places.system.btf(btf_id) if btf_id else None
    return told if isinstance(told, Btf) else places.system.kernel_types()


def _functions(btf: Btf, type_id: int, value: bytes) -> Iterator[tuple[str, int]]:
    """The members of the table that are programs, with their IDs."""
    whole = btf.strip(type_id)
    data = whole.members[-1] if isinstance(whole, t.Struct) and whole.members else None
    table = btf.strip(data.type_id) if data else None
    if data is None or not isinstance(table, t.Struct):
        raise FormatError(f"type {type_id} is no table of functions", 0)
    for member in table.members:
        pointer = btf.strip(member.type_id)
        if not isinstance(pointer, t.Ptr) or not isinstance(btf.strip(pointer.to), t.FuncProto):
            continue
        at = (data.bit_offset + member.bit_offset) // 8
        (prog_id,) = struct.unpack_from("=Q", value, at) if at + 8 <= len(value) else (0,)
        if prog_id:
            yield member.name, prog_id
