"""Netlink sockets."""

from __future__ import annotations

import os

from bpflens.abi.netlink import NLM_F_DUMP_INTR, NlMsgType, error_code, messages


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
