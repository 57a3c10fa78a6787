"""Actions at functions: probes, trampolines, extensions, and tables of functions."""

from __future__ import annotations

from bpflens.abi.attrs import LinkCreate, LinkCreateKprobeMulti
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.engine.maps.struct_ops import StructOps
from bpflens.engine.perf import PerfEvent
from bpflens.engine.progs.prog import Prog
from bpflens.engine.tasks import Task
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.builders import map, program, u32, u64
from bpflens.testing.conformance.functions import HOOK, extension, open_, target
from bpflens.testing.conformance.iterators import over
from bpflens.testing.conformance.tables import control, ready, register
from bpflens.testing.kernel_types import struct_ops_map, traced_program
from bpflens.testing.worlds.choices import fds, maps, pick
from bpflens.testing.worlds.world import World, action

_FUNCTIONS = ("vfs_unlink", "vfs_open")
_NETKIT = (A.NETKIT_PRIMARY, A.NETKIT_PEER)


@action
def trace(world: World, task: Task, a: int, b: int) -> None:
    """A program at a function or at an LSM hook, mostly attached."""
    calls = Calls(task)
    if a % 3 == 0:
        prog = traced_program(calls, HOOK, A.LSM_MAC)
    else:
        prog = traced_program(calls, pick(_FUNCTIONS, a), A.TRACE_FENTRY)
    if b % 4:
        open_(calls, prog)
    if b % 3:
        calls.close(prog)


@action
def extend(world: World, task: Task, a: int, b: int) -> None:
    """A program in place of another's function; sometimes loaded for it only."""
    calls = Calls(task)
    prog, id = target(calls)
    made = extension(calls, prog, id)
    if a % 3:
        open_(calls, made)
    for fd, stays in ((prog, b % 2), (made, b % 4 > 1)):
        if not stays:
            calls.close(fd)


@action
def probe(world: World, task: Task, a: int, b: int) -> None:
    """A kprobe, by an event of its own and a link or ioctl(2), or many of them by one link."""
    calls, name = Calls(task), pick(_FUNCTIONS, b)
    if a % 3 == 0:
        mem = Memory()
        address = mem.pin(bytearray(u64(world.engine.symbols.find(name))))
        many = program(calls, type=P.KPROBE, attach_type=A.TRACE_KPROBE_MULTI)
        attr = LinkCreateKprobeMulti(
            prog_fd=many, attach_type=A.TRACE_KPROBE_MULTI, cnt=1, addrs=address
        )
        calls.link_create(attr, mem)
        return
    prog = program(calls, type=P.KPROBE)
    event = task.add(PerfEvent("kprobe", name))
    if a % 3 == 1:
        calls.link_create(LinkCreate(prog_fd=prog, target_fd=event, attach_type=A.PERF_EVENT))
    else:
        task.files.get(event, PerfEvent).set(task.files.get(prog, Prog))
    for fd in (prog, event)[: b % 3]:
        calls.close(fd)


@action
def govern(world: World, task: Task, a: int, b: int) -> None:
    """A congestion control: registered by a link, or by its map alone; or taken back."""
    calls, there = Calls(task), fds(task, StructOps)
    if there and a % 3 == 0:
        calls.map_delete(pick(there, b), u32(0))
        return
    made = control(calls, world.name("cc").encode())
    if a % 2:
        fd = ready(calls, made)
        register(calls, fd)
    else:
        fd = struct_ops_map(calls, made.table)
        calls.map_update(fd, u32(0), made.value)
    for each in made.progs.values():
        calls.close(each)
    if b % 2:
        calls.close(fd)


@action
def pair(world: World, task: Task, a: int, b: int) -> None:
    """A pair of netkit devices, with a program at one of its ends."""
    calls = Calls(task)
    made = task.netns.add_netkit(world.name("nk"))
    prog = program(calls, type=P.SCHED_CLS, name=world.name("p"))
    calls.link_create(LinkCreate(prog_fd=prog, target_fd=made.index, attach_type=pick(_NETKIT, a)))
    if b % 2:
        calls.close(prog)


@action
def walk(world: World, task: Task, a: int, b: int) -> None:
    """An iterator over the elements of a map, which may be closed then."""
    there = maps(task, T.ARRAY, T.HASH)
    held = pick(there, a) if there else map(Calls(task), T.ARRAY)
    over(Calls(task), "bpf_map_elem", u32(held))
    if b % 3 == 0:
        task.close(held)
