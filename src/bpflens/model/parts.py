"""What of an object is asked for, and what a missing value says."""

from __future__ import annotations

import errno
from collections.abc import Callable
from enum import Flag, StrEnum, auto
from typing import NamedTuple, TypeVar

from bpflens.errors import BpflensError, Denied, Limited, NotFound, Unsupported


class Part(Flag):
    """Parts of what a kernel knows of an object: none is fetched that nobody asked for.

    The mail of 2017 has this as the `flags` of `bpf_prog_get_info(fd, &info, flags)`, because
    dumping everything is slow and cumbersome.
    """

    BASIC = auto()
    """Type, name, tag, sizes, uid, counters: one call; the full name where the kernel's is cut."""
    MAPS = auto()
    """The IDs of the maps that a program uses."""
    MEMORY = auto()
    """Bytes that the kernel accounts for; frozen state; owner of a prog_array (from fdinfo)."""
    INSNS = auto()
    """The instructions as the verifier left them (xlated)."""
    JITED = auto()
    """The machine code, and the addresses and lengths of its functions."""
    DEBUG = auto()
    """Function and line records (BTF), tags of subprograms."""
    STATS = auto()
    """Run time, run count, recursion misses: a part of BASIC, also alone."""
    USERS = auto()
    """Which programs and maps use a BTF object: a walk over all of them."""
    ATTACHMENTS = auto()
    """Where a program is attached, what is attached to a map: a look at every place of the host."""
    HOLDERS = auto()
    """Who keeps an object alive: a look at the open files of every process."""


class Reason(StrEnum):
    """Why a value is missing."""

    NONE = "none"
    """The object has none, or it does not apply: this is known."""
    UNSUPPORTED = "unsupported"
    """This kernel does not know the field."""
    RESTRICTED = "restricted"
    """This caller may not see it: a capability or sysctl is named."""
    DENIED = "denied"
    """The call that would tell was refused."""
    GONE = "gone"
    """The object vanished while it was read."""
    OFF = "off"
    """Nothing is counted, because statistics are not on."""
    NOT_ASKED = "not asked"
    """The part that holds it was not asked for."""
    LIMITED = "limited"
    """A limit of ours (`bpflens.limits`) ended the read that would tell."""
    FAILED = "failed"
    """The call that would tell failed otherwise."""


Of = TypeVar("Of")
T = TypeVar("T")


class Missing(NamedTuple):
    """Stands for a value that is not there; its text is `reason: detail`."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


def attempt(read: Callable[[Of], T | Missing], of: Of) -> T | Missing:
    """What `read(of)` returns, or why it failed: one failing part never takes the others along."""
    try:
        return read(of)
    except (BpflensError, OSError) as error:
        return because(error)


_LIMITS = (0, errno.EAGAIN, errno.EFBIG, errno.ETIMEDOUT)
"""What a door answers where it reached a limit of ours: the part of a file system that was not read
(`Unread`), tables that change, files that are too long, what does not answer."""


def because(error: Exception) -> Missing:
    """An error as the reason for what is missing."""
    if isinstance(error, Denied):
        reason = Reason.RESTRICTED if error.needs else Reason.DENIED
        return Missing(reason, f"{error}" + (f" (needs {error.needs})" if error.needs else ""))
    if isinstance(error, NotFound):
        return Missing(Reason.GONE, "it vanished while it was read")
    if isinstance(error, Unsupported):
        return Missing(Reason.UNSUPPORTED, str(error))
    if isinstance(error, Limited):
        return Missing(Reason.LIMITED, str(error))
    if isinstance(error, OSError) and not isinstance(error, BpflensError):
        if error.errno in _LIMITS:
            return Missing(Reason.LIMITED, error.strerror or str(error))
        refused = error.errno in (errno.EPERM, errno.EACCES)
        return Missing(Reason.DENIED if refused else Reason.FAILED, error.strerror or str(error))
    return Missing(Reason.FAILED, str(error))


_LIMITED = f"{Reason.LIMITED}: "


def is_limited(words: str) -> bool:
    """Whether a reason in words, as `str(Missing)` gives it, is a limit of ours."""
    return words.startswith(_LIMITED)


def not_asked(part: Part) -> Missing:
    """The value of a field whose part was not asked for."""
    return Missing(Reason.NOT_ASKED, f"part {str(part.name).lower()}")
