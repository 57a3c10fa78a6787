"""Worlds on the engine that grow by any sequence of numbers, for tests that must hold in all.

    world = World()
    for action, a, b in steps:      # from hypothesis, or from random
        world.do(action, a, b)

Everything is done through the doors, or is a system call of a task. The numbers choose among what
there is; what the kernel refuses does not happen. `world.looker` is a task of root's that does
nothing; `world.truth()` tells who refers to what.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

from bpflens.abi.attrs import (
    IterCreate,
    LinkCreate,
    LinkCreateIter,
    LinkCreateNetfilter,
    LinkUpdate,
    ProgAttach,
)
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd, MapFlag
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.netlink import NETLINK_ROUTE, TcParent
from bpflens.abi.rows import SocketRow
from bpflens.engine.cgroups import Cgroup
from bpflens.engine.creds import Creds
from bpflens.engine.engine import Engine
from bpflens.engine.files import O_RDONLY, Node
from bpflens.engine.links.base import Link
from bpflens.engine.maps.base import Map
from bpflens.engine.net import Device, NetNs, Socket
from bpflens.engine.objects import Object
from bpflens.engine.perf import PerfEvent
from bpflens.engine.progs.prog import Prog
from bpflens.engine.tasks import Task
from bpflens.engine.unix import UnixSocket
from bpflens.errors import BpflensError
from bpflens.port.calls import Calls
from bpflens.testing import rtnetlink
from bpflens.testing.builders import btf, map, program, types, u32
from bpflens.testing.kernel_types import iterator_program
from bpflens.testing.on_engine import few_types
from bpflens.testing.truth import Truth

N = TypeVar("N", bound=Node)
X = TypeVar("X")
Step = tuple[str, int, int]
"""An action by its name, and two numbers that choose what it is done with."""


class Program(NamedTuple):
    """A kind of program that can be loaded."""

    type: P
    attach_type: int = 0
    text: str = "r0 = 0; exit"


PROGRAMS = (
    Program(P.XDP),
    Program(P.XDP, A.XDP_DEVMAP),
    Program(P.SCHED_CLS),
    Program(P.CGROUP_SKB, A.CGROUP_INET_EGRESS, "r0 = 1; exit"),
    Program(P.SOCKET_FILTER),
    Program(P.RAW_TRACEPOINT),
    Program(P.TRACEPOINT),
    Program(P.FLOW_DISSECTOR),
    Program(P.SK_LOOKUP, A.SK_LOOKUP, "r0 = 1; exit"),
    Program(P.SK_SKB, A.SK_SKB_STREAM_VERDICT),
    Program(P.NETFILTER, A.NETFILTER, "r0 = 1; exit"),
    Program(P.SK_REUSEPORT, A.SK_REUSEPORT_SELECT, "r0 = 1; exit"),
)
MAPS = (
    T.ARRAY, T.PROG_ARRAY, T.ARRAY_OF_MAPS, T.HASH_OF_MAPS, T.DEVMAP, T.SOCKMAP, T.HASH,
    T.PERF_EVENT_ARRAY,
)  # fmt: skip
_AF_INET, _SOCK_DGRAM, _UDP = 2, 2, 17


class World:
    """An engine, its tasks, and what can happen there."""

    def __init__(self, release: str = "6.18", policy: str = "linux") -> None:
        self.engine = Engine(release, policy, vmlinux=few_types())
        self.looker = self.engine.task(comm="looker")
        self.tasks = [self.engine.task(comm="first")]
        self.tasks[0].netns.add("eth0")
        self.count = 0

    def do(self, action: str, a: int, b: int) -> None:
        """One step."""
        with suppress(OSError, BpflensError):
            ACTIONS[action](self, pick(self.tasks, a), a // 4, b)
        self.engine.work()

    def grow(self, steps: Sequence[Step]) -> World:
        """All steps, one after another."""
        for step in steps:
            self.do(*step)
        return self

    def truth(self) -> Truth:
        """Who refers to what, now."""
        return Truth(self.engine)

    def name(self, stem: str) -> str:
        """A name that nothing has."""
        self.count += 1
        return f"{stem}{self.count}"


def some_steps(seed: int, count: int = 200) -> list[Step]:
    """Steps by chance."""
    source = random.Random(seed)
    names = sorted(ACTIONS)
    return [
        (source.choice(names), source.randrange(256), source.randrange(256)) for _ in range(count)
    ]


Action = Callable[[World, Task, int, int], None]
ACTIONS: dict[str, Action] = {}
"""Name → what is done by a task with two numbers."""


def action(function: Action) -> Action:
    """Register the decorated function by its name."""
    ACTIONS[function.__name__] = function
    return function


# --- choices; an empty one is an OSError, and nothing happens


def pick(found: Sequence[X], number: int) -> X:
    """One of them."""
    if not found:
        raise OSError("there is none")
    return found[number % len(found)]


def fds(task: Task, kind: type[Node] | tuple[type[Node], ...]) -> list[int]:
    """The fds that are open on such a thing."""
    return [fd for fd, file in sorted(task.files.files.items()) if isinstance(file.node, kind)]


def progs(task: Task, *wanted: P) -> list[int]:
    """The fds of programs of these types."""
    return [fd for fd in fds(task, Prog) if task.files.get(fd, Prog).type in wanted]


def maps(task: Task, *wanted: T) -> list[int]:
    """The fds of maps of these types."""
    return [fd for fd in fds(task, Map) if task.files.get(fd, Map).type in wanted]


def device(task: Task, number: int) -> Device:
    """A device of the task's network namespace, but not its lo."""
    return pick([one for one in task.netns.devices.values() if one.name != "lo"], number)


# --- objects


@action
def load(world: World, task: Task, a: int, b: int) -> None:
    """A program, with one of the task's maps if there is one."""
    kind = pick(PROGRAMS, a)
    used, text, name = maps(task, T.ARRAY, T.HASH), kind.text, world.name("p")
    jumps = maps(task, T.PROG_ARRAY)
    if kind.type == P.XDP and b % 5 == 0 and jumps:
        text, used = "r2 = map_fd used; r3 = 0; call tail_call; r0 = 2; exit", jumps
    elif used and b % 2:
        text = f"r1 = map_fd used; {text}"
    program(
        Calls(task), text, kind.type, attach_type=kind.attach_type, name=name,
        used=pick(used, b) if used else 0,
    )  # fmt: skip


@action
def create(world: World, task: Task, a: int, b: int) -> None:
    """A map."""
    calls, kind = Calls(task), pick(MAPS, a)
    inner = pick(maps(task, T.ARRAY), b) if kind in (T.ARRAY_OF_MAPS, T.HASH_OF_MAPS) else 0
    flags = int(MapFlag.MMAPABLE) if kind == T.ARRAY and b % 4 == 0 else None
    wide = kind in (T.DEVMAP, T.ARRAY, T.HASH)
    types_fd = pick(fds(task, _btf()), b) if kind == T.ARRAY and b % 4 == 1 else 0
    told = (types_fd, types().s32, types().u64) if types_fd else (0, 0, 0)
    map(calls, kind, value_size=8 if wide else 4, max_entries=4, flags=flags, inner=inner,
        name=world.name("m"), btf=told)  # fmt: skip


def _btf() -> type[Node]:
    from bpflens.engine.btfs import BtfObject

    return BtfObject


@action
def describe(world: World, task: Task, a: int, b: int) -> None:
    """BTF."""
    btf(Calls(task))


@action
def close(world: World, task: Task, a: int, b: int) -> None:
    """Close an fd, but not the first three."""
    task.close(pick([fd for fd in sorted(task.files.files) if fd > 2], a))


@action
def dup(world: World, task: Task, a: int, b: int) -> None:
    """A second fd."""
    task.dup(pick(fds(task, Node), a))


@action
def open_by_id(world: World, task: Task, a: int, b: int) -> None:
    """An fd by ID."""
    space, cmd = pick(
        (("prog", Cmd.PROG_GET_FD_BY_ID), ("map", Cmd.MAP_GET_FD_BY_ID),
         ("link", Cmd.LINK_GET_FD_BY_ID)), a
    )  # fmt: skip
    Calls(task).fd_by_id(cmd, pick(sorted(world.engine.ids[space].objects), b))


# --- links


@action
def link(world: World, task: Task, a: int, b: int) -> None:
    """A link of whatever the chosen program can have."""
    calls, prog = Calls(task), pick(fds(task, Prog), a)
    kind = task.files.get(prog, Prog).type
    attr: LinkCreate | LinkCreateNetfilter
    if kind == P.XDP:
        attr = LinkCreate(target_fd=device(task, b).index, attach_type=A.XDP)
    elif kind == P.SCHED_CLS:
        side = pick((A.TCX_INGRESS, A.TCX_EGRESS), b // 2)
        attr = LinkCreate(target_fd=device(task, b).index, attach_type=side)
    elif kind == P.CGROUP_SKB:
        attr = LinkCreate(target_fd=pick(fds(task, Cgroup), b), attach_type=A.CGROUP_INET_EGRESS)
    elif kind in (P.FLOW_DISSECTOR, P.SK_LOOKUP):
        here = pick(fds(task, NetNs), b)
        hook = A.SK_LOOKUP if kind == P.SK_LOOKUP else A.FLOW_DISSECTOR
        attr = LinkCreate(target_fd=here, attach_type=hook)
    elif kind == P.NETFILTER:
        attr = LinkCreateNetfilter(attach_type=A.NETFILTER, pf=2, hooknum=b % 5, priority=b)
    elif kind == P.TRACEPOINT:
        attr = LinkCreate(target_fd=pick(fds(task, PerfEvent), b), attach_type=A.PERF_EVENT)
    elif kind == P.SK_SKB:
        there = pick(maps(task, T.SOCKMAP), b)
        attr = LinkCreate(target_fd=there, attach_type=A.SK_SKB_STREAM_VERDICT)
    else:
        calls.raw_tracepoint_open(prog, "sched_switch")
        return
    attr.prog_fd = prog
    calls.link_create(attr)


@action
def iterate(world: World, task: Task, a: int, b: int) -> None:
    """An iterator's link, or an open file of one."""
    calls = Calls(task)
    if a % 2 and fds(task, Link):
        calls.call(Cmd.ITER_CREATE, IterCreate(link_fd=pick(fds(task, Link), b)))
        return
    prog = iterator_program(calls, pick(("bpf_map", "task"), b))
    calls.link_create(LinkCreateIter(prog_fd=prog, attach_type=A.TRACE_ITER))
    if b % 3:
        calls.close(prog)


@action
def update(world: World, task: Task, a: int, b: int) -> None:
    """Another program for a link."""
    attr = LinkUpdate(link_fd=pick(fds(task, Link), a), new_prog_fd=pick(fds(task, Prog), b))
    Calls(task).call(Cmd.LINK_UPDATE, attr)


@action
def detach(world: World, task: Task, a: int, b: int) -> None:
    """LINK_DETACH."""
    Calls(task).link_detach(pick(fds(task, Link), a))


# --- attached without a link


@action
def attach(world: World, task: Task, a: int, b: int) -> None:
    """PROG_ATTACH."""
    prog = pick(progs(task, P.SCHED_CLS, P.CGROUP_SKB, P.FLOW_DISSECTOR, P.SK_SKB), a)
    kind = task.files.get(prog, Prog).type
    attr = ProgAttach(attach_bpf_fd=prog)
    if kind == P.SCHED_CLS:
        attr.target_fd, attr.attach_type = device(task, b).index, A.TCX_INGRESS
    elif kind == P.CGROUP_SKB:
        attr.target_fd, attr.attach_type = pick(fds(task, Cgroup), b), A.CGROUP_INET_EGRESS
        attr.attach_flags = pick((2, 2, 1, 0), b)  # mostly ALLOW_MULTI
    elif kind == P.SK_SKB:
        attr.target_fd = pick(maps(task, T.SOCKMAP), b)
        attr.attach_type = A.SK_SKB_STREAM_VERDICT
    else:
        attr.attach_type = A.FLOW_DISSECTOR
    Calls(task).prog_attach(attr)


@action
def xdp(world: World, task: Task, a: int, b: int) -> None:
    """XDP by rtnetlink; sometimes off."""
    there = device(task, b)
    fd = pick(progs(task, P.XDP), a) if b % 4 else -1
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
    prog = pick(progs(task, P.SCHED_CLS), a)
    net.dump(NETLINK_ROUTE, rtnetlink.new_filter(there.index, side, prog, b"f", FLAGS=1))


@action
def hang(world: World, task: Task, a: int, b: int) -> None:
    """A program at a socket, at its port, or at a perf event."""
    prog = pick(progs(task, P.SOCKET_FILTER, P.SK_REUSEPORT, P.TRACEPOINT), a)
    found = task.files.get(prog, Prog)
    if found.type == P.SOCKET_FILTER:
        task.files.get(pick(fds(task, Socket), b), Socket).attach(found)
    elif found.type == P.SK_REUSEPORT:
        task.files.get(pick(fds(task, Socket), b), Socket).attach_reuseport(found)
    else:
        task.files.get(pick(fds(task, PerfEvent), b), PerfEvent).set(found)


@action
def put(world: World, task: Task, a: int, b: int) -> None:
    """An object into a slot of a map, or out of it."""
    fd = pick(maps(task, T.PROG_ARRAY, T.ARRAY_OF_MAPS, T.HASH_OF_MAPS, T.DEVMAP,
                   T.PERF_EVENT_ARRAY, T.SOCKMAP), a)  # fmt: skip
    calls, kind, key = Calls(task), task.files.get(fd, Map).type, u32(b % 4)
    if b % 5 == 0:
        calls.map_delete(fd, key)
    elif kind == T.PROG_ARRAY:
        calls.map_update(fd, key, u32(pick(fds(task, Prog), b)))
    elif kind == T.DEVMAP:
        calls.map_update(fd, key, u32(device(task, b).index, pick(progs(task, P.XDP), b)))
    elif kind == T.PERF_EVENT_ARRAY:
        calls.map_update(fd, key, u32(pick(fds(task, PerfEvent), b)))
    elif kind == T.SOCKMAP:
        calls.map_update(fd, key, u32(pick(fds(task, Socket), b)))
    else:
        calls.map_update(fd, key, u32(pick(maps(task, T.ARRAY), b)))


# --- pins and mounts


@action
def pin(world: World, task: Task, a: int, b: int) -> None:
    """OBJ_PIN in one of the file systems that the task sees."""
    path = pick(list(task.mntns.bpffs), b)
    Calls(task).obj_pin(pick(fds(task, Object), a), f"{path}/{world.name('pin')}")


@action
def unpin(world: World, task: Task, a: int, b: int) -> None:
    """unlink(2) of a pin."""
    path = pick(list(task.mntns.bpffs), a)
    task.doors().host.unlink(f"{path}/{pick(sorted(task.mntns.bpffs[path].entries), b)}")


@action
def get(world: World, task: Task, a: int, b: int) -> None:
    """OBJ_GET, also by the root of another task."""
    other = pick(world.tasks, b)
    path = pick(list(other.mntns.bpffs), a)
    name = pick(sorted(other.mntns.bpffs[path].entries), b // 4)
    Calls(task).obj_get(f"/proc/{other.pid}/root{path}/{name}")


@action
def mount(world: World, task: Task, a: int, b: int) -> None:
    """A new bpffs, or an old one at another place."""
    old = pick(list(task.mntns.bpffs.values()), b) if a % 2 else None
    task.mntns.mount_bpffs(f"/run/{world.name('bpf')}", old)


@action
def unmount(world: World, task: Task, a: int, b: int) -> None:
    """umount(2) of one that was made on the way."""
    task.mntns.unmount(pick([at for at in task.mntns.mounts if at.startswith("/run/")], a))


# --- tasks and namespaces


@action
def fork(world: World, task: Task, a: int, b: int) -> None:
    """A child; sometimes of another user, who may do nothing."""
    if len(world.tasks) < 6:
        creds = None if b % 3 else Creds(1000, 1000)
        world.tasks.append(task.fork(creds, comm=world.name("child")))


@action
def exit(world: World, task: Task, a: int, b: int) -> None:
    """A task ends, but not the last one."""
    if len(world.tasks) > 1:
        world.tasks.remove(task)
        task.exit()


@action
def unshare_net(world: World, task: Task, a: int, b: int) -> None:
    """A network namespace of its own; sometimes with a name, and then back."""
    home, there = task.netns, task.unshare_net()
    there.add("eth0")
    if b % 2:
        task.mntns.mount_netns(world.name("net"), there)
        if b % 4 == 1:
            task.netns = home


@action
def unshare_mounts(world: World, task: Task, a: int, b: int) -> None:
    """A mount namespace of its own."""
    task.unshare_mounts()


@action
def add_device(world: World, task: Task, a: int, b: int) -> None:
    """A network device."""
    task.netns.add(world.name("dev"), native=bool(b % 2))


@action
def remove_device(world: World, task: Task, a: int, b: int) -> None:
    """A network device goes."""
    device(task, a).remove()


@action
def cgroup(world: World, task: Task, a: int, b: int) -> None:
    """A cgroup: a new one, for the task itself, open, or gone."""
    found = pick(list(world.engine.cgroup.family()), b)
    if a % 4 == 0:
        found.make(world.name("group"))
    elif a % 4 == 1:
        task.cgroup = found
    elif a % 4 == 2:
        task.add(found, O_RDONLY)
    elif found.parent:
        found.remove()


@action
def open_netns(world: World, task: Task, a: int, b: int) -> None:
    """An fd of the task's network namespace."""
    task.add(task.netns, O_RDONLY)


# --- sockets and events


@action
def socket(world: World, task: Task, a: int, b: int) -> None:
    """A UDP socket, or a pair of unix sockets."""
    if a % 3 == 0:
        task.socketpair()
        return
    row = SocketRow(family=_AF_INET, type=_SOCK_DGRAM, protocol=_UDP, local_port=1000 + b,
                    local=bytes([127, 0, 0, 1]))  # fmt: skip
    task.socket(row, shared=a % 2 == 0)


@action
def event(world: World, task: Task, a: int, b: int) -> None:
    """A perf event of a tracepoint."""
    task.add(PerfEvent("tracepoint", "sched_switch"))


@action
def send(world: World, task: Task, a: int, b: int) -> None:
    """An fd through a pair of sockets; no sockets, which could hold each other for ever."""
    socket = pick(fds(task, UnixSocket), a)
    task.sendmsg(socket, [pick(fds(task, (Object, PerfEvent)), b)])


@action
def receive(world: World, task: Task, a: int, b: int) -> None:
    """The other end of that."""
    task.recvmsg(pick(fds(task, UnixSocket), a))


@action
def mapped(world: World, task: Task, a: int, b: int) -> None:
    """Memory of a map, or the end of one."""
    if a % 3 == 0:
        pick(task.mappings, b).close()
    else:
        task.mmap(pick(maps(task, T.ARRAY), b), 4096)
