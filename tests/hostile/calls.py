"""System calls that hostile surroundings are made with, and that Python has no words for."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct

from bpflens.testing.on_linux import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    MNT_DETACH,
    MS_REC_PRIVATE,
    checked,
    libc,
)

CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
MS_BIND = 0x1000
AT_FDCWD = -100
RENAME_EXCHANGE = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
CAP_SYS_PTRACE = 19
OPENAT2 = 437
"""The number of openat2(2): the same on every architecture (since Linux 5.6)."""
RENAMEAT2 = {"x86_64": 316}.get(os.uname().machine, 276)

__all__ = ["CLONE_NEWNET", "CLONE_NEWNS", "CLONE_NEWPID", "CLONE_NEWUSER"]


def mount(kind: str, path: str, data: str = "") -> None:
    """Mount a file system of this kind. Raises OSError."""
    done = libc.mount(kind.encode(), os.fsencode(path), kind.encode(), 0, data.encode() or None)
    checked(done, f"mount {kind}")


def bind(source: str | bytes, path: str | bytes) -> None:
    """Mount what is at `source` at `path` too. Raises OSError."""
    checked(libc.mount(os.fsencode(source), os.fsencode(path), None, MS_BIND, None), "bind")


def unmount(path: str) -> None:
    """Take away the topmost mount at a path, with those below it. Raises OSError."""
    checked(libc.umount2(os.fsencode(path), MNT_DETACH), "umount")


def unshare(flags: int) -> None:
    """Namespaces of one's own; what is mounted there reaches no others. Raises OSError."""
    checked(libc.unshare(flags), "unshare")
    if flags & CLONE_NEWNS:
        checked(libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None), "mount")


def setns(fd: int) -> None:
    """Move to the namespace that an fd is of. Raises OSError."""
    checked(libc.setns(fd, 0), "setns")


def exchange(one: str, other: str) -> None:
    """Swap two files in one step (renameat2(2)). Raises OSError."""
    names = (os.fsencode(one), os.fsencode(other))
    done = libc.syscall(RENAMEAT2, AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)
    checked(done, "renameat2")


def end_with_parent() -> None:
    """End when the parent ends. A change of credentials takes this back: it comes last."""
    checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")


def die_with(parent: int) -> None:
    """The same, also where the parent has ended already."""
    end_with_parent()
    if os.getppid() != parent:
        os._exit(1)


def become(uid: int) -> None:
    """Be another user, who may still write to the /proc/self that is his."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    checked(libc.prctl(PR_SET_DUMPABLE, 1), "prctl")


def root_of_a_user_namespace(uid: int, flags: int) -> None:
    """As `unshare -Ur` of that user: root there, and that user for everybody else."""
    become(uid)
    checked(libc.unshare(CLONE_NEWUSER), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {uid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    unshare(flags)


def lose_ptrace() -> None:
    """Have no CAP_SYS_PTRACE after the next execve(2)."""
    checked(libc.prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0), "prctl")


def refuse_openat2(code: int = errno.ENOSYS) -> None:
    """Let openat2(2) fail with this error from now on, as the seccomp filter of a container engine
    that does not know it."""
    load, equal, answer = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    allow, refuse = 0x7FFF0000, 0x00050000 | code  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
    steps = ((load, 0, 0, 0), (equal, 0, 1, OPENAT2), (answer, 0, 0, refuse), (answer, 0, 0, allow))
    code_ = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code_))  # struct sock_fprog
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0), "prctl")
