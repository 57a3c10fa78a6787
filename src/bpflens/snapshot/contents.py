"""What programs and maps hold: maps, types, and other programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from bpflens.abi.enums import MapType
from bpflens.abi.mapfacts import Walk
from bpflens.attach import struct_ops
from bpflens.attach.places import Places
from bpflens.errors import BpflensError, Limited, NotFound
from bpflens.model.map import Map
from bpflens.model.parts import Missing, Part, Reason, because
from bpflens.snapshot.holders import Holder, Key
from bpflens.snapshot.records import MapRecord, ProgramRecord
from bpflens.snapshot.take import Look

_READ = (MapType.STRUCT_OPS.label, MapType.ARRAY_OF_MAPS.label, MapType.HASH_OF_MAPS.label)
"""Types of maps whose elements hold something that is not an attachment."""

Record = TypeVar("Record", ProgramRecord, MapRecord)
Hidden = Callable[[Iterable[str], str, object], None]
"""Told of what could not be looked at: kinds of objects that it may hold, what it is, why not."""


class Contents:
    """The objects that objects hold. `programs` and `maps` are read if they are not given."""

    def __init__(
        self,
        places: Places,
        programs: Iterable[ProgramRecord] | None,
        maps: Iterable[MapRecord] | None,
        hidden: Hidden,
    ) -> None:
        self.places = places
        self.system = places.system
        self._look = Look(self.system, Part.MAPS)
        self._programs = programs
        self._maps = maps
        self._hidden = hidden

    def find(self) -> Iterator[tuple[Key, Holder]]:
        """Each object that is held, and its holder."""
        yield from self._used()
        yield from self._inside()
        yield from self._kernel()

    def _used(self) -> Iterator[tuple[Key, Holder]]:
        """What programs use. One that is to replace or trace another keeps that, too, until it is
        attached (dst_prog in bpf_prog_load()); it tells the BTF of that, which others may share."""
        records = self._records(self._programs, self._look.programs, ("map", "btf"), "programs")
        by_btf: dict[int, list[int]] = {}
        targets: list[tuple[int, int]] = []
        for record in records:
            holder = Holder("program", f"program {record.id}", prog_id=record.id)
            for map_id in record.map_ids or ():
                yield ("map", map_id), holder
            if record.map_ids is None:
                why = record.missing.get("map_ids", "failed")
                self._hidden(["map"], f"maps of program {record.id}", why)
            if record.btf_id:
                yield ("btf", record.btf_id), holder
                by_btf.setdefault(record.btf_id, []).append(record.id)
            if record.attach_btf_obj_id:
                targets.append((record.id, record.attach_btf_obj_id))
        for id, btf_id in targets:
            candidates = [other for other in by_btf.get(btf_id, ()) if other != id]
            if len(candidates) == 1:
                holder = Holder("program", f"program {id}", prog_id=id)
                yield ("program", candidates[0]), holder
            elif candidates:
                listed = ", ".join(map(str, candidates))
                reason = Missing(Reason.UNSUPPORTED, f"one of {listed}: they share BTF {btf_id}")
                self._hidden(["program"], f"the program that program {id} is for", reason)

    def _inside(self) -> Iterator[tuple[Key, Holder]]:
        """What maps have: types, and inner maps."""
        kinds = ("program", "map", "btf")
        for record in self._records(self._maps, self._look.maps, kinds, "maps"):
            if record.btf_id:
                holder = Holder("map", f"map {record.id}", map_id=record.id)
                yield ("btf", record.btf_id), holder
            if record.type in _READ:
                try:
                    with self.system.map(record.id) as found:
                        yield from self._read(found, record)
                except NotFound:
                    continue
                except (BpflensError, OSError) as error:
                    self._hidden(("program", "map"), f"slots of map {record.id}", because(error))

    def _read(self, found: Map, record: MapRecord) -> Iterator[tuple[Key, Holder]]:
        """What the elements of a map hold that no attachment tells."""
        if record.type != _READ[0]:
            for key, inner in _slots(found):
                words = f"map {record.id} [{key}]"
                yield ("map", inner), Holder("slot", words, map_id=record.id, slot=key)
            return
        table = struct_ops.read(self.places, found)
        if isinstance(table, Missing):
            self._hidden(["program"], f"functions of map {record.id}", table)
            return
        for _, prog_id in table.programs:
            yield ("program", prog_id), Holder("map", f"map {record.id}", map_id=record.id)
        if table.registered:
            name = self.places.targets.struct_ops(record.id)
            target = f"map {record.id}" if isinstance(name, Missing) else name
            holder = Holder("attachment", f"struct_ops {target}", kind="struct_ops", target=target)
            yield ("map", record.id), holder

    def _kernel(self) -> Iterator[tuple[Key, Holder]]:
        """The BTF of the kernel and of its modules is theirs."""
        try:
            for found in self.system.btf_objects():
                with found:
                    if found.kernel() is True:
                        yield ("btf", found.id), Holder("kernel", "the kernel or a module")
        except (BpflensError, OSError) as error:
            self._hidden(["btf"], "which types are the kernel's own", because(error))

    def _records(
        self,
        given: Iterable[Record] | None,
        read: Callable[[], Iterator[Record]],
        kinds: Iterable[str],
        what: str,
    ) -> Iterator[Record]:
        """All records of a kind, and what could not be read of them."""
        if given is not None:
            yield from given
            return
        known = len(self._look.errors)
        try:
            yield from read()
        except (BpflensError, OSError) as error:
            self._hidden(kinds, f"what {what} hold", because(error))
        for failed in self._look.errors[known:]:
            self._hidden(kinds, f"what {failed.kind} {failed.id or ''} holds", failed.error)


def _slots(outer: Map) -> Iterator[tuple[str, int]]:
    """The key and the ID of the inner map of each slot that has one."""
    walk = outer.items()
    for element in walk:
        if element.map_id:
            key = element.key
            by_index = outer.facts.walk is Walk.INDEX
            yield str(int.from_bytes(key, sys.byteorder)) if by_index else key.hex(), element.map_id
    if not walk.complete:
        raise Limited(walk.why)
