"""The whole of a system in a few lines: how many of what, and what looks wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from bpflens.errors import BpflensError, Denied
from bpflens.model.parts import Missing, Reason
from bpflens.model.system import BTF, LINK, Kind, System
from bpflens.snapshot.records import ErrorRecord, MapRecord, ProgramRecord
from bpflens.snapshot.take import Look, release


class Overview(NamedTuple):
    """One look in numbers."""

    kernel: str
    programs: int
    maps: int
    links: int | None
    btf_objects: int | None
    memlock_bytes: int
    pinned: int
    programs_by_type: dict[str, int]
    maps_by_type: dict[str, int]
    attached: int
    attached_by_kind: dict[str, int]
    largest_maps: list[dict[str, Any]]
    copies: list[dict[str, Any]]
    missing: dict[str, str]


LARGEST = 5


def overview(system: System) -> tuple[Overview, list[ErrorRecord]]:
    """(the numbers, what could not be looked at). Raises Denied where nothing may be seen."""
    look = Look(system)
    programs = list(look.programs())
    maps = list(look.maps())
    missing: dict[str, str] = {}
    attached = _attached(system, missing, look.errors)
    if look.pinned.unwalked:
        missing["pinned"] = f"there may be more: {look.pinned.unwalked}"
    found = Overview(
        release(system),
        len(programs),
        len(maps),
        _count(system, LINK, "links", missing, look.errors),
        _count(system, BTF, "btf_objects", missing, look.errors),
        sum(p.memlock_bytes or 0 for p in programs) + sum(m.memlock_bytes or 0 for m in maps),
        sum(bool(p.pinned) for p in programs) + sum(bool(m.pinned) for m in maps),
        _by_type(programs),
        _by_type(maps),
        sum(attached.values()),
        attached,
        _largest(maps),
        _copies(programs),
        missing,
    )
    return found, look.errors


def _count(
    system: System, kind: Kind, field: str, missing: dict[str, str], errors: list[ErrorRecord]
) -> int | None:
    try:
        return sum(1 for _ in system.ids(kind))
    except Denied as error:
        missing[field] = str(Missing(Reason.DENIED, str(error)))
        errors.append(ErrorRecord(kind.noun, None, None, str(error)))
    except BpflensError as error:
        missing[field] = str(Missing(Reason.UNSUPPORTED, str(error)))
    return None


def _attached(system: System, missing: dict[str, str], errors: list[ErrorRecord]) -> dict[str, int]:
    """How many attachments there are of each kind."""
    from bpflens.attach.everything import find
    from bpflens.attach.places import Places
    from bpflens.attach.record import Failure
    from bpflens.snapshot.attachments import closed

    counts: Counter[str] = Counter()
    unseen: list[ErrorRecord] = []
    places = Places(system)
    for found in find(places):
        if isinstance(found, Failure):
            unseen.append(ErrorRecord(found.kind, None, found.target or None, found.error))
        else:
            counts[found.kind] += 1
    unseen += closed(places)
    errors += (ErrorRecord("pin", None, what, str(why)) for what, why in places.pins.unseen)
    if unseen:
        first = " ".join(filter(None, (unseen[0].kind, unseen[0].path, unseen[0].error)))
        more = f" (and {len(unseen) - 1} more)" if len(unseen) > 1 else ""
        missing["attached"] = f"there may be more: {first}{more}"
        errors += unseen
    return dict(counts.most_common())


def _by_type(records: list[ProgramRecord] | list[MapRecord]) -> dict[str, int]:
    return dict(Counter(record.type for record in records).most_common())


def _largest(maps: list[MapRecord]) -> list[dict[str, Any]]:
    ranked = sorted(maps, key=lambda m: -(m.memlock_bytes or 0))[:LARGEST]
    return [
        {"id": m.id, "type": m.type, "name": m.name, "memlock_bytes": m.memlock_bytes}
        for m in ranked
    ]


def _copies(programs: list[ProgramRecord]) -> list[dict[str, Any]]:
    """Programs that are loaded many times over: a loader that forgets to unload looks like this."""
    counts = Counter((p.type, p.name, p.tag) for p in programs)
    return [
        {"type": kind, "name": name, "tag": tag, "count": count}
        for (kind, name, tag), count in counts.most_common()
        if count >= MANY
    ]


MANY = 16
"""Copies of one program that are worth a word; a handful is normal (one for each cgroup)."""
