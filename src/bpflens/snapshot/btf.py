"""BTF objects as records, with the programs and maps that use them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from bpflens.errors import BpflensError, NotFound
from bpflens.model.btfobject import BtfObject
from bpflens.model.parts import Missing, Part, Reason, attempt
from bpflens.model.system import BTF, MAP, PROGRAM, System
from bpflens.snapshot.records import BtfRecord, ErrorRecord

BTF_PARTS: dict[str, Part] = {"program_ids": Part.USERS, "map_ids": Part.USERS}
"""Field of `BtfRecord` → the part that holds it."""

LIST_PARTS = Part.BASIC | Part.USERS
"""What a list shows unless it is told otherwise."""

Users = dict[int, list[int]]
"""BTF object → what uses it, by ID."""
Uses = Callable[[System], Iterator[tuple[int, int]]]
"""Gives (BTF object, what uses it)."""


class BtfLook:
    """One look at the BTF objects of a system; `errors` collects what could not be looked at."""

    def __init__(self, system: System, parts: Part = LIST_PARTS) -> None:
        self.system = system
        self.parts = parts
        self.errors: list[ErrorRecord] = []

    def objects(self, objects: Iterable[BtfObject] | None = None) -> Iterator[BtfRecord]:
        """A record for each (default: all of the system). Closes each after reading it."""
        programs, maps = self._users(_program_uses), self._users(_map_uses)
        for found in self._opened() if objects is None else objects:
            with found:
                try:
                    yield _record(found, programs, maps)
                except NotFound:
                    continue
                except (BpflensError, OSError) as error:
                    self.errors.append(ErrorRecord(BTF.noun, None, None, str(error)))

    def _opened(self) -> Iterator[BtfObject]:
        for id in self.system.ids(BTF):
            try:
                yield self.system.btf_object(id)
            except NotFound:
                continue  # gone between the walk and the open: not an error
            except (BpflensError, OSError) as error:
                self.errors.append(ErrorRecord(BTF.noun, id, None, str(error)))

    def _users(self, of: Uses) -> Users | Missing:
        if Part.USERS not in self.parts:
            return Missing(Reason.NOT_ASKED, "part users")
        users: Users = {}

        def collect(system: System) -> Users:
            for btf_id, id in of(system):
                users.setdefault(btf_id, []).append(id)
            return users

        return attempt(collect, self.system)


def _program_uses(system: System) -> Iterator[tuple[int, int]]:
    for id in system.ids(PROGRAM):
        try:
            with system.program(id) as program:
                told = program.basic()
        except NotFound:
            continue
        for btf_id in {told.btf_id, told.attach_btf_obj_id} - {0}:
            yield btf_id, id


def _map_uses(system: System) -> Iterator[tuple[int, int]]:
    for id in system.ids(MAP):
        try:
            with system.map(id) as found:
                told = found.basic()
        except NotFound:
            continue
        for btf_id in {told.btf_id, told.btf_vmlinux_id} - {0}:
            yield btf_id, id


def _record(found: BtfObject, programs: Users | Missing, maps: Users | Missing) -> BtfRecord:
    missing: dict[str, str] = {}
    name, kernel = attempt(BtfObject.name, found), found.kernel()
    uses = {"program_ids": programs, "map_ids": maps}
    for field, value in ({"name": name, "kernel": kernel} | uses).items():
        if isinstance(value, Missing) and value.reason not in (Reason.NONE, Reason.NOT_ASKED):
            missing[field] = str(value)
    return BtfRecord(
        found.id,
        None if isinstance(name, Missing) else name,
        found.size,
        None if isinstance(kernel, Missing) else kernel,
        None if isinstance(programs, Missing) else programs.get(found.id, []),
        None if isinstance(maps, Missing) else maps.get(found.id, []),
        missing,
    )
