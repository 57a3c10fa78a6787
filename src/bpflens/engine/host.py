"""The host door: the files in which a kernel tells more than bpf(2) does."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.engine import procfs
from bpflens.engine.bpffs import Directory, Entry, Pin, Regular, walk
from bpflens.engine.call import err
from bpflens.engine.cgroups import Cgroup
from bpflens.engine.files import Node
from bpflens.engine.mounts import NSFS
from bpflens.port.doors import Clock

if TYPE_CHECKING:
    from bpflens.engine.tasks import Task


class EngineHost:
    """`HostPort` of a task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._engine = task.engine

    def read(self, path: str, most: int = 0) -> bytes:
        """See `HostPort.read`; ENOENT for what the engine has no file for."""
        _mntns, names = self._task.way(path)
        if names[:1] == ["proc"]:
            return procfs.read(self._task, names[1:])
        if names == ["sys", "devices", "system", "cpu", "possible"]:
            last = self._engine.cpus - 1
            return b"0-%d\n" % last if last else b"0\n"
        if names == ["sys", "kernel", "btf", "vmlinux"] and len(self._engine.vmlinux.types) > 1:
            return self._engine.vmlinux.data
        entry = self.entry(path)
        if isinstance(entry, Regular):
            return entry.data
        # bpffs_obj_open() for pins; read(2) of a directory
        raise err(errno.EIO if isinstance(entry, Pin) else errno.EISDIR)

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        """See `HostPort.listdir`."""
        mntns, names = self._task.way(path)
        if names[:1] == ["proc"]:
            return sorted(procfs.listdir(self._task, names[1:]))
        if names[:3] == _CGROUPS:
            return sorted((name, True) for name in self._cgroup(names).children)
        if names[:2] == ["run", "netns"]:
            return sorted((at.rpartition("/")[2], False) for at in mntns.mounts if _named(at))
        entry = self.entry(path)
        if not isinstance(entry, Directory):
            raise err(errno.ENOTDIR)
        return sorted((name, isinstance(e, Directory)) for name, e in entry.entries.items())

    def readlink(self, path: str) -> str:
        """See `HostPort.readlink`: open files and namespaces."""
        folder, _, name = path.rstrip("/").rpartition("/")
        _mntns, names = self._task.way(folder)
        if names[:1] == ["proc"]:
            return procfs.readlink(self._task, [*names[1:], name])
        self.node(path)
        raise err(errno.EINVAL)

    def identity(self, path: str) -> tuple[str, int]:
        """See `HostPort.identity`: of namespaces and cgroups."""
        found = self.node(path)
        mounts = self._task.mntns.mounts
        device = mounts["/sys/fs/cgroup"].device if isinstance(found, Cgroup) else NSFS
        return f"0:{device}", found.inode

    def open(self, path: str) -> int:
        """See `HostPort.open`."""
        return self._task.open(path)

    def fdinfo(self, fd: int) -> bytes:
        """See `HostPort.fdinfo`."""
        return procfs.fdinfo(self._task, fd)

    def clock(self) -> Clock:
        """See `HostPort.clock`."""
        return self._engine.clock()

    def close(self) -> None:
        """See `HostPort.close`: nothing is kept open here."""

    def node(self, path: str) -> Node:
        """What open(2) of a path would be on."""
        mntns, names = self._task.way(path)
        if names[:1] == ["proc"] and len(names) > 1:
            return procfs.node(self._task, names[1:])
        if names[:3] == _CGROUPS:
            return self._cgroup(names)
        if names[:2] == ["run", "netns"] and len(names) == 3:
            named = mntns.named_netns(names[2])
            if named is None:
                raise err(errno.ENOENT)
            return named
        entry = self.entry(path)
        if isinstance(entry, Pin):
            raise err(errno.EIO)  # bpffs_obj_open()
        return entry

    def _cgroup(self, names: list[str]) -> Cgroup:
        return self._engine.cgroup.find("/".join(names[3:]))

    def entry(self, path: str) -> Entry:
        """What lies at a path outside of /proc."""
        mntns, where, name = walk(self._task, path, None)
        entry = where.look(name.rstrip("/")) if name else where
        if entry is None:
            raise err(errno.ENOENT)
        return mntns.cross(entry) if isinstance(entry, Directory) else entry


_CGROUPS = ["sys", "fs", "cgroup"]


def _named(path: str) -> bool:
    return path.startswith("/run/netns/")
