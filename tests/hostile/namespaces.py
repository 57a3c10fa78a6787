"""Network namespaces that nothing keeps but a mount or an open file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.hostile import calls


@contextmanager
def another_netns() -> Iterator[int]:
    """In a new network namespace, by inode number, until this ends."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        calls.unshare(calls.CLONE_NEWNET)
        yield os.stat("/proc/self/ns/net").st_ino
    finally:
        calls.setns(home)
        os.close(home)


def keep_netns(path: str | bytes) -> int:
    """A new network namespace that only a mount at this path keeps: its inode number."""
    os.close(os.open(path, os.O_CREAT))
    with another_netns() as inode:
        calls.bind("/proc/self/ns/net", path)
    return inode
