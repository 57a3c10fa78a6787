"""Types as `bpftool btf dump` lists them, so that people can diff: a fact a line, or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bpflens.btf import Btf
from bpflens.btf import types as t

Facts = dict[str, Any]

ANONYMOUS = "(anon)"
_ENCODINGS = {0: "(none)", t.Int.SIGNED: "SIGNED", t.Int.CHAR: "CHAR", t.Int.BOOL: "BOOL"}
_LINKAGES = {t.Var.STATIC: "static", t.Var.GLOBAL: "global", t.Var.EXTERN: "extern"}
_KINDS: dict[type[t.Type], str] = {
    t.FuncProto: "FUNC_PROTO",
    t.DeclTag: "DECL_TAG",
    t.TypeTag: "TYPE_TAG",
}
"""Where the name is not that of the class."""
_PARTS = ("members", "values", "params", "vars")


def facts(found: t.Type) -> Facts:
    """A type as `bpftool -j btf dump` tells it (dump_btf_type() in its btf.c)."""
    kind = _KINDS.get(type(found)) or type(found).__name__.upper()
    named = getattr(found, "name", "") or ANONYMOUS
    return {"id": found.id, "kind": kind, "name": named} | _details(found)


def _details(found: t.Type) -> Facts:
    match found:
        case t.Int():
            return {
                "size": found.size,
                "bits_offset": found.offset,
                "nr_bits": found.bits,
                "encoding": _ENCODINGS.get(found.encoding, "UNKN"),
            }
        case t.Ptr() | t.Reference() | t.Typedef() | t.TypeTag():
            return {"type_id": found.to}
        case t.Array():
            return {
                "type_id": found.element,
                "index_type_id": found.index,
                "nr_elems": found.nelems,
            }
        case t.Composite():
            members = [_member(member) for member in found.members]
            return {"size": found.size, "vlen": len(members), "members": members}
        case t.AnyEnum():
            values = [{"name": name, "val": value} for name, value in found.values]
            encoding = "SIGNED" if found.signed else "UNSIGNED"
            return {"encoding": encoding, "size": found.size, "vlen": len(values), "values": values}
        case t.Fwd():
            return {"fwd_kind": "union" if found.is_union else "struct"}
        case t.FuncProto():
            params = [{"name": p.name or ANONYMOUS, "type_id": p.type_id} for p in found.params]
            return {"ret_type_id": found.ret, "vlen": len(params), "params": params}
        case t.Func() | t.Var():
            linkage = _LINKAGES.get(found.linkage, "(unknown)")
            return {"type_id": found.type_id, "linkage": linkage}
        case t.DataSec():
            places = [
                {"type_id": v.type_id, "offset": v.offset, "size": v.size} for v in found.variables
            ]
            return {"size": found.size, "vlen": len(places), "vars": places}
        case t.Float():
            return {"size": found.size}
        case t.DeclTag():
            return {"type_id": found.type_id, "component_idx": found.component}
        case t.Unknown():
            return {"number": found.kind}
    return {}


def _member(member: t.Member) -> Facts:
    told = {
        "name": member.name or ANONYMOUS,
        "type_id": member.type_id,
        "bits_offset": member.bit_offset,
    }
    return told | {"bitfield_size": member.bitfield_size} if member.bitfield_size else told


def listing(btf: Btf, ids: Iterable[int]) -> Iterator[str]:
    """The lines of `bpftool btf dump … format raw`."""
    for id in ids:
        told = facts(btf[id])
        parts = next((told.pop(name) for name in _PARTS if name in told), ())
        # bpftool writes one comma, after the type of a variable.
        comma = "," if told["kind"] == "VAR" else ""
        words = [f"[{told.pop('id')}] {told.pop('kind')} {told.pop('name')!r}"]
        words += [f"{key}={value}{comma * (key == 'type_id')}" for key, value in told.items()]
        yield " ".join(words)
        suffix = _suffix(btf[id])
        for part in parts:
            yield "\t" + _part(btf, part, suffix)


def _suffix(found: t.Type) -> str:
    if not isinstance(found, t.Enum64):
        return ""
    return "LL" if found.signed else "ULL"


def _part(btf: Btf, part: Facts, suffix: str) -> str:
    words = [f"{key}={value}{suffix * (key == 'val')}" for key, value in part.items()]
    if "offset" in part:  # a variable in its section
        variable = btf[part["type_id"]]
        kind = type(variable).__name__.upper()
        words.append(f"({kind} {getattr(variable, 'name', '')!r})")
    elif "name" in part:
        words[0] = f"{part['name']!r}"
    return " ".join(words)
