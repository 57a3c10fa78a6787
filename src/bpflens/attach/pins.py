"""Where objects are pinned, in every mount namespace that a process is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bpflens.model import pins
from bpflens.model.parts import Missing, Reason, because

if TYPE_CHECKING:
    from bpflens.attach.places import Mount, Places


_FEW = 3
"""Paths that are named of those that were refused for one reason."""


class Pin(NamedTuple):
    """An object and the path at which it is pinned."""

    kind: str
    """program, map, link."""
    id: int
    path: str
    """In its mount namespace."""
    mntns: int
    own: bool
    """Whether that is the one that we are in."""

    @property
    def words(self) -> str:
        """`/sys/fs/bpf/x`, or `/sys/fs/bpf/x (mount namespace 4026532199)`."""
        return self.path + _elsewhere(self.own, self.mntns)


class Pins(NamedTuple):
    """The pins, and what could not be looked at: what it is, and why not."""

    found: list[Pin]
    unseen: list[tuple[str, Missing]]


def read(places: Places) -> Pins:
    """Every pinned object that can be reached, once for each file that pins it."""
    told = Pins([], [])
    try:
        own, mounts = places.own_mntns, places.mounts
    except OSError as error:
        told.unseen.append(("pins", because(error)))
        return told
    bpffs = [mount for mount in mounts if mount.kind == "bpf"]
    seen = once([mount for mount in bpffs if not mount.covered])
    for mount in once([*seen, *(mount for mount in bpffs if mount.covered)]):
        if not any(_shows(known, mount) for known in seen):
            where = f"pins below {mount.path}{_elsewhere(mount.mntns == own, mount.mntns)}"
            told.unseen.append((where, Missing(Reason.UNSUPPORTED, "another mount covers them")))
    reason = Missing(Reason.DENIED, "needs CAP_SYS_PTRACE, or its own user")
    for mount in once([*seen, *(each for each in places.closed.mounts if each.kind == "bpf")]):
        if not any(_shows(known, mount) for known in seen):
            where = f" (mount namespace {mount.mntns})" if mount.mntns else ""
            told.unseen.append((f"pins below {mount.path} of hidden processes{where}", reason))
    if places.closed.unread:
        many = len(places.closed.unread)
        told.unseen.append((f"pins that hidden processes see ({many} of them)", reason))
    for mount in seen:
        here = mount.mntns == own
        walked = pins.walk(places.system, [mount.reach])
        for (kind, id), paths in walked.paths.items():
            for reach in paths:
                path = mount.path + reach.removeprefix(mount.reach)
                told.found.append(Pin(kind, id, path, mount.mntns, here))
        refused: dict[Missing, list[str]] = {}
        for reach, failure in walked.errors:
            path = mount.path + reach.removeprefix(mount.reach)
            refused.setdefault(because(failure), []).append(path)
        for why, paths in refused.items():
            few = ", ".join(paths[:_FEW]) + f" and {len(paths) - _FEW} more" * (len(paths) > _FEW)
            told.unseen.append((f"what {few}{_elsewhere(here, mount.mntns)} is", why))
    return told


def once(mounts: list[Mount]) -> list[Mount]:
    """Those in which every file can be seen once: a file system may be mounted in many places, as
    a whole or in part. Ours come before others'."""
    kept: list[Mount] = []
    for mount in sorted(mounts, key=lambda mount: len(mount.root)):
        if not any(_shows(known, mount) for known in kept):
            kept.append(mount)
    return kept


def _shows(known: Mount, mount: Mount) -> bool:
    inside = f"{mount.root.rstrip('/')}/".startswith(f"{known.root.rstrip('/')}/")
    return known.device == mount.device and inside


def _elsewhere(own: bool, mntns: int) -> str:
    return "" if own else f" (mount namespace {mntns})"
