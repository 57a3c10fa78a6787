"""The same container twice: honest, and hostile. Every count and every trace compares twenty of
the one with twenty of the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from tests.hostile import calls, fuse
from tests.hostile.actor import Actor
from tests.hostile.host import Host
from tests.hostile.namespaces import another_netns, keep_netns

MANY = 20

Turn = Callable[[str, Host], None]
"""What a hostile container does to its folder, which has `a/ns` and `a/bpf`, both mounts."""


def _over(folder: str, plant: Callable[[str], None]) -> None:
    """Cover `a`, and put something at both paths."""
    calls.mount("tmpfs", f"{folder}/a")
    plant(f"{folder}/a/ns")
    plant(f"{folder}/a/bpf")


def fifos(folder: str, host: Host) -> None:
    _over(folder, os.mkfifo)


def links_to_fifos(folder: str, host: Host) -> None:
    _over(folder, lambda path: os.symlink(f"{host.folder}/bait/fifo", path))


def links_to_folders(folder: str, host: Host) -> None:
    _over(folder, lambda path: os.symlink(f"{host.folder}/bait", path))


def a_link_above(folder: str, host: Host) -> None:
    calls.mount("tmpfs", folder)
    os.symlink(f"{host.folder}/bait", f"{folder}/a")


def folders(folder: str, host: Host) -> None:
    _over(folder, lambda path: os.makedirs(f"{path}/inner"))


def a_folder_of_the_host(folder: str, host: Host) -> None:
    _over(folder, os.mkdir)
    calls.bind(f"{host.folder}/bait", f"{folder}/a/bpf")
    calls.bind(f"{host.folder}/bait", f"{folder}/a/ns")


def devices(folder: str, host: Host) -> None:
    _over(folder, lambda path: os.mknod(path, 0o20666, os.makedev(1, 3)))


def silence(folder: str, host: Host) -> None:
    fuse.Daemon(f"{folder}/a", host.fuse_device).silent(fuse.Silence.UNREAD)


def greedy_silence(folder: str, host: Host) -> None:
    fuse.Daemon(f"{folder}/a", host.fuse_device).silent(fuse.Silence.TAKEN)


def a_crowd_of_mounts(folder: str, host: Host) -> None:
    calls.mount("tmpfs", f"{folder}/a")
    for number in range(300):
        os.close(os.open(f"{folder}/a/{number}", os.O_CREAT))
        calls.bind("/proc/self/ns/net", f"{folder}/a/{number}")


TURNS: list[Turn] = [
    fifos,
    links_to_fifos,
    links_to_folders,
    a_link_above,
    folders,
    a_folder_of_the_host,
    devices,
    silence,
    greedy_silence,
    a_crowd_of_mounts,
]


def container(host: Host, number: int, turn: Turn | None) -> Actor:
    """Root's, so that it may do anything: a network namespace and a mount namespace, a namespace's
    file, an open namespace, a bpffs with two pins in two folders."""
    folder = f"{host.folder}/box{number}"
    os.makedirs(f"{folder}/a")

    def part() -> Iterator[Any]:
        calls.mount("tmpfs", f"{folder}/a")
        keep_netns(f"{folder}/a/ns")
        with another_netns():
            fd = os.open("/proc/self/ns/net", os.O_RDONLY)
        os.mkdir(f"{folder}/a/bpf")
        calls.mount("bpf", f"{folder}/a/bpf")
        for name in "xy":
            os.mkdir(f"{folder}/a/bpf/{name}")
            host.pinned(f"{folder}/a/bpf/{name}/map", f"box{number}_{name}")
        if turn is not None:
            turn(folder, host)
        yield fd

    return host.act(part)


def containers(host: Host, hostile: bool) -> list[Actor]:
    """Twenty of them; of hostile ones, each kind of turn."""
    os.mkdir(f"{host.folder}/bait")
    os.mkfifo(f"{host.folder}/bait/fifo", 0o600)
    for name in ("ns", "bpf", "file"):
        os.close(os.open(f"{host.folder}/bait/{name}", os.O_CREAT, 0o600))
    for path in ("", "/fifo", "/ns", "/bpf", "/file"):
        host.witness.watch(f"{host.folder}/bait{path}")
    turns = [TURNS[number % len(TURNS)] if hostile else None for number in range(MANY)]
    return [container(host, number, turn) for number, turn in enumerate(turns)]


def looks(host: Host) -> list[tuple[str, ...]]:
    """Commands that look in each of the ways that there are."""
    return [
        ("overview",),
        ("prog", "list"),
        ("map", "show", f"pin:{host.pin}", "--parts", "all"),
        ("link", "list"),
        ("attach", "list"),
        ("why", "prog", str(host.xdp_id)),
        ("orphans",),
        ("graph",),
        ("doctor",),
        ("unpin", host.pin, "--dry-run"),
        ("record", f"{host.folder}/recording"),
    ]


def commands(host: Host) -> list[tuple[str, ...]]:
    """Those, and every other command that opens anything."""
    map, pin = str(host.map_id), f"pin:{host.pin}"
    return [
        *looks(host),
        ("prog", "show", str(host.xdp_id)),
        ("prog", "list", "--parts", "all"),
        ("prog", "dump", str(host.xdp_id)),
        ("map", "list"),
        ("map", "dump", map),
        ("btf", "list"),
        ("why", "map", map),
        ("graph", pin),
        ("graph", "--if-gone", pin),
    ]
