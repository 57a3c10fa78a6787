"""What bpftool, tc and ip show of a busy network namespace is all in ours, and no more."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from bpflens.abi.attrs import LinkCreate, ProgAttach
from bpflens.abi.enums import AttachType, ProgType
from bpflens.attach.everything import find
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment
from bpflens.model.system import System
from bpflens.testing.builders import program
from bpflens.testing.hooks import id_of
from bpflens.testing.on_linux import LinuxBench
from tests.kernel.conftest import open_fds

TOOLS = [tool for tool in ("bpftool", "ip", "tc") if not shutil.which(tool)]
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or bool(TOOLS), reason=f"needs root and {', '.join(TOOLS) or 'nothing else'}"
)

MODES = {"driver": "drv", "generic": "skb", "offload": "hw"}
"""bpftool's words for the modes of XDP."""
IP_MODES = {1: "drv", 2: "skb", 3: "hw"}


def do(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def told(*command: str) -> Any:
    return json.loads(do(*command) or "[]")


def net_show() -> Any:
    """bpftool's own list; 7.1 forgets the braces around a flow dissector."""
    text = do("bpftool", "net", "show", "-j")
    return json.loads(re.sub(r'\["id":(\d+)\]', r'[{"id":\1}]', text))[0]


@pytest.fixture(scope="module")
def bench() -> Iterator[LinuxBench]:
    """A network namespace in which the tools have attached what they can."""
    made = LinuxBench()
    try:
        folder = made.bpffs()
        calls = made.calls
        pins: dict[str, str] = {}
        for number, type in enumerate([ProgType.XDP] * 3 + [ProgType.SCHED_CLS] * 6):
            name = f"{type.label.partition('_')[2] or 'xdp'}{number}"
            text = "r0 = 2; exit" if type is ProgType.XDP else "r0 = 0; exit"
            pins[name] = f"{folder}/{name}"
            calls.obj_pin(program(calls, text, type, name=name), pins[name])
        attach(pins)
        calls.prog_attach(
            ProgAttach(
                attach_bpf_fd=program(calls, type=ProgType.FLOW_DISSECTOR, name="dissector"),
                attach_type=AttachType.FLOW_DISSECTOR,
            )
        )
        yield made
    finally:
        made.close()


def attach(pins: dict[str, str]) -> None:
    """Devices a, b, c, d and what is on them."""
    for one, other in ("ab", "cd"):
        do("ip", "link", "add", "name", one, "type", "veth", "peer", "name", other)
    do("ip", "link", "set", "dev", "a", "xdpdrv", "pinned", pins["xdp0"])
    do("ip", "link", "set", "dev", "b", "xdpgeneric", "pinned", pins["xdp1"])
    do("bpftool", "net", "attach", "xdpdrv", "pinned", pins["xdp2"], "dev", "c")
    do("tc", "qdisc", "add", "dev", "a", "clsact")
    do("tc", "qdisc", "add", "dev", "b", "ingress")
    do("tc", "qdisc", "add", "dev", "c", "ingress_block", "5", "clsact")
    do("tc", "qdisc", "add", "dev", "d", "ingress_block", "5", "clsact")
    do("tc", "qdisc", "add", "dev", "b", "root", "handle", "1:", "htb")
    do("tc", "class", "add", "dev", "b", "parent", "1:", "classid", "1:10", "htb", "rate", "1mbit")
    for where, name in (
        ("dev a ingress pref 9", "cls3"),
        ("dev a ingress pref 9 handle 7", "cls4"),
        ("dev a ingress pref 2 protocol ip", "cls5"),
        ("dev a egress chain 3", "cls6"),
        ("dev b ingress", "cls7"),
        ("dev b parent 1: pref 4", "cls8"),
        ("dev b parent 1:10 pref 5", "cls3"),
        ("block 5 pref 6", "cls4"),
    ):
        do("tc", "filter", "add", *where.split(), "bpf", "da", "pinned", pins[name])


@pytest.fixture(scope="module")
def found(bench: LinuxBench) -> list[Attachment]:
    """What we find in this namespace, with nothing left open after it."""
    before = open_fds()
    with System(bench.doors) as system:
        places = Places(system)
        records = [each for each in find(places) if isinstance(each, Attachment)]
        own = f"netns {places.own_netns}"
    assert open_fds() == before
    kinds = ("xdp", "tc", "flow_dissector")
    return [each for each in records if each.kind in kinds and _ours(each.target, own)]


def _ours(target: str, own: str) -> bool:
    return target == own or (not target.startswith("netns ") and "@" not in target)


def test_xdp_as_bpftool_has_it(found: list[Attachment]) -> None:
    theirs = {(item["devname"], MODES[item["mode"]], item["id"]) for item in net_show()["xdp"]}
    ours = [(each.target, each.attach_type, each.prog_id) for each in found if each.kind == "xdp"]
    assert len(theirs) == 3
    assert set(ours) == theirs
    assert len(ours) == len(theirs)


def test_xdp_as_ip_has_it(found: list[Attachment]) -> None:
    theirs = {
        (device["ifname"], IP_MODES[device["xdp"]["mode"]], device["xdp"]["prog"]["id"])
        for device in told("ip", "-j", "link", "show")
        if "xdp" in device
    }
    assert theirs == {
        (each.target, each.attach_type, each.prog_id) for each in found if each.kind == "xdp"
    }


def test_classifiers_as_bpftool_has_them(found: list[Attachment]) -> None:
    theirs = {(item["devname"], item["id"]) for item in net_show()["tc"] if "id" in item}
    ours = {(each.target, each.prog_id) for each in found if each.kind == "tc"}
    assert len(theirs) >= 6
    assert theirs - ours == set()


def test_flow_dissectors_as_bpftool_has_them(found: list[Attachment]) -> None:
    theirs = {item["id"] for item in net_show()["flow_dissector"]}
    assert theirs
    assert theirs == {each.prog_id for each in found if each.kind == "flow_dissector"}


PLACES = {
    "dev a ingress": ("a", "ingress"),
    "dev a egress": ("a", "egress"),
    "dev b ingress": ("b", "ingress"),
    "dev b parent 1:": ("b", "parent 1:"),
    "dev b parent 1:10": ("b", "parent 1:10"),
    "dev c ingress": ("c", "ingress"),
    "dev d ingress": ("d", "ingress"),
}


@pytest.mark.parametrize("place", PLACES)
def test_filters_as_tc_has_them(found: list[Attachment], place: str) -> None:
    theirs = [
        (item["options"]["prog"]["id"], [
            f"protocol {item['protocol']}",
            f"pref {item['pref']}",
            *([f"chain {item['chain']}"] if item["chain"] else []),
            f"handle {item['options']['handle']}",
            f"name {item['options']['bpf_name']}",
            "direct-action",
        ])
        for item in told("tc", "-j", "filter", "show", *place.split())
        if "prog" in item.get("options", {})
    ]  # fmt: skip
    ours = [
        (each.prog_id, [word for word in each.flags if not word.startswith("block ")])
        for each in sorted(found, key=lambda each: each.order or 0)
        if each.kind == "tc" and (each.target, each.attach_type) == PLACES[place]
    ]
    assert theirs
    assert ours == theirs


def test_what_they_do_not_show(bench: LinuxBench) -> None:
    """tcx, a link of XDP and another namespace are in ours alone."""
    xdp = program(bench.calls, "r0 = 2; exit", ProgType.XDP)
    with bench.elsewhere("blue"):
        ifindex = bench.device()
        link = bench.calls.link_create(
            LinkCreate(prog_fd=xdp, target_fd=ifindex, attach_type=AttachType.XDP)
        )
    with System(bench.doors) as system:
        (record,) = [
            each
            for each in find(Places(system))
            if isinstance(each, Attachment) and each.prog_id == id_of(bench.calls, xdp)
        ]
    assert record.target.endswith("@blue")
    assert record.link_id is not None
    assert id_of(bench.calls, xdp) not in {item["id"] for item in net_show()["xdp"]}
    bench.calls.close(link)
