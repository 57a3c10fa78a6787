"""Attachments as records: what `attach` finds, with the programs by name, in a steady order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from bpflens.abi.enums import ProgType
from bpflens.attach.everything import find
from bpflens.attach.kinds import KINDS
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.model.parts import Missing, Reason
from bpflens.snapshot.records import ErrorRecord, limited


class AttachmentRecord(NamedTuple):
    """One attachment: the fields of `attach.record.Attachment`, and what its program is."""

    prog_id: int | None
    prog_type: str | None
    prog_name: str | None
    prog_tag: str | None
    kind: str
    target: str
    attach_type: str | None
    order: int | None
    flags: list[str]
    via: str
    link_id: int | None
    cookie: int | None
    holder: str | None
    map_id: int | None
    slot: str | None
    on_prog_id: int | None
    missing: dict[str, str]


Finder: TypeAlias = Callable[[Places], Iterable[Attachment | Failure]]


class Attachments:
    """What is attached on a host, looked for once. Raises Denied where nothing may be seen."""

    def __init__(self, places: Places, finder: Finder = find) -> None:
        self.errors: list[ErrorRecord] = []
        """What could not be looked at: attachments may be there, unseen."""
        self.raw: list[Attachment | Failure] = []
        """The same as it was found."""
        self._targets = places.targets
        self.records = sorted(self._found(finder(places)), key=_order)
        self.errors += closed(places)

    def _found(self, all: Iterable[Attachment | Failure]) -> list[AttachmentRecord]:
        records: list[AttachmentRecord] = []
        for found in all:
            self.raw.append(found)
            if isinstance(found, Failure):
                target = found.target or None
                self.errors.append(ErrorRecord(found.kind, None, target, found.error))
            elif (record := self._record(found)) is not None:
                records.append(record)
        return records

    def _record(self, found: Attachment) -> AttachmentRecord | None:
        """The record; None where the program is gone, and so the attachment too."""
        missing = dict(found.missing)
        type, name, tag, why = None, None, None, missing.get("prog_id")
        if found.prog_id is not None:
            program = self._targets.program(found.prog_id)
            if not isinstance(program, Missing):
                type, name = ProgType(program.info.type).label, program.name
                tag = program.info.tag.hex()
            elif program.reason is Reason.GONE:
                return None
            else:
                why = str(program)
        if why:
            missing |= dict.fromkeys(("prog_type", "prog_name", "prog_tag"), why)
        if missing:
            self.errors += limited(found.kind, None, found.target, missing)
        return AttachmentRecord(
            found.prog_id,
            type,
            name,
            tag,
            found.kind,
            found.target,
            found.attach_type,
            found.order,
            found.flags,
            found.via,
            found.link_id,
            found.cookie,
            found.holder,
            found.map_id,
            found.slot,
            found.on_prog_id,
            missing,
        )

    def of(self, id: int) -> list[AttachmentRecord]:
        """The attachments of one program."""
        return [record for record in self.records if record.prog_id == id]

    def at_map(self, id: int) -> list[AttachmentRecord]:
        """Those at a map: programs in its slots or run on its sockets, iterators over it."""
        return [record for record in self.records if record.map_id == id]

    def by_link(self, id: int) -> list[AttachmentRecord]:
        """Those that one link makes."""
        return [record for record in self.records if record.link_id == id]


def closed(places: Places) -> list[ErrorRecord]:
    """What is told of network namespaces that no process is in, nor any mount."""
    why = "it cannot be entered: only an open socket or a link leads there"
    return [ErrorRecord("netns", None, f"netns {inode}", why) for inode in sorted(_closed(places))]


def _closed(places: Places) -> set[int]:
    """The network namespaces that something tells of, and no process is in, nor any mount."""
    told = {link.netns_ino for link in places.links if link.netns_ino}
    if "files" in vars(places):  # who looks at one cgroup alone has not read them
        told |= {file.socket.netns for file in places.files.rows if file.socket}
    try:
        entered = {netns.inode for netns in places.netns}
        return told - entered - set(places.closed_netns) - {0}
    except OSError:
        return set()  # the finders of what is in them have said so


_RANKS = {kind.name: rank for rank, kind in enumerate(KINDS)}


def _order(record: AttachmentRecord) -> tuple[int, str, str, int, int]:
    return (
        _RANKS.get(record.kind, len(_RANKS)),
        record.target,
        record.attach_type or "",
        -1 if record.order is None else record.order,
        record.prog_id or 0,
    )
