"""Actions that attach without a link."""

from __future__ import annotations

from bpflens.abi.attrs import (
    ProgAttach,
)
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.netlink import NETLINK_ROUTE, Encap, LwtBpf, TcParent
from bpflens.engine.maps.base import Map
from bpflens.engine.net import Socket
from bpflens.engine.perf import PerfEvent
from bpflens.engine.progs.prog import Prog
from bpflens.engine.tasks import Task
from bpflens.port.calls import Calls
from bpflens.testing import rtnetlink
from bpflens.testing.builders import program, u32
from bpflens.testing.worlds.choices import (
    device,
    maps,
    pick,
    some_cgroup,
    some_event,
    some_program,
    some_socket,
    some_sockmap,
)
from bpflens.testing.worlds.world import World, action


@action
def attach(world: World, task: Task, a: int, b: int) -> None:
    """PROG_ATTACH."""
    prog = some_program(world, task, a, P.SCHED_CLS, P.CGROUP_SKB, P.FLOW_DISSECTOR, P.SK_SKB)
    kind = task.files.get(prog, Prog).type
    attr = ProgAttach(attach_bpf_fd=prog)
    if kind == P.SCHED_CLS:
        attr.target_fd, attr.attach_type = device(task, b).index, A.TCX_INGRESS
    elif kind == P.CGROUP_SKB:
        attr.target_fd, attr.attach_type = some_cgroup(task, b), A.CGROUP_INET_EGRESS
        attr.attach_flags = pick((2, 2, 1, 0), b)  # mostly ALLOW_MULTI
    elif kind == P.SK_SKB:
        attr.target_fd = some_sockmap(task, b)
        attr.attach_type = A.SK_SKB_STREAM_VERDICT
    else:
        attr.attach_type = A.FLOW_DISSECTOR
    Calls(task).prog_attach(attr)


@action
def xdp(world: World, task: Task, a: int, b: int) -> None:
    """XDP by rtnetlink; sometimes off."""
    there = device(task, b)
    fd = some_program(world, task, a, P.XDP) if b % 4 else -1
    task.doors().net.dump(NETLINK_ROUTE, rtnetlink.set_xdp(there.index, fd, 2 if b % 3 else 0))


@action
def classify(world: World, task: Task, a: int, b: int) -> None:
    """cls_bpf on a clsact qdisc, which is made, or all of it away."""
    net, there = task.doors().net, device(task, b)
    if b % 7 == 0:
        net.dump(NETLINK_ROUTE, rtnetlink.no_clsact(there.index))
        return
    if not there.clsact:
        net.dump(NETLINK_ROUTE, rtnetlink.clsact(there.index))
    side = pick((TcParent.INGRESS, TcParent.EGRESS), b // 2)
    prog = some_program(world, task, a, P.SCHED_CLS)
    net.dump(NETLINK_ROUTE, rtnetlink.new_filter(there.index, side, prog, b"f", FLAGS=1))


@action
def hang(world: World, task: Task, a: int, b: int) -> None:
    """A program at a socket, at its port, or at a perf event."""
    prog = some_program(world, task, a, P.SOCKET_FILTER, P.SK_REUSEPORT, P.TRACEPOINT)
    found = task.files.get(prog, Prog)
    if found.type == P.SOCKET_FILTER:
        task.files.get(some_socket(task, b), Socket).attach(found)
    elif found.type == P.SK_REUSEPORT:
        task.files.get(some_socket(task, b), Socket).attach_reuseport(found)
    else:
        task.files.get(some_event(task, b), PerfEvent).set(found)


@action
def put(world: World, task: Task, a: int, b: int) -> None:
    """An object into a slot of a map, or out of it."""
    fd = pick(maps(task, T.PROG_ARRAY, T.ARRAY_OF_MAPS, T.HASH_OF_MAPS, T.DEVMAP,
                   T.PERF_EVENT_ARRAY, T.SOCKMAP), a)  # fmt: skip
    calls, kind, key = Calls(task), task.files.get(fd, Map).type, u32(b % 4)
    if b % 5 == 0:
        calls.map_delete(fd, key)
    elif kind == T.PROG_ARRAY:
        calls.map_update(fd, key, u32(some_program(world, task, b, P.XDP, P.SCHED_CLS)))
    elif kind == T.DEVMAP:
        calls.map_update(fd, key, u32(device(task, b).index, some_program(world, task, b, P.XDP)))
    elif kind == T.PERF_EVENT_ARRAY:
        calls.map_update(fd, key, u32(some_event(task, b)))
    elif kind == T.SOCKMAP:
        calls.map_update(fd, key, u32(some_socket(task, b)))
    else:
        calls.map_update(fd, key, u32(pick(maps(task, T.ARRAY), b)))


@action
def act(world: World, task: Task, a: int, b: int) -> None:
    """A program as an action: of a filter for every packet, perhaps on a side that devices share,
    or of no filter."""
    net, there = task.doors().net, device(task, b)
    prog = program(Calls(task), type=P.SCHED_ACT, name=world.name("p"))
    if a % 3 == 0:
        net.dump(NETLINK_ROUTE, rtnetlink.new_action(prog, b"alone"))
    else:
        if not there.clsact:
            net.dump(NETLINK_ROUTE, rtnetlink.clsact(there.index, block=5 * (a % 2)))
        done, parent = rtnetlink.bpf_action(prog, b"act"), TcParent.INGRESS
        net.dump(NETLINK_ROUTE, rtnetlink.matchall(there.index, parent, done, 10 + b))
    if b % 2:
        task.close(prog)


@action
def route(world: World, task: Task, a: int, b: int) -> None:
    """A route of seg6local, which tells its program."""
    there, name = device(task, b), world.name("r").encode()
    prog = program(Calls(task), type=P.LWT_SEG6LOCAL, name=world.name("p"))
    to, told = bytes([0xFD, b, *bytes(14)]), rtnetlink.seg6_program(prog, name)
    request = rtnetlink.new_route(there.index, to, 64, Encap.SEG6_LOCAL, told)
    task.doors().net.dump(NETLINK_ROUTE, request)
    if b % 2:
        task.close(prog)


@action
def tunnel(world: World, task: Task, a: int, b: int) -> None:
    """A route with a program on the way out, which it tells to nobody."""
    there, name = device(task, b), world.name("r").encode()
    prog = program(Calls(task), type=P.LWT_OUT, name=world.name("p"))
    to, told = bytes([10, b, 0, 0]), rtnetlink.route_program(LwtBpf.OUT, prog, name)
    request = rtnetlink.new_route(there.index, to, 16, Encap.BPF, told)
    task.doors().net.dump(NETLINK_ROUTE, request)
    if b % 2:
        task.close(prog)
