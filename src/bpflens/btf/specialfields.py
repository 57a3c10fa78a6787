"""Fields of structs that the kernel keeps to itself (enum btf_field_type): locks, timers, lists.

In a map's value user space reads zeros in their place (of a reference count, one), and what it
writes there is dropped: copy_map_value() and check_and_init_map_value() in include/linux/bpf.h.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple

from bpflens.btf import types as t
from bpflens.btf.parse import Btf

STRUCTS = {
    "bpf_spin_lock": (4, 4),
    "bpf_res_spin_lock": (4, 4),
    "bpf_refcount": (4, 4),
    "bpf_task_work": (8, 8),
    "bpf_timer": (16, 8),
    "bpf_wq": (16, 8),
    "bpf_list_head": (16, 8),
    "bpf_list_node": (24, 8),
    "bpf_rb_root": (16, 8),
    "bpf_rb_node": (32, 8),
}
"""Size and alignment of each: a struct of another size means nothing (btf_get_field_type())."""

LOCKS = frozenset({"bpf_spin_lock", "bpf_res_spin_lock"})
ROOTS = frozenset({"bpf_list_head", "bpf_rb_root"})
NODES = frozenset({"bpf_list_node", "bpf_rb_node"})
TIMERS = frozenset({"bpf_timer", "bpf_wq", "bpf_task_work"})
POINTERS = frozenset({"kptr", "kptr_untrusted", "percpu_kptr"})
"""Tags of pointers to objects of the kernel; a `uptr` is user space's to write."""

IN_VALUES = frozenset(STRUCTS) - NODES | POINTERS
"""What map_check_btf() looks for."""
IN_OBJECTS = frozenset(STRUCTS) - TIMERS | POINTERS
"""What btf_parse_struct_metas() looks for in the types of objects that programs allocate."""

_SEVERAL = ROOTS | NODES | POINTERS
"""Of these a struct may have more than one."""
_REPEATED = ROOTS | POINTERS
"""Of these an array may have more than one: btf_repeat_fields()."""

MAX_DEPTH = 32
MOST = 11
"""BTF_FIELDS_MAX."""


class Refused(Exception):
    """The kernel refuses to parse the struct, with this errno."""

    def __init__(self, errno: int = errno.EINVAL) -> None:
        self.errno = errno


class SpecialField(NamedTuple):
    """Where one is, in bytes; `kind` is the struct's name or the pointer's tag."""

    path: str
    kind: str
    at: int
    size: int


def special_fields(btf: Btf, type_id: int) -> list[SpecialField]:
    """Those of a map's value, as Linux finds them since 6.11 (64e8ee814819).

    A value with a field that the kernel refuses is plain bytes as a whole: map_check_btf() passes
    over the error. Raises FormatError.
    """
    found = btf.strip(type_id)
    if not isinstance(found, t.Struct):
        return []
    try:
        return parse_fields(btf, found, IN_VALUES)
    except Refused:
        return []


def parse_fields(btf: Btf, struct: t.Struct, kinds: frozenset[str]) -> list[SpecialField]:
    """btf_parse_fields(): the fields of these kinds in a struct. Raises Refused, FormatError."""
    found = _Walk(btf, kinds).struct(struct, 0)
    has = {field.kind for field in found}
    if has >= LOCKS or (has & ROOTS and not has & LOCKS):
        raise Refused
    if has >= NODES and "bpf_refcount" not in has:
        raise Refused
    end = 0
    for field in sorted(found, key=lambda field: field.at):
        if field.at < end:
            raise Refused(errno.EEXIST)
        end = field.at + field.size
    return [field._replace(path=field.path.removeprefix(".")) for field in found]


class _Walk:
    """A walk over a struct and what it holds; each struct is walked once."""

    def __init__(self, btf: Btf, kinds: frozenset[str]) -> None:
        self.btf = btf
        self.kinds = kinds
        self.known: dict[int, list[SpecialField]] = {}

    def struct(self, struct: t.Struct, depth: int) -> list[SpecialField]:
        """btf_find_struct_field()."""
        if depth == MAX_DEPTH:
            raise Refused(errno.E2BIG)
        found: list[SpecialField] = []
        direct: list[str] = []
        for index, member in enumerate(map(self.btf.place, struct.members)):
            if member.bit_offset % 8:
                raise Refused
            at = member.bit_offset // 8
            named = f".{member.name}" if member.name else ""
            for field in self.member(member.type_id, at, depth):
                if field.kind in ROOTS and "." not in field.path:
                    self._check_root(struct, index)
                found.append(field._replace(path=named + field.path, at=at + field.at))
                if "." not in field.path:
                    direct.append(field.kind)
        if len(found) > MOST or any(direct.count(kind) > 1 for kind in STRUCTS.keys() - _SEVERAL):
            raise Refused(errno.E2BIG)
        return found

    def member(self, type_id: int, at: int, depth: int) -> Iterator[SpecialField]:
        """btf_find_field_one(). A name for the type hides it: no typedef is followed."""
        found = self.btf[type_id]
        counts: list[int] = []
        while isinstance(found, t.Array):
            if len(counts) == MAX_DEPTH:
                raise Refused(errno.E2BIG)
            counts.append(found.nelems)
            type_id, found = found.element, self.btf[found.element]
        if 0 in counts:
            return
        inner = self._element(type_id, found, at, depth)
        if counts and inner:
            step = found.size if isinstance(found, t.Struct) else self.btf.pointer_size
            yield from _repeated(inner, counts, step)
        else:
            yield from inner

    def _element(self, type_id: int, found: t.Type, at: int, depth: int) -> list[SpecialField]:
        if not isinstance(found, t.Struct):
            tag, size = self._tag(found), self.btf.pointer_size
            return [SpecialField("", tag, 0, size)] if tag and at % size == 0 else []
        if found.name in self.kinds:
            size, align = STRUCTS[found.name]
            fits = found.size == size and at % align == 0
            return [SpecialField("", found.name, 0, size)] if fits else []
        if type_id not in self.known:
            self.known[type_id] = self.struct(found, depth + 1)
        return self.known[type_id]

    def _tag(self, found: t.Type) -> str:
        """The tag of a pointer to an object of the kernel, or nothing: btf_find_kptr()."""
        if isinstance(found, t.Volatile):
            found = self.btf[found.to]
        tag = self.btf[found.to] if isinstance(found, t.Ptr) else None
        if not isinstance(tag, t.TypeTag):
            return ""
        if isinstance(self.btf[tag.to], t.TypeTag) or tag.name not in POINTERS | {"uptr"}:
            raise Refused
        if tag.name == "uptr":
            return ""
        if not isinstance(self.btf.strip(tag.to), t.Struct):
            raise Refused
        return tag.name

    def _check_root(self, struct: t.Struct, index: int) -> None:
        """btf_find_graph_root(): a tag says what the list or tree contains."""
        for type_id in self.btf.ids_of(t.DeclTag):
            tag = self.btf[type_id]
            if (
                isinstance(tag, t.DeclTag)
                and (tag.type_id, tag.component) == (struct.id, index)
                and tag.name.startswith("contains:")
            ):
                return
        raise Refused


def _repeated(inner: list[SpecialField], counts: list[int], step: int) -> Iterator[SpecialField]:
    """btf_repeat_fields(): of an array's elements."""
    places = [""]
    for count in counts:
        if len(places) * count * len(inner) > MOST:
            raise Refused(errno.E2BIG)
        places = [f"{place}[{index}]" for place in places for index in range(count)]
    if len(places) > 1 and any(field.kind not in _REPEATED for field in inner):
        raise Refused
    for number, place in enumerate(places):
        for field in inner:
            yield field._replace(path=place + field.path, at=field.at + number * step)
