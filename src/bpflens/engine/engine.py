"""The engine: the object system of bpf(2) in Python, byte for byte like Linux at the door.

It runs no programs and has no clock, files or sockets of its own: what it knows of the world
is given to its constructor.
"""

from __future__ import annotations

import errno
import itertools
import random
from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from bpflens.abi.enums import Cmd
from bpflens.btf.types import Typedef
from bpflens.engine import families as families
from bpflens.engine.bpffs import Bpffs, Directory
from bpflens.engine.btfs import BtfObject
from bpflens.engine.call import COMMANDS, Call, err
from bpflens.engine.cgroups import Cgroup
from bpflens.engine.creds import POLICIES, Cap, Creds, Policy
from bpflens.engine.ids import Idr
from bpflens.engine.info import nonzero
from bpflens.engine.mounts import MountNs
from bpflens.engine.net import NetNs
from bpflens.engine.release import RELEASES
from bpflens.engine.symbols import Symbols
from bpflens.engine.tasks import Task
from bpflens.port.doors import Clock

if TYPE_CHECKING:
    from bpflens.port.memory import Memory

_LONGEST = 4096
"""PAGE_SIZE."""
_CREATORS = (Cmd.MAP_CREATE, Cmd.PROG_LOAD)

START = Clock(realtime=1_700_000_000_000_000_000, boottime=60_000_000_000)
"""Where the clock stands if none is given: it then goes a microsecond further at each look."""


class Engine:
    """A BPF object system. `task()` gives the first caller.

    `release` is "6.1", "6.12" or "6.18"; `policy` is "owner" (the same user as the maker, or root)
    or "linux" (capabilities). `vmlinux` is the kernel's BTF, if programs are to name its types.
    `without` are options of its configuration: NETKIT, FPROBE, UPROBES, BPF_LSM can be left out.
    """

    def __init__(
        self,
        release: str = "6.18",
        policy: str = "owner",
        cpus: int = 2,
        clock: Callable[[], Clock] | None = None,
        seed: int = 0,
        vmlinux: bytes = b"",
        without: Collection[str] = (),
    ) -> None:
        self.release = RELEASES[release]
        self.policy: Policy = POLICIES[policy](self.release)
        self.without = frozenset(without)
        self.cpus = cpus
        self.memory = 1 << 32
        """Bytes of the machine."""
        self.current: Task
        """Who is calling: bpf(2) sets it."""
        self.random = random.Random(seed)
        self.ids: dict[str, Idr[Any]] = {kind: Idr() for kind in ("prog", "map", "btf", "link")}
        self.tasks: dict[int, Task] = {}
        self.sysctls: dict[str, int | str] = {
            "kernel/osrelease": f"{self.release.name}.0",
            "kernel/unprivileged_bpf_disabled": 2,
            "kernel/kptr_restrict": 1,
            "kernel/bpf_stats_enabled": 0,
            "net/core/bpf_jit_harden": 0,
            "net/core/bpf_jit_enable": 1,
            "kernel/perf_event_paranoid": 2,
            "kernel/random/boot_id": f"{seed & 0xFFFFFFFF:08x}-b007-4000-8000-{0xE46143:012x}",
        }
        self.tracepoints = {"sched_switch", "sched_process_exec", "sys_enter", "sys_exit"}
        self.trampolines: dict[tuple[bool, int, int], list[Any]] = {}
        """Functions with programs at them → their links."""
        self.lsm_slots = [0] * 10
        """Hooks of LSM with programs at cgroups, by `links.cgroup.slot_of` (CGROUP_LSM_NUM)."""
        self.congestion: dict[bytes, Any] = {b"cubic": None, b"reno": None}
        """TCP's congestion controls by name → the map, if it is one of BPF's."""
        self.stats_users = 0
        self._clock = clock
        self._ticks = 0
        self._inodes = 0
        self._file_inodes = 0
        self._work: deque[Callable[[], None]] = deque()
        self._working = False
        self._attr_size = self.release.attr_size
        self._gate_first = self.release.gate_first
        ends = self.release.ends
        self._commands = {
            cmd: (known.record.__new__, known.record, known.record.__struct__.unpack_from,
                  ends.get(cmd, known.end), known.handler, known.checked)
            for cmd, known in COMMANDS.items()
            if cmd < self.release.commands
        }  # fmt: skip
        self._pids = itertools.count(1)
        self._mount_ids = itertools.count(21)
        self._superblocks = itertools.count(21)
        self.netns = NetNs(self)
        self.netns.hold()
        self.cgroup = Cgroup(self, None, "")
        self.root = Directory(self)
        for path in ("/tmp", "/proc", "/run", "/sys/fs/cgroup"):
            self.root.make(path)
        self.mntns = MountNs(self)
        self.mntns.hold()
        self.mount_bpffs("/sys/fs/bpf")
        self.vmlinux = BtfObject.of_kernel(self, vmlinux)
        self.symbols = Symbols(self.vmlinux)

    # --- the world

    def task(
        self,
        uid: int = 0,
        gid: int | None = None,
        caps: list[int] | None = None,
        comm: str = "task",
        nofile: int = 1 << 20,
        creds: Creds | None = None,
        cgroup: str = "/",
    ) -> Task:
        """A new process in a cgroup that there is, or that is made. `caps` None means all for
        root, none for others."""
        creds = creds or Creds(uid, uid if gid is None else gid, caps)
        task = Task(self, creds, comm, nofile)
        task.pid = next(self._pids)
        task.cgroup = self.cgroup.make_all(cgroup)
        self.tasks[task.pid] = task
        return task

    @property
    def mounts(self) -> dict[str, Bpffs]:
        """Every bpffs of the first mount namespace, by its path."""
        return self.mntns.bpffs

    def mount_bpffs(self, path: str) -> Bpffs:
        """Mount a new bpffs, in the first mount namespace."""
        return self.mntns.mount_bpffs(path)

    def mount_id(self) -> int:
        """A number for a new mount."""
        return next(self._mount_ids)

    def superblock(self) -> int:
        """A minor device number for a new file system that is on no device."""
        return next(self._superblocks)

    def clock(self) -> Clock:
        """What time it is."""
        if self._clock:
            return self._clock()
        self._ticks += 1000
        return Clock(START.realtime + self._ticks, START.boottime + self._ticks)

    def has_tracepoint(self, name: str) -> bool:
        """Whether there is a raw tracepoint of that name: those in the kernel's BTF, or a few."""
        if name in self.tracepoints:
            return True
        return self.vmlinux.types.find(f"btf_trace_{name}", Typedef) is not None

    def file_inode(self) -> int:
        """A number for a new file or directory: get_next_ino()."""
        self._file_inodes += 1
        return self._file_inodes

    def inode(self) -> int:
        """A number for a new inode; the first ones are well-known elsewhere."""
        self._inodes += 1
        return 0xF0000000 + self._inodes

    def afford(self, size: int) -> None:
        """ENOMEM for what no machine of this size could hold."""
        if size > self.memory:
            raise err(errno.ENOMEM)

    # --- what the kernel does behind the caller's back

    def later(self, job: Callable[[], None]) -> None:
        """Do `job` when the call is over, as a work queue does: so no free nests in another."""
        self._work.append(job)

    def work(self) -> None:
        """Do what was put off."""
        if self._work and not self._working:
            self._working = True
            try:
                while self._work:
                    self._work.popleft()()
            finally:
                self._working = False

    # --- bpf(2)

    def bpf(self, task: Task, cmd: int, attr: int, size: int, mem: Memory) -> int:
        """__sys_bpf(): only the low 32 bits of cmd and size count."""
        if self._gate_first and cmd in _CREATORS:
            task.require(Cap.BPF)
        size &= 0xFFFFFFFF
        known = self._attr_size
        if size > known:
            # bpf_check_uarg_tail_zero()
            if size > _LONGEST or nonzero(mem, attr + known, size - known):
                raise err(errno.E2BIG)
            raw = mem.read(attr, known)
        else:
            raw = mem.read(attr, size)
        entry = self._commands.get(cmd & 0xFFFFFFFF)
        if entry is None:
            raise err(errno.EINVAL)
        new, record, unpack, end, handler, checked = entry
        told = len(raw)
        if checked and told > end and raw.count(0, end) != told - end:
            raise err(errno.EINVAL)
        if told < record.__size__:
            raw += bytes(record.__size__ - told)
        self.current = task
        fields = new(record)
        fields.__fill__(unpack(raw), told)
        try:
            return handler(Call(self, task, mem, attr, size, raw), fields)
        finally:
            if self._work:
                self.work()

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(idr)} {kind}" for kind, idr in self.ids.items())
        return f"<Engine {self.release.name}: {counts}>"
