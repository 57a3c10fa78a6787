"""A kernel's structs by name: what an iterator has to know of the kernel that it reads.

Pure. What this kernel's BTF does not have is `Unsupported`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from bpflens import limits
from bpflens.btf import types as t
from bpflens.btf.parse import Btf
from bpflens.errors import Unsupported


class Place(NamedTuple):
    """Where a member lies in its struct, in bits, and what it is."""

    bits: int
    type_id: int

    @property
    def offset(self) -> int:
        """In bytes."""
        return self.bits // 8


class Kernel:
    """A kernel's types by name. What is not there is `Unsupported`: then there is no iterator."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf

    def find(self, name: str, kind: type[t.Type]) -> t.Type:
        """The type of that name and kind."""
        found = self.btf.find(name, kind)
        if found is None:
            raise Unsupported(f"this kernel's BTF has no {name}")
        return found

    def struct(self, name: str) -> t.Composite:
        """The struct of that name."""
        found = self.find(name, t.Struct)
        assert isinstance(found, t.Composite)
        return found

    def place(self, struct: t.Composite, path: str) -> Place:
        """Where `a.b` lies in a struct; members of unnamed structs and unions count as its own."""
        name, _, rest = path.partition(".")
        found = self._member(struct, name, limits.BTF_DEPTH.value)
        inner = self.btf.strip(found.type_id) if found and rest else None
        if found is None or (rest and not isinstance(inner, t.Composite)):
            raise Unsupported(f"struct {struct.name} of this kernel has no {path}")
        if not isinstance(inner, t.Composite):
            return found
        deeper = self.place(inner, rest)
        return Place(found.bits + deeper.bits, deeper.type_id)

    def places(self, members: Mapping[str, tuple[str, dict[str, str]]]) -> dict[str, int]:
        """Where members lie, in bytes. `members`: prefix → struct → what the symbol is called
        after the prefix → member."""
        found: dict[str, int] = {}
        for prefix, (name, names) in members.items():
            struct = self.struct(name)  # some 5 ms, in 126,000 types
            for short, path in names.items():
                found[f"{prefix}_{short}"] = self.place(struct, path).offset
        return found

    def _member(self, struct: t.Composite, name: str, depth: int) -> Place | None:
        for member in struct.members:
            if member.name == name:
                return Place(member.bit_offset, member.type_id)
            inner = None if member.name or not depth else self.btf.strip(member.type_id)
            if isinstance(inner, t.Composite):
                found = self._member(inner, name, depth - 1)
                if found is not None:
                    return Place(member.bit_offset + found.bits, found.type_id)
        return None

    def percpu(self, name: str) -> tuple[int, int]:
        """A per-CPU variable: its id, and where it lies in its section."""
        var = self.find(name, t.Var)
        for id in self.btf.ids_of(t.DataSec):
            section = self.btf[id]
            if isinstance(section, t.DataSec):
                for entry in section.variables:
                    if entry.type_id == var.id:
                        return var.id, entry.offset
        raise Unsupported(f"this kernel's BTF does not tell where {name} is")
