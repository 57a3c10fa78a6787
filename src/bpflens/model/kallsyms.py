"""Kernel symbols by address: /proc/kallsyms, in which loaded programs have theirs too."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from bpflens.model.parts import Missing, Reason

if TYPE_CHECKING:
    from bpflens.port.doors import HostPort

PATH = "/proc/kallsyms"

CALL_BASE = b" __bpf_call_base\n"
"""The verifier leaves in a helper call the distance from here (BPF_CALL_IMM())."""


class Kallsyms:
    """The symbols of a kernel, as they were when they were read.

    `excerpt` has those that were asked for: a recording keeps no more of the 5 MB.
    """

    def __init__(self, data: bytes) -> None:
        lines = data.splitlines()
        self._digits = data.find(b" ")
        # Backwards: of several names at an address the first one stays.
        self._lines = {line[: self._digits]: line for line in reversed(lines)}
        at = data.find(CALL_BASE)
        end = at + len(CALL_BASE) - 1
        self._base = data[data.rfind(b"\n", 0, at) + 1 : end] if at >= 0 else b""
        self._asked: dict[bytes, bytes] = {}
        self._order: list[bytes] = []

    @property
    def call_base(self) -> int:
        """The address of __bpf_call_base; 0 where there is none, or no address before its name."""
        digits = self._base[: self._digits]
        return _address(digits) or 0

    def name(self, address: int) -> str | None:
        """The symbol that begins at an address."""
        key = b"%0*x" % (self._digits, address)
        line = self._lines.get(key)
        if line is None:
            return None
        self._asked[key] = line
        return self._word(line).split(b"\t")[0].decode(errors="surrogateescape")

    def place(self, address: int) -> str | None:
        """The code at an address: `vfs_read`, `vfs_read+0x10`, `xfs_file_read [xfs]`."""
        if not self._order:
            self._order = sorted(self._lines)
        key = b"%0*x" % (self._digits, address)
        at = bisect_right(self._order, key) - 1
        if at < 0:
            return None
        found = self._order[at]
        line, base = self._lines[found], _address(found)
        if base is None:
            return None  # of a file that is damaged
        if line[self._digits + 1 : self._digits + 2] not in b"tTwW":
            return None  # data; nm(1) has the letters
        self._asked[found] = line
        name, _, module = self._word(line).decode(errors="surrogateescape").partition("\t")
        offset = address - base
        return name + (f"+{offset:#x}" if offset else "") + (f" {module}" if module else "")

    def _word(self, line: bytes) -> bytes:
        """The name, and for a module's what follows it: `vfs_read`, `name\\t[module]`."""
        # "ffffffff81000000 T _stext"
        return line[self._digits + 3 :]

    def excerpt(self) -> bytes:
        """The lines of the names that were asked for so far, as a file of the same form."""
        return b"".join(line + b"\n" for line in sorted({self._base, *self._asked.values()}))


def _address(digits: bytes) -> int | None:
    try:
        return int(digits, 16)
    except ValueError:
        return None


def read(host: HostPort) -> Kallsyms | Missing:
    """The kernel's symbols, or why they are not to be had."""
    try:
        data = host.read(PATH)
    except OSError as error:
        return Missing(Reason.UNSUPPORTED, f"no symbols of the kernel: {PATH}: {error.strerror}")
    found = Kallsyms(data)
    if not found.call_base:
        # kallsyms_show_value(): without the right to see them every address reads 0
        return Missing(
            Reason.RESTRICTED,
            f"{PATH} hides its addresses: needs CAP_SYSLOG (kernel.kptr_restrict)",
        )
    return found
