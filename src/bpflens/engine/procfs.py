"""The files of /proc: what they read as, what is in its directories, where its links point."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from bpflens.engine.call import err
from bpflens.engine.creds import Cap
from bpflens.engine.files import O_CLOEXEC, Node
from bpflens.engine.objects import Object

if TYPE_CHECKING:
    from bpflens.engine.tasks import Task

_TICK = 10_000_000
"""Nanoseconds in a tick of USER_HZ."""
_INITIAL = {
    "cgroup": 0xEFFFFFFB, "ipc": 0xEFFFFFFF, "pid": 0xEFFFFFFC, "time": 0xEFFFFFFA,
    "user": 0xEFFFFFFD, "uts": 0xEFFFFFFE,
}  # fmt: skip
"""Namespaces of which there is only the first one (include/linux/proc_ns.h)."""
_PTRACE = ("fd", "fdinfo", "ns", "root")
"""What is closed to those who may not look into a task."""


def read(caller: Task, names: list[str]) -> bytes:
    """The content of the file at a path below /proc. Raises OSError."""
    if names[:1] == ["sys"]:
        value = caller.engine.sysctls.get("/".join(names[1:]))
        if value is None:
            _sysctls(caller, names[1:])
            raise err(errno.EISDIR)
        return f"{value}\n".encode()
    if names == ["kallsyms"]:
        return _kallsyms(caller)
    task, names = _task(caller, names)
    if len(names) == 2 and names[0] == "fdinfo":
        return fdinfo(task, _number(names[1]))
    if not names or names[0] in _PTRACE:
        raise err(errno.EISDIR)
    writer = _FILES.get("/".join(names))
    if writer is None:
        raise err(errno.ENOENT)
    return writer(task).encode(errors="surrogateescape")


def listdir(caller: Task, names: list[str]) -> list[tuple[str, bool]]:
    """What is in a directory below /proc, and what of that is a directory. Raises OSError."""
    if not names:
        pids = [(str(pid), True) for pid in caller.engine.tasks]
        return [*pids, ("kallsyms", False), ("self", False), ("sys", True), ("thread-self", False)]
    if names[0] == "sys":
        return _sysctls(caller, names[1:])
    task, names = _task(caller, names)
    if not names:
        return [(name, True) for name in _PTRACE[:3]] + [
            (name, False) for name in (*_FILES, "root")
        ]
    if names in (["fd"], ["fdinfo"]):
        return [(str(fd), False) for fd in task.files.files]
    if names == ["ns"]:
        return [(name, False) for name in (*_INITIAL, "mnt", "net")]
    raise err(errno.ENOTDIR if "/".join(names) in _FILES else errno.ENOENT)


def readlink(caller: Task, names: list[str]) -> str:
    """Where a link below /proc points. Raises OSError."""
    if names in (["self"], ["thread-self"]):
        return str(caller.pid) if names == ["self"] else f"{caller.pid}/task/{caller.pid}"
    task, names = _task(caller, names)
    if names == ["root"]:
        return "/"
    if names[:1] == ["ns"] and names[1:] and names[1] in _INITIAL:
        return f"{names[1]}:[{_INITIAL[names[1]]}]"
    if len(names) == 2 and names[0] == "fd":
        file = task.files.files.get(_number(names[1]))
        if file is None:
            raise err(errno.ENOENT)
        return file.name
    if len(names) == 2 and names[0] == "ns":
        return node(caller, [str(task.pid), *names]).anon
    if "/".join(names) not in _FILES and names not in ([], *([name] for name in _PTRACE)):
        raise err(errno.ENOENT)
    raise err(errno.EINVAL)


def node(caller: Task, names: list[str]) -> Node:
    """What open(2) of a path below /proc is on: namespaces, open files. Raises OSError."""
    task, names = _task(caller, names)
    if names == ["ns", "net"]:
        return task.netns
    if names == ["ns", "mnt"]:
        return task.mntns
    if len(names) == 2 and names[0] == "fd":
        file = task.files.files.get(_number(names[1]))
        if file:
            return file.node
    raise err(errno.ENOENT)


def fdinfo(task: Task, fd: int) -> bytes:
    """fs/proc/fd.c: the generic lines, then those of the object. ENOENT."""
    file = task.files.files.get(fd)
    if file is None:
        raise err(errno.ENOENT)
    there = file.node
    flags = file.mode | (O_CLOEXEC if isinstance(there, Object) else 0)
    text = f"pos:\t0\nflags:\t0{flags:o}\nmnt_id:\t{there.mnt_id}\nino:\t{there.inode}\n"
    return (text + there.fdinfo(file)).encode(errors="surrogateescape")


def _sysctls(caller: Task, names: list[str]) -> list[tuple[str, bool]]:
    """What is in a directory of /proc/sys. ENOENT, ENOTDIR."""
    known = [path.split("/") for path in caller.engine.sysctls]
    if names in known:
        raise err(errno.ENOTDIR)
    below = [path[len(names) :] for path in known if path[: len(names)] == names]
    if not below:
        raise err(errno.ENOENT)
    return list({path[0]: (path[0], len(path) > 1) for path in below}.values())


def _task(caller: Task, names: list[str]) -> tuple[Task, list[str]]:
    """The task that a path below /proc is about, and the rest of the path. ENOENT, EACCES."""
    if not names:
        raise err(errno.EISDIR)
    task, names = caller.look(names[0]), names[1:]
    if len(names) > 1 and names[0] == "task":
        if names[1] != str(task.pid):
            raise err(errno.ENOENT)
        names = names[2:]
    if names and names[0] in _PTRACE:
        caller.may_access(task)
    return task, names


def _number(name: str) -> int:
    return int(name) if name.isdecimal() else -1


def _status(task: Task) -> str:
    """proc_pid_status()."""
    creds = task.creds
    return (
        f"Name:\t{task.comm}\nTgid:\t{task.pid}\nPid:\t{task.pid}\nPPid:\t{task.parent}\n"
        f"Uid:\t{creds.uid}\t{creds.uid}\t{creds.uid}\t{creds.uid}\n"
        f"Gid:\t{creds.gid}\t{creds.gid}\t{creds.gid}\t{creds.gid}\n"
        f"CapInh:\t{0:016x}\nCapPrm:\t{creds.caps:016x}\nCapEff:\t{creds.caps:016x}\n"
        f"CapBnd:\t{creds.caps:016x}\nCapAmb:\t{0:016x}\n"
    )


def _stat(task: Task) -> str:
    """do_task_stat(): 52 fields, of which the 22nd is the time of its start."""
    head = f"{task.pid} ({task.comm}) S {task.parent} {task.pid} {task.pid} 0 -1 4194304"
    return f"{head}{' 0' * 8} 20 0 1 0 {task.start // _TICK}{' 0' * 30}\n"


def _kallsyms(task: Task) -> bytes:
    """Where helpers and functions are. Who may not see kernel addresses sees zeros.

    kallsyms_show_value().
    """
    shown = task.creds.has(Cap.SYSLOG)
    return "".join(
        f"{at if shown else 0:016x} T {name}\n" for at, name in task.engine.symbols
    ).encode()


_FILES: dict[str, Callable[[Task], str]] = {
    "status": _status,
    "stat": _stat,
    "mountinfo": lambda task: task.mntns.mountinfo(),
    "uid_map": lambda task: f"{0:10} {0:10} {4294967295:10}\n",
    "comm": lambda task: task.comm + "\n",
    "cmdline": lambda task: "".join(word + "\0" for word in task.command),
    "cgroup": lambda task: f"0::{task.cgroup.path}\n",
}
"""/proc/PID/… → what it reads as."""
