"""`Word` and `FlagWord`: enums in which a value that we do not know yet is normal."""

from __future__ import annotations

from enum import KEEP, IntEnum, IntFlag
from typing import Self


class Word(IntEnum):
    """An enum of the kernel. A value from a newer kernel becomes a member `UNKNOWN_<n>`."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        # setdefault: `MapType(77) is MapType(77)`, as for members that are known
        return cls._value2member_map_.setdefault(value, member)  # type: ignore[return-value]

    @property
    def label(self) -> str:
        """The name as bpftool prints it: `percpu_hash`; `unknown_77` for what we do not know."""
        return self._name_.lower()


class FlagWord(IntFlag, boundary=KEEP):
    """A set of flag bits of the kernel; bits that we do not know are kept."""

    def labels(self) -> list[str]:
        """The names of the bits that are set, lowest first; unknown bits as one hex number."""
        known = [bit for bit in type(self) if bit & self]
        rest = int(self) & ~sum(known)
        return [str(bit.name).lower() for bit in known] + ([f"{rest:#x}"] if rest else [])
