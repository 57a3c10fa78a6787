"""What every finder yields: an attachment, or what it could not look at."""

from __future__ import annotations

from typing import NamedTuple

from bpflens.errors import BpflensError
from bpflens.model.parts import Reason, because


class Attachment(NamedTuple):
    """A program at a place where the kernel runs it, or reaches it.

    The fields' names are the JSON keys. A field is a value, or None: not known, with the reason in
    `missing`, or there is none.
    """

    prog_id: int | None
    kind: str
    """One of `attach.kinds`."""
    target: str
    """The place, named: `eth0@blue`, `/web.slice`, `sched_switch`, `map 12 [3]`."""
    order: int | None
    """Its turn among the programs of the same place and attach type, from 0; None where only one
    can be there."""
    flags: list[str]
    via: str
    """What told us: `link`, `netlink`, `prog_query`, `perf_fd`, `map`; `files`,
    `cgroups`: a bulk read."""
    link_id: int | None
    attach_type: str | None
    """The kernel's word for the hook (`AttachType.label`), or the mode: drv, skb, ingress."""
    cookie: int | None
    """What the program gets from bpf_get_attach_cookie()."""
    holder: str | None
    """What keeps it attached where that is a file: `pid 812 (nginx) fd 5`."""
    missing: dict[str, str]
    map_id: int | None = None
    """The map that it is at, or in; then `slot` tells where."""
    slot: str | None = None
    on_prog_id: int | None = None
    """The other program, a function of which it replaces or traces."""
    files: tuple[tuple[int, int], ...] = ()
    """The files that `holder` names: (pid, fd). (No JSON key: a holder has them.)"""


class Failure(NamedTuple):
    """A part of the host that a finder could not look at: the rest of the look stands."""

    kind: str
    """Of the attachments that may be there and unseen; `network`: all of a network namespace."""
    target: str
    """What could not be looked at: `netns blue`, `/sys/fs/cgroup`, `pid 812`."""
    error: str
    """Why; it may begin with a `Reason`, as the text of a `Missing`."""


def failure(kind: str, target: str, error: Exception) -> Failure:
    """What an error says, as a failure."""
    words = None
    told = because(error)
    if told.reason is Reason.LIMITED:
        words = str(told)
    elif isinstance(error, OSError) and not isinstance(error, BpflensError):
        words = error.strerror  # without Python's "[Errno 1]"
    return Failure(kind, target, words or str(error))
