"""Tasks: who calls, with which credentials and files, in which namespaces."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.engine.call import err
from bpflens.engine.creds import Creds
from bpflens.engine.files import O_RDONLY, O_RDWR, FdTable, File, Node
from bpflens.port.doors import Doors

if TYPE_CHECKING:
    from bpflens.engine.engine import Engine
    from bpflens.engine.maps.mapping import Mapping
    from bpflens.engine.net import NetNs
    from bpflens.port.memory import Memory


class Task:
    """A process with one thread. `doors()` gives what `bpflens.model` and all above work on."""

    def __init__(self, engine: Engine, creds: Creds, comm: str, limit: int, netns: NetNs) -> None:
        self.engine = engine
        self.creds = creds
        self.comm: str = comm
        self.netns = netns
        self.pid = 0
        self.files = FdTable(limit)
        for _ in range(3):
            self.files.add(File(Node(), O_RDWR, creds))

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        """bpf(2), see `BpfPort.bpf`."""
        return self.engine.bpf(self, cmd, attr, size, mem)

    def close(self, fd: int) -> None:
        """close(2). What loses its last reference is gone when this returns."""
        self.files.close(fd)
        self.engine.work()

    def open(self, path: str) -> int:
        """open(2), O_RDONLY, of what a command may be pointed at: a directory, also of a cgroup,
        or /proc/PID/ns/net. Raises OSError."""
        from bpflens.engine.host import EngineHost

        return self.add(EngineHost(self).node(path), O_RDONLY)

    def add(self, node: Node, mode: int = O_RDWR) -> int:
        """A new fd on anything: a socket, a perf event, a file that means nothing to bpf(2)."""
        node.hold()
        return self.files.add(File(node, mode, self.creds))

    def dup(self, fd: int) -> int:
        """dup(2)."""
        return self.files.dup(fd)

    def send(self, fd: int, to: Task) -> int:
        """Pass an open file to another task (SCM_RIGHTS); returns its number there."""
        return to.files.add(self.files.file(fd))

    def mmap(self, fd: int, length: int, *, write: bool = False, offset: int = 0) -> Mapping:
        """mmap(2) of a map, MAP_SHARED."""
        from bpflens.engine.maps.mapping import map_memory

        return map_memory(self.files.file(fd), length, write, offset)

    def fork(self, creds: Creds | None = None, comm: str = "") -> Task:
        """A child that shares every open file description."""
        child = self.engine.task(creds=creds or self.creds, comm=comm or self.comm)
        for fd in list(child.files.files):
            child.files.close(fd)
        child.files = self.files.copy()
        child.netns = self.netns
        return child

    def exit(self) -> None:
        """Close everything and leave."""
        for fd in list(self.files.files):
            self.files.close(fd)
        self.engine.tasks.pop(self.pid, None)
        self.engine.work()

    def doors(self) -> Doors:
        """The doors of the engine as this task sees it."""
        from bpflens.engine.host import EngineHost
        from bpflens.engine.net import EngineNet

        return Doors(bpf=self, host=EngineHost(self), net=EngineNet(self))

    def capable(self, cap: int) -> bool:
        """Whether the policy lets this task do what needs `cap`."""
        return self.engine.policy.capable(self.creds, cap)

    def require(self, cap: int) -> None:
        """EPERM unless `capable`."""
        if not self.capable(cap):
            raise err(errno.EPERM)
