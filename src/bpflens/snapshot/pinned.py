"""Where the objects of a look are pinned in our own mount namespace."""

from __future__ import annotations

from bpflens.model.parts import Missing, Reason, because
from bpflens.model.system import System
from bpflens.snapshot.records import ErrorRecord


class Pinned:
    """The pins of a system, walked once; `errors` gets what could not be looked at."""

    def __init__(self, system: System, errors: list[ErrorRecord]) -> None:
        self.unwalked = ""
        """Why there may be more than were found."""
        found = system.pins()
        self._paths = found.paths
        for path, error in found.errors:
            told = because(error)
            words = getattr(error, "strerror", None) or str(error)
            if told.reason is Reason.LIMITED:
                words = str(told)
            errors.append(ErrorRecord("pin", None, path, words))
            self.unwalked = self.unwalked or str(Missing(told.reason, f"{path}: {told.detail}"))

    def of(self, kind: str, id: int, missing: dict[str, str]) -> list[str] | None:
        """The paths at which an object is pinned: those that were found, or None, where not every
        pin could be looked at, as `missing` then says."""
        if not self.unwalked:
            return self._paths.get((kind, id), [])
        missing["pinned"] = self.unwalked
        return self._paths.get((kind, id))
