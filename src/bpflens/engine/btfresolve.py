"""The second walk of BTF_LOAD: what types refer to, and how large they are (kernel/bpf/btf.c).

It goes as Linux goes, with a stack of its own instead of recursion: which type is met first
decides between EINVAL, EEXIST for a type that ends in itself, and E2BIG for a chain too long.
"""

from __future__ import annotations

import errno
import struct

from bpflens.engine.btfmeta import (
    ARRAY,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    INT,
    MODIFIERS,
    PTR,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
    VOID,
    Metas,
    Record,
    bad,
)
from bpflens.engine.call import err

_DEPTH = 32
"""MAX_RESOLVE_DEPTH."""
_NEW, _VISITED, _DONE = range(3)
"""env->visit_states."""
_ANY, _POINTER, _COMPOSITE = range(3)
"""env->resolve_mode: what the first of a chain is that is no modifier."""
_COMPOSITES = (STRUCT, UNION)
_RESOLVED = (*MODIFIERS, PTR, *_COMPOSITES, ARRAY, VAR, FUNC, DECL_TAG, DATASEC)
"""btf_type_needs_resolve()."""
_PASSED = {
    _ANY: _RESOLVED,
    _POINTER: (*MODIFIERS, PTR),
    _COMPOSITE: (*MODIFIERS, ARRAY, *_COMPOSITES),
}
"""Kinds at which a chain does not end: env_type_is_resolve_sink()."""
_SOURCES = (VAR, DECL_TAG, DATASEC)
"""Kinds to which no other type refers: btf_type_is_resolve_source_only()."""
_SIZELESS = (VOID, FWD, FUNC, FUNC_PROTO, DECL_TAG)
_SIZED = (INT, *_COMPOSITES, ENUM, DATASEC, FLOAT, ENUM64)
_POINTABLE = (VOID, FWD, FUNC_PROTO)
"""What has no size and may still be behind a pointer or modifier."""
_ENUM_BITS = 32
"""sizeof(int), which an enum has where bits are counted, however large it is."""


class Resolver(Metas):
    """Follows every type to the end."""

    def resolve_all(self) -> None:
        """btf_check_all_types()."""
        count = len(self.records)
        self.states = [_NEW] * count
        self.ends = [0] * count
        """Type → what it is without modifiers (btf->resolved_ids)."""
        self.sizes = [0] * count
        """Array → its size (btf->resolved_sizes)."""
        self.stack: list[int] = []
        self.mode = _ANY
        self.following = [0] * count
        """Type → how many members of it are resolved."""
        for id in range(1, count):
            self.complete(id)
            if self.records[id].kind == FUNC_PROTO:
                self.prototype(self.records[id])

    def complete(self, id: int) -> None:
        """btf_resolve(), of what needs it."""
        if self.records[id].kind not in _RESOLVED or self.states[id] == _DONE:
            return
        self.mode = _ANY
        self.push(id)
        while self.stack:
            r = self.records[self.stack[-1]]
            _RESOLVERS[r.kind](self, r)
        r = self.records[id]
        followed = r.kind in (*MODIFIERS, PTR, VAR)
        if followed and self.kind_of(self.ends[id]) in (*MODIFIERS, VAR, DATASEC):
            bad()

    def push(self, id: int) -> None:
        """env_stack_push()."""
        if len(self.stack) == _DEPTH:
            raise err(errno.E2BIG)
        if self.states[id] != _NEW:
            raise err(errno.EEXIST)
        self.states[id] = _VISITED
        self.stack.append(id)
        kind = self.records[id].kind
        if self.mode == _ANY and kind == PTR:
            self.mode = _POINTER
        elif self.mode == _ANY and kind in (ARRAY, *_COMPOSITES):
            self.mode = _COMPOSITE

    def pop(self, end: int, size: int = 0) -> None:
        """env_stack_pop_resolved()."""
        id = self.stack.pop()
        self.ends[id] = end
        self.sizes[id] = size
        self.states[id] = _DONE

    def waits(self, id: int) -> bool:
        """Whether a type has to be resolved first; it is then on the stack."""
        if self.records[id].kind not in _PASSED[self.mode] or self.states[id] == _DONE:
            return False
        self.push(id)
        return True

    # --- what is known of a type

    def kind_of(self, id: int) -> int:
        """The kind of a type; EINVAL if there is none."""
        if id >= len(self.records):
            bad()
        return self.records[id].kind

    def referable(self, id: int, sized: bool = False) -> int:
        """The kind of a type that another refers to."""
        kind = self.kind_of(id)
        if kind in _SOURCES or (sized and kind in _SIZELESS):
            bad()
        return kind

    def size_of(self, id: int) -> tuple[int, int] | None:
        """The type without modifiers, and its size, if it has one: btf_type_id_size()."""
        if self.records[id].kind in (*MODIFIERS, VAR):
            id = self.ends[id]
        r = self.records[id]
        if r.kind in _SIZED:
            return id, r.size
        if r.kind == ARRAY:
            return id, self.sizes[id]
        return (id, 8) if r.kind == PTR else None

    def must_have_size(self, id: int) -> tuple[int, int]:
        return self.size_of(id) or bad()

    def is_regular(self, id: int) -> bool:
        """Whether an integer has whole bytes, as arrays need: btf_type_int_is_regular()."""
        (word,) = struct.unpack_from("<I", self.data, self.records[id].at)
        return word & 0xFF in (8, 16, 32, 64, 128) and not word >> 16 & 0xFF

    # --- kind by kind

    def reference(self, r: Record) -> None:
        """btf_modifier_resolve(), btf_ptr_resolve(), btf_var_resolve()."""
        target = r.size
        kind = self.referable(target)
        if self.waits(target):
            return
        if r.kind in (PTR, VAR) and kind in MODIFIERS:
            # a modifier that was resolved for a struct may have stopped at a pointer
            end = self.ends[target]
            if self.records[end].kind == PTR and self.waits(end):
                return
        found = self.size_of(target)
        if found:
            target = found[0]
        elif r.kind == VAR:
            bad()
        else:
            if self.states[target] == _DONE:
                target = self.ends[target]
            if self.records[target].kind not in _POINTABLE:
                bad()
        self.pop(target)

    def array(self, r: Record) -> None:
        """btf_array_resolve()."""
        element, index, count = struct.unpack_from("<3I", self.data, r.at)
        self.referable(index, sized=True)
        if self.waits(index):
            return
        end, _ = self.must_have_size(index)
        if self.records[end].kind != INT or not self.is_regular(end):
            bad()
        self.referable(element, sized=True)
        if self.waits(element):
            return
        end, size = self.must_have_size(element)
        if self.records[end].kind == INT and not self.is_regular(end):
            bad()
        if size * count > 0xFFFFFFFF:
            bad()
        self.pop(end, size * count)

    def composite(self, r: Record) -> None:
        """btf_struct_resolve(): goes on behind the member that it waited for."""
        me = self.stack[-1]
        first = self.following[me]
        if first:
            self.member(r, first - 1)
        for n in range(first, r.vlen):
            _, type_id, _ = struct.unpack_from("<3I", self.data, r.at + n * 12)
            self.referable(type_id, sized=True)
            if self.waits(type_id):
                self.following[me] = n + 1
                return
            self.member(r, n)
        self.pop(0)

    def section(self, r: Record) -> None:
        """btf_datasec_resolve()."""
        self.mode = _ANY
        me = self.stack[-1]
        for n in range(self.following[me], r.vlen):
            type_id, _, size = struct.unpack_from("<3I", self.data, r.at + n * 12)
            if self.kind_of(type_id) != VAR:
                bad()
            if self.waits(type_id):
                self.following[me] = n + 1
                return
            if size < self.must_have_size(self.records[type_id].size)[1]:
                bad()
        self.pop(0)

    def function(self, r: Record) -> None:
        """btf_func_check(): its parameters have names."""
        if self.kind_of(r.size) != FUNC_PROTO:
            bad()
        proto = self.records[r.size]
        for n in range(proto.vlen):
            name, type_id = struct.unpack_from("<2I", self.data, proto.at + n * 8)
            if type_id and not name:
                bad()
        self.pop(r.size)

    def tag(self, r: Record) -> None:
        """btf_decl_tag_resolve()."""
        kind = self.kind_of(r.size)
        if kind not in (*_COMPOSITES, FUNC, VAR, TYPEDEF):
            bad()
        if self.waits(r.size):
            return
        (component,) = struct.unpack_from("<i", self.data, r.at)
        target = self.records[r.size]
        if kind == FUNC:
            target = self.records[target.size]
        if component != -1 and (kind in (VAR, TYPEDEF) or component >= target.vlen):
            bad()
        self.pop(r.size)

    def prototype(self, r: Record) -> None:
        """btf_func_proto_check()."""
        if r.size:
            self.parameter(r.size)
        for n in range(r.vlen):
            name, type_id = struct.unpack_from("<2I", self.data, r.at + n * 8)
            if not type_id and n == r.vlen - 1:
                if name:
                    bad()
                return  # any more arguments
            self.parameter(type_id, name)

    def parameter(self, id: int, name: int = 0) -> None:
        self.referable(id)
        if name:
            self.identifier(name)
        self.complete(id)
        self.must_have_size(id)

    def tags_first(self) -> None:
        """btf_check_type_tags(): behind a modifier comes no tag."""
        for r in self.records:
            plain = r.kind in MODIFIERS and r.kind != TYPE_TAG
            if plain and self.records[r.size].kind == TYPE_TAG:
                bad()

    # --- members

    def member(self, r: Record, n: int) -> None:
        """btf_*_check_member(), btf_*_check_kflag_member(): it lies inside."""
        _, type_id, where = struct.unpack_from("<3I", self.data, r.at + n * 12)
        offset, bits = (where & 0xFFFFFF, where >> 24) if r.kflag else (where, 0)
        id, size = self.must_have_size(type_id)
        kind = self.records[id].kind
        if kind == INT:
            self.integer_member(r, id, offset, bits)
        elif kind in (ENUM, ENUM64) and r.kflag:
            if (not bits and offset % 8) or bits > _ENUM_BITS:
                bad()
            if -(-(offset + (bits or _ENUM_BITS)) // 8) > r.size:
                bad()
        else:
            align = min(size, 8) if kind == FLOAT else 1
            if bits or offset % (8 * align) or offset // 8 + size > r.size:
                bad()

    def integer_member(self, r: Record, id: int, offset: int, bits: int) -> None:
        (word,) = struct.unpack_from("<I", self.data, self.records[id].at)
        most = word & 0xFF
        if r.kflag:
            if not self.is_regular(id) or bits > most or (not bits and offset % 8):
                bad()
        else:
            offset += word >> 16 & 0xFF
        copied = (bits or most) + offset % 8
        if copied > 128 or offset // 8 + -(-copied // 8) > r.size:
            bad()


_RESOLVERS = {
    **dict.fromkeys((*MODIFIERS, PTR, VAR), Resolver.reference),
    **dict.fromkeys(_COMPOSITES, Resolver.composite),
    ARRAY: Resolver.array,
    DATASEC: Resolver.section,
    FUNC: Resolver.function,
    DECL_TAG: Resolver.tag,
}
