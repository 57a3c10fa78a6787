"""What a container mounts over a bpffs or a cgroup2 of its own."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.hostile import calls, fuse
from tests.hostile.host import Host

Cover = Callable[[str, Host], list[str]]
"""Covers the folder `a` of the bpffs `a/bpf`; gives the paths that must not be opened."""


def tree(folder: str, host: Host) -> list[str]:
    """A tmpfs with a tree that looks like a bpffs."""
    calls.mount("tmpfs", folder)
    paths = [f"{folder}/bpf", f"{folder}/bpf/maps", f"{folder}/bpf/maps/deep"]
    for path in paths:
        os.mkdir(path)
    for file in ("x", "maps/flows"):
        os.close(os.open(f"{folder}/bpf/{file}", os.O_CREAT))
    os.mkfifo(f"{folder}/bpf/maps/fifo")
    os.symlink("/", f"{folder}/bpf/root")
    return paths


def link(folder: str, host: Host) -> list[str]:
    """A tmpfs with a symbolic link to a folder of the host."""
    calls.mount("tmpfs", folder)
    os.symlink(f"{host.folder}/etc", f"{folder}/bpf")
    return []


def link_above(folder: str, host: Host) -> list[str]:
    """A tmpfs over the folder above, with a symbolic link to one of the host."""
    above = os.path.dirname(folder)
    calls.mount("tmpfs", above)
    os.symlink(f"{host.folder}/etc", folder)
    return []


def bound(folder: str, host: Host) -> list[str]:
    """A folder of the host, mounted at the very path."""
    calls.mount("tmpfs", folder)
    os.mkdir(f"{folder}/bpf")
    calls.bind(f"{host.folder}/etc", f"{folder}/bpf")
    return []


def bound_over(folder: str, host: Host) -> list[str]:
    """A folder of the host, mounted over the bpffs itself."""
    calls.bind(f"{host.folder}/etc", f"{folder}/bpf")
    return []


def other(folder: str, host: Host) -> list[str]:
    """Another bpffs, mounted at the very path."""
    calls.mount("tmpfs", folder)
    os.mkdir(f"{folder}/bpf")
    calls.mount("bpf", f"{folder}/bpf")
    os.mkdir(f"{folder}/bpf/other")
    return [f"{folder}/bpf/other"]


def fifo(folder: str, host: Host) -> list[str]:
    """A FIFO."""
    calls.mount("tmpfs", folder)
    os.mkfifo(f"{folder}/bpf")
    return [f"{folder}/bpf"]


def unread(folder: str, host: Host) -> list[str]:
    """A FUSE file system whose daemon takes no request."""
    fuse.Daemon(folder, host.fuse_device).silent(fuse.Silence.UNREAD)
    return []


def taken(folder: str, host: Host) -> list[str]:
    """A FUSE file system whose daemon takes each request and answers none."""
    fuse.Daemon(folder, host.fuse_device).silent(fuse.Silence.TAKEN)
    return []


COVERS: list[Cover] = [tree, link, link_above, bound, bound_over, other, fifo, unread, taken]


def box(host: Host) -> str:
    """A folder for a container, and a folder with a file that stand for the host's /etc."""
    for folder in ("box", "box/a", "box/a/bpf", "etc", "etc/bpf"):
        os.mkdir(f"{host.folder}/{folder}")
    os.close(os.open(f"{host.folder}/etc/passwd", os.O_CREAT, 0o600))
    for bait in ("etc", "etc/passwd", "etc/bpf"):
        host.witness.watch(f"{host.folder}/{bait}")
    return f"{host.folder}/box/a"
