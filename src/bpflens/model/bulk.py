"""Many programs at once, where the kernel has a door for it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpflens.abi.infos import ProgInfo
from bpflens.abi.rows import ProgRow
from bpflens.errors import BpflensError
from bpflens.model.parts import Missing, Part, not_asked
from bpflens.model.program import NAME_MAX, ProgramParts

if TYPE_CHECKING:
    from bpflens.model.system import System
    from bpflens.port.doors import Rows

PARTS = Part.BASIC | Part.MAPS | Part.MEMORY | Part.STATS
"""What rows hold. The others are long, and are read where somebody wants them."""

_HEAD = ProgRow.__size__
_FIXED = _HEAD + ProgInfo.__size__


def programs(system: System, after: int, parts: Part) -> Iterator[tuple[int, ProgramParts | None]]:
    """Every program with an ID above `after`, ascending: its ID and its parts.

    None in place of the parts: the plain calls have to be asked. Raises BpflensError or OSError,
    before the first, where there is nothing to be had in bulk; then they have to be asked for all.
    """
    bulk = system.doors.bulk
    if bulk is None or parts & ~PARTS:
        raise BpflensError("not offered")
    maps = Part.MAPS in parts
    return _decoded(bulk.programs(system.doors.bpf, after, maps, system.index_dir), parts)


def _decoded(rows: Rows, parts: Part) -> Iterator[tuple[int, ProgramParts | None]]:
    named, mapped, accounted = (part in parts for part in (Part.BASIC, Part.MAPS, Part.MEMORY))
    no_name, no_maps, no_memory = map(not_asked, (Part.BASIC, Part.MAPS, Part.MEMORY))
    code: Missing = not_asked(Part.INSNS)
    jited: Missing = not_asked(Part.JITED)
    debug: Missing = not_asked(Part.DEBUG)
    data, at = rows.data, 0
    unpack_head = ProgRow.__struct__.unpack_from
    unpack_info = ProgInfo.__struct__.unpack_from
    while at < len(data):
        again, count, known, memlock = unpack_head(data, at)
        told = ProgInfo.__new__(ProgInfo)
        told.__fill__(unpack_info(data, at + _HEAD), known)
        ids = list(struct.unpack_from(f"={count}I", data, at + _FIXED)) if count else []
        at += _FIXED + 4 * count
        if told.id == rows.reader:
            continue
        # A name that may be cut is completed from BTF, which takes calls.
        if again or (named and len(told.name) >= NAME_MAX):
            yield told.id, None
            continue
        yield (
            told.id,
            ProgramParts(
                told,
                told.name.decode(errors="surrogateescape") if named else no_name,
                ids if mapped else no_maps,
                memlock if accounted else no_memory,
                code,
                jited,
                debug,
            ),
        )
