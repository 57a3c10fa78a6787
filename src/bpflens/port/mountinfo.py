"""/proc/PID/mountinfo: what is mounted where (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_OCTAL = re.compile(rb"\\([0-7]{3})")
"""How blanks and backslashes in a path are written (mangle_path() in fs/seq_file.c)."""


class Mounted(NamedTuple):
    """One mounted file system."""

    kind: str
    device: str
    """`major:minor`."""
    root: str
    """Which directory of it is mounted."""
    path: str
    covered: bool = False
    """Whether something else is mounted over it: then its path does not lead there."""


def mounted(text: bytes, *kinds: str) -> Iterator[Mounted]:
    """The mounts of file systems of these kinds, in order."""
    # Only blanks, line ends and backslashes are escaped: other white space stands for itself.
    lines = [line.partition(b" - ") for line in text.split(b"\n")]
    told = [(before.split(b" "), after.split(b" ", 1)[0]) for before, _, after in lines]
    over = {(fields[1], fields[4]) for fields, _ in told if len(fields) > 4}
    for fields, word in told:
        kind = word.decode(errors="replace")
        if len(fields) > 4 and kind in kinds:
            device, root, path = map(_text, fields[2:5])
            covered = (fields[0], fields[4]) in over  # by a child at its own path
            yield Mounted(kind, device, root, path, covered)


def _text(field: bytes) -> str:
    return _OCTAL.sub(_byte, field).decode(errors="surrogateescape")


def _byte(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8) & 0xFF])
