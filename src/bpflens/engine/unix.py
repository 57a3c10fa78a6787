"""Pairs of unix sockets, and the files that are on their way through them (net/unix/af_unix.c).

Circles of sockets that are sent through each other are not collected (unix_gc()).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.rows import SocketRow
from bpflens.engine.call import err
from bpflens.engine.files import File
from bpflens.engine.net import Socket

if TYPE_CHECKING:
    from bpflens.engine.net import NetNs

_AF_UNIX, _SOCK_STREAM = 1, 1


class UnixSocket(Socket):
    """One end of a pair. What is sent to it waits until it is received or closed."""

    __slots__ = ("peer", "queue")

    def __init__(self, netns: NetNs) -> None:
        row = SocketRow(family=_AF_UNIX, type=_SOCK_STREAM)
        super().__init__(family="unix", established=True, row=row, netns=netns)
        self.peer: UnixSocket | None = None
        self.queue: list[list[File]] = []
        """The files of each message (SCM_RIGHTS)."""

    def send(self, files: list[File]) -> None:
        """sendmsg(2). EPIPE."""
        if self.peer is None:
            raise err(errno.EPIPE)
        for file in files:
            file.fds += 1
        self.peer.queue.append(files)

    def drop(self) -> None:
        """unix_release_sock(): what nobody will receive is let go."""
        if self.peer:
            self.peer.peer = None
        for files in self.queue:
            for file in files:
                file.put()
        self.queue.clear()
        super().drop()


def pair(netns: NetNs) -> tuple[UnixSocket, UnixSocket]:
    """socketpair(2)."""
    one, other = UnixSocket(netns), UnixSocket(netns)
    one.peer, other.peer = other, one
    return one, other
