"""What it means to detach a link or to take a pin away: what stops, and what stays because of
whom."""

from __future__ import annotations

import errno
from typing import NamedTuple

from bpflens.abi.enums import LinkType
from bpflens.attach.pins import place
from bpflens.errors import BpflensError, Denied, NotFound, Refused
from bpflens.model.link import Link
from bpflens.model.system import System
from bpflens.port.doors import PinFile
from bpflens.port.mountinfo import Mount
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


class Pinned(NamedTuple):
    """A pin that was looked at, and where."""

    file: PinFile
    mount: Mount | None
    words: str
    """Its path, as the list of pins has it."""


def of_pin(look: LinkLook, path: str) -> tuple[Pinned, Removal]:
    """What it means to take a pin away. Raises NotFound, Denied, Refused, OSError."""
    system, places = look.places.system, look.places
    where = place(places, path)
    try:
        file = system.doors.mounts.pin(system.doors.bpf, where.path, where.mount)
    except OSError as error:
        raise _not_a_pin(path, error) from error
    with system.pinned(where.path, mount=where.mount) as found:
        kind, id = found.kind, found.id
        if (kind, id) != (file.kind, file.id):
            raise Refused(f"{path} is the pin of {kind} {id} since: nothing was changed")
        prog_id = None
        if isinstance(found, Link):
            record = look.record(found.info())
            words, prog_id = link_words(record), record.prog_id
        else:
            words = f"{kind} {id} {found.name}".rstrip()
    # The object is closed: we are no holder.
    holders = Holders(places)
    held = holders.of(kind, id)
    known = places.pins.same(file)
    pinned = Pinned(file, where.mount, known.words if known else path)
    rest = [each for each in held.holders if (each.how, each.words) != ("pin", pinned.words)]
    return pinned, Removal(
        "unpin",
        pinned.words,
        kind,
        id,
        words,
        held._replace(holders=rest),
        prog_id,
        None if prog_id is None else holders.of("program", prog_id),
    )


def unpin(system: System, pinned: Pinned) -> None:
    """Take a pin away, unless another file or object is there since. Raises Refused, Denied."""
    try:
        system.doors.mounts.unpin(system.doors.bpf, pinned.file, pinned.mount)
    except OSError as error:
        raise _not_a_pin(pinned.words, error) from error


def _not_a_pin(path: str, error: OSError) -> BpflensError:
    words = f"{path}: {error.strerror}"
    match error.errno:
        case errno.ENOENT:
            return NotFound(f"nothing is pinned at {path}")
        case errno.EACCES | errno.EPERM:
            return Denied(words, "write permission on the directory and the file")
        case errno.EIO:
            return BpflensError(words)  # something was changed
    return Refused(f"{words}: nothing was changed")


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
