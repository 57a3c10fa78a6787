"""Many objects at once from the live kernel, by iterators that are made for it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from errno import EOPNOTSUPP
from typing import TYPE_CHECKING, ClassVar

from bpflens.errors import SyscallError, Unsupported
from bpflens.port.doors import BpfPort, HostPort, Rows

if TYPE_CHECKING:
    from bpflens.btf.parse import Btf
    from bpflens.linux.kept import Kept
    from bpflens.port.calls import Calls

NAME = "bpflens_progs"
"""What the iterator is called while it is there."""
CGROUPS = "bpflens_cgroups"
FILES = "bpflens_files"
TASKS = "bpflens_tasks"

EDITIONS = {"programs": "1", "files": "5", "cgroups": "1", "tasks": "1"}
"""Of each program's text: what was kept of another edition is made anew."""

_WHOLE_TREE = struct.pack("=IIQ", 2, 0, 0)
"""union bpf_iter_link_info: BPF_CGROUP_ITER_DESCENDANTS_PRE, from the root that we see."""
_PARTS = 1024

_EVERYBODY = b"0 0 4294967295"
"""uid_map of a user namespace in which every user has the kernel's own number for it."""


class LinuxBulk:
    """`BulkPort` of the kernel that this process runs on."""

    _known: ClassVar[dict[bytes, Kept]] = {}
    """What was made in this process, for every System, by what it is good for."""

    def __init__(self, host: HostPort) -> None:
        self._host = host

    def programs(self, bpf: BpfPort, after: int, maps: bool, keep: str | None) -> Rows:
        """See `BulkPort.programs`. Raises Unsupported, SyscallError, OSError, FormatError."""
        if b" ".join(self._host.read("/proc/self/uid_map").split()) != _EVERYBODY:
            # The kernel maps the loader's uid for the caller (from_kuid_munged); a row has its own.
            raise Unsupported("this user namespace numbers users in its own way")
        if keep is None:
            raise Unsupported(
                "there is no folder to keep instructions in: made for one process "
                "they would cost more than they save"
            )
        from bpflens.linux import iterators  # a small machine, or a map, has no use for them
        from bpflens.port.calls import CallNotFound, Calls

        calls = Calls(bpf)
        target, programs = self._kept(calls, "programs", keep, lambda: self._programs(keep))
        for insns in programs:
            try:
                rows, own = iterators.read(calls, NAME, target, asking(insns, after, maps))
            except CallNotFound:
                continue  # this kernel has no address for a variable that the program names
            return Rows(rows, own)
        raise Unsupported("no program that reads in bulk can be loaded here")

    def files(self, bpf: BpfPort, keep: str | None) -> Rows:
        """See `BulkPort.files`. Raises Unsupported, SyscallError, OSError, FormatError."""
        from bpflens.abi.infos import LinkInfo, ProgInfo
        from bpflens.abi.rows import FileKind, FileRow
        from bpflens.linux import iterators
        from bpflens.port.calls import Calls

        # Addresses hold for one boot; the types of packet sockets may be a module's.
        packet = self._packet_types()
        here = self._host.read("/proc/sys/kernel/random/boot_id") + bytes([packet is not None])
        calls = Calls(bpf)
        target, (insns,) = self._kept(calls, "files", keep, lambda: self._files(keep, packet), here)
        with iterators.opened(calls, FILES, target, insns) as made:
            data = iterators.read_all(made.rows)
            own = calls.info(made.prog, ProgInfo).id
            link = calls.info(made.link, LinkInfo).id
        pid = os.getpid()
        for row in (
            FileRow(pid=pid, fd=made.prog, kind=FileKind.PROGRAM, id=own),
            FileRow(pid=pid, fd=made.link, kind=FileKind.LINK, id=link),
            FileRow(pid=pid, fd=made.rows, kind=FileKind.ITERATOR, prog_id=own),
        ):
            data = data.replace(row.encode(), b"", 1)
        return Rows(data, own)

    def cgroups(self, bpf: BpfPort, keep: str | None) -> Rows:
        """See `BulkPort.cgroups`. Raises Unsupported, SyscallError, OSError, FormatError.

        The iterator over cgroups cannot go on once the kernel has collected 32 KiB
        (cgroup_iter_seq_start() says EOPNOTSUPP). Then they are read in parts, by their IDs.
        """
        from bpflens.linux import iterators
        from bpflens.port.calls import Calls

        calls = Calls(bpf)
        target, (insns,) = self._kept(calls, "cgroups", keep, lambda: self._cgroups(keep))
        parts = 1
        while True:
            try:
                found = [
                    iterators.read(calls, CGROUPS, target, asking(insns, parts, part), _WHOLE_TREE)
                    for part in range(parts)
                ]
            except OSError as error:
                if error.errno != EOPNOTSUPP or isinstance(error, SyscallError):
                    raise
                if parts == _PARTS:
                    raise Unsupported("more programs at cgroups than can be read at once") from None
                parts *= 4
                continue
            return Rows(b"".join(rows for rows, _ in found), found[-1][1])

    def tasks(self, bpf: BpfPort, keep: str | None) -> Rows:
        """See `BulkPort.tasks`. Raises Unsupported, SyscallError, OSError, FormatError."""
        from bpflens.linux import iterators
        from bpflens.port.calls import Calls

        if self._host.readlink("/proc/self") != str(os.getpid()):
            raise Unsupported("/proc has the numbers of another PID namespace")
        calls = Calls(bpf)
        target, (insns,) = self._kept(calls, "tasks", keep, lambda: self._tasks(keep))
        return Rows(*iterators.read(calls, TASKS, target, insns))

    def _tasks(self, keep: str | None) -> Kept:
        from bpflens.linux import taskrows

        btf = self._types(keep)
        return taskrows.target(btf), [taskrows.program(btf)]

    def _cgroups(self, keep: str | None) -> Kept:
        from bpflens.linux import cgrouprows

        btf = self._types(keep)
        return cgrouprows.target(btf), [cgrouprows.program(btf)]

    def _programs(self, keep: str) -> Kept:
        from bpflens.linux import progrows

        cpus = self._host.read("/sys/devices/system/cpu/possible").strip()
        first, _, last = cpus.partition(b"-")
        if first != b"0" or not (last or b"0").isdigit():
            raise Unsupported("the CPUs are not numbered one after another")
        page_shift = os.sysconf("SC_PAGE_SIZE").bit_length() - 1
        btf = self._types(keep)
        return progrows.target(btf), progrows.ways(btf, int(last or b"0") + 1, page_shift)

    def _files(self, keep: str | None, packet: bytes | None) -> Kept:
        from bpflens.btf.parse import Btf
        from bpflens.linux import filerows

        addresses = filerows.releases(self._host.read("/proc/kallsyms"))
        btf = self._types(keep)
        types = Btf.parse(packet, btf) if packet else None
        return filerows.target(btf), [filerows.program(btf, addresses, types)]

    def _packet_types(self) -> bytes | None:
        try:
            return self._host.read("/sys/kernel/btf/af_packet")
        except FileNotFoundError:
            return None

    def _kept(
        self,
        calls: Calls,
        name: str,
        keep: str | None,
        make: Callable[[], Kept],
        here: bytes = b"",
    ) -> Kept:
        """The instructions for this kernel: known, or kept in a file, or made now and kept.

        `here`: what they are good for, besides this build of the kernel on this machine. Raises
        Denied for those who may not load them: they are to wait for nothing.
        """
        from bpflens.linux import iterators

        iterators.may_load(calls)
        system = os.uname()
        page = str(os.sysconf("SC_PAGE_SIZE"))
        words = (EDITIONS[name], system.release, system.version, system.machine, page)
        cpus = self._host.read("/sys/devices/system/cpu/possible").strip()
        # The notes hold the build ID: another build is another kernel, and other types.
        identity = "\0".join(words).encode() + cpus + self._host.read("/sys/kernel/notes") + here
        known = self._known.get(name.encode() + identity)
        if known is None:
            from bpflens.linux import kept

            path = os.path.join(keep or "", f"{name}-{system.release}.iterators")
            known = kept.load(path, identity) if keep else None
            if known is None:
                known = make()
                if keep:
                    kept.save(path, identity, known)
            self._known[name.encode() + identity] = known
        return known

    def _types(self, keep: str | None) -> Btf:
        data = self._host.read("/sys/kernel/btf/vmlinux")
        if keep is None:
            from bpflens.btf.parse import Btf

            return Btf.parse(data)
        from bpflens.btf.cache import load

        return load(data, keep)


def asking(insns: bytes, first: int, second: int) -> bytes:
    """The program with what is asked for in its first two slots (`progrows`, `cgrouprows`)."""
    slots = bytearray(insns)
    struct.pack_into("<i", slots, 4, first)
    struct.pack_into("<i", slots, 12, second)
    return bytes(slots)
