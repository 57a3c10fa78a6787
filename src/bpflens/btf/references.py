"""Which types a type refers to, and the same type with other references."""

from __future__ import annotations

from bpflens.btf import types as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def references(found: t.Type) -> tuple[int, ...]:
    """The ids that a type names, in the order of its record; `void` (0) among them."""
    match found:
        case t.Ptr() | t.Reference() | t.Typedef() | t.TypeTag():
            return (found.to,)
        case t.Array():
            return (found.element, found.index)
        case t.Composite():
            return tuple(member.type_id for member in found.members)
        case t.Func() | t.Var() | t.DeclTag():
            return (found.type_id,)
        case t.FuncProto():
            return (found.ret, *(param.type_id for param in found.params))
        case t.DataSec():
            return tuple(variable.type_id for variable in found.variables)
    return ()


def renumber(found: t.Type, new: Callable[[int], int]) -> t.Type:
    """The type with each id, its own too, replaced by `new(id)`."""
    id = new(found.id)
    match found:
        case t.Ptr() | t.Reference():
            return type(found)(id, new(found.to))
        case t.Typedef():
            return t.Typedef(id, found.name, new(found.to))
        case t.TypeTag():
            return t.TypeTag(id, found.name, new(found.to))
        case t.Array():
            return t.Array(id, new(found.element), new(found.index), found.nelems)
        case t.Composite():
            members = (
                t.Member(m.name, new(m.type_id), m.bit_offset, m.bitfield_size)
                for m in found.members
            )
            return type(found)(id, found.name, found.size, tuple(members))
        case t.Func() | t.Var():
            return type(found)(id, found.name, new(found.type_id), found.linkage)
        case t.FuncProto():
            params = tuple(t.Param(p.name, new(p.type_id)) for p in found.params)
            return t.FuncProto(id, new(found.ret), params)
        case t.DataSec():
            places = (t.SectionVar(new(v.type_id), v.offset, v.size) for v in found.variables)
            return t.DataSec(id, found.name, found.size, tuple(places))
        case t.DeclTag():
            return t.DeclTag(id, found.name, new(found.type_id), found.component)
    values = (getattr(found, field) for field in found.fields[1:])
    return type(found)(id, *values)
