"""Mounts of bpffs in containers, where something else lies by now: what is told of pins there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hostile import calls, fuse
from tests.hostile.covers import COVERS, Cover, box, other, tree
from tests.hostile.host import Host, name
from tests.hostile.lens import look


@pytest.mark.parametrize("cover", COVERS, ids=name)
def test_a_covered_bpffs(host: Host, cover: Cover) -> None:
    """A container covers its bpffs: the pins there are not seen, which is told, and what lies over
    them is not looked at."""
    folder = box(host)

    def part() -> Iterator[Any]:
        calls.mount("bpf", f"{folder}/bpf")
        # a fuse mount blocks the test too: what is watched is watched before it
        yield cover(folder, host)

    actor = host.act(part)
    for path in actor.told if cover is not other else ():
        host.witness.watch(actor.path(path), path)
    found = host.map_shown()
    assert host.witness.opened() == []
    assert found.one(id=host.map_id)["pinned"] == [host.pin]
    found.untold(f"{folder}/bpf", actor.inode("mnt"))
    told = [each for each in found.errors if "etc" in str(each["path"]) or "fifo" in str(each)]
    assert not told


COMMANDS = ["overview", "map list --parts all", "orphans", "graph"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_of_a_covered_bpffs(host: Host, command: str) -> None:
    """Who counts pins, or says who keeps what, says that it may not be all."""
    folder = box(host)

    def part() -> Iterator[Any]:
        calls.mount("bpf", f"{folder}/bpf")
        yield tree(folder, host)

    host.act(part)
    look(*command.split()).untold(f"{folder}/bpf")


def test_a_bpffs_that_is_replaced_while_we_look(host: Host) -> None:
    """A container mounts its bpffs, takes it away, and has a link to a folder of the host there
    instead, again and again."""
    folder = box(host)

    def part() -> Iterator[Any]:
        calls.mount("bpf", f"{folder}/bpf")
        yield None
        while True:
            calls.mount("tmpfs", folder)
            os.symlink(f"{host.folder}/etc", f"{folder}/bpf")
            calls.unmount(folder)
            yield

    host.act(part)
    for _ in range(6):
        found = host.map_shown()
        assert found.one(id=host.map_id)["pinned"] == [host.pin]
        assert host.witness.opened() == []


@pytest.mark.parametrize("silence", fuse.Silence, ids=lambda each: each.value)
def test_a_bpffs_below_a_fuse_mount(host: Host, silence: fuse.Silence) -> None:
    """A bpffs is mounted in a FUSE file system, whose daemon then answers no more."""
    folder = box(host)

    def part() -> Iterator[Any]:
        daemon = fuse.Daemon(folder, host.fuse_device)
        daemon.answer()
        calls.mount("bpf", f"{folder}/below")
        map = host.pinned(f"{folder}/below/x")
        daemon.silent(silence)
        yield map

    actor = host.act(part)
    found = host.map_shown(actor.told)
    assert found.one(id=actor.told)["pinned"] == []
    found.untold(f"{folder}/below", actor.inode("mnt"))


def test_a_mount_over_a_folder_inside_a_bpffs(host: Host) -> None:
    """A tmpfs with a FIFO and a link lies over a folder inside a bpffs: the walk does not go into
    it, and tells that the pins below are not seen."""
    folder = box(host)
    made: list[str] = []

    def part() -> Iterator[Any]:
        calls.mount("bpf", f"{folder}/bpf")
        os.mkdir(f"{folder}/bpf/maps")
        made.append(f"{folder}/bpf/maps/hidden")
        map = host.pinned(made[0], "hidden_map")
        calls.mount("tmpfs", f"{folder}/bpf/maps")
        os.mkdir(f"{folder}/bpf/maps/inner")
        os.mkfifo(f"{folder}/bpf/maps/hidden")
        os.symlink(f"{host.folder}/etc", f"{folder}/bpf/maps/etc")
        yield map

    actor = host.act(part)
    for inner in ("", "/inner", "/hidden"):
        host.witness.watch(actor.path(f"{folder}/bpf/maps{inner}"), f"maps{inner}")
    found = host.map_shown(actor.told)
    assert host.witness.opened() == []
    assert found.one(id=actor.told)["pinned"] == []
    found.untold(f"{folder}/bpf/maps", actor.inode("mnt"))


def test_an_honest_bpffs_of_a_container_is_looked_at(host: Host) -> None:
    """Beside hostile ones: nothing is lost by the care."""
    folder = box(host)

    def part() -> Iterator[Any]:
        calls.mount("bpf", f"{folder}/bpf")
        yield host.pinned(f"{folder}/bpf/kept")

    actor = host.act(part)
    item = host.map_shown(actor.told).one(id=actor.told)
    assert [each["path"] for each in item["holders"]] == [f"{folder}/bpf/kept"]
    assert [each["mntns"] for each in item["holders"]] == [actor.inode("mnt")]
    assert host.map_shown(f"pin:{folder}/bpf/kept@{actor.inode('mnt')}").one(id=actor.told)
