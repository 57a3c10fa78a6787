"""Types as `bpftool btf dump` lists them, so that people can diff: a fact a line, or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple

from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.present.text import clean

Facts = dict[str, Any]
Row = tuple[Any, ...]

ANONYMOUS = "(anon)"
_ENCODINGS = {0: "(none)", t.Int.SIGNED: "SIGNED", t.Int.CHAR: "CHAR", t.Int.BOOL: "BOOL"}
_LINKAGES = {t.Var.STATIC: "static", t.Var.GLOBAL: "global", t.Var.EXTERN: "extern"}


class Shape(NamedTuple):
    """What bpftool tells of a kind of type (dump_btf_type() in its btf.c): the names and values of
    its facts, and of those of its parts, where it has parts."""

    kind: str
    keys: tuple[str, ...] = ()
    values: Callable[[Any], Row] = lambda found: ()
    parts: str = ""
    part_keys: tuple[str, ...] = ()
    part_values: Callable[[Any], list[Row]] = lambda found: []


def _members(found: t.Composite) -> list[Row]:
    return [
        (m.name or ANONYMOUS, m.type_id, m.bit_offset, m.bitfield_size)
        if m.bitfield_size
        else (m.name or ANONYMOUS, m.type_id, m.bit_offset)
        for m in found.members
    ]


def _composite(kind: str) -> Shape:
    def values(found: t.Composite) -> Row:
        return found.size, len(found.members)

    keys = ("name", "type_id", "bits_offset", "bitfield_size")
    return Shape(kind, ("size", "vlen"), values, "members", keys, _members)


def _enum(kind: str) -> Shape:
    def values(found: t.AnyEnum) -> Row:
        return "SIGNED" if found.signed else "UNSIGNED", found.size, len(found.values)

    keys = ("encoding", "size", "vlen")
    return Shape(kind, keys, values, "values", ("name", "val"), lambda found: [*found.values])


def _linked(kind: str) -> Shape:
    def values(found: t.Func | t.Var) -> Row:
        return found.type_id, _LINKAGES.get(found.linkage, "(unknown)")

    return Shape(kind, ("type_id", "linkage"), values)


def _reference(kind: str) -> Shape:
    return Shape(kind, ("type_id",), lambda found: (found.to,))


SHAPES: dict[type[t.Type], Shape] = {
    t.Void: Shape("VOID"),
    t.Int: Shape(
        "INT",
        ("size", "bits_offset", "nr_bits", "encoding"),
        lambda found: (
            found.size, found.offset, found.bits, _ENCODINGS.get(found.encoding, "UNKN")
        ),
    ),
    t.Ptr: _reference("PTR"),
    t.Array: Shape(
        "ARRAY",
        ("type_id", "index_type_id", "nr_elems"),
        attrgetter("element", "index", "nelems"),
    ),
    t.Struct: _composite("STRUCT"),
    t.Union: _composite("UNION"),
    t.Enum: _enum("ENUM"),
    t.Enum64: _enum("ENUM64"),
    t.Fwd: Shape("FWD", ("fwd_kind",), lambda found: ("union" if found.is_union else "struct",)),
    t.Typedef: _reference("TYPEDEF"),
    t.Volatile: _reference("VOLATILE"),
    t.Const: _reference("CONST"),
    t.Restrict: _reference("RESTRICT"),
    t.TypeTag: _reference("TYPE_TAG"),
    t.Func: _linked("FUNC"),
    t.Var: _linked("VAR"),
    t.FuncProto: Shape(
        "FUNC_PROTO",
        ("ret_type_id", "vlen"),
        lambda found: (found.ret, len(found.params)),
        "params",
        ("name", "type_id"),
        lambda found: [(p.name or ANONYMOUS, p.type_id) for p in found.params],
    ),
    t.DataSec: Shape(
        "DATASEC",
        ("size", "vlen"),
        lambda found: (found.size, len(found.variables)),
        "vars",
        ("type_id", "offset", "size"),
        lambda found: [(v.type_id, v.offset, v.size) for v in found.variables],
    ),
    t.Float: Shape("FLOAT", ("size",), lambda found: (found.size,)),
    t.DeclTag: Shape("DECL_TAG", ("type_id", "component_idx"), attrgetter("type_id", "component")),
    t.Unknown: Shape("UNKNOWN", ("number",), lambda found: (found.kind,)),
}  # fmt: skip


def facts(found: t.Type) -> Facts:
    """A type as `bpftool -j btf dump` tells it."""
    shape = SHAPES[type(found)]
    told = {"id": found.id, "kind": shape.kind, "name": getattr(found, "name", "") or ANONYMOUS}
    told |= zip(shape.keys, shape.values(found), strict=True)
    if shape.parts:
        # Of a member, the last is told only of a bit field.
        rows = shape.part_values(found)
        told[shape.parts] = [dict(zip(shape.part_keys, row, strict=False)) for row in rows]
    return told


def listing(btf: Btf, ids: Iterable[int]) -> Iterator[str]:
    """The lines of `bpftool btf dump … format raw`, safe to show."""
    heads = {kind: _head(shape) for kind, shape in SHAPES.items()}
    for found in btf.each(ids):
        kind = type(found)
        shape = SHAPES[kind]
        name = getattr(found, "name", "") or ANONYMOUS
        yield clean(heads[kind] % (found.id, name, *shape.values(found)))
        if not shape.parts:
            continue
        if isinstance(found, t.DataSec):
            yield from _places(btf, found)
            continue
        suffix = ("LL" if found.signed else "ULL") if isinstance(found, t.Enum64) else ""
        for row in shape.part_values(found):
            yield "\t" + clean(_LINES[shape.parts, len(row)] % row) + suffix


def _head(shape: Shape) -> str:
    # bpftool writes one comma, after the type of a variable.
    comma = "," if shape.kind == "VAR" else ""
    keys = "".join(f" {key}=%s{comma * (key == 'type_id')}" for key in shape.keys)
    return f"[%s] {shape.kind} '%s'{keys}"


_LINES = {
    (shape.parts, count): " ".join(["'%s'", *(f"{key}=%s" for key in shape.part_keys[1:count])])
    for shape in SHAPES.values()
    for count in (2, 3, 4)
}
"""The line of a part with a name, by what it is a part of and how many facts it has."""


def _places(btf: Btf, section: t.DataSec) -> Iterator[str]:
    for type_id, offset, size in SHAPES[t.DataSec].part_values(section):
        variable = btf[type_id]
        kind, name = SHAPES[type(variable)].kind, getattr(variable, "name", "")
        yield "\t" + clean(f"type_id={type_id} offset={offset} size={size} ({kind} '{name}')")
