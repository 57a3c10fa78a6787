"""The host's files and clocks."""

from __future__ import annotations

import errno
import os
import time

from bpflens.port.doors import Clock

_CHUNK = 1 << 16
_BTF = "/sys/kernel/btf/"


class LinuxHost:
    """`HostPort` of the machine that this process runs on."""

    def __init__(self) -> None:
        self._fdinfo: dict[int, int] = {}

    def read(self, path: str, most: int = 0) -> bytes:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if path.startswith(_BTF) and (whole := _mapped(fd)):
                return whole
            pieces: list[bytes] = []
            size = 0
            while chunk := os.read(fd, _CHUNK):
                pieces.append(chunk)
                size += len(chunk)
                if most and size > most:
                    raise OSError(errno.EFBIG, f"it has more than {most} bytes", path)
            return b"".join(pieces)
        finally:
            os.close(fd)

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        with os.scandir(path) as entries:
            return sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries)

    def readlink(self, path: str) -> str:
        return os.readlink(path)

    def identity(self, path: str) -> tuple[str, int]:
        status = os.stat(path)
        return f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}", status.st_ino

    def open(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def fdinfo(self, fd: int) -> bytes:
        """See `HostPort.fdinfo`.

        The proc file looks its fd up when it is read, not when it is opened (proc_fd() in
        fs/proc/fd.c), so one open file serves every object that gets the same fd number in
        turn: a list of 5,000 programs opens one file instead of 5,000. It holds no reference to
        the object.
        """
        info = self._fdinfo.get(fd)
        if info is None:
            info = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
            self._fdinfo[fd] = info
        return os.pread(info, 4096, 0)

    def clock(self) -> Clock:
        return Clock(time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def close(self) -> None:
        """Close the proc files that `fdinfo` keeps."""
        while self._fdinfo:
            os.close(self._fdinfo.popitem()[1])


def _mapped(fd: int) -> bytes | None:
    """The content of a BTF file of sysfs: read(2) gives a page a call, 1,300 for the kernel's.

    Since: 6.16 ("btf: Allow mmap of vmlinux btf").
    """
    import mmap

    try:
        with mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as file:
            return file[:]
    except (OSError, ValueError):
        return None
