"""Where an object is attached and who holds it, as fields of its record."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from bpflens.attach.places import Places
from bpflens.model.parts import Part
from bpflens.snapshot.attachments import AttachmentRecord, Attachments
from bpflens.snapshot.holders import Holder, Holders
from bpflens.snapshot.records import ErrorRecord


class Ties:
    """The attachments and holders of a host, as far as these parts ask for them."""

    def __init__(self, places: Places, parts: Part) -> None:
        self._parts = parts
        self._places = places

    @cached_property
    def _attachments(self) -> Attachments:
        return Attachments(self._places)

    @cached_property
    def _holders(self) -> Holders:
        return Holders(self._places, self._attachments.raw)

    def of(self, kind: str, id: int) -> dict[str, Any]:
        """The fields for a program, map or link."""
        fields: dict[str, Any] = {}
        unseen: list[str] = []
        if Part.ATTACHMENTS in self._parts:
            fields["attachments"] = [_attachment(kind, found) for found in self._at(kind, id)]
            unseen += (
                " ".join(filter(None, (f"{error.kind}:", error.path, error.error)))
                for error in self._attachments.errors
            )
        if Part.HOLDERS in self._parts:
            held = self._holders.of(kind, id)
            fields["holders"] = [_holder(found) for found in held.holders]
            unseen += (f"{each.what}: {each.reason}" for each in held.unseen)
        return fields | {"unseen": list(dict.fromkeys(unseen))}

    @property
    def errors(self) -> list[ErrorRecord]:
        """What could not be looked at, of all objects."""
        errors = self._attachments.errors if Part.ATTACHMENTS in self._parts else []
        return errors + (self._holders.errors if Part.HOLDERS in self._parts else [])

    def _at(self, kind: str, id: int) -> list[AttachmentRecord]:
        match kind:
            case "program":
                return self._attachments.of(id)
            case "map":
                return self._attachments.at_map(id)
        return self._attachments.by_link(id)


def _attachment(kind: str, record: AttachmentRecord) -> dict[str, Any]:
    """An attachment without what it has none of; of a program without what the program is."""
    told = {key: value for key, value in record._asdict().items() if value not in (None, {})}
    if kind == "program":
        told = {key: value for key, value in told.items() if not key.startswith("prog_")}
    return told


def _holder(holder: Holder) -> dict[str, Any]:
    """A holder without what it has none of."""
    return {key: value for key, value in holder._asdict().items() if value not in (None, {})}
