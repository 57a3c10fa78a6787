"""On one crowded machine: all that bpftool's four commands show is in our one list, and more."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator

import pytest

from bpflens.attach.everything import find
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment
from bpflens.linux.netlink import LinuxNet
from bpflens.model.program import Program
from bpflens.model.system import System
from bpflens.port.doors import Way
from bpflens.testing.crowd import NETNS, Size, crowd
from tests.kernel.busy import bpftool

Seen = tuple[str, str, int]
"""(kind, target or what else names the place, program)."""


def networks() -> Iterator[Seen]:
    """`bpftool net` in each of our network namespaces."""
    for name in os.listdir(NETNS):
        with LinuxNet().entered(Way(f"{NETNS}/{name}")):
            (told,) = bpftool("net")
        for kind in ("xdp", "tc"):
            for row in told[kind]:
                yield kind, f"{row['devname']}@{name}", row["id"]


def cgroups(root: str) -> Iterator[Seen]:
    """`bpftool cgroup tree`."""
    for row in bpftool("cgroup", "tree"):
        for program in row["programs"]:
            yield "cgroup", row["cgroup"].removeprefix(root), program["id"]


def events() -> Iterator[Seen]:
    """`bpftool perf`."""
    for row in bpftool("perf"):
        yield row["fd_type"], row.get("tracepoint", row.get("func", "")), row["prog_id"]


def test_one_list_holds_what_four_commands_show(system: System) -> None:
    if not shutil.which("bpftool"):
        pytest.skip("needs bpftool")
    size = Size(netns=5, cgroups=50, processes=3, fds=10, attachments=70)
    with crowd(system.calls, size) as made:
        root = made.cgroup.rpartition("/")[0]
        mine = {prog.id for prog in closed(system.programs()) if prog.name.startswith("crowd")}
        theirs = Counter(seen for seen in (*networks(), *cgroups(root), *events())
                         if seen[2] in mine)  # fmt: skip
        their_links = {row["id"] for row in bpftool("link") if row["prog_id"] in mine}
        found = [each for each in find(Places(system)) if isinstance(each, Attachment)]
    ours = Counter((each.kind, each.target, each.prog_id or 0) for each in found)
    assert theirs - ours == Counter()
    assert their_links <= {link for each in found for link in links(each)}
    assert {kind for kind, _, _ in theirs} == {"xdp", "tc", "cgroup", "raw_tracepoint"}
    only_ours = {each.kind for each in found if each.prog_id in mine
                 and (each.kind, each.target, each.prog_id) not in theirs
                 and each.link_id not in their_links}  # fmt: skip
    assert only_ours == {"socket_filter"}


def links(found: Attachment) -> list[int | None]:
    """The link of an attachment; where the same program is at the same index in many namespaces,
    no call tells which, and the reason names all that it may be."""
    return [found.link_id, *map(int, re.findall(r"\d+", found.missing.get("link_id", "")))]


def closed(programs: Iterator[Program]) -> Iterator[Program]:
    """Each program while it is looked at."""
    for program in programs:
        with program:
            yield program
