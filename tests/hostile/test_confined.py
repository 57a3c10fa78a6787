"""Mount namespaces of which a look sees a part: what is elsewhere in them is told, or found."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from typing import Any

from bpflens.testing.bench import eventually
from tests.hostile import calls
from tests.hostile.covers import box
from tests.hostile.host import Host
from tests.hostile.test_unpin import unpin


def test_the_first_process_of_a_container_is_in_a_chroot(host: Host) -> None:
    """Another one is not, and sees the bpffs: the pin there is found."""
    folder = box(host)

    def part() -> Iterator[Any]:
        os.mkdir(f"{folder}/jail")
        calls.mount("bpf", f"{folder}/bpf")
        map = host.pinned(f"{folder}/bpf/x")
        parent = os.getpid()
        other = os.fork()
        if other == 0:
            calls.die_with(parent)
            while True:
                signal.pause()
        os.chroot(f"{folder}/jail")
        yield map

    actor = host.act(part)
    (holder,) = host.map_shown(actor.told).one(id=actor.told)["holders"]
    assert holder["words"] == f"{folder}/bpf/x@{actor.inode('mnt')}"


def test_all_processes_of_a_container_are_in_a_chroot(host: Host) -> None:
    """What they do not see of their mount namespace is told as not looked at."""
    folder = box(host)

    def part() -> Iterator[Any]:
        os.mkdir(f"{folder}/jail")
        calls.mount("bpf", f"{folder}/bpf")
        map = host.pinned(f"{folder}/bpf/x")
        os.chroot(f"{folder}/jail")
        yield map

    actor = host.act(part)
    found = host.map_shown(actor.told)
    assert "chroot" in found.untold(actor.inode("mnt"))
    assert not found.complete


def kept_mntns(path: str) -> int | None:
    """A mount namespace without a process, which is mounted there: its inode number; None where
    the kernel does not take it."""
    parent, own = os.getpid(), os.readlink("/proc/self/ns/mnt")
    maker = os.fork()
    if maker == 0:
        calls.die_with(parent)
        calls.unshare(0x00020000)  # CLONE_NEWNS
        while True:
            signal.pause()
    try:
        there = f"/proc/{maker}/ns/mnt"
        eventually(lambda: os.readlink(there) != own, "it is in a namespace of its own")
        calls.bind(there, path)
        return os.stat(path).st_ino
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None
    finally:
        os.kill(maker, signal.SIGKILL)
        os.waitpid(maker, 0)


def test_a_mount_namespace_without_a_process(host: Host) -> None:
    """Only a mount keeps it: what is pinned and mounted there is told as not looked at."""
    folder = box(host)
    inode: list[int] = []

    def part() -> Iterator[Any]:
        calls.mount("tmpfs", folder)
        os.close(os.open(f"{folder}/ns", os.O_CREAT))
        # mnt_ns_loop() takes the file of a namespace that is younger by its number; those are
        # given out by CPU, so that one that is made later may have a lower one (EINVAL)
        tries = (kept_mntns(f"{folder}/ns") for _ in range(100))
        yield next(inode for inode in tries if inode)

    actor = host.act(part)
    inode.append(actor.told)
    found = host.map_shown()
    assert f"{folder}/ns" in found.untold(inode[0], "no process is in it")
    assert not found.complete


def test_a_container_mounts_the_file_of_a_pin(host: Host) -> None:
    """The mount keeps the object when the pin is removed: `unpin` says so before and after."""
    folder = box(host)
    map = host.pinned(f"{host.bpffs}/x")
    os.chmod(host.bpffs, 0o755)

    def part() -> Iterator[Any]:
        os.close(os.open(f"{folder}/f", os.O_CREAT))
        calls.bind(f"{host.bpffs}/x", f"{folder}/f")
        yield None

    where = f"{folder}/f@{host.act(part).inode('mnt')}"
    assert [each["words"] for each in unpin(f"{host.bpffs}/x", "--dry-run").others] == [where]
    assert [each["words"] for each in unpin(f"{host.bpffs}/x").others] == [where]
    assert [each["words"] for each in host.map_shown(map).one(id=map)["holders"]] == [where]


def test_two_mounts_of_one_path(host: Host) -> None:
    """The later one is what the path leads to, and what the printed spelling names."""
    folder = box(host)

    def part() -> Iterator[Any]:
        calls.mount("bpf", f"{folder}/bpf")
        host.pinned(f"{folder}/bpf/x")
        calls.mount("bpf", f"{folder}/bpf")
        yield host.pinned(f"{folder}/bpf/x")

    actor = host.act(part)
    told = unpin(f"{folder}/bpf/x@{actor.inode('mnt')}")
    assert (told.id, told.done) == (actor.told, True)
