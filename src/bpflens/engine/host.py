"""The host door: the files in which a kernel tells more than bpf(2) does."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from bpflens.engine.bpffs import Directory, Pin, resolve
from bpflens.engine.call import err
from bpflens.engine.cgroups import Cgroup
from bpflens.engine.creds import Cap
from bpflens.engine.files import O_CLOEXEC, Node
from bpflens.engine.objects import Object
from bpflens.insn.helpers import HELPERS
from bpflens.port.doors import Clock

if TYPE_CHECKING:
    from bpflens.engine.tasks import Task

_MNT_ID, _ANON_INODE = 15, 1057


class EngineHost:
    """`HostPort` of a task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._engine = task.engine

    def read(self, path: str) -> bytes:
        """See `HostPort.read`; ENOENT for what the engine has no file for."""
        if path.startswith("/proc/sys/"):
            value = self._engine.sysctls.get(path[len("/proc/sys/") :])
            if value is None:
                raise err(errno.ENOENT)
            return f"{value}\n".encode()
        if path == "/proc/kallsyms":
            return _kallsyms(self._task)
        if path.startswith("/proc/"):
            return self._proc(path.split("/")[2:])
        if path == "/sys/devices/system/cpu/possible":
            last = self._engine.cpus - 1
            return b"0-%d\n" % last if last else b"0\n"
        if path == "/sys/kernel/btf/vmlinux" and len(self._engine.vmlinux.types) > 1:
            return self._engine.vmlinux.data
        entry = self._entry(path)
        # bpffs_obj_open() for pins; read(2) of a directory
        raise err(errno.EIO if isinstance(entry, Pin) else errno.EISDIR)

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        """See `HostPort.listdir`."""
        parts = [part for part in path.split("/") if part]
        if parts and parts[0] == "proc":
            return sorted(self._proc_dir(parts[1:]))
        if parts[:3] == ["sys", "fs", "cgroup"]:
            cgroup = self._engine.cgroup.find("/".join(parts[3:]))
            return sorted((name, True) for name in cgroup.children)
        entry = self._entry(path)
        if isinstance(entry, Pin):
            raise err(errno.ENOTDIR)
        return sorted((name, isinstance(e, Directory)) for name, e in entry.entries.items())

    def readlink(self, path: str) -> str:
        """See `HostPort.readlink`: open files and namespaces."""
        parts = path.split("/")[1:]
        if len(parts) == 4 and parts[0] == "proc":
            task = self._task_of(parts[1])
            if parts[2] == "fd" and parts[3].isdigit():
                file = task.files.files.get(int(parts[3]))
                if file:
                    return file.name
            if parts[2:] == ["ns", "net"]:
                return f"net:[{task.netns.inode}]"
            raise err(errno.ENOENT)
        self._entry(path)
        raise err(errno.EINVAL)

    def tree(self, path: str) -> list[tuple[str, int]]:
        """See `HostPort.tree`: of cgroups; nothing else here has inode numbers."""
        top = self.node(path)
        if not isinstance(top, Cgroup):
            raise err(errno.ENOTDIR)
        start = len(top.path.rstrip("/")) + 1
        return [(found.path[start:], found.id) for found in top.family()]

    def open(self, path: str) -> int:
        """See `HostPort.open`."""
        return self._task.open(path)

    def unlink(self, path: str) -> None:
        """See `HostPort.unlink`."""
        where, name = resolve(self._task, path.encode(errors="surrogateescape"), None)
        if self._task.creds.uid not in (0, where.uid):
            raise err(errno.EACCES)
        where.unlink(name)

    def fdinfo(self, fd: int) -> bytes:
        """See `HostPort.fdinfo`."""
        return self._fdinfo(self._task, fd)

    def clock(self) -> Clock:
        """See `HostPort.clock`."""
        return self._engine.clock()

    def close(self) -> None:
        """See `HostPort.close`: nothing is kept open here."""

    def node(self, path: str) -> Node:
        """What open(2) of a path would be on."""
        parts = [part for part in path.split("/") if part]
        if parts[:3] == ["sys", "fs", "cgroup"]:
            return self._engine.cgroup.find("/".join(parts[3:]))
        if len(parts) == 4 and parts[0] == "proc" and parts[2:] == ["ns", "net"]:
            return self._task_of(parts[1]).netns
        if parts[:2] == ["run", "netns"] and len(parts) == 3:
            named = self._engine.named_netns.get(parts[2])
            if named is None:
                raise err(errno.ENOENT)
            return named
        entry = self._entry(path)
        if isinstance(entry, Pin):
            raise err(errno.EIO)  # bpffs_obj_open()
        return entry

    # --- procfs

    def _task_of(self, name: str) -> Task:
        if name in ("self", "thread-self"):
            return self._task
        task = self._engine.tasks.get(int(name)) if name.isdigit() else None
        if task is None:
            raise err(errno.ENOENT)
        return task

    def _proc(self, parts: list[str]) -> bytes:
        task = self._task_of(parts[0])
        if len(parts) == 3 and parts[1] == "fdinfo" and parts[2].isdigit():
            self._may_look(task)
            return self._fdinfo(task, int(parts[2]))
        writer = _FILES.get("/".join(parts[1:]))
        if writer is None:
            raise err(errno.ENOENT)
        return writer(task).encode()

    def _proc_dir(self, parts: list[str]) -> list[tuple[str, bool]]:
        if not parts:
            return [(str(pid), True) for pid in self._engine.tasks] + [("self", False)]
        task = self._task_of(parts[0])
        if parts[1:] in (["fd"], ["fdinfo"]):
            self._may_look(task)
            return [(str(fd), False) for fd in task.files.files]
        if len(parts) == 1:
            return [("fd", True), ("fdinfo", True), ("ns", True)] + [
                (name, False) for name in _FILES
            ]
        raise err(errno.ENOENT)

    def _may_look(self, task: Task) -> None:
        """ptrace_may_access(), by user only."""
        if self._task.creds.uid not in (0, task.creds.uid):
            raise err(errno.EACCES)

    def _fdinfo(self, task: Task, fd: int) -> bytes:
        """fs/proc/fd.c: the generic lines, then those of the object."""
        file = task.files.files.get(fd)
        if file is None:
            raise err(errno.ENOENT)
        flags = file.mode | (O_CLOEXEC if isinstance(file.node, Object) else 0)
        text = f"pos:\t0\nflags:\t0{flags:o}\nmnt_id:\t{_MNT_ID}\nino:\t{_ANON_INODE}\n"
        return (text + file.node.fdinfo(file)).encode()

    def _entry(self, path: str) -> Directory | Pin:
        where, name = resolve(self._task, path.encode(errors="surrogateescape"), None)
        entry = where.look(name.rstrip("/")) if name else where
        if entry is None:
            raise err(errno.ENOENT)
        return entry


def _status(task: Task) -> str:
    creds = task.creds
    return (
        f"Name:\t{task.comm}\nTgid:\t{task.pid}\nPid:\t{task.pid}\nPPid:\t0\n"
        f"Uid:\t{creds.uid}\t{creds.uid}\t{creds.uid}\t{creds.uid}\n"
        f"Gid:\t{creds.gid}\t{creds.gid}\t{creds.gid}\t{creds.gid}\n"
        f"CapInh:\t{0:016x}\nCapPrm:\t{creds.caps:016x}\nCapEff:\t{creds.caps:016x}\n"
        f"CapBnd:\t{creds.caps:016x}\nCapAmb:\t{0:016x}\n"
    )


_CALL_BASE = 0xFFFFFFFF81000000


def _kallsyms(task: Task) -> bytes:
    """Where helpers are: a dump shows a call of helper N as N bytes from __bpf_call_base.

    Who may not see kernel addresses sees zeros. kallsyms_show_value().
    """
    shown = task.creds.has(Cap.SYSLOG)
    lines = [(0, "__bpf_call_base")] + [(id, f"bpf_{name}") for id, name in HELPERS.items() if id]
    return "".join(
        f"{_CALL_BASE + at if shown else 0:016x} T {name}\n" for at, name in lines
    ).encode()


def _mountinfo(task: Task) -> str:
    lines = ["21 0 0:1 / / rw - rootfs rootfs rw", "22 21 0:21 / /proc rw - proc proc rw"]
    lines.append("23 21 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    lines += [
        f"{30 + at} 21 0:{30 + at} / {path} rw,nosuid,nodev,noexec,relatime - bpf bpf rw,mode=700"
        for at, path in enumerate(task.engine.mounts)
    ]
    return "\n".join(lines) + "\n"


_FILES: dict[str, Callable[[Task], str]] = {
    "status": _status,
    "mountinfo": _mountinfo,
    "uid_map": lambda task: f"{0:10} {0:10} {4294967295:10}\n",
    "comm": lambda task: task.comm + "\n",
    "cmdline": lambda task: task.comm + "\0",
    "cgroup": lambda task: "0::/\n",
}
"""/proc/PID/… → what it reads as."""
