"""Names that a container chooses, and what bpflens makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from bpflens.testing.on_linux import cgroup_root
from tests.hostile import calls
from tests.hostile.actor import Actor
from tests.hostile.host import Host
from tests.hostile.lens import run
from tests.hostile.namespaces import another_netns

NAME = "prod"


def impostor(host: Host) -> Actor:
    """A container whose own /run/netns/prod is a namespace with a program of its own."""

    def part() -> Iterator[Any]:
        calls.mount("tmpfs", "/run")
        os.mkdir("/run/netns")
        os.close(os.open(f"/run/netns/{NAME}", os.O_CREAT))
        with another_netns() as inode:
            host.bench.set_xdp(host.bench.device(), host.xdp)
            calls.bind("/proc/self/ns/net", f"/run/netns/{NAME}")
        yield inode

    return host.act(part, user=True)


@pytest.mark.parametrize("there", [False, True], ids=["alone", "beside the host's"])
def test_a_name_of_a_container_is_not_the_hosts(host: Host, there: bool) -> None:
    """A container names a namespace in its own /run/netns: that is no name of the host, also where
    the host has none of that name."""
    if there:
        with host.bench.elsewhere(NAME):
            host.bench.set_xdp(host.bench.device(), host.xdp)
    actor = impostor(host)
    found = host.attachments()
    targets = [each["target"] for each in found.items if each["prog_id"] == host.xdp_id]
    assert len([each for each in targets if each.endswith(f"@{NAME}")]) == there
    marked = f"@{NAME}@{actor.inode('mnt')}"
    assert len([each for each in targets if each.endswith(marked)]) == 1, targets
    graph = run("graph", f"netns:{NAME}")
    assert (graph.status == 0) == there, graph


def test_a_mark_cannot_be_forged(host: Host) -> None:
    """A name of the host's own kind, made in a container, that says that it is the host's."""

    def part() -> Iterator[Any]:
        calls.mount("tmpfs", "/run")
        os.mkdir("/run/netns")
        name = f"/run/netns/{host.netns}"
        os.close(os.open(name, os.O_CREAT))
        with another_netns() as inode:
            host.bench.set_xdp(host.bench.device(), host.xdp)
            calls.bind("/proc/self/ns/net", name)
        yield inode

    actor = host.act(part, user=True)
    found = host.attachments()
    targets = [each["target"] for each in found.items if each["prog_id"] == host.xdp_id]
    assert len([each for each in targets if each.endswith(f"@{host.netns}")]) == 1
    marked = f"@{host.netns}@{actor.inode('mnt')}"
    assert len([each for each in targets if each.endswith(marked)]) == 1, targets


UNITS = ["sshd.service", f"docker-{'ab' * 32}.scope", "kubepods.slice", "\x1b[2J.service"]


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_a_cgroup_named_like_a_unit(host: Host, unit: str) -> None:
    """Who owns a cgroup names it like a unit or a container: beside what is made of it stands the
    path of the cgroup, of which the owner wrote the end."""
    owned = host.bench.cgroup()
    path = f"{owned.path}/{unit}"
    os.mkdir(path)

    def part() -> Iterator[Any]:
        with open(f"{path}/cgroup.procs", "w") as file:
            file.write("0")
        _, map = host.map("held_map")
        yield map

    try:
        actor = host.act(part)
        item = host.map_shown(actor.told).one(id=actor.told)
        (holder,) = (each for each in item["holders"] if each.get("pid") == actor.pid)
        assert holder["cgroup"] == f"{path.removeprefix(cgroup_root())}"
        shown = run("why", "map", str(actor.told))
        assert shown.stdout.replace("\n", "").isprintable()
    finally:
        host.end(actor)
        os.rmdir(path)
