"""The mount door: bpffs and cgroup2 in every mount namespace."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpflens.engine.bpffs import Directory, Pin
from bpflens.engine.call import err
from bpflens.engine.cgroups import Cgroup
from bpflens.engine.host import EngineHost
from bpflens.port import fdinfo
from bpflens.port.calls import Calls
from bpflens.port.doors import BpfPort, PinFile, PinFiles, Unread
from bpflens.port.mountinfo import Mount, below

if TYPE_CHECKING:
    from bpflens.engine.tasks import Task


class EngineMounts:
    """`MountPort` of a task. While it is asked, no other task runs: nothing changes meanwhile."""

    def __init__(self, task: Task, host: EngineHost) -> None:
        self._task = task
        self._host = host

    def pins(self, bpf: BpfPort, mount: Mount) -> PinFiles:
        """See `MountPort.pins`."""
        top = self._host.entry(mount.reach)
        if not isinstance(top, Directory):
            raise err(errno.ENOTDIR)
        found = PinFiles([], [])
        for path, folder in self._files(top, ""):
            try:
                kind, id = self._identified(bpf, below(mount, path))
            except OSError as error:
                found.unread.append(Unread(path, error.errno or 0, error.strerror or ""))
            else:
                found.found.append(self._file(path, kind, id, folder))
        return found

    def _files(self, folder: Directory, above: str) -> Iterator[tuple[str, Directory]]:
        """The pins in a directory, then those in the directories in it."""
        inner: list[tuple[str, Directory]] = []
        for name, entry in sorted(folder.entries.items()):
            path = f"{above}/{name}" if above else name
            if isinstance(entry, Pin):
                yield path, folder
            elif isinstance(entry, Directory):
                inner.append((path, entry))
        for path, entry in inner:
            yield from self._files(entry, path)

    def pin(self, bpf: BpfPort, path: str, mount: Mount | None = None) -> PinFile:
        """See `MountPort.pin`."""
        where = below(mount, path)
        entry, folder = self._host.entry(where), self._host.entry(where.rpartition("/")[0] or "/")
        if not isinstance(folder, Directory) or not folder.bpffs:
            raise OSError(errno.EINVAL, "it is not in a bpffs", path)
        if not isinstance(entry, Pin):
            raise OSError(errno.EISDIR, "it is no file", path)
        return self._file(path, *self._identified(bpf, where), folder)

    def get(self, bpf: BpfPort, path: str, write: bool, mount: Mount) -> int:
        """See `MountPort.get`."""
        return Calls(bpf).pinned(below(mount, path), write)

    def unpin(self, bpf: BpfPort, seen: PinFile, mount: Mount | None = None) -> None:
        """See `MountPort.unpin`."""
        now = self.pin(bpf, seen.path, mount)
        if now != seen:
            raise OSError(errno.ESTALE, f"it is the pin of {now.kind} {now.id} now")
        self._task.unlink(below(mount, seen.path))

    def _identified(self, bpf: BpfPort, path: str) -> tuple[str, int]:
        fd = Calls(bpf).pinned(path)
        try:
            return fdinfo.identify(self._host.fdinfo(fd)) or ("", 0)
        finally:
            bpf.close(fd)

    def _file(self, path: str, kind: str, id: int, folder: Directory) -> PinFile:
        entry = folder.entries[path.rpartition("/")[2]]
        assert isinstance(entry, Pin)
        assert folder.bpffs
        return PinFile(path, kind, id, f"0:{folder.bpffs.device}", entry.inode, folder.inode)

    def tree(self, mount: Mount) -> list[tuple[str, int]]:
        """See `MountPort.tree`: of cgroups."""
        top = self._host.node(mount.reach)
        if not isinstance(top, Cgroup):
            raise err(errno.ENOTDIR)
        start = len(top.path.rstrip("/")) + 1
        return [(found.path[start:], found.id) for found in top.family()]

    def folder(self, mount: Mount, path: str) -> int:
        """See `MountPort.folder`."""
        return self._task.open(below(mount, path.strip("/")))
