"""Actions of tasks: pins and mounts, namespaces, sockets and events."""

from __future__ import annotations

from bpflens.abi.enums import MapType as T
from bpflens.engine.creds import Creds
from bpflens.engine.files import O_RDONLY
from bpflens.engine.objects import Object
from bpflens.engine.perf import PerfEvent
from bpflens.engine.tasks import Task
from bpflens.engine.unix import UnixSocket
from bpflens.port.calls import Calls
from bpflens.testing.worlds.choices import (
    device,
    fds,
    maps,
    pick,
    socket_row,
)
from bpflens.testing.worlds.world import World, action

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
    task.unlink(f"{path}/{pick(sorted(task.mntns.bpffs[path].entries), b)}")


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
    task.socket(socket_row(b), shared=a % 2 == 0)


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
