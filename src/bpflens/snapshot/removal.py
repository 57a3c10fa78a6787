"""What it means to detach a link or to take a pin away: what stops, and what stays because of
whom."""

from __future__ import annotations

from typing import NamedTuple

from bpflens.abi.enums import LinkType
from bpflens.model.link import Link
from bpflens.model.map import Map
from bpflens.model.program import Program
from bpflens.snapshot.holders import Held, Holders
from bpflens.snapshot.links import LinkLook, LinkRecord

LAST_FD = frozenset(
    {
        LinkType.RAW_TRACEPOINT.label,
        LinkType.TRACING.label,
        LinkType.ITER.label,
        LinkType.PERF_EVENT.label,
        LinkType.KPROBE_MULTI.label,
        LinkType.UPROBE_MULTI.label,
        LinkType.TRACING_MULTI.label,
    }
)
"""Types of links without a detach of their own (bpf_link_ops), in any release: they end with their
last holder."""


class Removal(NamedTuple):
    """A link that is detached, or a pin that is taken away. The fields' names are the JSON keys."""

    action: str
    """`detach`, `unpin`."""
    path: str | None
    """The pin."""
    object: str
    """`link`, `program`, `map`."""
    id: int
    words: str
    """What it is: `tcx link 12: program 34 lb at eth0`."""
    held: Held
    """What else keeps the object alive."""
    prog_id: int | None
    """A link's program."""
    prog_held: Held | None
    """What else keeps that alive."""


def of_link(look: LinkLook, record: LinkRecord) -> Removal:
    """What detaching a link means."""
    holders = Holders(look.places)
    return Removal(
        "detach",
        None,
        "link",
        record.id,
        link_words(record),
        holders.of("link", record.id),
        record.prog_id,
        None if record.prog_id is None else holders.of("program", record.prog_id),
    )


def of_pin(look: LinkLook, path: str, found: Program | Map | Link) -> Removal:
    """What it means to take a pin away. Closes the object, which must not count as a holder."""
    with found:
        kind, id = found.kind, found.id
        prog_id = None
        if isinstance(found, Link):
            record = look.record(found.info())
            words, prog_id = link_words(record), record.prog_id
        else:
            words = f"{kind} {id} {found.name}".rstrip()
    holders = Holders(look.places)
    held = holders.of(kind, id)
    rest = [each for each in held.holders if each.path != path]
    return Removal(
        "unpin",
        path,
        kind,
        id,
        words,
        held._replace(holders=rest),
        prog_id,
        None if prog_id is None else holders.of("program", prog_id),
    )


def link_words(record: LinkRecord) -> str:
    """A link in one line: `tcx link 12: program 34 lb at eth0 (tcx_ingress)`."""
    program = f"program {record.prog_id} {record.prog_name or ''}".rstrip()
    if record.prog_id is None:
        program = f"map {record.map_id}"
    if record.kind is None:
        return f"{record.type} link {record.id}: {program}, attached nowhere"
    hook = f" ({record.attach_type})" if record.attach_type else ""
    target = record.target or f"a target that is not known ({record.missing.get('target', '')})"
    return f"{record.type} link {record.id}: {program} at {target}{hook}"
