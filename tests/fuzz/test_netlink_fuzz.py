"""Whatever a network namespace answers, a look is a list of attachments and failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import Encap, LwtBpf, TcParent
from bpflens.attach import networks
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.model.system import System
from bpflens.port.doors import Way
from bpflens.testing import rtnetlink
from bpflens.testing.attachments.netns import netfilter_link
from bpflens.testing.builders import program
from bpflens.testing.on_engine import EngineBench


def crowded() -> EngineBench:
    """An engine with something of each kind that netlink tells of."""
    bench = EngineBench()
    calls, ifindex = bench.calls, bench.device()
    bench.set_xdp(ifindex, program(calls, "r0 = 2; exit", ProgType.XDP))
    bench.change_net(rtnetlink.clsact(ifindex, block=3))
    cls = program(calls, type=ProgType.SCHED_CLS)
    bench.change_net(rtnetlink.new_filter(rtnetlink.BLOCK, 3, cls, b"a", CLASSID=4, FLAGS=1))
    act = rtnetlink.bpf_action(program(calls, type=ProgType.SCHED_ACT), b"b")
    bench.change_net(rtnetlink.matchall(ifindex, TcParent.EGRESS, act, 9))
    place = rtnetlink.route_program(LwtBpf.IN, program(calls, type=ProgType.LWT_IN), b"c")
    bench.change_net(rtnetlink.new_route(ifindex, bytes(4), 24, Encap.BPF, place))
    local = rtnetlink.seg6_program(program(calls, type=ProgType.LWT_SEG6LOCAL), b"d")
    bench.change_net(rtnetlink.new_route(ifindex, bytes(16), 64, Encap.SEG6_LOCAL, local))
    netfilter_link(bench, 5)
    return bench


class Torn:
    """A netlink door whose answers have some bytes that are others, or are cut."""

    def __init__(self, bench: EngineBench, changes: list[tuple[int, int, int]]) -> None:
        self._inner = bench.doors.net
        self._changes: Iterator[tuple[int, int, int]] = iter(changes)

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        return [self._torn(message) for message in self._inner.dump(protocol, request)]

    def _torn(self, message: bytes) -> bytes:
        change = next(self._changes, None)
        if change is None:
            return message
        at, value, size = change
        data = bytearray(message)
        data[at % len(data)] = value
        return bytes(data[: len(data) - size % len(data)])

    def entered(self, way: Way) -> AbstractContextManager[None]:
        return self._inner.entered(way)


@pytest.fixture(scope="module")
def bench() -> Iterator[EngineBench]:
    made = crowded()
    yield made
    made.close()


def look(bench: EngineBench, changes: list[tuple[int, int, int]]) -> list[Attachment | Failure]:
    with System(bench.doors._replace(net=Torn(bench, changes))) as system:
        return list(networks.find(Places(system)))


def test_what_is_whole_is_found(bench: EngineBench) -> None:
    found = [each for each in look(bench, []) if isinstance(each, Attachment)]
    assert sorted(each.kind for each in found) == [
        "act_bpf", "lwt", "lwt", "netfilter", "tc", "xdp",
    ]  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.integers(0, 255), st.integers(0, 255), st.one_of(st.just(0), st.integers(0, 99))
        ),
        max_size=20,
    )
)
@settings(max_examples=400, deadline=None)
def test_what_is_torn_raises_nothing(
    bench: EngineBench, changes: list[tuple[int, int, int]]
) -> None:
    for each in look(bench, changes):
        assert isinstance(each, Attachment | Failure)
