"""`Map`: a BPF map, what the kernel tells of it, and the way to its elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from bpflens.abi.enums import MapType
from bpflens.abi.infos import MapInfo
from bpflens.abi.mapfacts import MapFacts, facts
from bpflens.errors import NotFound, UsageError
from bpflens.model.handle import NamedHandle
from bpflens.model.parts import Missing, Part, Reason, attempt, not_asked
from bpflens.port import fdinfo
from bpflens.port.calls import CallNotFound

if TYPE_CHECKING:
    from bpflens.model.elements import Element, ElementWalk


class Accounts(NamedTuple):
    """What fdinfo tells of a map beyond bpf(2)."""

    memlock: int | Missing
    """Bytes that the kernel accounts for. Since: 4.10."""
    frozen: bool | Missing
    """Whether user space may no longer write. Since: 5.2."""
    owner_prog_type: int | Missing
    """The program type that a prog_array is bound to. Since: 4.11."""


class MapParts(NamedTuple):
    """A map as far as it was asked for."""

    basic: MapInfo
    accounts: Accounts | Missing


class Map(NamedHandle[MapInfo]):
    """A map; every method is one question to the kernel."""

    __slots__ = ()

    kind: ClassVar[str] = "map"
    record = MapInfo

    def close(self) -> None:
        """Close the fd, or leave that of a prog_array to the System (`System.rest`)."""
        if self._basic is not None and self._basic.type == MapType.PROG_ARRAY and not self._closed:
            self._closed = True
            self.system.rest(self._basic.id, self.fd)
        else:
            super().close()

    @property
    def type(self) -> MapType:
        """The kind of map."""
        return MapType(self.basic().type)

    @property
    def facts(self) -> MapFacts:
        """What holds for every map of this type."""
        return facts(self.basic().type)

    def info(self, parts: Part = Part.BASIC) -> MapParts:
        """The parts that are asked for, and no call for any other. Raises what `basic` raises."""
        asked = Part.MEMORY in parts
        accounts = attempt(Map.accounts, self) if asked else not_asked(Part.MEMORY)
        return MapParts(self.basic(), accounts)

    def accounts(self) -> Accounts:
        """Memory, frozen state and owner, from fdinfo."""
        text = self.system.host.fdinfo(self.fd)
        memlock = fdinfo.number(text, b"memlock")
        frozen = fdinfo.number(text, b"frozen")
        owner = fdinfo.number(text, b"owner_prog_type")
        return Accounts(
            _NO_MEMLOCK if memlock is None else memlock,
            _NO_FROZEN if frozen is None else frozen != 0,
            _NO_OWNER if owner is None else owner,
        )

    @property
    def value_room(self) -> int:
        """Bytes of one value as it is read: a per-CPU map gives a slot, 8-byte aligned, for each
        possible CPU."""
        size = self.basic().value_size
        return (size + 7 & ~7) * self.system.cpus if self.facts.per_cpu else size

    def lookup(self, key: bytes, flags: int = 0) -> Element:
        """The element with this key. Raises NotFound, UsageError for a key of another size."""
        from bpflens.model.elements import element

        told = self.basic()
        if len(key) != told.key_size:
            raise UsageError(f"the key has {len(key)} bytes, map {told.id} has {told.key_size}")
        try:
            value = self.system.calls.map_lookup(self.fd, key, self.value_room, flags)
        except CallNotFound as error:
            raise NotFound(f"map {told.id} has no element with key {key.hex()}") from error
        return element(self, key, value)

    def items(self, limit: int | None = None, seconds: float | None = None) -> ElementWalk:
        """A walk over the elements, to be iterated once: it knows whether it was complete.

        `limit` and `seconds` end it early. Iterating raises Unsupported where the type of map
        does not let user space read its elements.
        """
        from bpflens.model.elements import ElementWalk

        return ElementWalk(self, limit, seconds)


_NO_MEMLOCK = Missing(Reason.UNSUPPORTED, "fdinfo of this kernel has no memlock")
_NO_FROZEN = Missing(Reason.UNSUPPORTED, "fdinfo of this kernel has no frozen")
_NO_OWNER = Missing(Reason.NONE, "only a prog_array that holds or was given a program has one")
