"""Programs of routes: an ID only where it can be no other; next hops of which there are several."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack

import pytest

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import (
    NEXTHOP,
    RTMSG,
    Encap,
    LwtBpf,
    NlMsgType,
    Rta,
    attribute,
)
from bpflens.attach import networks
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment
from bpflens.model.system import System
from bpflens.port.doors import Doors
from bpflens.testing.builders import program
from bpflens.testing.on_engine import EngineBench
from bpflens.testing.rtnetlink import new_route, route_program

NET = bytes([10, 1, 0, 0])


@pytest.fixture
def bench() -> Iterator[EngineBench]:
    made = EngineBench()
    yield made
    made.close()


def look(doors: Doors) -> list[Attachment]:
    with System(doors) as system:
        found = list(networks.find(Places(system)))
    assert [each for each in found if not isinstance(each, Attachment)] == []
    return [each for each in found if isinstance(each, Attachment)]


def test_of_several_programs_it_is_not_known_which(bench: EngineBench) -> None:
    ifindex = bench.device()
    progs = [program(bench.calls, type=ProgType.LWT_IN) for _ in range(2)]
    only = program(bench.calls, type=ProgType.LWT_XMIT)
    places = route_program(LwtBpf.IN, progs[0], b"in.o:[a]")
    places += route_program(LwtBpf.XMIT, only, b"x.o:[b]")
    bench.change_net(new_route(ifindex, NET, 16, Encap.BPF, places))
    unknown, known = look(bench.doors)
    assert (unknown.attach_type, unknown.prog_id) == ("lwt_in", None)
    assert unknown.missing["prog_id"].endswith("of 'in.o:[a]'; one of programs 1, 2")
    assert (known.attach_type, known.prog_id, known.missing) == ("lwt_xmit", 3, {})
    assert {each.target for each in (unknown, known)} == {"route 10.1.0.0/16 dev bench1"}


class Net:
    """An engine's netlink door, but for the routes."""

    def __init__(self, bench: EngineBench, routes: bytes) -> None:
        self.entered = bench.doors.net.entered
        self._bench = bench
        self._routes = routes

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        if int.from_bytes(request[4:6], "little") == NlMsgType.GETROUTE:
            return [self._routes] if request[16] == 2 else []
        return self._bench.doors.net.dump(protocol, request)


def test_each_next_hop_has_its_own(bench: EngineBench) -> None:
    devices = [bench.device(), bench.device()]
    program(bench.calls, type=ProgType.LWT_OUT)
    hops = b""
    for ifindex in devices:
        inner = attribute(2, f"hop{ifindex}".encode() + b"\0")
        own = attribute(Rta.ENCAP_TYPE, pack("=H", Encap.BPF))
        own += attribute(Rta.ENCAP, attribute(LwtBpf.OUT, inner))
        hops += NEXTHOP.pack(NEXTHOP.size + len(own), 0, 0, ifindex) + own
    route = RTMSG.pack(2, 0, 0, 0, 0, 3, 0, 1, 0)
    route += attribute(Rta.TABLE, pack("=I", 1000)) + attribute(Rta.MULTIPATH, hops)
    found = look(bench.doors._replace(net=Net(bench, route)))
    assert [(each.target, each.flags, each.prog_id) for each in found] == [
        ("route default dev bench1", ["table 1000", f"name hop{devices[0]}"], 1),
        ("route default dev bench2", ["table 1000", f"name hop{devices[1]}"], 1),
    ]
