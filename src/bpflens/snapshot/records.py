"""The records: frozen, plain data, with a schema number from the first day.

A field is a value, or None. Zero, false and empty are values. Where `missing` has an entry for a
field that is None, the value is not known, and the entry says why (`reason: detail`); where it has
none, it is known that the object has none, or its part was not asked for. The fields' names are the
JSON keys. They are named tuples because a
list makes thousands of them: a frozen dataclass costs eight times as much to make, and its
module 17 ms of start-up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from bpflens.model.parts import is_limited

SCHEMA = "bpflens/1"
"""Grows when a field changes its meaning or goes; new fields do not change it."""


class ProgramRecord(NamedTuple):
    """One program."""

    id: int
    type: str
    name: str
    full_name: str | None
    tag: str
    gpl_compatible: bool | None
    loaded_at: str
    created_by_uid: int
    xlated_bytes: int | None
    jited_bytes: int | None
    memlock_bytes: int | None
    map_ids: list[int] | None
    btf_id: int | None
    verified_insns: int | None
    run_time_ns: int | None
    run_cnt: int | None
    recursion_misses: int | None
    pinned: list[str] | None
    load_time_ns: int
    attach_btf_obj_id: int | None
    attach_btf_id: int | None
    ifindex: int | None
    missing: dict[str, str]
    xlated: str | None = None
    jited: str | None = None
    jited_ksyms: list[int] | None = None
    jited_func_lens: list[int] | None = None
    func_info: str | None = None
    line_info: str | None = None
    jited_line_info: str | None = None
    prog_tags: list[str] | None = None
    attachments: list[dict[str, Any]] | None = None
    holders: list[dict[str, Any]] | None = None
    unseen: list[str] | None = None
    """What could not be looked at: there may be more attachments and holders."""


class MapRecord(NamedTuple):
    """One map."""

    id: int
    type: str
    name: str
    key_size: int
    value_size: int
    max_entries: int
    flags: list[str]
    memlock_bytes: int | None
    frozen: bool | None
    btf_id: int | None
    owner_prog_type: str | None
    pinned: list[str] | None
    map_extra: int | None
    btf_key_type_id: int | None
    btf_value_type_id: int | None
    btf_vmlinux_value_type_id: int | None
    ifindex: int | None
    missing: dict[str, str]
    attachments: list[dict[str, Any]] | None = None
    holders: list[dict[str, Any]] | None = None
    unseen: list[str] | None = None


class BtfRecord(NamedTuple):
    """One BTF object."""

    id: int
    name: str | None
    size: int
    kernel: bool | None
    program_ids: list[int] | None
    map_ids: list[int] | None
    missing: dict[str, str]


class ErrorRecord(NamedTuple):
    """One thing that could not be looked at: the rest of the look stands."""

    kind: str
    id: int | None
    path: str | None
    error: str


def limited(
    kind: str, id: int | None, path: str | None, missing: dict[str, str]
) -> list[ErrorRecord]:
    """The errors of a record of which limits of ours took a part. (Pins are looked for once for all
    records, and what ended that is one error.)"""
    told = dict.fromkeys(
        words for field, words in missing.items() if field != "pinned" and is_limited(words)
    )
    return [ErrorRecord(kind, id, path, words) for words in told]


class Snapshot(NamedTuple):
    """One look at a kernel."""

    schema: str
    kernel: str
    taken_at: str
    programs: list[ProgramRecord]
    maps: list[MapRecord]
    errors: list[ErrorRecord]

    @property
    def complete(self) -> bool:
        """Whether everything that was there could be looked at."""
        return not self.errors
