"""Files that another process has open, and that are others when we open them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.hostile import fuse
from tests.hostile.host import Host, name
from tests.hostile.namespaces import another_netns

MANY = 24
"""Fds that are swapped, each of a namespace that nothing else keeps: each is a chance."""


def fifo(host: Host) -> int:
    """A FIFO without a writer."""
    path = f"{host.folder}/fifo"
    os.mkfifo(path)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def silent(host: Host) -> int:
    """A directory of a FUSE file system whose daemon does not answer."""
    path = f"{host.folder}/fuse"
    os.mkdir(path)
    fuse.Daemon(path, host.fuse_device).silent(fuse.Silence.UNREAD)
    return os.open(path, os.O_PATH)


def terminal(host: Host) -> int:
    """A terminal, which becomes that of who opens it."""
    return os.openpty()[1]


def regular(host: Host) -> int:
    """A regular file."""
    return os.open(f"{host.folder}/file", os.O_CREAT | os.O_RDONLY)


@pytest.mark.parametrize("bait", [fifo, silent, terminal, regular], ids=name)
def test_an_fd_is_swapped_while_we_look(host: Host, bait: Callable[[Host], int]) -> None:
    """A process has namespaces open at fds where in the next moment something else is open."""

    def part() -> Iterator[Any]:
        fds = []
        for _ in range(MANY):
            with another_netns():
                fds.append(os.open("/proc/self/ns/net", os.O_RDONLY))
        inner = [os.dup(fd) for fd in fds]
        other = bait(host)
        yield other
        while True:
            for fd, kept in zip(fds, inner, strict=True):
                os.dup2(other, fd)
                os.dup2(kept, fd)
            yield

    actor = host.act(part, user=bait is not silent)
    if bait is not silent:
        host.witness.watch_open(f"/proc/{actor.pid}/fd/{actor.told}", bait.__name__)
    for _ in range(4):
        host.attachments()
        assert host.witness.opened() == []


def test_a_namespace_that_is_only_open_is_looked_at(host: Host) -> None:
    """Without a swap, the way by an fd is as good as any other."""

    def part() -> Iterator[Any]:
        with another_netns() as inode:
            host.bench.set_xdp(host.bench.device(), host.xdp)
            fd = os.open("/proc/self/ns/net", os.O_RDONLY)
        yield fd, inode

    _, inode = host.act(part, user=True).told
    targets = [each["target"] for each in host.attachments().items]
    assert [each for each in targets if each.endswith(f"@{inode}")]
