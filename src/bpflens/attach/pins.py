"""Where objects are pinned, in every mount namespace that a process is in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from bpflens.errors import BpflensError, NotFound
from bpflens.model.parts import Missing, Reason, because
from bpflens.model.pins import failure
from bpflens.port.doors import PinFile
from bpflens.port.mountinfo import Mount, below

if TYPE_CHECKING:
    from bpflens.attach.places import Places


_FEW = 3
"""Paths that are named of those that were refused for one reason."""
_DELETED = "//deleted"
"""How the root of a mount ends that was removed: only that mount leads there (show_path())."""
_ELSEWHERE = re.compile(r"(.*)@([0-9]+)", re.DOTALL)


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
    file: PinFile
    """What it is by whatever path."""

    @property
    def words(self) -> str:
        """`/sys/fs/bpf/x`, or `/run/bpf/x@4026532199` in another mount namespace: what a selector
        takes (`place`)."""
        if self.own and not _ELSEWHERE.fullmatch(self.path):
            return self.path
        return f"{self.path}@{self.mntns}"


class Pins(NamedTuple):
    """The pins, and what could not be looked at: what it is, and why not."""

    found: list[Pin]
    unseen: list[tuple[str, Missing]]

    def same(self, file: PinFile) -> Pin | None:
        """The pin that a file is, by whatever path it was reached."""
        there = [pin for pin in self.found if (pin.file[3:5]) == (file[3:5])]
        exact = [pin for pin in there if pin.file.is_same_pin(file)]
        return next(iter(exact or there), None)


class Place(NamedTuple):
    """What a user names as the path of a pin."""

    path: str
    """Below `mount` (empty: the mount itself, of one file), else in our own mount namespace."""
    mount: Mount | None


def place(places: Places, text: str) -> Place:
    """`/sys/fs/bpf/x`; `/run/bpf/x@4026532199` in another mount namespace. Raises NotFound,
    OSError."""
    told = _ELSEWHERE.fullmatch(text)
    if told is None or len(told[2]) > _DIGITS:
        return Place(text, None)
    path, mntns = told[1], int(told[2])
    if mntns == places.own_mntns:
        return Place(path, None)
    mount = places.mount_of(path, mntns)
    if mount is not None:
        return Place(path.removeprefix(mount.path.rstrip("/")).lstrip("/"), mount)
    if any(process.mntns == mntns for process in places.processes):
        words = f"no bpffs is mounted at {path} in mount namespace {mntns}"
        if any(pin.own and pin.path == text for pin in places.pins.found):
            words += f"; the pin of this name here is {text}@{places.own_mntns}"
        raise NotFound(words)
    return Place(text, None)  # the name of a file may end so


def spelled(places: Places, path: str) -> str:
    """The words of the pin that a path leads to, also by a relative path, a symbolic link to its
    directory or another mount; the path itself where there is no pin."""
    try:
        where = place(places, path)
        file = places.system.doors.mounts.pin(places.system.doors.bpf, where.path, where.mount)
    except (BpflensError, OSError):
        return path
    known = places.pins.same(file)
    return known.words if known else path


_DIGITS = 10


def read(places: Places) -> Pins:
    """Every pinned object that can be reached, once for each file that pins it."""
    told = Pins([], [])
    try:
        own, mounts = places.own_mntns, places.mounts
    except OSError as error:
        told.unseen.append(("pins", because(error)))
        return told
    bpffs = [mount for mount in mounts if mount.kind == "bpf"]
    seen = once([mount for mount in bpffs if not mount.closed])
    for mount in once([*seen, *(mount for mount in bpffs if mount.closed)]):
        if not any(_shows(known, mount) for known in seen):
            where = f"pins below {mount.path}{places.elsewhere(mount.mntns)}"
            told.unseen.append((where, Missing(Reason.FAILED, mount.closed)))
    for mntns, why in places.tables.unread.items():
        told.unseen.append((f"pins in mount namespace {mntns}", why))
    told.unseen.extend(_hidden(places, seen))
    bound: dict[tuple[str, str], Pin] = {}
    """By device and path in the file system: a mount may have one of the files as its root."""
    for mount in seen:
        here = mount.mntns == own
        with_mount = places.elsewhere(mount.mntns)
        try:
            walked = places.system.doors.mounts.pins(places.system.doors.bpf, mount)
        except OSError as error:
            if places.is_mounted(mount):
                where = f"pins below {mount.path}{with_mount}"
                told.unseen.append((where, because(error)))
            continue
        local = mount._replace(before="")
        for file in walked.found:
            path = below(local, file.path)
            pin = Pin(file.kind, file.id, path, mount.mntns, here, file)
            told.found.append(pin)
            bound[mount.device, f"{mount.root.rstrip('/')}/{file.path}"] = pin
        refused: dict[Missing, list[str]] = {}
        for each in walked.unread:
            refused.setdefault(because(failure(each)), []).append(below(local, each.path))
        for reason, paths in refused.items():
            few = ", ".join(paths[:_FEW]) + f" and {len(paths) - _FEW} more" * (len(paths) > _FEW)
            told.unseen.append((f"pins at {few}{with_mount}", reason))
    for mount in bpffs if bound else ():
        same = bound.get((mount.device, mount.root))
        if same is not None and mount not in seen:
            file = same.file._replace(path="", folder=0)  # the mount keeps the file
            here = mount.mntns == own
            told.found.append(Pin(same.kind, same.id, mount.path, mount.mntns, here, file))
    return told


def _hidden(places: Places, seen: list[Mount]) -> list[tuple[str, Missing]]:
    """What processes that let nobody in may see."""
    found: list[tuple[str, Missing]] = []
    reason = Missing(Reason.DENIED, "needs CAP_SYS_PTRACE, or its own user")
    for mount in once([*seen, *(each for each in places.closed.mounts if each.kind == "bpf")]):
        if not any(_shows(known, mount) for known in seen):
            where = mount.path + (f"@{mount.mntns}" if mount.mntns else "")
            found.append((f"pins below {where} of hidden processes", reason))
    if places.closed.unread:
        many = len(places.closed.unread)
        found.append((f"pins that hidden processes see ({many} of them)", reason))
    return found


def once(mounts: list[Mount]) -> list[Mount]:
    """Those in which every file can be seen once: a file system may be mounted in many places, as
    a whole or in part. Ours come before others'."""
    kept: list[Mount] = []
    for mount in sorted(mounts, key=lambda mount: len(mount.root)):
        if not any(_shows(known, mount) for known in kept):
            kept.append(mount)
    return kept


def _shows(known: Mount, mount: Mount) -> bool:
    if mount.root.endswith(_DELETED):
        return known.id == mount.id and known.mntns == mount.mntns
    inside = f"{mount.root.rstrip('/')}/".startswith(f"{known.root.rstrip('/')}/")
    return known.device == mount.device and inside
