"""Netlink sockets."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

from bpflens import limits
from bpflens.abi.netlink import NLM_F_DUMP_INTR, NlMsgType, error_code, messages
from bpflens.linux.foreign import Foreign
from bpflens.port.doors import Way

if TYPE_CHECKING:
    import ctypes
    import socket

_CLONE_NEWNET = 0x40000000
_ROOM = 1 << 16
"""More than the kernel puts into one answer of a dump: 32 KiB (netlink_recvmsg())."""
_SOL_NETLINK, _GET_STRICT_CHK = 270, 12


class LinuxNet:
    """`NetPort` of the network namespace that this thread is in."""

    def __init__(self, foreign: Foreign | None = None) -> None:
        self._foreign = foreign or Foreign()
        self._entered = False
        self._sockets: dict[int, socket.socket] = {}
        """By protocol: those of the namespace that was entered, until it is left."""
        self._buffer = bytearray()

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        """See `NetPort.dump`. A table that changed while it was read is read again, a few times."""
        for _ in range(limits.NETLINK_TRIES.value):
            door = self._sockets.pop(protocol, None) or _socket(protocol)
            try:
                answers = self._ask(door, request)
                if self._entered:
                    self._sockets[protocol] = door
                if answers is not None:
                    return answers
            finally:
                # what is left of an answer must not be taken for that to the next request
                if protocol not in self._sockets:
                    door.close()
        raise OSError(errno.EAGAIN, str(limits.NETLINK_TRIES))

    def _ask(self, door: socket.socket, request: bytes) -> list[bytes] | None:
        """The whole answer; None where it is not of one moment (NLM_F_DUMP_INTR)."""
        door.send(request)
        self._buffer = self._buffer or bytearray(_ROOM)
        answers: list[bytes] = []
        whole = True
        while True:
            size = door.recv_into(self._buffer)
            for kind, flags, message in messages(bytes(memoryview(self._buffer)[:size])):
                whole = whole and not flags & NLM_F_DUMP_INTR
                if kind in (NlMsgType.DONE, NlMsgType.ERROR):
                    # netlink_dump_done() tells there what the dump ended with
                    code = error_code(message)
                    if code > 0:
                        raise OSError(code, os.strerror(code))
                    return answers if whole else None
                answers.append(message)

    @contextmanager
    def entered(self, way: Way) -> Iterator[None]:
        """See `NetPort.entered`. setns(2) moves this thread alone. Needs CAP_SYS_ADMIN."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self._foreign.netns(way) as there:
                _setns(there)
            self._entered = True
            try:
                yield
            finally:
                self._entered = False
                while self._sockets:
                    self._sockets.popitem()[1].close()
                _setns(home)
        finally:
            os.close(home)


def _socket(protocol: int) -> socket.socket:
    import socket  # 4 ms, which a command that asks no netlink need not wait

    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    # Without it the kernel takes what it does not know of a request as not said. Since: 4.20.
    with suppress(OSError):
        made.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
    return made


@cache
def _libc() -> ctypes.CDLL:
    import ctypes  # os.setns() is there from Python 3.12 on

    return ctypes.CDLL(None, use_errno=True)


def _setns(fd: int) -> None:
    if _libc().setns(fd, _CLONE_NEWNET) != 0:
        from ctypes import get_errno

        code = get_errno()
        raise OSError(code, os.strerror(code))
