"""What the numbers in a program's instructions stand for: symbols, maps, variables, kfuncs."""

from __future__ import annotations

from typing import Any

from bpflens.abi.enums import MapType
from bpflens.abi.infos import MapInfo
from bpflens.btf.types import DataSec, Func, Var
from bpflens.errors import BpflensError
from bpflens.model.kallsyms import Kallsyms
from bpflens.model.parts import Missing
from bpflens.model.system import System

Named = dict[str, Any]
"""An object by what a person knows it by."""


class Names:
    """The names of one system; each object is asked for its own once."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._maps: dict[int, MapInfo | str] = {}

    @property
    def symbols(self) -> Kallsyms | None:
        """The kernel's symbols; None where they are not to be had."""
        found = self.system.kallsyms()
        return None if isinstance(found, Missing) else found

    @property
    def call_base(self) -> int:
        """The address from which calls are counted; 0 where it is hidden."""
        return self.symbols.call_base if self.symbols else 0

    def symbol(self, address: int) -> str | None:
        """The symbol that begins at an address."""
        return self.symbols.name(address) if self.symbols else None

    def kfunc(self, number: int) -> str | None:
        """The kernel function with this BTF type ID.

        A JIT that reaches far (bpf_jit_supports_far_kfunc_call(), on arm64) leaves the ID in the
        call where others leave a distance.
        """
        types = self.system.kernel_types()
        if isinstance(types, Missing) or not 0 < number < len(types):
            return None
        try:
            found = types[number]
        except BpflensError:
            return None
        return found.name if isinstance(found, Func) else None

    def map(self, id: int) -> Named:
        """A map: its ID, type and name, or why it cannot be told."""
        info = self._map(id)
        if isinstance(info, str):
            return {"id": id, "error": info}
        name = info.name.decode(errors="surrogateescape")
        return {"id": id, "type": MapType(info.type).label, "name": name}

    def variable(self, map_id: int, offset: int) -> str | None:
        """The global variable at an offset of a data map's value, as `stats` or `stats+8`."""
        info = self._map(map_id)
        if isinstance(info, str) or not (info.btf_id and info.btf_value_type_id):
            return None
        types = self.system.btf(info.btf_id)
        if isinstance(types, Missing):
            return None
        try:
            section = types[info.btf_value_type_id]
            if not isinstance(section, DataSec):
                return None
            for place in section.variables:
                if place.offset <= offset < place.offset + max(place.size, 1):
                    found, inside = types[place.type_id], offset - place.offset
                    if isinstance(found, Var):
                        return f"{found.name}+{inside}" if inside else found.name
        except BpflensError:
            return None
        return None

    def _map(self, id: int) -> MapInfo | str:
        if id not in self._maps:
            try:
                with self.system.map(id) as found:
                    self._maps[id] = found.basic()
            except (BpflensError, OSError) as error:
                self._maps[id] = str(error)  # gone, or not ours to open: the ID still stands
        return self._maps[id]
