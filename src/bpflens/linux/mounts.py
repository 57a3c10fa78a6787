"""Mounted bpffs and cgroup2 file systems of this machine, in every mount namespace."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bpflens.linux.foreign import MAGIC, Foreign
from bpflens.linux.host import LinuxHost
from bpflens.linux.pinwalk import WORDS, PinWalk
from bpflens.port import fdinfo
from bpflens.port.calls import Calls
from bpflens.port.doors import BpfPort, PinFile, PinFiles
from bpflens.port.mountinfo import Mount


class _Opened(NamedTuple):
    """A pin's file, and the directory that it is in, both by O_PATH."""

    folder: int
    file: int


class LinuxMounts:
    """`MountPort` of the machine that this process runs on."""

    def __init__(self, foreign: Foreign, host: LinuxHost) -> None:
        self._foreign = foreign
        self._host = host

    # --- bpffs

    def pins(self, bpf: BpfPort, mount: Mount) -> PinFiles:
        """See `MountPort.pins`."""
        with self._foreign.mount(mount) as top:
            facts = self._foreign.facts(top)

            def identify(fd: int, path: str, inode: int, folder: int) -> PinFile:
                return self._file(bpf, fd, path, facts.device, inode, folder)

            if not stat.S_ISDIR(facts.mode):  # one file, bound elsewhere
                return PinFiles([identify(top, "", facts.inode, 0)], [])
            return PinWalk(self._foreign, top, identify).read(facts.inode)

    def _file(
        self, bpf: BpfPort, fd: int, path: str, device: str, inode: int, folder: int
    ) -> PinFile:
        """What a file pins, by an O_PATH fd. Raises OSError."""
        object_fd = _get(bpf, fd)
        try:
            kind, id = fdinfo.identify(self._host.fdinfo(object_fd)) or ("", 0)
        finally:
            bpf.close(object_fd)
        return PinFile(path, kind, id, device, inode, folder)

    def pin(self, bpf: BpfPort, path: str, mount: Mount | None = None) -> PinFile:
        """See `MountPort.pin`."""
        with self._opened(path, mount) as opened:
            return self._pin(bpf, opened, path)

    def _pin(self, bpf: BpfPort, opened: _Opened, path: str) -> PinFile:
        file, folder = self._foreign.facts(opened.file), self._foreign.facts(opened.folder)
        return self._file(bpf, opened.file, path, file.device, file.inode, folder.inode)

    def get(self, bpf: BpfPort, path: str, write: bool, mount: Mount) -> int:
        """See `MountPort.get`."""
        if not path:  # one file, bound elsewhere
            with self._foreign.mount(mount) as top:
                return _get(bpf, top, write)
        with self._opened(path, mount) as opened:
            return _get(bpf, opened.file, write)

    def unpin(self, bpf: BpfPort, seen: PinFile, mount: Mount | None = None) -> None:
        """See `MountPort.unpin`.

        Who may write to the directory can still put another file of his there, right before
        unlinkat(2): then that one is gone, which is told.
        """
        with self._opened(seen.path, mount) as opened:
            now = self._pin(bpf, opened, seen.path)
            if not now.is_same_pin(seen) or now[1:3] != seen[1:3]:
                raise OSError(errno.ESTALE, f"it is the pin of {now.kind} {now.id} now")
            before = os.stat(opened.file).st_nlink
            os.unlink(seen.name, dir_fd=opened.folder)
            if os.stat(opened.file).st_nlink == before:
                raise OSError(errno.EIO, "another file came there meanwhile, and was removed")

    @contextmanager
    def _opened(self, path: str, mount: Mount | None) -> Iterator[_Opened]:
        """The file at a path, and its directory. Raises OSError."""
        above, _, name = path.rpartition("/")
        if mount is not None and not path:
            raise OSError(errno.EBUSY, "a file system is mounted there: unmount it")
        if name in ("", ".", ".."):
            raise OSError(errno.EISDIR, "it is a directory", path)
        with self._folder(path[: len(above) or path.startswith("/")], mount) as folder:
            if self._foreign.magic(folder) != MAGIC["bpf"]:
                raise OSError(errno.EINVAL, "it is not in a bpffs", path)
            try:
                file = self._foreign.entry(folder, name)
            except OSError as error:
                raise OSError(error.errno, WORDS.get(error.errno or 0, error.strerror)) from error
            try:
                mode = self._foreign.facts(file).mode
                if not stat.S_ISREG(mode):
                    raise OSError(errno.EISDIR, "it is no file", path)
                yield _Opened(folder, file)
            finally:
                os.close(file)

    @contextmanager
    def _folder(self, path: str, mount: Mount | None) -> Iterator[int]:
        """An O_PATH fd of a directory, of ours or below a mount."""
        if mount is None:
            folder = os.open(path or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            with self._foreign.mount(mount) as top:
                folder = self._foreign.entry(top, path or ".")
        try:
            yield folder
        finally:
            os.close(folder)

    # --- cgroup2

    def tree(self, mount: Mount) -> list[tuple[str, int]]:
        """See `MountPort.tree`.

        The link count of a directory says how many directories are in it (kernfs_iop_getattr()):
        one that has none is not read.
        """
        with self._foreign.mount(mount) as top:
            found = [("", self._foreign.facts(top).inode)]
            waiting = [""]
            while waiting:
                above = waiting.pop()
                try:
                    folder = self._foreign.folder(top, above or ".")
                except OSError:
                    if not above:
                        raise
                    continue
                try:
                    inner = _folders(folder, above)
                finally:
                    os.close(folder)
                found += [(name, inode) for name, inode, _ in inner]
                waiting += [name for name, _, links in reversed(inner) if links != 2]
        return found

    def folder(self, mount: Mount, path: str) -> int:
        """See `MountPort.folder`."""
        with self._foreign.mount(mount) as top:
            return self._foreign.folder(top, path.strip("/") or ".")


def _get(bpf: BpfPort, file: int, write: bool = False) -> int:
    """OBJ_GET by an O_PATH fd. Raises CallNotFound, CallDenied, OSError."""
    return Calls(bpf).pinned(f"/proc/self/fd/{file}", write)


def _folders(folder: int, above: str) -> list[tuple[str, int, int]]:
    """The directories in one: path, inode number, link count."""
    found: list[tuple[str, int, int]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                name = f"{above}/{entry.name}" if above else entry.name
                found.append((name, status.st_ino, status.st_nlink))
    return found
