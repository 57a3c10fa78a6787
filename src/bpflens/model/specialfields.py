"""Fields of map values that the kernel keeps to itself (enum btf_field_type): locks, timers, lists.

User space reads zeros in their place, and what it writes there is dropped (copy_map_value() and
check_and_init_map_value() in include/linux/bpf.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.model.typed import type_ids

if TYPE_CHECKING:
    from bpflens.model.map import Map

STRUCTS = frozenset(
    {
        "bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_task_work",
        "bpf_list_head", "bpf_list_node", "bpf_rb_root", "bpf_rb_node", "bpf_refcount",
    }
)  # fmt: skip
POINTERS = frozenset({"kptr", "kptr_untrusted", "percpu_kptr"})
"""Tags of pointers to objects of the kernel; a `uptr` is user space's to write."""

ONLY_ONE = frozenset(
    {
        "bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_task_work",
        "bpf_refcount",
    }
)  # fmt: skip
"""Of these a value has one at most (btf_get_field_type())."""

MAX_DEPTH = 32
MOST = 1024


class _Refused(Exception):
    """The kernel refuses to parse the value, and takes it for plain bytes (map_check_btf())."""


class SpecialField(NamedTuple):
    """Where one is, in bytes; `kind` is the struct's name or the pointer's tag."""

    path: str
    kind: str
    at: int
    size: int


def of_map(map: Map) -> list[SpecialField]:
    """Those of a map's values: by the types that the kernel knows, however a person reads them.

    Raises FormatError.
    """
    ids = type_ids(map)
    if ids is None or not ids.btf or not ids.value:  # types of the kernel itself: struct_ops
        return []
    btf = map.system.btf(ids.btf)
    return special_fields(btf, ids.value) if isinstance(btf, Btf) else []


def special_fields(btf: Btf, type_id: int) -> list[SpecialField]:
    """Those of a map's value, as btf_parse_fields() finds them. Raises FormatError."""
    try:
        found = _within(btf, type_id, {}, 0)
    except _Refused:
        return []
    kinds = [field.kind for field in found]
    if any(kinds.count(kind) > 1 for kind in ONLY_ONE):
        return []
    return [field._replace(path=field.path.removeprefix(".")) for field in found]


def _within(
    btf: Btf, type_id: int, known: dict[int, list[SpecialField]], depth: int
) -> list[SpecialField]:
    """Those of one type, `MOST` at most; a type that was seen is not walked again."""
    if type_id not in known and depth <= MAX_DEPTH:
        known[type_id] = list(islice(_of_parts(btf, type_id, known, depth), MOST))
    return known.get(type_id, [])


def _of_parts(
    btf: Btf, type_id: int, known: dict[int, list[SpecialField]], depth: int
) -> Iterator[SpecialField]:
    found = btf.strip(type_id)
    match found:
        case t.Struct(name=name) if name in STRUCTS:
            yield SpecialField("", name, 0, found.size)
        case t.Struct():
            for member in map(btf.place, found.members):
                if member.bit_offset % 8:
                    raise _Refused
                named = f".{member.name}" if member.name else ""
                for path, kind, at, size in _within(btf, member.type_id, known, depth + 1):
                    yield SpecialField(named + path, kind, at + member.bit_offset // 8, size)
        case t.Array():
            inner = _within(btf, found.element, known, depth + 1)
            step = btf.sizeof(found.element) if inner else 0
            for index in range(found.nelems if inner else 0):
                for path, kind, at, size in inner:
                    yield SpecialField(f"[{index}]{path}", kind, at + index * step, size)
        case t.Ptr():
            target = btf[found.to]
            if isinstance(target, t.TypeTag) and target.name in POINTERS:
                if not isinstance(btf.strip(found.to), t.Struct):
                    raise _Refused
                yield SpecialField("", target.name, 0, btf.pointer_size)
