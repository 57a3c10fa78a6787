"""What the bulk door gives: rows of whole objects, one after another, ascending by ID.

A row of a program is a `ProgRow`, then a `ProgInfo` as OBJ_GET_INFO_BY_FD tells it without side
buffers, then `ids` IDs of its maps (u32). Where `again` is set, of all that only the info's `id`
means anything: that program has to be asked about by the plain calls.
"""

from __future__ import annotations

from bpflens.abi.record import U32, U64, Record


class ProgRow(Record, size=24):
    """What stands before a program's info."""

    again: U32 = 0
    ids: U32 = 0
    """How many IDs of maps follow: all of them, or none where they were not asked for."""
    told: U32 = 0
    """How many bytes of the info this kernel knows."""
    memlock: U64 = 0
    """As fdinfo tells it."""
