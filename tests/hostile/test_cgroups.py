"""The only mount of cgroup2 that there is to be seen is a container's, and something else lies
there by now."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from bpflens.abi.enums import AttachType, ProgType
from bpflens.testing.builders import program
from bpflens.testing.hooks import Hook, id_of
from bpflens.testing.on_linux import cgroup_root
from tests.hostile import calls
from tests.hostile.actor import Actor, Part
from tests.hostile.covers import COVERS, Cover, box, other
from tests.hostile.host import Host, name
from tests.hostile.lens import COMMAND, Look, look


def alone(part: Part) -> Part:
    """The same in a PID namespace of its own, of which it is the first process; what is told is
    its pid outside, and what it tells."""

    def outer() -> Iterator[Any]:
        calls.unshare(calls.CLONE_NEWPID)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            calls.end_with_parent()
            calls.mount("proc", "/proc")
            doing = part()
            os.write(writer, json.dumps(next(doing)).encode() + b"\n")
            for _ in doing:
                pass
            while True:
                signal.pause()
        os.close(writer)
        with open(reader) as file:
            yield child, json.loads(file.readline())

    return outer


def look_from(pid: int, host: Host, *arguments: str) -> Look:
    """Where no other process is seen than those of that PID namespace, and no cgroup2 of ours is
    mounted."""
    words = " ".join(shlex.quote(each) for each in COMMAND)
    script = f'mount -t proc proc /proc && umount -l {cgroup_root()} && exec {words} "$@"'
    command = ("nsenter", "-t", str(pid), "-p", "unshare", "-m", "--propagation", "private",
               "sh", "-c", script, "sh")  # fmt: skip
    return look(*arguments, command=command)


@pytest.fixture
def attached(host: Host) -> int:
    """A program of a cgroup: its ID."""
    kind = AttachType.CGROUP_INET_EGRESS
    prog = program(host.calls, "r0 = 1; exit", ProgType.CGROUP_SKB, attach_type=kind)
    Hook(host.calls, host.bench.cgroup().fd, kind).attach(prog)
    return id_of(host.calls, prog)


def container(host: Host, cover: Cover | None) -> Actor:
    folder = box(host)

    def part() -> Iterator[Any]:
        calls.unmount(cgroup_root())
        calls.mount("cgroup2", f"{folder}/bpf")
        yield cover(folder, host) if cover else []

    return host.act(alone(part))


@pytest.mark.parametrize("cover", COVERS, ids=name)
def test_a_covered_cgroup2(host: Host, attached: int, cover: Cover) -> None:
    """A container covers its cgroup2: the names of cgroups are not known, which is told, and what
    lies over it is not looked at."""
    actor = container(host, cover)
    pid, paths = actor.told
    for path in paths if cover is not other else ():
        host.witness.watch(f"/proc/{pid}/root{path}", path)
    found = look_from(pid, host, "attach", "list")
    assert host.witness.opened() == []
    item = found.one(kind="cgroup", prog_id=attached)
    assert item["target"].startswith("cgroup ")
    found.untold("cgroup")


def test_an_honest_cgroup2_of_a_container_names_cgroups(host: Host, attached: int) -> None:
    """Without a cover, the container's mount is as good as any."""
    actor = container(host, None)
    found = look_from(actor.told[0], host, "attach", "list")
    assert found.one(kind="cgroup", prog_id=attached)["target"].startswith("/bpflens-bench-")


def test_a_cgroup2_of_the_host_comes_first(host: Host, attached: int) -> None:
    """What a container covers does not matter where the host has its own."""
    folder = box(host)

    def part() -> Iterator[Any]:
        calls.mount("cgroup2", f"{folder}/bpf")
        calls.bind(f"{host.folder}/etc", folder)
        yield None

    host.act(part)
    found = host.attachments()
    assert found.one(kind="cgroup", prog_id=attached)["target"].startswith("/bpflens-bench-")
    assert host.witness.opened() == []
