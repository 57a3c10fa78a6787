"""Cgroups and perf events of the live kernel: what bpftool shows, bpflens shows; both ways to read
them tell the same; nothing of ours is left."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bpflens.abi.enums import AttachType, ProgType
from bpflens.attach import cgroup, perf
from bpflens.attach.everything import find
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment
from bpflens.errors import BpflensError, SyscallError
from bpflens.linux.bulk import CGROUPS
from bpflens.model.system import LINK, PROGRAM, System
from bpflens.port.cassette import Recorder
from bpflens.port.doors import Doors
from bpflens.port.replay import Replay
from bpflens.testing.attachments import cgroup as cgroup_cases
from bpflens.testing.attachments import perf as perf_cases
from bpflens.testing.bench import Bench, Cgroup, NotOffered
from bpflens.testing.builders import program
from bpflens.testing.hooks import PREORDER, Hook
from bpflens.testing.on_linux import LinuxBench
from tests.kernel.conftest import NOBODY, Ran, open_fds

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

with_bpftool = pytest.mark.skipif(shutil.which("bpftool") is None, reason="needs bpftool")

MULTI = 2
EGRESS = AttachType.CGROUP_INET_EGRESS


@pytest.fixture
def many_files() -> Iterator[None]:
    """Room for thousands of open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, max(8192, before[1])))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def bench(many_files: None) -> Iterator[Bench]:
    made = LinuxBench()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def system(bench: Bench) -> Iterator[System]:
    with System(bench.doors) as made:
        made.index_dir = bench.index_dir
        try:
            cgroup.in_bulk(Places(made))
        except (BpflensError, OSError) as error:
            pytest.skip(f"no bulk reads of cgroups here: {error}")
        yield made


def bpftool(*arguments: str) -> Any:
    """What bpftool says, as JSON."""
    ran = subprocess.run(["bpftool", "-j", *arguments], check=True, capture_output=True)
    return json.loads(ran.stdout)


def tree(bench: Bench) -> list[Cgroup]:
    """Nested cgroups with programs of every type in several ways; the first holds the rest."""
    top = bench.cgroup()
    made = [top, bench.cgroup(top), bench.cgroup(top)]
    made.append(bench.cgroup(made[1]))
    for type in [hook for hooks in cgroup_cases.TYPES.values() for hook in hooks]:
        for at, each in enumerate(made):
            place = cgroup_cases.Place(bench.calls, each.fd, type)
            prog = place.prog()
            place.attach(prog, MULTI)
            for _ in range(at):
                place.link(prog)
    return made


def found_in(system: System, made: list[Cgroup]) -> list[Attachment]:
    """What is attached at these cgroups."""
    names = {each.name for each in made}
    told = cgroup.find(Places(system))
    return [each for each in told if isinstance(each, Attachment) and each.target in names]


@with_bpftool
def test_what_bpftool_shows_of_cgroups_is_shown(bench: Bench, system: System) -> None:
    made = tree(bench)
    shown = {
        (path["cgroup"], entry["id"], entry["attach_type"], entry["attach_flags"])
        for path in bpftool("cgroup", "tree", made[0].path)
        for entry in path["programs"]
    }
    paths = {each.name: each.path for each in made}
    ours = {
        (paths[each.target], each.prog_id, each.attach_type, " ".join(each.flags))
        for each in found_in(system, made)
    }
    assert shown
    assert shown == ours


@with_bpftool
def test_what_bpftool_shows_of_perf_events_is_shown(bench: Bench, system: System) -> None:
    for make in (perf_cases.tracepoint, perf_cases.kprobe, perf_cases.uprobe,
                 perf_cases.uretprobe, perf_cases.linked, perf_cases.linked_twice):  # fmt: skip
        try:
            make(bench)
        except NotOffered:
            continue
    told = [each for each in find(Places(system)) if isinstance(each, Attachment)]
    mine = [item for item in bpftool("perf") if item["pid"] == os.getpid()]
    assert len(mine) >= 4
    for item in mine:
        type, at = item["fd_type"], f"+{item.get('offset', 0):#x}"
        if type == "tracepoint":
            wanted = "tracepoint", item["tracepoint"], None
        elif type.startswith("u"):
            wanted = "uprobe", item["filename"] + at, type
        else:
            wanted = "kprobe", item["func"] + (at if item["offset"] else ""), type
        same = [each for each in told if each.prog_id == item["prog_id"]]
        assert wanted in [(each.kind, each.target, each.attach_type) for each in same]


# --- both ways


def test_both_ways_tell_the_same(bench: Bench, system: System) -> None:
    made = tree(bench)
    ids = {each.id for each in made}
    places = Places(system)
    in_bulk = [each for each in cgroup.in_bulk(places) if each.cgroup in ids]
    plain = [e for e in cgroup.by_query(places) if isinstance(e, cgroup.Entry) and e.cgroup in ids]
    assert len(in_bulk) > 200
    assert sorted(in_bulk) == sorted(plain)


def test_who_goes_first(bench: Bench, system: System) -> None:
    above = bench.cgroup()
    below = bench.cgroup(above)
    hooks = [Hook(bench.calls, each.fd, EGRESS) for each in (above, below)]
    progs = [program(bench.calls, "r0 = 1; exit", ProgType.CGROUP_SKB) for _ in range(6)]
    for at, prog in enumerate(progs):
        try:
            hooks[at % 2].attach(prog, MULTI | (PREORDER if at in (2, 5) else 0))
        except SyscallError as error:
            pytest.skip(f"this kernel cannot order the programs of a cgroup: {error}")
    told = [(each.target, each.order, each.prog_id) for each in found_in(system, [above, below])]
    system.index_dir = None
    assert told == [(e.target, e.order, e.prog_id) for e in found_in(system, [above, below])]
    places = Places(system)
    effective = [
        each.prog_id
        for each in cgroup.effective(places, below.name)
        if isinstance(each, Attachment) and each.attach_type == EGRESS.label
    ]
    own = {(name, turn): prog for name, turn, prog in told}
    order = [(above, 0), (below, 0), (below, 1), (below, 2), (above, 1), (above, 2)]
    assert effective == [own[each.name, turn] for each, turn in order]


def test_more_than_the_kernel_collects_at_once_is_read_in_parts(
    bench: Bench, system: System
) -> None:
    made = [bench.cgroup() for _ in range(60)]
    prog = program(bench.calls, "r0 = 1; exit", ProgType.CGROUP_SKB)
    for each in made:
        for _ in range(25):
            Hook(bench.calls, each.fd, EGRESS).link(prog)
    ids = [each.id for each in made]
    found = [each for each in cgroup.in_bulk(Places(system)) if each.cgroup in ids]
    assert len(found) == len(set(found)) == 1500
    assert {each.cgroup for each in found} == set(ids)


def test_a_cgroup_that_is_too_full_for_it_is_asked_plainly(bench: Bench, system: System) -> None:
    full = bench.cgroup()
    for type in [hook for hooks in cgroup_cases.TYPES.values() for hook in hooks]:
        place = cgroup_cases.Place(bench.calls, full.fd, type)
        prog = place.prog()
        for _ in range(64):
            place.link(prog)
    with pytest.raises(OSError, match=os.strerror(errno.E2BIG)):
        cgroup.in_bulk(Places(system))
    assert len(found_in(system, [full])) == 64 * sum(map(len, cgroup_cases.TYPES.values()))


def test_nothing_of_ours_is_left(bench: Bench, system: System) -> None:
    tree(bench)
    before, links = open_fds(), set(system.ids(LINK))
    list(cgroup.find(Places(system)))
    list(perf.find(Places(system)))
    assert {line for line in open_fds() if "/fdinfo/" not in line} <= before
    names = []
    for id in system.ids(PROGRAM):
        try:
            with system.program(id) as opened:
                names.append(opened.name)
        except BpflensError:
            continue
    assert CGROUPS not in names
    assert links <= set(system.ids(LINK))


@pytest.mark.parametrize("bulk", [True, False])
def test_a_recording_tells_the_same(
    bench: Bench, system: System, tmp_path: Path, bulk: bool
) -> None:
    made = tree(bench)
    perf_cases.tracepoint(bench)
    perf_cases.uprobe(bench)
    recorder = Recorder(bench.doors if bulk else bench.doors._replace(bulk=None))
    told = _ours(recorder.doors, made, system.index_dir)
    path = str(tmp_path / "machine.cassette")
    recorder.save(path, {})
    assert len(told) > 200
    assert _ours(Replay(path).doors, made, None) == told


def _ours(doors: Doors, made: list[Cgroup], index_dir: str | None) -> list[Attachment]:
    with System(doors) as system:
        system.index_dir = index_dir
        places = Places(system)
        found = found_in(system, made)
        held = [each for each in perf.find(places) if isinstance(each, Attachment)]
    holder = f"pid {os.getpid()} "
    return found + [each for each in held if holder in (each.holder or "")]


# --- who sees less


def test_inside_a_cgroup_namespace_what_is_mounted_is_asked(bench: Bench) -> None:
    above = bench.cgroup()
    below = bench.cgroup(above)
    for each in (above, below):
        prog = program(bench.calls, "r0 = 1; exit", ProgType.CGROUP_SKB)
        Hook(bench.calls, each.fd, EGRESS).attach(prog, MULTI)

    def targets(script: str) -> tuple[set[str], str]:
        """The cgroups of attachments that a process below sees, and what it is told."""
        look = [sys.executable, "-m", "bpflens", "attach", "list", "--json"]
        enter = f"echo $$ > {below.path}/cgroup.procs && exec unshare -C -m sh -c '{script}' -- "
        ran = subprocess.run(
            ["sh", "-c", enter + '"$@"', "sh", *look],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        told = json.loads(ran.stdout)
        cgroups = {item["target"] for item in told["items"] if item["kind"] == "cgroup"}
        return cgroups, str(told["errors"])

    outside, _ = targets('"$@"')
    assert {f"/../..{above.name}", f"/../..{below.name}"} <= outside
    inside, told = targets('umount -l /sys/fs/cgroup && mount -t cgroup2 none /mnt && "$@"')
    assert inside == {"/"}
    assert "shows a part of the tree" in told


def test_another_user_is_told_what_is_not_seen(bench: Bench, run: Callable[..., Ran]) -> None:
    perf_cases.tracepoint(bench)
    ran = run("attach", "list", uid=NOBODY)
    assert ran.status == 1
    assert "perf events of other processes" in ran.stderr
    assert "CAP_NET_ADMIN" in ran.stderr
