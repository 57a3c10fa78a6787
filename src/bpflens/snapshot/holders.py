"""Who keeps each object alive: fds, pins, links, slots of maps, programs, maps, attachments.

Whatever could not be looked at is told beside what was found: then "nothing holds it" is no answer.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure

HOWS = ("fd", "pin", "link", "slot", "program", "map", "attachment")
"""The ways to keep an object alive, those of user space first."""

Key = tuple[str, int]
"""An object: `program`, `map`, `link` or `btf`, and its ID (as `port.fdinfo.identify` has it)."""


class Holder(NamedTuple):
    """One thing that keeps an object alive. The fields' names are the JSON keys.

    None: it does not apply; or it is not known, with the reason in `missing`.
    """

    how: str
    """One of `HOWS`."""
    words: str
    """One line: `pid 812 (nginx) fd 5`, `link 7`, `map 12 [3]`, `/sys/fs/bpf/x`, `xdp eth0`."""
    pid: int | None = None
    """`fd`, and an attachment that a file keeps (socket, perf event): the process."""
    fd: int | None = None
    comm: str | None = None
    uid: int | None = None
    user: str | None = None
    cgroup: str | None = None
    """Path of the process's cgroup, from the root."""
    unit: str | None = None
    """The systemd unit, or the container, that the cgroup's path tells."""
    path: str | None = None
    """`pin`: the path in its mount namespace."""
    mntns: int | None = None
    """`pin`: the mount namespace, by inode number."""
    link_id: int | None = None
    """`link`: it runs the program, or is attached to it (freplace, fentry), or to the map."""
    map_id: int | None = None
    """`slot`, `map`: the map (of BTF: whose types it has; of a program: its struct_ops)."""
    slot: str | None = None
    """`slot`: the key, as a number where it is one, else in hex."""
    prog_id: int | None = None
    """`program`: it uses the map, or has the BTF."""
    kind: str | None = None
    """`attachment`: one of `attach.kinds`."""
    target: str | None = None
    """`attachment`: where, as the list of attachments has it."""
    missing: dict[str, str] = {}


class Unseen(NamedTuple):
    """What could not be looked at, and may hold an object of the kind that was asked for."""

    what: str
    """`fds of 12 processes`, `pins in mount namespace 4026532199`, `slots of map 12`."""
    reason: str
    """`reason: detail`, as everywhere."""


class Held(NamedTuple):
    """Who keeps one object alive."""

    holders: list[Holder]
    """Everybody who was found, user space first."""
    unseen: list[Unseen]
    """Not empty: there may be more, and "nothing" is no answer."""


class Holders:
    """Who keeps the objects of a host alive; each part of the host is read once, when asked for.

    `attachments` is what `attach.everything.find` gave, if it was asked already.
    """

    def __init__(
        self, places: Places, attachments: list[Attachment | Failure] | None = None
    ) -> None:
        self.places = places
        self.system = places.system
        self._given = attachments

    def of(self, kind: str, id: int) -> Held:
        """Who keeps this object alive. Its own existence is not checked."""
        raise NotImplementedError

    @cached_property
    def all(self) -> dict[Key, list[Holder]]:
        """The holders of every object that has any."""
        raise NotImplementedError

    def unseen(self, kind: str) -> list[Unseen]:
        """What could not be looked at that may hold objects of this kind."""
        raise NotImplementedError
