"""Many objects at once from the live kernel, by iterators that are made for it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from bpflens.errors import Unsupported
from bpflens.port.doors import BpfPort, HostPort, Rows

if TYPE_CHECKING:
    from bpflens.btf.parse import Btf
    from bpflens.linux.kept import Kept

NAME = "bpflens_progs"
"""What the iterator is called while it is there."""

EDITION = "1"
"""Of the program's text: what was kept of another edition is made anew."""

_EVERYBODY = b"0 0 4294967295"
"""uid_map of a user namespace in which every user has the kernel's own number for it."""


class LinuxBulk:
    """`BulkPort` of the kernel that this process runs on."""

    def __init__(self, host: HostPort) -> None:
        self._host = host
        self._known: dict[str, Kept] = {}

    def programs(self, bpf: BpfPort, after: int, maps: bool, keep: str | None) -> Rows:
        """See `BulkPort.programs`. Raises Unsupported, SyscallError, OSError, FormatError."""
        if b" ".join(self._host.read("/proc/self/uid_map").split()) != _EVERYBODY:
            # The kernel maps the loader's uid for the caller (from_kuid_munged); a row has its own.
            raise Unsupported("this user namespace numbers users in its own way")
        from bpflens.linux import iterators  # a small machine, or a map, has no use for them
        from bpflens.port.calls import CallNotFound, Calls

        target, programs = self._kept("programs", keep, self._programs)
        calls = Calls(bpf)
        for insns in programs:
            try:
                rows, own = iterators.read(calls, NAME, target, asking(insns, after, maps))
            except CallNotFound:
                continue  # this kernel has no address for a variable that the program names
            return Rows(rows, own)
        raise Unsupported("no program that reads in bulk can be loaded here")

    def files(self, bpf: BpfPort, keep: str | None) -> Rows:
        """See `BulkPort.files`. Raises Unsupported, SyscallError, OSError, FormatError."""
        raise Unsupported("files are not read in bulk yet")

    def cgroups(self, bpf: BpfPort, keep: str | None) -> Rows:
        """See `BulkPort.cgroups`. Raises Unsupported, SyscallError, OSError, FormatError."""
        raise Unsupported("cgroups are not read in bulk yet")

    def _programs(self, btf: Btf) -> Kept:
        from bpflens.linux import progrows

        cpus = self._host.read("/sys/devices/system/cpu/possible").strip()
        first, _, last = cpus.partition(b"-")
        if first != b"0" or not (last or b"0").isdigit():
            raise Unsupported("the CPUs are not numbered one after another")
        page_shift = os.sysconf("SC_PAGE_SIZE").bit_length() - 1
        return progrows.target(btf), progrows.ways(btf, int(last or b"0") + 1, page_shift)

    def _kept(self, name: str, keep: str | None, make: Callable[[Btf], Kept]) -> Kept:
        """The instructions for this kernel: known, or kept in a file, or made now and kept."""
        if name not in self._known:
            if keep is None:
                raise Unsupported(
                    "there is no folder to keep instructions in: made anew each time "
                    "they would cost more than they save"
                )
            from bpflens.linux import kept

            system = os.uname()
            page = str(os.sysconf("SC_PAGE_SIZE"))
            words = (EDITION, system.release, system.version, system.machine, page)
            cpus = self._host.read("/sys/devices/system/cpu/possible").strip()
            # The notes hold the build ID: another build is another kernel, and other types.
            identity = "\0".join(words).encode() + cpus + self._host.read("/sys/kernel/notes")
            path = os.path.join(keep, f"{name}-{system.release}.iterators")
            found = kept.load(path, identity)
            if found is None:
                from bpflens.btf.cache import load

                found = make(load(self._host.read("/sys/kernel/btf/vmlinux"), keep))
                kept.save(path, identity, found)
            self._known[name] = found
        return self._known[name]


def asking(insns: bytes, after: int, maps: bool) -> bytes:
    """The program with what is asked for in its first two slots (`progrows`)."""
    slots = bytearray(insns)
    struct.pack_into("<i", slots, 4, after)
    struct.pack_into("<i", slots, 12, maps)
    return bytes(slots)
