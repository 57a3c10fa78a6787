"""Actions on objects and links."""

from __future__ import annotations

from bpflens.abi.attrs import (
    IterCreate,
    LinkCreate,
    LinkCreateIter,
    LinkCreateNetfilter,
    LinkUpdate,
)
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd, MapFlag
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.engine.files import O_RDONLY, Node
from bpflens.engine.links.base import Link
from bpflens.engine.progs.prog import Prog
from bpflens.engine.tasks import Task
from bpflens.port.calls import Calls
from bpflens.testing.builders import btf, map, types
from bpflens.testing.kernel_types import iterator_program
from bpflens.testing.worlds.choices import (
    MAPS,
    PROGRAMS,
    device,
    fds,
    loaded,
    maps,
    pick,
    some_cgroup,
    some_event,
    some_program,
    some_sockmap,
)
from bpflens.testing.worlds.world import World, action


@action
def load(world: World, task: Task, a: int, b: int) -> None:
    """A program."""
    loaded(world, task, pick(PROGRAMS, a), b)


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
    calls, here = Calls(task), -1
    wanted = pick([one.type for one in PROGRAMS], a // 4)
    prog = some_program(world, task, a, wanted)
    kind = task.files.get(prog, Prog).type
    attr: LinkCreate | LinkCreateNetfilter
    if kind == P.XDP:
        attr = LinkCreate(target_fd=device(task, b).index, attach_type=A.XDP)
    elif kind == P.SCHED_CLS:
        side = pick((A.TCX_INGRESS, A.TCX_EGRESS), b // 2)
        attr = LinkCreate(target_fd=device(task, b).index, attach_type=side)
    elif kind == P.CGROUP_SKB:
        attr = LinkCreate(target_fd=some_cgroup(task, b), attach_type=A.CGROUP_INET_EGRESS)
    elif kind in (P.FLOW_DISSECTOR, P.SK_LOOKUP):
        here = task.add(task.netns, O_RDONLY)
        hook = A.SK_LOOKUP if kind == P.SK_LOOKUP else A.FLOW_DISSECTOR
        attr = LinkCreate(target_fd=here, attach_type=hook)
    elif kind == P.NETFILTER:
        attr = LinkCreateNetfilter(attach_type=A.NETFILTER, pf=2, hooknum=b % 5, priority=b)
    elif kind == P.TRACEPOINT:
        attr = LinkCreate(target_fd=some_event(task, b), attach_type=A.PERF_EVENT)
    elif kind == P.SK_SKB:
        there = some_sockmap(task, b)
        attr = LinkCreate(target_fd=there, attach_type=A.SK_SKB_STREAM_VERDICT)
    else:
        calls.raw_tracepoint_open(prog, "sched_switch")
        return
    attr.prog_fd = prog
    try:
        calls.link_create(attr)
    finally:
        if kind in (P.FLOW_DISSECTOR, P.SK_LOOKUP):
            task.close(here)


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
