"""Tasks: who calls, with which credentials and files, in which namespaces."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.engine.call import err
from bpflens.engine.creds import Cap, Creds, UserNs
from bpflens.engine.files import O_RDONLY, O_RDWR, FdTable, File, Node
from bpflens.port.doors import Doors

if TYPE_CHECKING:
    from bpflens.abi.rows import SocketRow
    from bpflens.engine.bpffs import Bpffs
    from bpflens.engine.cgroups import Cgroup
    from bpflens.engine.engine import Engine
    from bpflens.engine.maps.mapping import Mapping
    from bpflens.engine.mounts import MountNs
    from bpflens.engine.net import NetNs
    from bpflens.port.memory import Memory


class Task:
    """A process with one thread. `doors()` gives what `bpflens.model` and all above work on."""

    cgroup: Cgroup

    def __init__(self, engine: Engine, creds: Creds, comm: str, limit: int) -> None:
        self.engine = engine
        self.creds = creds
        self.comm: str = comm
        self.command: list[str] = [comm]
        """Its arguments."""
        self.pid = 0
        self.parent = 0
        self.start = engine.clock().boottime
        self._netns, self._mntns = engine.netns, engine.mntns
        self._netns.hold()
        self._mntns.hold()
        self.mappings: list[Mapping] = []
        self.files = FdTable(limit)
        for _ in range(3):
            self.files.add(File(Node(), O_RDWR, creds))

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        """bpf(2), see `BpfPort.bpf`."""
        return self.engine.bpf(self, cmd, attr, size, mem)

    # --- namespaces

    @property
    def netns(self) -> NetNs:
        """The network namespace that it is in."""
        return self._netns

    @netns.setter
    def netns(self, there: NetNs) -> None:
        there.hold()
        self._netns.drop()
        self._netns = there

    @property
    def mntns(self) -> MountNs:
        """The mount namespace that it is in."""
        return self._mntns

    @mntns.setter
    def mntns(self, there: MountNs) -> None:
        there.hold()
        self._mntns.drop()
        self._mntns = there

    def unshare_net(self) -> NetNs:
        """unshare(CLONE_NEWNET): from here on in a new network namespace."""
        from bpflens.engine.net import NetNs

        self.netns = NetNs(self.engine)
        self.engine.work()
        return self.netns

    def unshare_mounts(self) -> MountNs:
        """unshare(CLONE_NEWNS): from here on in a copy of its mount namespace."""
        from bpflens.engine.mounts import MountNs

        self.mntns = MountNs(self.engine, self.mntns)
        self.engine.work()
        return self.mntns

    def mount_bpffs(self, path: str) -> Bpffs:
        """Mount a new bpffs, in its mount namespace."""
        return self.mntns.mount_bpffs(path)

    # --- paths and other tasks

    def way(self, path: str) -> tuple[MountNs, list[str]]:
        """The mount namespace that an absolute path leads through, and the names from its root:
        /proc/PID/root is the root of that process."""
        mntns, names = self.mntns, [name for name in path.split("/") if name not in ("", ".")]
        while names[:1] == ["proc"] and names[2:3] == ["root"]:
            task = self.look(names[1])
            self.may_access(task)
            mntns, names = task.mntns, names[3:]
        return mntns, names

    def look(self, name: str) -> Task:
        """The task that a name in /proc stands for; ENOENT."""
        if name in ("self", "thread-self"):
            return self
        task = self.engine.tasks.get(int(name)) if name.isdecimal() else None
        if task is None:
            raise err(errno.ENOENT)
        return task

    def may_access(self, other: Task) -> None:
        """__ptrace_may_access(), PTRACE_MODE_FSCREDS; EACCES."""
        mine, its = self.creds, other.creds
        same = (mine.uid, mine.gid) == (its.uid, its.gid) and not its.caps & ~mine.caps
        if other is not self and not same and not mine.has(Cap.SYS_PTRACE):
            raise err(errno.EACCES)

    # --- files

    def close(self, fd: int) -> None:
        """close(2). What loses its last reference is gone when this returns."""
        self.files.close(fd)
        self.engine.work()

    def open(self, path: str) -> int:
        """open(2), O_RDONLY, of what a command may be pointed at: a directory, also of a cgroup,
        or a namespace. Raises OSError."""
        from bpflens.engine.host import EngineHost

        return self.add(EngineHost(self).node(path), O_RDONLY)

    def unlink(self, path: str) -> None:
        """unlink(2) of a pin. Raises OSError."""
        from bpflens.engine.bpffs import resolve

        where, name = resolve(self, path.encode(errors="surrogateescape"), None)
        where.unlink(name, self.creds)

    def add(self, node: Node, mode: int = O_RDWR) -> int:
        """A new fd on anything: a socket, a perf event, a file that means nothing to bpf(2)."""
        node.hold()
        return self.files.add(File(node, mode, self.creds))

    def dup(self, fd: int) -> int:
        """dup(2)."""
        return self.files.dup(fd)

    def send(self, fd: int, to: Task) -> int:
        """Pass an open file to another task (SCM_RIGHTS), which takes it at once; returns its
        number there."""
        return to.files.add(self.files.file(fd))

    def mmap(self, fd: int, length: int, *, write: bool = False, offset: int = 0) -> Mapping:
        """mmap(2) of a map, MAP_SHARED."""
        from bpflens.engine.maps.mapping import map_memory

        made = map_memory(self.files.file(fd), length, write, offset)
        self.mappings.append(made)
        return made

    def socket(self, row: SocketRow, *, shared: bool = False, cookie: int = 0) -> int:
        """socket(2) and bind(2); `shared` with SO_REUSEPORT."""
        from bpflens.engine.net import Socket

        families = {1: "unix", 44: "xdp"}
        made = Socket(
            cookie or self.engine.inode(), established=row.type == 2, reuseport=shared,
            family=families.get(row.family, "inet"), row=row, netns=self.netns,
        )  # fmt: skip
        return self.add(made)

    def socketpair(self) -> tuple[int, int]:
        """socketpair(2), of the unix family."""
        from bpflens.engine.unix import pair

        one, other = pair(self.netns)
        return self.add(one), self.add(other)

    def sendmsg(self, socket: int, fds: list[int]) -> None:
        """Send open files through a pair of sockets (SCM_RIGHTS); there they wait. Raises
        OSError."""
        from bpflens.engine.unix import UnixSocket

        found = self.files.get(socket, UnixSocket, errno.ENOTSOCK)
        found.send([self.files.file(fd) for fd in fds])

    def recvmsg(self, socket: int) -> list[int]:
        """Receive the files of the next message. Raises OSError: EAGAIN where there is none."""
        from bpflens.engine.unix import UnixSocket

        found = self.files.get(socket, UnixSocket, errno.ENOTSOCK)
        if not found.queue:
            raise err(errno.EAGAIN)
        files = found.queue.pop(0)
        taken = [self.files.add(file) for file in files]
        for file in files:
            file.put()
        return taken

    # --- its life

    def fork(self, creds: Creds | None = None, comm: str = "") -> Task:
        """A child that shares every open file description, and is in the same namespaces."""
        if self.pid not in self.engine.tasks:
            raise err(errno.ESRCH)
        child = self.engine.task(creds=creds or self.creds, comm=comm or self.comm)
        for fd in list(child.files.files):
            child.files.close(fd)
        child.files = self.files.copy()
        child.netns, child.mntns = self.netns, self.mntns
        child.cgroup, child.parent = self.cgroup, self.pid
        return child

    def exit(self) -> None:
        """Close everything and leave; nothing can be opened from here on."""
        for mapping in self.mappings:
            mapping.close()
        for fd in list(self.files.files):
            self.files.close(fd)
        self.files = FdTable(0)
        if self.engine.tasks.pop(self.pid, None):
            self._netns.drop()
            self._mntns.drop()
        self.engine.work()

    def doors(self) -> Doors:
        """The doors of the engine as this task sees it."""
        from bpflens.engine.bulk import EngineBulk
        from bpflens.engine.host import EngineHost
        from bpflens.engine.mountport import EngineMounts
        from bpflens.engine.rtnetlink import EngineNet

        host = EngineHost(self)
        return Doors(self, host, EngineNet(self), EngineMounts(self, host), EngineBulk(self))

    def capable(self, cap: int, userns: UserNs | None = None) -> bool:
        """Whether the policy lets this task do what needs `cap`, in a user namespace."""
        return self.engine.policy.capable(self.creds, cap, userns)

    def require(self, cap: int, userns: UserNs | None = None) -> None:
        """EPERM unless `capable`."""
        if not self.capable(cap, userns):
            raise err(errno.EPERM)

    def unshare_user(self) -> UserNs:
        """unshare(CLONE_NEWUSER): from here on it may do all, and only there."""
        made = UserNs(self.creds.uid, self.creds.userns)
        self.creds = Creds(self.creds.uid, self.creds.gid, range(41), made)
        return made
