"""What an action is done with: one of what there is, or a new one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.rows import SocketRow
from bpflens.engine.cgroups import Cgroup
from bpflens.engine.files import O_RDONLY, Node
from bpflens.engine.maps.base import Map
from bpflens.engine.net import Device, Socket
from bpflens.engine.perf import PerfEvent
from bpflens.engine.progs.prog import Prog
from bpflens.engine.tasks import Task
from bpflens.port.calls import Calls
from bpflens.testing.builders import map, program

if TYPE_CHECKING:
    from bpflens.testing.worlds.world import World

X = TypeVar("X")


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


def loaded(world: World, task: Task, kind: Program, number: int = 1) -> int:
    """A new program; with a map of the task's if the number is odd and there is one."""
    used, text, name = maps(task, T.ARRAY, T.HASH), kind.text, world.name("p")
    jumps = maps(task, T.PROG_ARRAY)
    if kind.type == P.XDP and number % 5 == 0 and jumps:
        text, used = "r2 = map_fd used; r3 = 0; call tail_call; r0 = 2; exit", jumps
    elif used and number % 2:
        text = f"r1 = map_fd used; {text}"
    return program(
        Calls(task), text, kind.type, attach_type=kind.attach_type, name=name,
        used=pick(used, number) if used else 0,
    )  # fmt: skip


def some_program(world: World, task: Task, number: int, *wanted: P) -> int:
    """One of the task's programs of these types, or a new one."""
    there = progs(task, *wanted)
    if number % 3 == 0 or not there:
        return loaded(world, task, pick([k for k in PROGRAMS if k.type in wanted], number // 3))
    return pick(there, number)


def some_fd(task: Task, number: int, kind: type[Node], make: Callable[[], Node]) -> int:
    """One of the task's fds on such a thing, or a new one."""
    there = fds(task, kind)
    return pick(there, number) if there else task.add(make(), O_RDONLY)


def some_cgroup(task: Task, number: int) -> int:
    """An fd of a cgroup."""
    found = pick(list(task.engine.cgroup.family()), number // 4)
    return some_fd(task, number, Cgroup, lambda: found)


def some_event(task: Task, number: int) -> int:
    """An fd of a tracepoint's event."""
    return some_fd(task, number, PerfEvent, lambda: PerfEvent("tracepoint", "sched_switch"))


def some_socket(task: Task, number: int) -> int:
    """An fd of a socket."""
    there = fds(task, Socket)
    return pick(there, number) if there else task.socket(socket_row(number), shared=number % 2 == 0)


def socket_row(number: int) -> SocketRow:
    """What a UDP socket is bound to."""
    return SocketRow(
        family=_AF_INET, type=_SOCK_DGRAM, protocol=_UDP, local_port=1000 + number,
        local=bytes([127, 0, 0, 1]),
    )  # fmt: skip


def some_sockmap(task: Task, number: int) -> int:
    """An fd of a map of sockets."""
    there = maps(task, T.SOCKMAP)
    return pick(there, number) if there else map(Calls(task), T.SOCKMAP)
