"""Every value that bpflens and bpftool both tell of a link is the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import LinkType, MapType
from bpflens.abi.enums import ProgType as P
from bpflens.attach.links import attachment
from bpflens.attach.places import Places
from bpflens.attach.targets import Targets
from bpflens.errors import SyscallError
from bpflens.model.fdinfolink import facts
from bpflens.model.system import System
from bpflens.testing.attachments import links
from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.builders import map, program
from bpflens.testing.conformance.cgroups import skb
from bpflens.testing.conformance.devices import xdp_link
from bpflens.testing.conformance.namespaces import filter_link, netns_link
from bpflens.testing.hooks import Hook
from tests.kernel.conftest import Ran

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("bpftool") is None, reason="needs root and bpftool"
)

Item = dict[str, Any]

NOT_OURS = {"pids", "devname"}


def attach_all(bench: Bench) -> int:
    """A link of each type that this kernel has; returns how many."""
    calls = bench.calls
    cgroup, device = bench.cgroup(), bench.device()
    sockmap = map(calls, MapType.SOCKMAP)
    ways: list[Callable[[], object]] = [
        lambda: links.raw_tracepoint(bench), lambda: links.raw_tracepoint_cookie(bench),
        lambda: links.typed_tracepoint(bench), lambda: links.tracepoint(bench),
        lambda: links.at_function(links.FUNCTION, A.TRACE_FENTRY, bench),
        lambda: links.iterator("bpf_map", bench), lambda: links.iterator_elements(bench),
        lambda: links.iterator_of("tid", 0, bench), lambda: links.iterator_of("pid", 1, bench),
        lambda: links.iterator_cgroups(bench), lambda: links.perf_event(bench),
        lambda: links.probe("uprobe", True, bench), lambda: links.kprobe_multi(bench),
        lambda: links.uprobe_multi(bench),
        lambda: xdp_link(bench, device, program(calls, type=P.XDP)),
        lambda: Hook(calls, device, A.TCX_EGRESS).link(program(calls, type=P.SCHED_CLS)),
        lambda: Hook(calls, cgroup.fd, A.CGROUP_INET_INGRESS).link(skb(calls)),
        lambda: netns_link(bench, program(calls, type=P.FLOW_DISSECTOR), A.FLOW_DISSECTOR),
        lambda: filter_link(bench),
        lambda: Hook(calls, sockmap, A.SK_MSG_VERDICT).link(program(calls, type=P.SK_MSG)),
    ]  # fmt: skip
    made = 0
    for attach in ways:
        try:
            attach()
        except (NotOffered, SyscallError):
            continue  # an older kernel
        made += 1
    return made


def places(mine: Item, funcs: list[Item]) -> bool:
    """Whether many places are the same, in whatever order bpftool has them."""
    ours = {"addr": "addrs", "func": "functions", "offset": "offsets",
            "ref_ctr_offset": "ref_ctr_offsets", "cookie": "cookies"}  # fmt: skip
    for key, field in ours.items():
        theirs = sorted(str(each[key]) for each in funcs if key in each)
        told = mine.get(field) or ["0"] * len(theirs)  # no cookies are all 0 there
        if theirs and theirs != sorted(str(each) for each in told):
            return False
    return True


OTHERWISE: dict[str, Callable[[Item, Any], bool]] = {
    "tracepoint": lambda mine, value: mine["tp_name"] == value,
    "func": lambda mine, value: mine["func_name"] == value,
    "file": lambda mine, value: mine["file_name"] == value,
    "hook": lambda mine, value: mine["hooknum"] == value,
    "prio": lambda mine, value: mine["priority"] == value,
    "flags": lambda mine, value: ("defrag" in mine["flags"]) is bool(value),
    "func_cnt": lambda mine, value: mine["probe_count"] == value,
    "funcs": places,
    "retprobe": lambda mine, value: ("ret" in mine["attach_type"]) is value,
    "event_type": lambda mine, value: value == ("hardware", "software")[mine["event_type"]],
    "event_config": lambda mine, value: value in mine["target"],
}
"""What newer bpftools (7.5) call otherwise than the kernel → whether ours is the same."""


def test_every_value_of_every_link_is_equal(bench: Bench, run: Callable[..., Ran]) -> None:
    made = attach_all(bench)
    assert made >= 10
    ran = run("link", "list", "--json")
    assert (ran.status, ran.stderr) == (0, "")
    ours = {item["id"]: item for item in json.loads(ran.stdout)["items"]}
    told = subprocess.run(["bpftool", "-j", "link", "show"], capture_output=True, check=True)
    theirs: list[Item] = json.loads(told.stdout)
    compared, wrong = 0, []
    for item in theirs:
        if item["id"] not in ours:  # another test's, that came in between
            continue
        mine = ours[item["id"]]
        for key, value in item.items():
            if key in NOT_OURS:
                continue
            compared += 1
            if key in OTHERWISE and (key not in mine or key in ("flags", "event_type")):
                if not OTHERWISE[key](mine, value):
                    wrong.append(f"{item['id']} {key}: bpftool {value!r}, ours {mine}")
                continue
            # bpftool has no word for a type that is younger than it
            told_here = LinkType[mine["type"].upper()] if key == "type" else mine.get(key)
            if value not in (told_here, mine["type"] if key == "type" else None):
                wrong.append(f"{item['id']} {key}: bpftool {value!r}, ours {mine}")
    assert not wrong, "\n".join(wrong)
    assert compared > 3 * made
    assert len(set(ours) & {item["id"] for item in theirs}) >= made


FDINFO = {
    "tp_name": "tp_name", "cookie": "cookie", "attach_type": "attach_type",
    "target_obj_id": "target_obj_id", "target_btf_id": "target_btf_id", "cgroup_id": "cgroup_id",
    "target_name": "target_name", "map_id": "map_id", "netns_ino": "netns_ino",
    "ifindex": "ifindex", "event_type": "perf_event_type", "offset": "offset",
    "ref_ctr_offset": "ref_ctr_offset", "config": "config", "type": "event_type",
    "uprobe_cnt": "probe_count", "kprobe_cnt": "probe_count", "path": "path", "pid": "pid",
    "tid": "tid", "missed": "missed", "addr": "addr", "prog_id": "prog_id", "link_id": "id",
}  # fmt: skip
"""Line of fdinfo → our field."""

TOLD_LESS = {
    LinkType.ITER,  # the path of the cgroup instead of its ID
    LinkType.NETFILTER,  # nothing of the hook
    LinkType.KPROBE_MULTI, LinkType.UPROBE_MULTI,  # the places in a table
}  # fmt: skip


def test_fdinfo_tells_the_same_of_every_link(bench: Bench) -> None:
    attach_all(bench)
    compared: Counter[str] = Counter()
    with System(bench.doors) as system:
        for link in system.links():
            with link:
                ours = link.info()
                lines = bench.fdinfo(link.fd)
                for key, field in FDINFO.items():
                    if key not in lines:
                        continue
                    mine = getattr(ours, field)
                    value = getattr(mine, "label", mine) if key == "event_type" else mine
                    word = lines[key].partition(" ")[0]  # behind it are words: `46 (ingress)`
                    told = word if isinstance(value, str) else int(word, 0)
                    assert told == value, f"{key} {lines} {ours}"
                    compared[key] += 1
    # newer kernels have more lines: cookie, offset, config, uprobe_cnt
    assert {"tp_name", "attach_type", "ifindex", "target_name"} <= set(compared)


def test_fdinfo_alone_tells_where_a_link_is(bench: Bench) -> None:
    attach_all(bench)
    with System(bench.doors) as system:
        targets = Targets(Places(system))
        for link in system.links():
            with link:
                whole = link.info()
                told = facts(bench.doors.host.fdinfo(link.fd))
            assert told
            assert (told.id, told.type, told.prog_id) == (whole.id, whole.type, whole.prog_id)
            if told.missing or told.type in TOLD_LESS:
                continue
            ours, theirs = attachment(targets, told), attachment(targets, whole)
            assert (ours.kind, ours.attach_type) == (theirs.kind, theirs.attach_type)
            # Before 6.3 fdinfo has not what is traced.
            assert "target" in ours.missing or ours.target == theirs.target
