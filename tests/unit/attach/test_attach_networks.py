"""Network namespaces: one visit to each, and what can go wrong on the way."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from bpflens.abi.attrs import LinkCreate, LinkCreateNetfilter, ProgAttach
from bpflens.abi.enums import AttachType, Cmd, ProgType
from bpflens.abi.netlink import NlMsgType, TcParent
from bpflens.attach import networks
from bpflens.attach.everything import find
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.model.system import System
from bpflens.port.cassette import Recorder
from bpflens.port.doors import Doors, NetPort, Way
from bpflens.port.faults import Fault, FaultyBpf
from bpflens.port.replay import Replay
from bpflens.testing.builders import program
from bpflens.testing.hooks import link_id
from bpflens.testing.on_engine import EngineBench
from bpflens.testing.rtnetlink import clsact, new_filter


@pytest.fixture
def bench() -> Iterator[EngineBench]:
    made = EngineBench()
    yield made
    made.close()


def some(bench: EngineBench) -> None:
    """Something of most kinds, in our namespace and in another."""
    calls = bench.calls
    xdp = program(calls, "r0 = 2; exit", ProgType.XDP)
    cls = program(calls, type=ProgType.SCHED_CLS)
    lookup = program(calls, "r0 = 1; exit", ProgType.SK_LOOKUP, attach_type=AttachType.SK_LOOKUP)
    nf = program(calls, "r0 = 1; exit", ProgType.NETFILTER, attach_type=AttachType.NETFILTER)
    for away in (False, True):
        with bench.elsewhere("blue") if away else _here():
            ifindex = bench.device()
            bench.set_xdp(ifindex, xdp)
            bench.change_net(clsact(ifindex))
            bench.change_net(new_filter(ifindex, TcParent.INGRESS, cls))
            calls.prog_attach(
                ProgAttach(target_fd=ifindex, attach_bpf_fd=cls, attach_type=AttachType.TCX_INGRESS)
            )
            netns = bench.netns()
            calls.link_create(
                LinkCreate(prog_fd=lookup, target_fd=netns, attach_type=AttachType.SK_LOOKUP)
            )
            calls.link_create(
                LinkCreateNetfilter(
                    prog_fd=nf, attach_type=AttachType.NETFILTER, pf=2, hooknum=1, priority=1
                )
            )


@contextmanager
def _here() -> Iterator[None]:
    yield


KINDS = ("netfilter", "sk_lookup", "tc", "tcx", "xdp")


def look(doors: Doors) -> tuple[list[Attachment], list[Failure]]:
    with System(doors) as system:
        found = list(find(Places(system)))
    return (
        [each for each in found if isinstance(each, Attachment)],
        [each for each in found if isinstance(each, Failure) and each.kind not in NOT_OURS],
    )


NOT_OURS = ("socket_filter", "sk_reuseport", "sockmap", "perf_event", "kprobe", "uprobe")


class Watched:
    """`NetPort` that counts who goes where, and lets some of it fail."""

    def __init__(self, inner: NetPort) -> None:
        self.inner = inner
        self.entered_: list[str] = []
        self.asked: list[int] = []
        self.refused: dict[str, int] = {}
        """Path of a namespace → errno."""
        self.broken: set[int] = set()
        """Types of requests that fail."""

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        kind = int.from_bytes(request[4:6], "little")
        self.asked.append(kind)
        if kind in self.broken:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return self.inner.dump(protocol, request)

    def entered(self, way: Way) -> AbstractContextManager[None]:
        self.entered_.append(way.path)
        if way.path in self.refused:
            raise OSError(self.refused[way.path], os.strerror(self.refused[way.path]))
        return self.inner.entered(way)


def watched(bench: EngineBench) -> tuple[Watched, Doors]:
    net = Watched(bench.doors.net)
    return net, bench.doors._replace(net=net)


def device_names(places: Places) -> list[str]:
    return sorted(device.name for device in places.devices.values())


def test_each_namespace_is_visited_once_and_asked_once_for_its_devices(bench: EngineBench) -> None:
    some(bench)
    net, doors = watched(bench)
    with System(doors) as system:
        places = Places(system)
        found = list(networks.find(places))
        assert sorted({each.kind for each in found if isinstance(each, Attachment)}) == list(KINDS)
        # the names are known by the way
        assert device_names(places) == ["bench1", "bench1@blue", "lo", "lo@blue"]
    assert net.entered_ == ["/run/netns/blue"]
    assert net.asked.count(NlMsgType.GETLINK) == 2


def test_where_nothing_is_loaded_nobody_is_visited(bench: EngineBench) -> None:
    with bench.elsewhere("blue"):
        bench.device()
    net, doors = watched(bench)
    assert look(doors) == ([], [])
    assert (net.entered_, net.asked) == ([], [])
    with System(doors) as system:
        assert device_names(Places(system)) == ["bench1@blue", "lo", "lo@blue"]


def test_what_of_no_type_is_loaded_is_not_asked_for(bench: EngineBench) -> None:
    bench.set_xdp(bench.device(), program(bench.calls, "r0 = 2; exit", ProgType.XDP))
    net, doors = watched(bench)
    assert [each.kind for each in look(doors)[0]] == ["xdp"]
    assert net.asked == [NlMsgType.GETLINK]


def test_a_namespace_that_may_not_be_entered_is_a_failure_and_the_rest_stands(
    bench: EngineBench,
) -> None:
    some(bench)
    net, doors = watched(bench)
    with System(doors) as system:
        ways = next(each.ways for each in Places(system).netns if each.name == "blue")
    net.refused = {way.path: errno.EPERM for way in ways}
    found, failures = look(doors)
    assert [(each.kind, each.target) for each in failures] == [("network", "netns blue")]
    told = {each.kind: each.target for each in found if each.via != "link"}
    assert (told["xdp"], told["tc"], told["tcx"]) == ("bench1", "bench1", "bench1")


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EINVAL])
def test_one_that_is_gone_is_none(bench: EngineBench, code: int) -> None:
    some(bench)
    net, doors = watched(bench)
    net.refused = {"/run/netns/blue": code}
    assert look(doors)[1] == []


def test_one_process_of_a_namespace_may_end_while_others_are_in_it(bench: EngineBench) -> None:
    xdp = program(bench.calls, "r0 = 2; exit", ProgType.XDP)
    with bench.elsewhere():
        bench.set_xdp(bench.device(), xdp)
        keepers = [bench.engine.task(comm=f"keeper{n}") for n in range(2)]
        for keeper in keepers:
            keeper.netns = bench.task.netns
    net, doors = watched(bench)
    with System(doors) as system:
        places = Places(system)
        (other,) = (netns for netns in places.netns if not netns.own)
        net.refused = {other.ways[0].path: errno.ENOENT}
        assert [each.kind for each in networks.find(places) if isinstance(each, Attachment)] == [
            "xdp"
        ]


def test_a_finder_that_is_refused_takes_no_other_along(bench: EngineBench) -> None:
    some(bench)
    net, doors = watched(bench)
    net.broken = {NlMsgType.GETQDISC}
    faulty = FaultyBpf(doors.bpf, [Fault(Cmd.PROG_QUERY, errno.EPERM)])
    found, failures = look(doors._replace(bpf=faulty))
    ours = [each for each in failures if each.target.startswith("netns")]
    assert sorted({each.kind for each in ours}) == ["flow_dissector", "sk_lookup", "tc", "tcx"]
    assert {each.target for each in found if each.kind == "xdp"} == {"bench1", "bench1@blue"}


def test_links_that_look_the_same_are_named_and_come_once(bench: EngineBench) -> None:
    xdp = program(bench.calls, "r0 = 2; exit", ProgType.XDP)
    links = []
    for name in ("blue", "red"):
        with bench.elsewhere(name):
            link = bench.calls.link_create(
                LinkCreate(prog_fd=xdp, target_fd=bench.device(), attach_type=AttachType.XDP)
            )
            links.append(link_id(bench.calls, link))
    found, _ = look(bench.doors)
    assert [(each.target, each.link_id) for each in found] == [
        ("bench1@blue", None),
        ("bench1@red", None),
    ]
    assert found[0].missing["link_id"].endswith("2 attachments look the same: 1, 2")


def test_a_recording_tells_the_same(bench: EngineBench, tmp_path: Path) -> None:
    some(bench)
    recorder = Recorder(bench.doors)
    told = look(recorder.doors)
    path = str(tmp_path / "machine.cassette.gz")
    recorder.save(path, {})
    assert look(Replay(path).doors) == told
    assert len([each for each in told[0] if "blue" in each.target]) == len(KINDS)
