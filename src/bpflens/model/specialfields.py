"""Fields of map values that the kernel keeps to itself (enum btf_field_type): locks, timers, lists.

User space reads zeros in their place, and what it writes there is dropped (copy_map_value() and
check_and_init_map_value() in include/linux/bpf.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from bpflens.btf import Btf
from bpflens.btf import types as t

STRUCTS = frozenset(
    {
        "bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_task_work",
        "bpf_list_head", "bpf_list_node", "bpf_rb_root", "bpf_rb_node", "bpf_refcount",
    }
)  # fmt: skip
POINTERS = frozenset({"kptr", "kptr_untrusted", "percpu_kptr"})
"""Tags of pointers to objects of the kernel; a `uptr` is user space's to write."""
LOCKS = frozenset({"bpf_spin_lock", "bpf_res_spin_lock"})

MAX_DEPTH = 8
MOST = 1024


class SpecialField(NamedTuple):
    """Where one is, in bytes; `kind` is the struct's name or the pointer's tag."""

    path: str
    kind: str
    at: int
    size: int


def special_fields(btf: Btf, type_id: int) -> list[SpecialField]:
    """Those of a map's value, as btf_parse_fields() finds them. Raises FormatError."""
    return list(islice(_within(btf, type_id, "", 0, 0), MOST))


def _within(btf: Btf, type_id: int, path: str, at: int, depth: int) -> Iterator[SpecialField]:
    found = btf.strip(type_id)
    if depth > MAX_DEPTH:
        return
    match found:
        case t.Struct(name=name) if name in STRUCTS:
            yield SpecialField(path, name, at, found.size)
        case t.Struct():
            for member in map(btf.place, found.members):
                if not member.bitfield_size:
                    inner = f"{path}.{member.name}" if path else member.name
                    start = at + member.bit_offset // 8
                    yield from _within(btf, member.type_id, inner, start, depth + 1)
        case t.Array():
            size = btf.sizeof(found.element)
            if any(_within(btf, found.element, "", 0, depth + 1)):
                for index in range(min(found.nelems, MOST)):
                    place = at + index * size
                    inner = f"{path}[{index}]"
                    yield from _within(btf, found.element, inner, place, depth + 1)
        case t.Ptr():
            target = btf[found.to]
            if isinstance(target, t.TypeTag) and target.name in POINTERS:
                yield SpecialField(path, target.name, at, btf.pointer_size)
