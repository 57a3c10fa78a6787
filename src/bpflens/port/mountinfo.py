"""/proc/PID/mountinfo: what is mounted where (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

WAITING = ("fuse", "nfs", "cifs", "smb3", "9p", "autofs", "ceph", "afs", "lustre", "virtiofs")
"""File systems, by the beginning of their name, on which a lookup waits for an answer that somebody
else gives: a process, a server."""

_KERNFS = (b"sysfs", b"cgroup", b"cgroup2")
"""File systems of which each lookup is made anew (kernfs_dop_revalidate()), by the kernel alone."""

_OCTAL = re.compile(rb"\\([0-7]{3})")
"""How blanks and backslashes in a path are written (mangle_path() in fs/seq_file.c)."""


class Mount(NamedTuple):
    """A mounted file system, as a mountinfo file has it."""

    kind: str
    """The type of the file system: `bpf`, `cgroup2`, `nsfs`."""
    device: str
    """`major:minor`: the same for every mount of one file system."""
    root: str
    """Which directory of it is mounted; of nsfs: `net:[inode]`."""
    path: str
    """In its mount namespace."""
    id: int = 0
    """The mount ID, which another mount may get once this one is gone."""
    covered: bool = False
    """Whether another mount lies over it, or over a directory on the way to it."""
    below: str = ""
    """The type of the file system on the way to it that may never answer; mostly empty."""
    kernfs: tuple[str, ...] = ()
    """The devices of the kernel's own file systems on the way to it."""
    mntns: int = 0
    """The mount namespace, by inode number; 0: not known."""
    before: str = ""
    """The root of a process in that mount namespace: `/proc/812/root`; empty in our own."""

    @property
    def reach(self) -> str:
        """The path by which the mount is named from our own mount namespace."""
        return self.before + self.path

    @property
    def netns(self) -> int | None:
        """The network namespace that the mount keeps, if it is such a mount."""
        inode = self.root.removeprefix("net:[").removesuffix("]")
        names_one = self.kind == "nsfs" and self.root.startswith("net:[") and inode.isdecimal()
        return int(inode) if names_one else None

    def holds(self, path: str) -> bool:
        """Whether a path of its mount namespace is below it."""
        return f"{path}/".startswith(f"{self.path.rstrip('/')}/")

    @property
    def closed(self) -> str:
        """Why nothing is looked up below it; empty where there is no reason."""
        if self.covered:
            return "another mount covers it"
        return f"it lies below a {self.below} mount, which may never answer" if self.below else ""


class _Line(NamedTuple):
    """One line, its path as it is written there."""

    id: bytes
    parent: bytes
    device: bytes
    root: bytes
    path: bytes
    kind: bytes


def mounts(
    text: bytes, *kinds: str, mntns: int = 0, before: str = "", trusted: str = ""
) -> list[Mount]:
    """The mounts of file systems of these kinds, in order.

    `trusted` is the device of the file system that we run from: if that does not answer, nothing
    does. Memory is needed for the mounts of these kinds and those on the way to them alone.
    """
    wanted = [line for line in _lines(text) if line.kind.decode(errors="replace") in kinds]
    if not wanted:
        return []
    ways = {way: way for line in wanted for way in _ways(line.path)}
    lines: dict[bytes, _Line] = {}
    over: dict[tuple[bytes, bytes], list[bytes]] = {}
    """(parent, path) → the mounts there."""
    for line in _lines(text):
        way = ways.get(line.path)
        if way is not None:
            lines[line.id] = line._replace(path=way)
            over.setdefault((line.parent, way), []).append(line.id)
    found: list[Mount] = []
    for line in wanted:
        chain = list(_chain(line, lines))
        device, root, path = map(_text, line[2:5])
        found.append(
            Mount(
                line.kind.decode(errors="replace"),
                device,
                root,
                path,
                _number(line.id),
                any(_is_covered(step, over) for step in chain) or (line.id, line.path) in over,
                next(filter(None, (_waits(step, trusted) for step in chain[1:])), ""),
                tuple(step.device.decode() for step in chain[1:] if step.kind in _KERNFS),
                mntns,
                before,
            )
        )
    return found


def below(mount: Mount | None, path: str) -> str:
    """A path below a mount, or of our own mount namespace, as it is named from there."""
    if mount is None:
        return path
    return f"{mount.reach.rstrip('/')}/{path.lstrip('/')}" if path else mount.reach


def root_device(text: bytes) -> str:
    """The device of the file system at the root, `major:minor`; empty where none is there."""
    return next((line.device.decode() for line in _lines(text) if line.path == b"/"), "")


def _lines(text: bytes) -> Iterator[_Line]:
    # Only blanks, line ends and backslashes are escaped: other white space stands for itself.
    start = 0
    while start < len(text):
        end = text.find(b"\n", start)
        end = len(text) if end < 0 else end
        first, _, last = text[start:end].partition(b" - ")
        fields = first.split(b" ", 5)
        if len(fields) > 4:
            id, parent, device, root, path = fields[:5]
            yield _Line(id, parent, device, root, path, last.split(b" ", 1)[0])
        start = end + 1


def _ways(path: bytes) -> Iterator[bytes]:
    """A path and every directory on the way to it: `/`, `/run`, `/run/netns`."""
    yield b"/"
    at = path.find(b"/", 1)
    while at > 0:
        yield path[:at]
        at = path.find(b"/", at + 1)
    yield path


def _chain(line: _Line, lines: dict[bytes, _Line]) -> Iterator[_Line]:
    """A mount, the mount that it is mounted on, and so on to the root."""
    seen: set[bytes] = set()
    step: _Line | None = line
    while step is not None and step.id not in seen:
        seen.add(step.id)
        yield step
        step = lines.get(step.parent)


def _is_covered(line: _Line, over: dict[tuple[bytes, bytes], list[bytes]]) -> bool:
    """Whether another mount on the same parent lies at its path or on the way to it.

    __lookup_mnt() finds that one first: on the way down the path its mountpoint comes earlier.
    """
    return any(
        other != line.id for way in _ways(line.path) for other in over.get((line.parent, way), ())
    )


def _waits(line: _Line, trusted: str) -> str:
    kind = line.kind.decode(errors="replace")
    return kind if kind.startswith(WAITING) and line.device.decode() != trusted else ""


def _number(field: bytes) -> int:
    return int(field) if field.isdigit() else 0


def _text(field: bytes) -> str:
    return _OCTAL.sub(_byte, field).decode(errors="surrogateescape")


def _byte(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8) & 0xFF])
