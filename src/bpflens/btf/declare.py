"""C declarations of types, with all that they need, in an order that a compiler takes.

A compiler that reads them lays out every struct as BTF tells: members out of place make the struct
`packed`, gaps are filled with explicit padding (`layout.py`). What is only pointed at is declared
without its content; two types of one name get different ones (`names.py`).
"""

from __future__ import annotations

from bpflens import limits
from bpflens.btf import types as t
from bpflens.btf.layout import Lost, Pad, is_packed, pieces
from bpflens.btf.meaning import constants
from bpflens.btf.names import NameSpace, identifier
from bpflens.btf.spell import Speller, keyword
from bpflens.errors import TooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from bpflens.btf.parse import Btf

_MODES = {1: "QI", 2: "HI", 4: "SI", 8: "DI"}


def declare(btf: Btf, type_ids: Iterable[int] | None = None) -> str:
    """C source that declares the types given, and what they need; without ids, every type.

    A map's or program's variables and functions are declared where they are asked for by id; a
    section (`DataSec`) as its variables. Raises FormatError.
    """
    if type_ids is None:
        named = (t.Struct, t.Union, t.Enum, t.Enum64, t.Fwd, t.Typedef)
        of_kind = {i: btf.kind(i) for i in range(1, len(btf))}
        type_ids = [i for i, kind in of_kind.items() if kind in named and btf.type_name(i)]
        type_ids += [i for i, kind in of_kind.items() if kind in (t.Enum, t.Enum64)]
    declarations = _Declarations(btf)
    for type_id in type_ids:
        declarations.add(type_id)
    return "\n".join(declarations.text)


class _Declarations(Speller):
    """Collects declarations; what one needs is there before it."""

    def __init__(self, btf: Btf) -> None:
        super().__init__(btf)
        self.text: list[str] = []
        self._tags = NameSpace()
        self._identifiers = NameSpace()
        self._seen: set[tuple[int, bool]] = set()
        self._enums: set[int] = set()
        self._defined: set[str] = set()
        self._pads = 0
        self._first: dict[str, int] = {}

    def add(self, type_id: int) -> None:
        """Declares a type, variable, function or section."""
        found = self.btf[type_id]
        match found:
            case t.DataSec():
                for place in found.variables:
                    if self.btf.kind(place.type_id) in (t.Var, t.Func):
                        self.add(place.type_id)
            case t.Var() | t.Func():
                self._need(found.type_id, isinstance(found, t.Var), 0)
                name = self._identifiers.name(found.name, found.id)
                storage = "static " if found.linkage == t.Var.STATIC else "extern "
                self.text += [storage + self.declaration(found.type_id, name) + ";", ""]
            case t.AnyEnum() if not found.name:
                if type_id not in self._enums:
                    self.text += [self.base(found, 0) + ";", ""]
            case t.DeclTag() | t.Unknown():
                pass
            case _:
                self._need(type_id, True, 0)

    # What has to come before

    def _need(self, type_id: int, whole: bool, depth: int) -> None:
        """Declares what a use of the type needs: its content if `whole`, else that it exists."""
        if type_id == 0 or (type_id, whole) in self._seen:
            return
        if depth > limits.BTF_NEEDS.value:
            raise TooLarge(f"type [{type_id}] {limits.BTF_NEEDS}", self.btf.offset_of(type_id))
        self._seen.add((type_id, whole))
        depth += 1
        found = self.btf[type_id]
        match found:
            case t.Ptr():
                self._need(found.to, False, depth)
            case t.Reference() | t.TypeTag():
                self._need(found.to, whole, depth)
            case t.Array():
                self._need(found.element, True, depth)
            case t.FuncProto():
                self._need(found.ret, False, depth)
                for param in found.params:
                    self._need(param.type_id, False, depth)
            case t.Typedef():
                self._typedef(found, whole, depth)
            case t.Composite() if found.name:
                self._composite(found, whole, depth)
            case t.Composite():
                for member in found.members:
                    self._need(member.type_id, True, depth)
            case t.AnyEnum() if found.name and (type_id, not whole) not in self._seen:
                self._definition(found, depth)
            case t.Fwd():
                self._forward(found)

    def _typedef(self, found: t.Typedef, whole: bool, depth: int) -> None:
        if (found.id, not whole) not in self._seen:
            self._need(found.to, False, depth)
            name = self._identifiers.name(found.name, found.id)
            self.text += [f"typedef {self.declaration(found.to, name)};", ""]
        if whole:
            self._need(found.to, True, depth)

    def _composite(self, found: t.Composite, whole: bool, depth: int) -> None:
        if not whole:
            self._forward(found)
            return
        for member in found.members:
            self._need(member.type_id, True, depth)
        self._definition(found, depth)

    def _forward(self, found: t.Composite | t.Fwd) -> None:
        declared = f"{keyword(found)} {self.tag(found, 0)}"
        if declared not in self._defined:
            self._defined.add(declared)
            self.text += [f"{declared};", ""]

    def _definition(self, found: t.Composite | t.AnyEnum, depth: int) -> None:
        tag = self.tag(found, depth)
        self._defined.add(f"{keyword(found)} {tag}")
        self.text += [f"{keyword(found)} {tag}{self._body(found, depth)};", ""]

    # Names

    def parameter_name(self, name: str) -> str:
        """Left out where it would hide a type that the next parameter may want to name."""
        name = identifier(name) if name else ""
        return "" if name in self._identifiers else name

    def type_name(self, found: t.Typedef) -> str:
        return self._identifiers.name(found.name, found.id)

    def tag(self, found: t.Composite | t.AnyEnum | t.Fwd, depth: int) -> str:
        """The tag, or the content of what has none.

        A forward declaration means whatever has its name and keyword: the first type of these.
        """
        if not found.name:
            return self._body(found, depth).lstrip() if not isinstance(found, t.Fwd) else "{}"
        shared = f"{keyword(found)} {found.name}"
        if isinstance(found, t.Fwd):
            return self._tags.name(found.name, shared)
        first = self._first.setdefault(shared, found.id)
        return self._tags.name(found.name, shared if first == found.id else found.id)

    # Content

    def _body(self, found: t.Composite | t.AnyEnum, depth: int) -> str:
        self.check_depth(found.id, depth)
        if isinstance(found, t.AnyEnum):
            lines = self._constants(found)
            attribute = f"mode({_MODES.get(found.size, 'SI')})"
            needed = found.size != _size_by_values(found)
        else:
            lines = [self._piece(piece, found, depth) for piece in pieces(self.btf, found)]
            attribute, needed = "packed", is_packed(self.btf, found)
        end = f"}} __attribute__(({attribute}))" if needed else "}"
        return "\n".join([" {", *lines, end])

    def _piece(self, piece: t.Member | Pad | Lost, within: t.Composite, depth: int) -> str:
        match piece:
            case Pad():
                self._pads += 1
                name = "" if piece.in_bits else f"___pad{self._pads}"
                count = f":{piece.count}" if piece.in_bits else f"[{piece.count}]"
                text = f"unsigned char {name}{count};"
            case Lost(member=member):
                text = f"/* {identifier(member.name)}: overlaps, at bit {member.bit_offset} */"
            case t.Member():
                bits = f": {piece.bitfield_size}" if piece.bitfield_size else ""
                text = f"{self._member(piece, depth)}{bits};"
        self.spend(len(text), within.id)
        return "\t" + text.replace("\n", "\n\t")

    def _member(self, member: t.Member, depth: int) -> str:
        if member.name:
            return self.declaration(member.type_id, identifier(member.name), depth)
        found = self.btf.strip(member.type_id)
        if isinstance(found, t.Composite):
            # With -fms-extensions, as in the kernel from 6.19 on, what has no name may have a tag.
            # Without, the content says the same.
            return keyword(found) + self._body(found, depth + 1)
        self._pads += 1
        return self.declaration(member.type_id, f"___unnamed{self._pads}", depth)

    def _constants(self, found: t.AnyEnum) -> list[str]:
        told = constants(found, 8 * found.size).values
        values = told or ((f"{found.name}___none", 0),)  # C has no empty enum
        self._enums.add(found.id)
        names = (self._identifiers.new(name) for name, _ in values)
        lines = [f"\t{name} = {_literal(v)}," for name, (_, v) in zip(names, values, strict=True)]
        self.spend(sum(map(len, lines)), found.id)
        return lines


def _size_by_values(found: t.AnyEnum) -> int:
    """The size that a compiler gives an enum by itself: 4, unless the values need more."""
    values = [value for _, value in found.values] or [0]
    lowest, highest = min(values), max(values)
    limit = 2**31 if lowest < 0 else 2**32
    return 4 if lowest >= -(2**31) and highest < limit else 8


def _literal(value: int) -> str:
    if value == -(2**63):
        return "-9223372036854775807LL - 1"
    if -(2**31) <= value < 2**31:
        return str(value)
    if value < 2**32 and value > 0:
        return f"{value}U"
    return f"{value}LL" if value < 2**63 else f"{value}ULL"
