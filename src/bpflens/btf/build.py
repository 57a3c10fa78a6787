"""BTF written: from types one by one, or as the part of another BTF that some types need."""

from __future__ import annotations

import struct

from bpflens.btf import types as t
from bpflens.btf.header import HEADER_SIZE, MAGIC
from bpflens.btf.records import encode
from bpflens.btf.references import references, renumber

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    from bpflens.btf.parse import Btf

    Members = Iterable[t.Member | tuple[str, int, int] | tuple[str, int, int, int]]


class BtfBuilder:
    """Collects types and gives their bytes; each `add…` returns the new type's id.

    Ids count up from 1, or from the end of `base` for split BTF, so a type that is yet to come can
    be referred to: `next_id` is the one that the next `add…` will return. What is added is not
    checked: tests want BTF that makes no sense, too.
    """

    def __init__(
        self, byteorder: Literal["little", "big"] = "little", base: Btf | None = None
    ) -> None:
        self._prefix = "<" if byteorder == "little" else ">"
        self._records: list[bytes] = []
        self._first_id = len(base) if base else 1
        self._string_start = base.string_end if base else 0
        self._strings = bytearray() if base else bytearray(1)
        self._string_offsets = {"": 0}

    @property
    def next_id(self) -> int:
        """The id of the next type that is added."""
        return self._first_id + len(self._records)

    def string(self, text: str) -> int:
        """The offset of a string in the string section; put there if it is new."""
        if text not in self._string_offsets:
            self._string_offsets[text] = self._string_start + len(self._strings)
            self._strings += text.encode(errors="surrogateescape") + b"\0"
        return self._string_offsets[text]

    def add(self, found: t.Type) -> int:
        """Adds a type as it is; its `id` is not looked at."""
        words = encode(found, self.string)
        self._records.append(struct.pack(f"{self._prefix}{len(words)}I", *words))
        return self.next_id - 1

    def add_int(
        self, name: str, size: int, encoding: int = 0, bits: int | None = None, offset: int = 0
    ) -> int:
        """Adds an integer; `encoding` is a set of `Int.SIGNED`, `Int.CHAR` and `Int.BOOL`."""
        return self.add(t.Int(0, name, size, 8 * size if bits is None else bits, encoding, offset))

    def add_ptr(self, to: int) -> int:
        """Adds a pointer to type `to`."""
        return self.add(t.Ptr(0, to))

    def add_array(self, element: int, nelems: int, index: int = 0) -> int:
        """Adds an array; `index` is the integer type that counts its elements."""
        return self.add(t.Array(0, element, index, nelems))

    def add_struct(self, name: str, size: int, members: Members = ()) -> int:
        """Adds a struct; a member is (name, type id, offset in bits[, size of the bit field])."""
        return self.add(t.Struct(0, name, size, _members(members)))

    def add_union(self, name: str, size: int, members: Members = ()) -> int:
        """Adds a union; members as for `add_struct`."""
        return self.add(t.Union(0, name, size, _members(members)))

    def add_enum(
        self, name: str, values: Iterable[tuple[str, int]], size: int = 4, signed: bool = False
    ) -> int:
        """Adds an enumeration of at most 32 bits."""
        return self.add(t.Enum(0, name, size, signed, tuple(values)))

    def add_enum64(
        self, name: str, values: Iterable[tuple[str, int]], size: int = 8, signed: bool = False
    ) -> int:
        """Adds an enumeration of 64 bits."""
        return self.add(t.Enum64(0, name, size, signed, tuple(values)))

    def add_fwd(self, name: str, is_union: bool = False) -> int:
        """Adds a struct or union of which only the name is known."""
        return self.add(t.Fwd(0, name, is_union))

    def add_typedef(self, name: str, to: int) -> int:
        """Adds a name for type `to`."""
        return self.add(t.Typedef(0, name, to))

    def add_volatile(self, to: int) -> int:
        """Adds `volatile` around type `to`."""
        return self.add(t.Volatile(0, to))

    def add_const(self, to: int) -> int:
        """Adds `const` around type `to`."""
        return self.add(t.Const(0, to))

    def add_restrict(self, to: int) -> int:
        """Adds `restrict` around type `to`."""
        return self.add(t.Restrict(0, to))

    def add_type_tag(self, name: str, to: int) -> int:
        """Adds a type tag, such as `user`, on type `to`."""
        return self.add(t.TypeTag(0, name, to))

    def add_func(self, name: str, type_id: int, linkage: int = t.Func.GLOBAL) -> int:
        """Adds a function; `type_id` is its `FuncProto`."""
        return self.add(t.Func(0, name, type_id, linkage))

    def add_func_proto(self, ret: int, params: Iterable[tuple[str, int]] = ()) -> int:
        """Adds a function's type; a parameter is (name, type id)."""
        return self.add(t.FuncProto(0, ret, tuple(t.Param(*param) for param in params)))

    def add_var(self, name: str, type_id: int, linkage: int = t.Var.GLOBAL) -> int:
        """Adds a global variable."""
        return self.add(t.Var(0, name, type_id, linkage))

    def add_datasec(
        self, name: str, size: int, variables: Iterable[tuple[int, int, int]] = ()
    ) -> int:
        """Adds a section; a variable is (type id, offset, size)."""
        return self.add(t.DataSec(0, name, size, tuple(t.SectionVar(*v) for v in variables)))

    def add_float(self, name: str, size: int) -> int:
        """Adds a floating-point number."""
        return self.add(t.Float(0, name, size))

    def add_decl_tag(self, name: str, type_id: int, component: int = -1) -> int:
        """Adds a tag on a declaration, or on its member or parameter number `component`."""
        return self.add(t.DeclTag(0, name, type_id, component))

    def build(self) -> bytes:
        """The BTF as it would be in a file."""
        types = b"".join(self._records)
        header = struct.pack(
            f"{self._prefix}HBB5I",
            MAGIC, 1, 0, HEADER_SIZE, 0, len(types), len(types), len(self._strings),
        )  # fmt: skip
        return header + types + self._strings


def _members(members: Members) -> tuple[t.Member, ...]:
    return tuple(
        member if isinstance(member, t.Member) else t.Member(*(*member, 0)[:4])
        for member in members
    )


def copy(btf: Btf, root_ids: Iterable[int], cut: bool = False) -> bytes:
    """The BTF of some types and of all that they need, numbered anew in the order of the old ids.

    Tags on the copied declarations come along. With `cut`, a named struct or union that is only
    pointed at becomes a forward declaration, which keeps `struct bpf_map` from bringing half of the
    kernel. Raises FormatError.
    """
    whole, opaque = _closure(btf, root_ids, cut)
    for type_id in btf.ids_of(t.DeclTag):
        if references(btf[type_id])[0] in whole:
            whole.add(type_id)
    numbers = {old: new for new, old in enumerate(sorted(whole | opaque | {0}))}
    builder = BtfBuilder(btf.byteorder)
    for old in sorted(whole | opaque):
        found = btf[old]
        if old in opaque and isinstance(found, t.Composite):
            builder.add_fwd(found.name, isinstance(found, t.Union))
        else:
            builder.add(renumber(found, numbers.__getitem__))
    return builder.build()


def _closure(btf: Btf, root_ids: Iterable[int], cut: bool) -> tuple[set[int], set[int]]:
    """The ids that the roots need; and, with `cut`, those of structs that are only pointed at."""
    whole: set[int] = set()
    opaque: set[int] = set()
    seen: set[tuple[int, bool]] = set()
    todo = [(type_id, False) for type_id in root_ids]
    while todo:
        type_id, pointed_at = step = todo.pop()
        if type_id == 0 or step in seen:
            continue
        seen.add(step)
        found = btf[type_id]
        if pointed_at and isinstance(found, t.Composite) and found.name:
            opaque.add(type_id)
            continue
        whole.add(type_id)
        if isinstance(found, (t.Ptr, t.FuncProto)):
            pointed_at = cut
        elif not isinstance(found, t.TRANSPARENT):
            pointed_at = False
        todo += [(ref, pointed_at) for ref in references(found)]
    return whole, opaque - whole
