"""Files of network namespaces (`ip netns` mounts them) that are not there any more, where mountinfo
still tells of them: their folder is covered."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.hostile import calls, fuse
from tests.hostile.host import Host, name
from tests.hostile.namespaces import another_netns, keep_netns

# --- what lies there instead


def fifo(path: str, host: Host) -> None:
    """A FIFO: to open it for reading waits for a writer."""
    os.mkfifo(path)


def link_to_fifo(path: str, host: Host) -> None:
    """A symbolic link to root's FIFO."""
    os.symlink(f"{host.folder}/bait/fifo", path)


def link_to_file(path: str, host: Host) -> None:
    """A symbolic link to root's file."""
    os.symlink(f"{host.folder}/bait/file", path)


def link_to_nothing(path: str, host: Host) -> None:
    """A symbolic link that leads nowhere."""
    os.symlink("/nowhere/at/all", path)


def link_to_own_netns(path: str, host: Host) -> None:
    """A magic link, which leads whoever follows it to a namespace of his own."""
    os.symlink("/proc/self/ns/net", path)


def directory(path: str, host: Host) -> None:
    """A directory."""
    os.mkdir(path)


def regular(path: str, host: Host) -> None:
    """A regular file."""
    os.close(os.open(path, os.O_CREAT))


def unix_socket(path: str, host: Host) -> None:
    """A socket."""
    os.chdir(os.path.dirname(path))
    socket.socket(socket.AF_UNIX).bind(os.path.basename(path))


def device(path: str, host: Host) -> None:
    """A device, which does something when it is opened (a watchdog, a tape)."""
    os.mknod(path, 0o20666, os.makedev(1, 3))


def nothing(path: str, host: Host) -> None:
    """Nothing at all."""


PLANTS: list[Callable[[str, Host], None]] = [
    fifo,
    link_to_fifo,
    link_to_file,
    link_to_nothing,
    link_to_own_netns,
    directory,
    regular,
    unix_socket,
    device,
    nothing,
]

# --- by which way it comes there


def covered(folder: str, host: Host) -> str:
    """A tmpfs covers the folder."""
    calls.mount("tmpfs", f"{folder}/a")
    return f"{folder}/a/ns"


def linked(folder: str, host: Host) -> str:
    """A tmpfs covers the folder above, and the folder is a link to one of the host."""
    calls.mount("tmpfs", folder)
    os.symlink(f"{host.folder}/open", f"{folder}/a")
    return f"{host.folder}/open/ns"


def dotted(folder: str, host: Host) -> str:
    """The same by `..`, out of the container's root if that were possible."""
    calls.mount("tmpfs", folder)
    os.symlink("../" * 30 + f"{host.folder}/open".lstrip("/"), f"{folder}/a")
    return f"{host.folder}/open/ns"


def overlaid(folder: str, host: Host) -> str:
    """An overlay covers the folder."""
    calls.mount("tmpfs", f"{folder}/layers")
    layers = {f"{layer}dir": f"{folder}/layers/{layer}" for layer in ("lower", "upper", "work")}
    for path in layers.values():
        os.mkdir(path)
    calls.mount("overlay", f"{folder}/a", ",".join(map("=".join, layers.items())))
    return f"{folder}/a/ns"


def listed(folder: str, host: Host) -> str:
    """A tmpfs with an access list that lets one other user in covers the folder."""
    calls.mount("tmpfs", f"{folder}/a")
    path = f"{folder}/a/ns"
    entry = struct.Struct("=HHI")
    # ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER
    entries = ((1, 7, 0xFFFFFFFF), (2, 7, 0), (4, 0, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF),
               (32, 0, 0xFFFFFFFF))  # fmt: skip
    told = struct.pack("=I", 2) + b"".join(entry.pack(*each) for each in entries)
    os.setxattr(f"{folder}/a", "system.posix_acl_access", told)
    return path


WAYS = [covered, linked, dotted, overlaid, listed]


def hide(
    host: Host,
    plant: Callable[[str, Host], None],
    way: Callable[[str, Host], str] = covered,
    user: bool = True,
) -> int:
    """A container that keeps a network namespace at a path, and then hides that: its inode."""
    folder = f"{host.folder}/box"
    for path in (folder, f"{folder}/a", f"{folder}/layers", f"{host.folder}/open"):
        os.mkdir(path)
        os.chmod(path, 0o777)
    os.mkdir(f"{host.folder}/bait")
    os.mkfifo(f"{host.folder}/bait/fifo", 0o600)
    os.close(os.open(f"{host.folder}/bait/file", os.O_CREAT, 0o600))
    for bait in ("fifo", "file"):
        host.witness.watch(f"{host.folder}/bait/{bait}")

    def part() -> Iterator[Any]:
        calls.mount("tmpfs", f"{folder}/a")
        inode = keep_netns(f"{folder}/a/ns")
        path = way(folder, host)
        plant(path, host)
        yield inode, path

    actor = host.act(part, user=user)
    inode, path = actor.told
    if plant is not nothing:
        host.witness.watch(actor.path(path), path)
    return int(inode)


def judge(host: Host, inode: int) -> None:
    """What is honest is there, what could not be looked at is told, what was planted not opened."""
    found = host.attachments()
    assert host.witness.opened() == []
    found.untold("netns", inode)
    assert not [each for each in found.items if each["target"].endswith(f"{inode}")]


@pytest.mark.parametrize("plant", PLANTS, ids=name)
def test_something_else_lies_where_a_namespace_was_mounted(
    host: Host, plant: Callable[[str, Host], None]
) -> None:
    """A container covers the folder of a namespace's file, and puts something else there."""
    judge(host, hide(host, plant, user=plant is not device))


@pytest.mark.parametrize("way", WAYS[1:], ids=name)
def test_a_folder_above_leads_elsewhere(host: Host, way: Callable[[str, Host], str]) -> None:
    """The folder of a namespace's file is covered by a link, by `..`, by an overlay, by one with an
    access list; a FIFO lies there."""
    judge(host, hide(host, fifo, way, user=way is not listed))


def test_another_namespace_is_mounted_there(host: Host) -> None:
    """Over the file of a namespace lies the file of another one: neither is taken for the other."""
    folder = f"{host.folder}/a"
    os.mkdir(folder, 0o777)
    os.chmod(folder, 0o777)

    def part() -> Iterator[Any]:
        calls.mount("tmpfs", folder)
        hidden = keep_netns(f"{folder}/ns")
        calls.mount("tmpfs", folder)
        os.close(os.open(f"{folder}/ns", os.O_CREAT))
        with another_netns() as shown:
            host.bench.set_xdp(host.bench.device(), host.xdp)
            calls.bind("/proc/self/ns/net", f"{folder}/ns")
        yield hidden, shown

    hidden, shown = host.act(part, user=True).told
    found = host.attachments()
    found.untold("netns", hidden)
    targets = [each["target"] for each in found.items if each["prog_id"] == host.xdp_id]
    assert sorted(int(each.partition("@")[2]) for each in targets) == sorted([host.netns, shown])


@pytest.mark.parametrize("over", ["the file", "the folder"])
def test_a_namespace_whose_mount_was_replaced_is_not_gone(host: Host, over: str) -> None:
    """A regular file is mounted over the file of a namespace, or its folder is covered: the
    namespace is still there, and that it was not looked at is told."""
    folder = f"{host.folder}/a"
    os.mkdir(folder)

    def part() -> Iterator[Any]:
        calls.mount("tmpfs", folder)
        inode = keep_netns(f"{folder}/ns")
        if over == "the file":
            os.close(os.open(f"{folder}/other", os.O_CREAT))
            calls.bind(f"{folder}/other", f"{folder}/ns")
        else:
            calls.mount("tmpfs", folder)
        yield inode

    judge(host, host.act(part).told)


@pytest.mark.parametrize("silence", fuse.Silence, ids=lambda each: each.value)
def test_a_fuse_mount_covers_it(host: Host, silence: fuse.Silence) -> None:
    """A FUSE file system whose daemon does not answer covers the folder of a namespace's file."""
    folder = f"{host.folder}/a"
    os.mkdir(folder)

    def part() -> Iterator[Any]:
        calls.mount("tmpfs", folder)
        inode = keep_netns(f"{folder}/ns")
        daemon = fuse.Daemon(folder, host.fuse_device)
        daemon.silent(silence)
        yield inode

    judge(host, host.act(part).told)


@pytest.mark.parametrize("silence", fuse.Silence, ids=lambda each: each.value)
def test_a_mount_below_a_fuse_mount(host: Host, silence: fuse.Silence) -> None:
    """A namespace's file is mounted in a FUSE file system, whose daemon then answers no more."""
    folder = f"{host.folder}/a"
    os.mkdir(folder)

    def part() -> Iterator[Any]:
        daemon = fuse.Daemon(folder, host.fuse_device)
        daemon.answer()
        calls.mount("tmpfs", f"{folder}/below")
        inode = keep_netns(f"{folder}/below/ns")
        daemon.silent(silence)
        yield inode

    judge(host, host.act(part).told)


def test_a_mount_below_an_automounter(host: Host) -> None:
    """A namespace's file is mounted below an autofs, whose daemon does not answer."""
    folder = f"{host.folder}/a"
    os.mkdir(folder)

    def part() -> Iterator[Any]:
        os.setpgid(0, 0)
        _, writer = os.pipe()
        options = f"fd={writer},pgrp={os.getpid()},minproto=5,maxproto=5,indirect"
        calls.mount("autofs", folder, options)
        os.mkdir(f"{folder}/below")  # its daemon's process group may
        calls.mount("tmpfs", f"{folder}/below")
        yield keep_netns(f"{folder}/below/ns")

    judge(host, host.act(part).told)


@pytest.mark.parametrize("silence", fuse.Silence, ids=lambda each: each.value)
def test_a_fuse_mount_comes_and_goes(host: Host, silence: fuse.Silence) -> None:
    """A FUSE file system that does not answer covers the folder again and again."""
    folder = f"{host.folder}/a"
    os.mkdir(folder)

    def part() -> Iterator[Any]:
        calls.mount("tmpfs", folder)
        inode = keep_netns(f"{folder}/ns")
        daemon = fuse.Daemon(folder, host.fuse_device)
        kept = f"{host.folder}/kept"
        os.mkdir(kept)
        calls.bind(folder, kept)
        calls.unmount(folder)
        daemon.silent(silence)
        yield inode
        while True:
            calls.bind(kept, folder)
            calls.unmount(folder)
            yield

    inode = host.act(part).told
    for _ in range(4):
        found = host.attachments()
        reached = [each for each in found.items if each["target"].endswith(f"@{inode}")]
        assert not reached  # there is nothing in it
