"""A child process in a user namespace of its own, and a bpffs that was made for it."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import socket
from collections.abc import Callable

from bpflens.abi.infos import TokenInfo
from bpflens.linux.doors import doors
from bpflens.port.calls import Calls
from bpflens.testing.bench import Guest, NotOffered

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432
"""The same numbers on every architecture (scripts/syscall.tbl)."""
SET_STRING, CREATE = 1, 6
"""enum fsconfig_command."""

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def run(do: Callable[[Guest], None], allowed: TokenInfo) -> None:
    """Do something there. What it raises is raised here; NotOffered if there is no such bpffs."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        ours.close()
        _child(theirs, do)
    theirs.close()
    try:
        _delegate(ours, child, allowed)
        told = b""
        while piece := ours.recv(1 << 16):
            told += piece
    finally:
        ours.close()
        os.waitpid(child, 0)
    raised = pickle.loads(told)
    if raised:
        raise raised


def _delegate(ours: socket.socket, child: int, allowed: TokenInfo) -> None:
    """The part of who may hand on rights: all users of ours are the child's, it gets its bpffs."""
    _data, fds, _flags, _address = socket.recv_fds(ours, 1, 1)
    if not fds:
        raise NotOffered("no user namespaces")
    with open(f"/proc/{child}/uid_map", "w") as file:
        file.write("0 0 1")
    context = fds[0]
    try:
        for kind in ("cmds", "maps", "progs", "attachs"):
            bits = getattr(allowed, f"allowed_{kind}")
            key, value = f"delegate_{kind}".encode(), f"{bits:#x}".encode()
            if bits:
                _checked(_libc.syscall(FSCONFIG, context, SET_STRING, key, value, 0), "fsconfig")
        _checked(_libc.syscall(FSCONFIG, context, CREATE, None, None, 0), "fsconfig")
        mount = _checked(_libc.syscall(FSMOUNT, context, 0, 0), "fsmount")
    except OSError as error:
        ours.shutdown(socket.SHUT_RDWR)
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        raise NotOffered("no bpffs of this kernel hands on rights") from error
    finally:
        os.close(context)
    socket.send_fds(ours, [b"m"], [mount])
    os.close(mount)


def _child(theirs: socket.socket, do: Callable[[Guest], None]) -> None:
    """All that happens in the child, which ends here."""
    raised: BaseException | None = None
    try:
        _checked(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
        context = _checked(_libc.syscall(FSOPEN, b"bpf", 0), "fsopen")
        socket.send_fds(theirs, [b"c"], [context])
        os.close(context)
        _data, fds, _flags, _address = socket.recv_fds(theirs, 1, 1)
        if not fds:
            os._exit(1)
        bpffs = os.open(".", os.O_RDONLY, dir_fd=fds[0])
        found = doors()
        do(Guest(Calls(found.bpf), found.host, bpffs))
    except BaseException as error:
        raised = error
    try:
        told = pickle.dumps(raised)
    except Exception:
        told = pickle.dumps(AssertionError(f"{type(raised).__name__}: {raised}"))
    theirs.sendall(told)
    os._exit(0)
