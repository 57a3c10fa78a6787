"""The one place where what belongs to other users is opened: below /proc/PID/root, in a bpffs with
directories of theirs, by the open files of their processes.

By the time that it is opened, such a path may lead elsewhere, and what lies there may be a FIFO, a
device, a link into our own files, a FUSE mount that never answers. So:

- openat2(2) resolves a path from its root without symbolic links, magic links or (below a mount)
  other mounts, and gives an O_PATH fd: open() of the file itself never runs.
- RESOLVE_CACHED: what is in the dentry cache, as all directories on the way to a mount are, needs
  no file system to answer. Where that is not enough, and the directory is not of the kernel's own,
  a child resolves the path, and is left behind when it does not answer in time.
- statx(2) with AT_STATX_DONT_SYNC, which no file system makes wait, says which mount, device and
  inode that is; fstatfs(2) only comes after that.
- Only then it is opened for reading, by /proc/self/fd/N or relative to the fd of its directory.

Without openat2(2) (Linux 5.6; a seccomp filter may refuse it) nothing of this is looked at, but for
what is mounted in our own mount namespace: there openat(2) takes a name at a time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from struct import Struct
from typing import NamedTuple, NoReturn

from bpflens import limits
from bpflens.port.doors import Way
from bpflens.port.mountinfo import Mount

_OPENAT2 = 437
"""The same on every architecture (scripts/syscall.tbl)."""
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH, _IN_ROOT, _CACHED = 1, 2, 4, 8, 16, 32
"""RESOLVE_* (include/uapi/linux/openat2.h)."""
_FOREIGN = _NO_MAGICLINKS | _NO_SYMLINKS
_INSIDE = _FOREIGN | _NO_XDEV | _BENEATH

_AT_FDCWD, _AT_EMPTY_PATH, _AT_STATX_DONT_SYNC = -100, 0x1000, 0x4000
_STATX_TYPE, _STATX_INO, _STATX_MNT_ID = 1, 0x100, 0x1000
_STATX = Struct("=I24xH2xQ96xIIQ104x")
"""struct statx: stx_mask, stx_mode, stx_ino, stx_dev_major, stx_dev_minor, stx_mnt_id."""

_NO_OPENAT2 = (errno.ENOSYS, errno.EPERM)

MAGIC = {"bpf": 0xCAFE4A11, "cgroup2": 0x63677270}
"""f_type (include/uapi/linux/magic.h)."""

_O_PATH = os.O_PATH | os.O_CLOEXEC
_O_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Facts(NamedTuple):
    """What statx(2) says of an open file."""

    mode: int
    inode: int
    device: str
    """`major:minor`."""
    mount_id: int


class Foreign:
    """Opens what belongs to other users."""

    def __init__(self) -> None:
        self._seconds = float(limits.FOREIGN_SECONDS.value)

    @cached_property
    def _libc(self) -> ctypes.CDLL:
        return ctypes.CDLL(None, use_errno=True)

    @cached_property
    def _nsfs(self) -> str:
        """The device of nsfs, of which there is one for all namespaces."""
        status = os.stat("/proc/thread-self/ns/net")
        return f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"

    # --- mounts

    @contextmanager
    def mount(self, mount: Mount) -> Iterator[int]:
        """An O_PATH fd of what is mounted, checked to be that. Raises OSError."""
        fd = self._mounted(mount)
        try:
            yield fd
        finally:
            os.close(fd)

    def _mounted(self, mount: Mount) -> int:
        if mount.closed:
            raise OSError(errno.EXDEV, mount.closed)
        fd = self._at_root(mount)
        try:
            facts = self.facts(fd)
            if (facts.mount_id, facts.device) != (mount.id, mount.device):
                raise OSError(errno.ESTALE, "another file is there than mountinfo says")
            magic = MAGIC.get(mount.kind)
            if magic is not None and self.magic(fd) != magic:
                raise OSError(errno.ESTALE, f"it is no {mount.kind} file system")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _at_root(self, mount: Mount) -> int:
        if not mount.before and not mount.kernfs:
            return self._looked_up(_AT_FDCWD, mount.path, mount)
        names = mount.path.strip("/").split("/") if mount.kernfs else [mount.path]
        at = os.open(mount.before or "/", _O_PATH | os.O_DIRECTORY)
        for name in names:
            try:
                below = self._looked_up(at, name, mount)
            finally:
                os.close(at)
            at = below
        return at

    def _looked_up(self, folder: int, path: str, mount: Mount) -> int:
        """An O_PATH fd of what is on the way to a mount."""
        name, resolve = os.fsencode(path), _FOREIGN | (_IN_ROOT if mount.before else 0)
        try:
            return self._openat2(folder, name, _O_PATH, resolve | _CACHED)
        except OSError as error:
            if error.errno in _NO_OPENAT2 and not mount.before:
                return self._by_names(folder, path)
            # EINVAL: no RESOLVE_CACHED. Since: 5.12
            if error.errno not in (errno.EAGAIN, errno.EINVAL):
                raise
        if mount.kernfs and self.facts(folder).device in mount.kernfs:
            return self._openat2(folder, name, _O_PATH, resolve)
        return self._in_child(folder, name, _O_PATH, resolve)

    def entry(self, folder: int, path: str) -> int:
        """An O_PATH fd of what is below a directory that was checked, on the same mount. Raises
        OSError: ELOOP for a symbolic link, EXDEV where something is mounted."""
        return self._inside(folder, path, _O_PATH)

    def folder(self, above: int, path: str) -> int:
        """A readable fd of a directory below (or, as `.`, at) one that was checked, on the same
        mount. Raises OSError."""
        return self._inside(above, path, _O_FOLDER)

    def _inside(self, folder: int, path: str, flags: int) -> int:
        try:
            return self._openat2(folder, os.fsencode(path), flags, _INSIDE)
        except OSError as error:
            if error.errno not in _NO_OPENAT2:
                raise
        mount_id = self.facts(folder).mount_id
        found = self._by_names(folder, path)
        try:
            if self.facts(found).mount_id != mount_id:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            if flags & os.O_PATH:
                return os.dup(found)
            return os.open(".", flags, dir_fd=found)
        finally:
            os.close(found)

    def _by_names(self, folder: int, path: str) -> int:
        """An O_PATH fd of what is below a directory. Raises OSError: ELOOP for a symbolic link."""
        start = "/" if path.startswith("/") else "."
        at = os.open(start, _O_PATH, dir_fd=None if folder == _AT_FDCWD else folder)
        for name in path.split("/"):
            try:
                below = os.open(name or ".", _O_PATH | os.O_NOFOLLOW, dir_fd=at)
            finally:
                os.close(at)
            at = below
            if stat.S_ISLNK(self.facts(at).mode):
                os.close(at)
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return at

    # --- namespaces

    @contextmanager
    def netns(self, way: Way) -> Iterator[int]:
        """A readable fd of a network namespace, checked to be that. Raises OSError."""
        # O_PATH: a magic link leads to whatever the process has open now
        found = self._mounted(way.mount) if way.mount else os.open(way.path, _O_PATH)
        try:
            facts = self.facts(found)
            if facts.device != self._nsfs or way.inode not in (0, facts.inode):
                raise OSError(errno.ESTALE, "another file is there now")
            fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(found)
        try:
            yield fd
        finally:
            os.close(fd)

    # --- system calls

    def facts(self, fd: int) -> Facts:
        """What an open file is, without a question to its file system. Raises OSError."""
        buffer = ctypes.create_string_buffer(_STATX.size)
        flags = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
        mask = _STATX_TYPE | _STATX_INO | _STATX_MNT_ID
        if self._libc.statx(fd, b"", flags, mask, buffer) != 0:
            _fail()
        mask, mode, inode, major, minor, mount_id = _STATX.unpack(buffer)
        if not mask & _STATX_MNT_ID:  # Since: 5.8
            mount_id = _mount_id(fd)
        return Facts(mode, inode, f"{major}:{minor}", mount_id)

    def magic(self, fd: int) -> int:
        """The type of the file system of an open file: f_type, the first word. Raises OSError."""
        buffer = ctypes.create_string_buffer(512)
        if self._libc.fstatfs(fd, buffer) != 0:
            _fail()
        return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF

    def _openat2(self, folder: int, name: bytes, flags: int, resolve: int) -> int:
        how = (ctypes.c_uint64 * 3)(flags, 0, resolve)
        # c_long: a variadic call passes what has no type as an int
        fd: int = self._libc.syscall(
            ctypes.c_long(_OPENAT2), ctypes.c_long(folder), name, how, ctypes.c_long(24)
        )
        if fd < 0:
            code = ctypes.get_errno()
            words = os.strerror(code)
            if code in _NO_OPENAT2:
                words = f"openat2(2), without which it is not looked at: {words}"
            raise OSError(code, words)
        return fd

    def _in_child(self, folder: int, name: bytes, flags: int, resolve: int) -> int:
        """The same by a process that may wait for ever.

        One that waits for a FUSE daemon which took its request cannot even be killed
        (request_wait_answer() in fs/fuse/dev.c).
        """
        import socket
        import time

        if self._seconds <= 0:
            raise OSError(errno.ETIMEDOUT, str(limits.FOREIGN_SECONDS))
        ours, theirs = socket.socketpair()
        started = time.monotonic()
        with ours, theirs:
            pid = os.fork()
            if pid == 0:
                self._child(theirs.fileno(), folder, name, flags, resolve)
            theirs.close()
            ours.settimeout(self._seconds)
            try:
                answer, fds, _, _ = socket.recv_fds(ours, 4, 1)
            except TimeoutError:
                _leave(pid)
                raise OSError(errno.ETIMEDOUT, str(limits.FOREIGN_SECONDS)) from None
            finally:
                self._seconds -= time.monotonic() - started
        os.waitpid(pid, 0)
        if fds:
            os.set_inheritable(fds[0], False)
            return fds[0]
        code = int.from_bytes(answer, "little") or errno.EIO
        raise OSError(code, os.strerror(code))

    def _child(self, answer: int, folder: int, name: bytes, flags: int, resolve: int) -> NoReturn:
        import socket

        try:
            # What it has open stays open while it waits: the pipe that our output goes to.
            start = 0
            for kept in (*sorted((answer, folder)), 1 << 30):
                if start < kept:  # os.closerange(0, 0) closes all
                    os.closerange(start, kept)
                start = max(kept + 1, start)
            with socket.socket(fileno=answer) as door:
                try:
                    fd = self._openat2(folder, name, flags, resolve)
                except OSError as error:
                    door.send((error.errno or 0).to_bytes(4, "little"))
                else:
                    socket.send_fds(door, [bytes(4)], [fd])
        finally:
            os._exit(0)


def _leave(pid: int) -> None:
    """End a child that does not answer. One that cannot be ended now is left to init."""
    import signal

    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, os.WNOHANG)


def _mount_id(fd: int) -> int:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        text = file.read()
    return int(text.partition(b"mnt_id:")[2].split(None, 1)[0])


def _fail() -> NoReturn:
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))
