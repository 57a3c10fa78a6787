"""The log that PROG_LOAD and BTF_LOAD write for their caller (kernel/bpf/log.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.engine.call import err

if TYPE_CHECKING:
    from bpflens.engine.call import Call


class Log:
    """Text for the caller. The words are Linux's only where a tool reads them."""

    __slots__ = ("_at", "_lines", "_room", "_rotates", "level")

    def __init__(self, level: int, at: int, room: int, rotates: bool) -> None:
        """Raises EINVAL for arguments that do not fit. bpf_verifier_log_attr_valid()."""
        if bool(at) != bool(room) or (at and not level):
            raise err(errno.EINVAL)
        if not rotates and level and not at:
            raise err(errno.EINVAL)
        if level & ~0xF or room > 0xFFFFFFFF >> 2:
            raise err(errno.EINVAL)
        self._rotates = rotates
        self.level = level
        self._at = at
        self._room = room
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Add a line."""
        if self.level:
            self._lines.append(line + "\n")

    def finish(self, call: Call, size_at: int) -> None:
        """Write it, and how long it is with its NUL; ENOSPC where only its end fits.

        bpf_vlog_finalize(); the size is only told to a caller whose attr reaches so far.
        """
        data = "".join(self._lines).encode() + b"\0" if self.level else b""
        if self._at and data:
            if self._rotates:
                kept = data[-self._room :]
            else:
                kept = data if len(data) <= self._room else data[: self._room - 1] + b"\0"
            call.mem.write(self._at, kept)
        if self._rotates and call.size >= size_at + 4:
            call.put_u32(size_at, len(data))
        if self._at and len(data) > self._room:
            raise err(errno.ENOSPC)
