"""From handles to records: one look at a kernel, in which one bad object never ends a list."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from bpflens.abi.enums import MapFlag, MapType, ProgType
from bpflens.abi.infos import MapInfo, ProgInfo
from bpflens.abi.record import Record
from bpflens.errors import BpflensError, NotFound
from bpflens.model.map import Map, MapParts
from bpflens.model.parts import Missing, Part, Reason
from bpflens.model.program import Debug, Jited, Program, ProgramParts
from bpflens.model.system import MAP, PROGRAM, Kind, System
from bpflens.snapshot.pinned import Pinned
from bpflens.snapshot.records import (
    SCHEMA,
    ErrorRecord,
    MapRecord,
    ProgramRecord,
    Snapshot,
    limited,
)

LIST_PARTS = Part.BASIC | Part.MAPS | Part.MEMORY
"""What a list shows unless it is told otherwise: nothing of this is slow."""

TIES = Part.ATTACHMENTS | Part.HOLDERS
"""What `show` tells beside that: it takes a look at the whole host."""

BULK_AFTER = 400
"""How many programs the plain calls read first. A program that reads the rest takes the kernel 4 ms
to load, in which they read 300: a small machine never has one loaded only to be looked at."""

STATS_SYSCTL = "/proc/sys/kernel/bpf_stats_enabled"

T = TypeVar("T")
R = TypeVar("R", ProgramRecord, MapRecord)

PROGRAM_PARTS: dict[str, Part] = {
    "full_name": Part.BASIC,
    "map_ids": Part.MAPS,
    "memlock_bytes": Part.MEMORY,
    "pinned": Part.BASIC,
    "xlated": Part.INSNS,
    "jited": Part.JITED,
    "jited_ksyms": Part.JITED,
    "jited_func_lens": Part.JITED,
    "func_info": Part.DEBUG,
    "line_info": Part.DEBUG,
    "jited_line_info": Part.DEBUG,
    "prog_tags": Part.DEBUG,
    "attachments": Part.ATTACHMENTS,
    "holders": Part.HOLDERS,
    "unseen": TIES,
}
"""Field of `ProgramRecord` → the part that holds it; every other field costs no call of its own."""

MAP_PARTS: dict[str, Part] = {
    "memlock_bytes": Part.MEMORY,
    "frozen": Part.MEMORY,
    "owner_prog_type": Part.MEMORY,
    "pinned": Part.BASIC,
    "attachments": Part.ATTACHMENTS,
    "holders": Part.HOLDERS,
    "unseen": TIES,
}
"""The same for `MapRecord`."""

_HIDDEN = str(Missing(Reason.RESTRICTED, "needs CAP_BPF or CAP_SYS_ADMIN"))
_UNTOLD = str(Missing(Reason.UNSUPPORTED, "this kernel does not tell it"))
_STATS_OFF = str(
    Missing(Reason.OFF, "no run was counted: kernel.bpf_stats_enabled is not 1 (see doctor)")
)


class Look:
    """One look at a system: what holds for all its objects is read once.

    `errors` collects what could not be looked at.
    """

    def __init__(self, system: System, parts: Part = LIST_PARTS) -> None:
        self.system = system
        self.parts = parts
        self.errors: list[ErrorRecord] = []
        self._boot_time = system.boot_time()
        self._basic = Part.BASIC in parts
        self._code = bool(parts & (Part.INSNS | Part.JITED | Part.DEBUG))
        self._tied = bool(parts & TIES)
        self._counting: bool | None = None

    # --- lists

    def programs(self, programs: Iterable[Program] | None = None) -> Iterator[ProgramRecord]:
        """A record for each program (default: all of the system). Closes each after reading it."""
        found = self._all_programs() if programs is None else self._programs(programs)
        return self._with_ties("program", found) if self._tied else found

    def _programs(self, programs: Iterable[Program]) -> Iterator[ProgramRecord]:
        for program in programs:
            with program:
                try:
                    record = self._program(program.info(self.parts))
                except NotFound:
                    continue
                except (BpflensError, OSError) as error:
                    self._failed(PROGRAM, None, error)
                    continue
            yield record

    def _all_programs(self) -> Iterator[ProgramRecord]:
        rest: Iterator[tuple[int, ProgramParts | None]] | None = None
        for seen, id in enumerate(self.system.ids(PROGRAM), 1):
            record = self._program_by_id(id)
            if record is not None:
                yield record
            if seen == BULK_AFTER:
                rest = self._programs_in_bulk(id)
                if rest is not None:
                    break
        for id, parts in rest or ():
            record = self._program_by_id(id) if parts is None else self._program(parts)
            if record is not None:
                yield record

    def _program_by_id(self, id: int) -> ProgramRecord | None:
        try:
            with self.system.program(id) as program:
                return self._program(program.info(self.parts))
        except NotFound:
            return None  # gone between the walk and the open: not an error
        except (BpflensError, OSError) as error:
            self._failed(PROGRAM, id, error)
            return None

    def _programs_in_bulk(self, after: int) -> Iterator[tuple[int, ProgramParts | None]] | None:
        from bpflens.model import bulk

        try:
            return bulk.programs(self.system, after, self.parts)
        except (BpflensError, OSError):
            return None  # it is only faster: the plain calls tell the same

    def maps(self, maps: Iterable[Map] | None = None) -> Iterator[MapRecord]:
        """A record for each map (default: all of the system). Closes each after reading it."""
        found = self._maps(self._opened(MAP, self.system.map) if maps is None else maps)
        return self._with_ties("map", found) if self._tied else found

    def _maps(self, maps: Iterable[Map]) -> Iterator[MapRecord]:
        for map in maps:
            with map:
                try:
                    record = self._map(map.info(self.parts))
                except NotFound:
                    continue
                except (BpflensError, OSError) as error:
                    self._failed(MAP, None, error)
                    continue
            yield record

    def _with_ties(self, kind: str, records: Iterator[R]) -> Iterator[R]:
        """The records with where each object is attached and who holds it.

        That is looked for when we have closed the object: else we would find ourselves.
        """
        from bpflens.attach.places import Places
        from bpflens.snapshot.ties import Ties  # and with it every finder

        ties = Ties(Places(self.system), self.parts)
        for at, record in enumerate(records):
            tied = ties.of(kind, record.id)
            if not at:
                self.errors += ties.errors
            yield record._replace(**tied)

    def _opened(self, kind: Kind, open_id: Any) -> Iterator[Any]:
        for id in self.system.ids(kind):
            try:
                yield open_id(id)
            except NotFound:
                continue  # gone between the walk and the open: not an error
            except (BpflensError, OSError) as error:
                self._failed(kind, id, error)

    def _failed(self, kind: Kind, id: int | None, error: Exception) -> None:
        self.errors.append(ErrorRecord(kind.noun, id, None, str(error)))

    # --- what holds for all objects

    @cached_property
    def pinned(self) -> Pinned:
        """Where objects are pinned."""
        return Pinned(self.system, self.errors)

    @property
    def counting(self) -> bool:
        """Whether the kernel counts every run of every program.

        Someone may also have it count through an fd (BPF_ENABLE_STATS), which nothing tells; then
        programs that ran have a count, and that is shown.
        """
        if self._counting is None:
            try:
                self._counting = self.system.host.read(STATS_SYSCTL).strip() == b"1"
            except OSError:
                self._counting = False
        return self._counting

    # --- one object

    def _program(self, parts: ProgramParts) -> ProgramRecord:
        told = parts.basic
        missing: dict[str, str] = {}
        hidden = not told.xlated_prog_len
        if hidden:
            missing["xlated_bytes"] = missing["jited_bytes"] = _HIDDEN
        uncounted = not (told.run_cnt or self.counting)
        if uncounted:
            missing["run_time_ns"] = missing["run_cnt"] = _STATS_OFF
        record = ProgramRecord(
            told.id,
            _prog_type(told.type),
            told.name.decode(errors="surrogateescape"),
            _value(missing, "full_name", parts.full_name),
            told.tag.hex(),
            bool(told.gpl_compatible & 1),
            _rfc3339((self._boot_time + told.load_time) // 1_000_000_000),
            told.created_by_uid,
            None if hidden else told.xlated_prog_len,
            None if hidden else told.jited_prog_len,
            _value(missing, "memlock_bytes", parts.memlock),
            _value(missing, "map_ids", parts.map_ids),
            told.btf_id or None,
            told.verified_insns,
            None if uncounted else told.run_time_ns,
            None if uncounted else told.run_cnt,
            told.recursion_misses,
            self.pinned.of("program", told.id, missing) if self._basic else None,
            told.load_time,
            told.attach_btf_obj_id or None,
            told.attach_btf_id or None,
            told.ifindex or None,
            missing,
        )
        if self._code:
            record = record._replace(**_code(missing, parts))
        untold = _untold(ProgInfo, told.__told__)
        if untold:
            missing.update(dict.fromkeys(untold, _UNTOLD))
            nulls: dict[str, Any] = dict.fromkeys(untold)
            record = record._replace(**nulls)
        if missing:
            self.errors += limited(PROGRAM.noun, told.id, None, missing)
        return record

    def _map(self, parts: MapParts) -> MapRecord:
        told = parts.basic
        missing: dict[str, str] = {}
        accounts = parts.accounts
        memlock, frozen, owner = (accounts,) * 3 if isinstance(accounts, Missing) else accounts
        record = MapRecord(
            told.id,
            _map_type(told.type),
            told.name.decode(errors="surrogateescape"),
            told.key_size,
            told.value_size,
            told.max_entries,
            list(_flags(told.map_flags)),
            _value(missing, "memlock_bytes", memlock),
            _value(missing, "frozen", frozen),
            told.btf_id or None,
            _value(
                missing,
                "owner_prog_type",
                owner if isinstance(owner, Missing) else _prog_type(owner),
            ),
            self.pinned.of("map", told.id, missing) if self._basic else None,
            told.map_extra,
            told.btf_key_type_id or None,
            told.btf_value_type_id or None,
            told.btf_vmlinux_value_type_id or None,
            told.ifindex or None,
            missing,
        )
        untold = _untold(MapInfo, told.__told__)
        if untold:
            missing.update(dict.fromkeys(untold, _UNTOLD))
            nulls: dict[str, Any] = dict.fromkeys(untold)
            record = record._replace(**nulls)
        if missing:
            self.errors += limited(MAP.noun, told.id, None, missing)
        return record


def take(system: System, parts: Part = LIST_PARTS) -> Snapshot:
    """One look at every program and map. Raises Denied where nothing may be seen at all."""
    look = Look(system, parts)
    programs = list(look.programs())
    maps = list(look.maps())
    seconds = system.host.clock().realtime // 1_000_000_000
    return Snapshot(SCHEMA, release(system), _rfc3339(seconds), programs, maps, look.errors)


def release(system: System) -> str:
    """The kernel's release, as `uname -r` gives it; empty where it cannot be read."""
    try:
        return (
            system.host.read("/proc/sys/kernel/osrelease").decode(errors="surrogateescape").strip()
        )
    except OSError:
        return ""


def _value(missing: dict[str, str], field: str, value: T | Missing) -> T | None:
    """The value; or None, with the reason noted where something stands in the way."""
    if isinstance(value, Missing):
        if value.reason not in _KNOWN:
            missing[field] = str(value)
        return None
    return value


_KNOWN = (Reason.NONE, Reason.NOT_ASKED)
"""Reasons that need no note: there is none, or nobody wanted it."""


def _code(missing: dict[str, str], parts: ProgramParts) -> dict[str, Any]:
    """The fields that hold code and what belongs to it."""
    xlated, jited, debug = parts.xlated, parts.jited, parts.debug
    fields: dict[str, Any] = {"xlated": xlated if isinstance(xlated, Missing) else xlated.hex()}
    for name in Jited._fields:
        fields[_CODE_FIELDS.get(name, name)] = (
            jited if isinstance(jited, Missing) else getattr(jited, name)
        )
    for name in Debug._fields:
        fields[name] = debug if isinstance(debug, Missing) else getattr(debug, name)
    return {name: _plain(_value(missing, name, value)) for name, value in fields.items()}


_CODE_FIELDS = {"code": "jited", "ksyms": "jited_ksyms", "func_lens": "jited_func_lens"}


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


@lru_cache
def _untold(info: type[Record], told: int) -> tuple[str, ...]:
    """The fields of our records that a kernel which told so many bytes does not know."""
    fields = (ProgramRecord if info is ProgInfo else MapRecord)._fields
    layout = info.__layout__
    return tuple(
        name
        for name in fields
        if (origin := _ORIGINS.get(name, name)) in layout and layout[origin].end > told
    )


_ORIGINS = {
    "loaded_at": "load_time",
    "load_time_ns": "load_time",
    "xlated_bytes": "xlated_prog_len",
    "jited_bytes": "jited_prog_len",
    "flags": "map_flags",
}
"""Fields of our records that the kernel has by another name."""


@lru_cache(maxsize=4096)
def _rfc3339(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@lru_cache
def _prog_type(value: int) -> str:
    return ProgType(value).label


@lru_cache
def _map_type(value: int) -> str:
    return MapType(value).label


@lru_cache
def _flags(value: int) -> tuple[str, ...]:
    return tuple(MapFlag(value).labels())
