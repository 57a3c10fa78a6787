"""Netlink sockets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bpflens.abi.netlink import NLM_F_DUMP_INTR, NlMsgType, error_code, messages

_CLONE_NEWNET = 0x40000000


class LinuxNet:
    """`NetPort` of the network namespace that this thread is in."""

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        import socket  # 4 ms, which a command that asks no netlink need not wait

        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as s:
            s.bind((0, 0))
            s.send(request)
            answers: list[bytes] = []
            while True:
                for kind, flags, message in messages(s.recv(1 << 18)):
                    if kind == NlMsgType.DONE:
                        return answers
                    if kind == NlMsgType.ERROR:
                        code = error_code(message)
                        raise OSError(code, os.strerror(code))
                    if flags & NLM_F_DUMP_INTR:
                        raise InterruptedError("the table changed while it was read")
                    answers.append(message)

    @contextmanager
    def entered(self, netns: str) -> Iterator[None]:
        """See `NetPort.entered`. setns(2) moves this thread alone. Needs CAP_SYS_ADMIN."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)


def _setns(fd: int) -> None:
    import ctypes  # os.setns() is there from Python 3.12 on

    if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
