"""Tasks: what they may see of each other, their namespaces and mounts, and files on their way."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.abi.attrs import LinkCreate
from bpflens.abi.enums import AttachType, MapFlag, ProgType
from bpflens.abi.rows import FileKind, FileRow, SocketRow
from bpflens.engine import Engine
from bpflens.engine.creds import Cap
from bpflens.engine.net import Socket
from bpflens.engine.progs.prog import Prog
from bpflens.engine.tasks import Task
from bpflens.errors import Denied
from bpflens.port.calls import Calls
from bpflens.testing.builders import map, program

CLOSED = [
    "/proc/{pid}/fd", "/proc/{pid}/fd/0", "/proc/{pid}/fdinfo/0", "/proc/{pid}/ns/net",
    "/proc/{pid}/root/sys/fs/bpf",
]  # fmt: skip
OPEN = ["comm", "cmdline", "status", "stat", "cgroup", "mountinfo"]


@pytest.fixture
def engine() -> Engine:
    return Engine(policy="linux")


def live(engine: Engine, kind: str) -> int:
    return len(engine.ids[kind]) - (kind == "btf")


def refused(do: Callable[[], object]) -> int | None:
    try:
        do()
    except OSError as error:
        return error.errno
    return None


# --- who may look


@pytest.mark.parametrize("path", CLOSED)
def test_what_only_the_same_user_sees(engine: Engine, path: str) -> None:
    other, host = engine.task(), engine.task(uid=1000).doors().host
    path = path.format(pid=other.pid)
    way = host.listdir if path.endswith(("fd", "bpf")) else host.readlink
    assert refused(lambda: way(path)) == errno.EACCES


@pytest.mark.parametrize("name", OPEN)
def test_what_everybody_sees(engine: Engine, name: str) -> None:
    other = engine.task()
    assert engine.task(uid=1000).doors().host.read(f"/proc/{other.pid}/{name}")


def test_who_may_look_into_another(engine: Engine) -> None:
    plain, trusted = engine.task(uid=1000), engine.task(uid=1000, caps=[Cap.BPF])
    tracer = engine.task(uid=7, caps=[Cap.SYS_PTRACE])
    host = plain.doors().host
    assert host.listdir(f"/proc/{engine.task(uid=1000).pid}/fd")
    assert refused(lambda: host.listdir(f"/proc/{trusted.pid}/fd")) == errno.EACCES
    assert trusted.doors().host.listdir(f"/proc/{plain.pid}/fd")
    assert tracer.doors().host.listdir(f"/proc/{trusted.pid}/fd")


def test_all_files_at_once_are_for_those_who_could_load_an_iterator(engine: Engine) -> None:
    for policy, caps in (("linux", [Cap.BPF]), ("owner", [])):
        doors = Engine(policy=policy).task(uid=1000, caps=[*caps]).doors()
        assert doors.bulk
        with pytest.raises(Denied) as caught:
            doors.bulk.files(doors.bpf, None)
        assert caught.value.needs


def test_a_row_of_each_file_that_has_to_do_with_bpf(engine: Engine) -> None:
    task = engine.task()
    calls, row = Calls(task), SocketRow(family=2, type=2, protocol=17, local_port=53)
    prog = program(calls)
    task.files.get(task.socket(row), Socket).attach(task.files.get(prog, Prog))
    task.socket(SocketRow(family=2, type=2))  # has no program
    doors = task.doors()
    assert doors.bulk
    data = doors.bulk.files(doors.bpf, None).data
    rows = [FileRow.decode(data), FileRow.decode(data[FileRow.__size__ :])]
    assert [(each.pid, each.fd, each.kind) for each in rows] == [
        (task.pid, prog, FileKind.PROGRAM), (task.pid, prog + 1, FileKind.SOCKET),
    ]  # fmt: skip
    assert rows[1].prog_id == rows[0].id
    told = SocketRow.decode(data[2 * FileRow.__size__ :])
    assert (told.local_port, told.netns) == (53, task.netns.inode)
    assert len(data) == 2 * FileRow.__size__ + SocketRow.__size__


# --- mount namespaces


def test_a_pin_in_another_mount_namespace_is_reached_by_its_tasks_root(engine: Engine) -> None:
    task, looker = engine.task(), engine.task()
    task.unshare_mounts()
    task.mount_bpffs("/run/a b")
    Calls(task).obj_pin(map(Calls(task)), "/run/a b/counts")
    host, path = looker.doors().host, f"/proc/{task.pid}/root/run/a b"
    assert host.listdir("/run/a b") == []  # the directory alone: what is mounted there is not seen
    assert host.listdir(path) == [("counts", False)]
    assert b"0:24 / /run/a\\040b " in host.read(f"/proc/{task.pid}/mountinfo")
    assert Calls(looker).obj_get(f"{path}/counts")
    assert host.readlink(f"/proc/{task.pid}/ns/mnt") != host.readlink("/proc/self/ns/mnt")


def test_one_file_system_is_the_same_in_all_namespaces(engine: Engine) -> None:
    task = engine.task()
    task.unshare_mounts()
    Calls(task).obj_pin(map(Calls(task)), "/sys/fs/bpf/counts")
    assert engine.task().doors().host.listdir("/sys/fs/bpf") == [("counts", False)]


def test_mounts_and_their_pins_go_with_the_last_task(engine: Engine) -> None:
    task = engine.task()
    task.unshare_mounts()
    task.mount_bpffs("/run/bpf")
    Calls(task).obj_pin(map(Calls(task)), "/run/bpf/counts")
    child = task.fork()
    task.exit()
    assert live(engine, "map") == 1
    child.exit()
    assert live(engine, "map") == 0


def test_a_file_system_lives_as_long_as_it_is_mounted_or_open(engine: Engine) -> None:
    task = engine.task()
    made = task.mount_bpffs("/run/bpf")
    task.mntns.mount_bpffs("/run/again", made)
    Calls(task).obj_pin(map(Calls(task)), "/run/bpf/counts")
    folder = task.open("/run/again")
    for fd in range(3, folder):
        task.close(fd)
    for path in ("/run/bpf", "/run/again"):
        task.mntns.unmount(path)
    assert refused(lambda: Calls(task).obj_get("/run/bpf/counts")) == errno.ENOENT
    assert live(engine, "map") == 1
    task.close(folder)
    assert live(engine, "map") == 0


# --- network namespaces


def test_devices_and_what_is_on_them_go_with_the_namespace(engine: Engine) -> None:
    task = engine.task()
    calls = Calls(task)
    device = task.unshare_net().add("eth0")
    fd = program(calls, type=ProgType.XDP)
    link = calls.link_create(
        LinkCreate(prog_fd=fd, target_fd=device.index, attach_type=AttachType.XDP)
    )
    task.close(fd)
    held = task.open("/proc/self/ns/net")
    task.netns = engine.netns
    engine.work()
    assert device.xdp
    task.close(held)
    assert not device.xdp
    assert live(engine, "prog") == 1  # by the link, which is attached to nothing
    task.close(link)
    assert live(engine, "prog") == 0


def test_a_name_keeps_a_namespace(engine: Engine) -> None:
    task = engine.task()
    blue = task.unshare_net()
    task.mntns.mount_netns("blue", blue)
    task.exit()
    host = engine.task().doors().host
    assert host.listdir("/run/netns") == [("blue", False)]
    line = f" 0:4 net:[{blue.inode}] /run/netns/blue rw - nsfs nsfs rw\n"
    assert line.encode() in host.read("/proc/self/mountinfo")
    assert blue.devices
    engine.mntns.unmount("/run/netns/blue")
    engine.work()
    assert not blue.devices


def test_a_socket_keeps_the_namespace_that_it_was_made_in(engine: Engine) -> None:
    task = engine.task()
    there = task.unshare_net()
    fd = task.socket(SocketRow(family=2, type=2))
    task.netns = engine.netns
    engine.work()
    assert there.devices
    task.close(fd)
    assert not there.devices


# --- files on their way


def test_a_file_on_its_way_is_held_and_shown_nowhere(engine: Engine) -> None:
    task = engine.task()
    fd, (here, there) = program(Calls(task)), task.socketpair()
    task.sendmsg(here, [fd])
    task.close(fd)
    assert live(engine, "prog") == 1
    names = [task.doors().host.readlink(f"/proc/self/fd/{each}") for each in (here, there)]
    assert all(name.startswith("socket:[") for name in names)
    (back,) = task.recvmsg(there)
    assert task.doors().host.readlink(f"/proc/self/fd/{back}") == "anon_inode:bpf-prog"
    assert refused(lambda: task.recvmsg(there)) == errno.EAGAIN


def test_what_nobody_will_receive_is_let_go(engine: Engine) -> None:
    task = engine.task()
    fd, (here, there) = program(Calls(task)), task.socketpair()
    task.sendmsg(here, [fd, fd])
    task.close(fd)
    task.close(there)
    assert live(engine, "prog") == 0
    assert refused(lambda: task.sendmsg(here, [here])) == errno.EPIPE


def test_memory_of_a_map_goes_with_its_task(engine: Engine) -> None:
    task = engine.task()
    fd = map(Calls(task), flags=MapFlag.MMAPABLE)
    task.mmap(fd, 4096)
    task.close(fd)
    assert live(engine, "map") == 1
    task.exit()
    assert live(engine, "map") == 0


def test_a_cgroup_with_a_task_in_it_stays(engine: Engine) -> None:
    task = engine.task(cgroup="/a/b")
    host: Callable[[str], bytes] = engine.task().doors().host.read
    assert host(f"/proc/{task.pid}/cgroup") == b"0::/a/b\n"
    assert refused(engine.cgroup.find("/a/b").remove) == errno.EBUSY
    task.exit()
    engine.cgroup.find("/a/b").remove()


def test_a_pid_is_given_out_once(engine: Engine) -> None:
    one: Task = engine.task()
    one.exit()
    assert engine.task().pid != one.pid


# --- any path

NAMES = st.sampled_from(
    ["proc", "self", "thread-self", "1", "task", "fd", "3", "fdinfo", "root", "ns", "net", "sys",
     "fs", "bpf", "cgroup", "a", "run", "netns", "blue", "..", ".", "x", "kernel", "pin", "\udc80"]
)  # fmt: skip


@given(st.lists(NAMES, max_size=9), st.booleans())
def test_any_path_is_answered_or_refused(names: list[str], root: bool) -> None:
    engine = Engine(policy="linux")
    made = engine.task(cgroup="/a")
    made.mntns.mount_netns("blue", made.unshare_net())
    Calls(made).obj_pin(map(Calls(made)), "/sys/fs/bpf/pin")
    task = engine.task(uid=0 if root else 1000)
    host, path = task.doors().host, "/" + "/".join(names)
    for way in (host.read, host.listdir, host.readlink, host.identity, host.open, task.unlink):
        assert refused(partial(way, path)) != 0
    assert refused(lambda: Calls(task).obj_get(path)) != 0


def test_what_is_listed_is_there(engine: Engine) -> None:
    made = engine.task(cgroup="/a/b")
    made.mntns.mount_netns("blue", made.unshare_net())
    Calls(made).obj_pin(map(Calls(made)), "/sys/fs/bpf/pin")
    host, waiting, files = engine.task().doors().host, ["/proc", "/sys", "/run"], 0
    while waiting:
        folder = waiting.pop()
        for name, is_folder in host.listdir(folder):
            path = f"{folder}/{name}"
            if is_folder:
                waiting.append(path)
                continue
            files += 1
            ways = partial(host.readlink, path), partial(host.read, path)
            assert None in [refused(way) for way in ways] or name in ("pin", "blue"), path
    assert files > 50


def test_a_process_that_is_gone_has_no_children_and_makes_nothing(engine: Engine) -> None:
    task = engine.task()
    map(Calls(task))
    task.exit()
    assert live(engine, "map") == 0
    assert refused(task.fork) == errno.ESRCH
    assert refused(lambda: map(Calls(task))) == errno.EMFILE
    task.exit()
