"""What keeps an object alive, and when it goes."""

from __future__ import annotations

import pytest

from bpflens.abi.attrs import LinkCreate, MapCreate, ProgAttach, ProgBindMap, ProgLoad
from bpflens.abi.enums import AttachType, Cmd, MapType, ProgType
from bpflens.abi.infos import ProgInfo
from bpflens.engine import Engine
from bpflens.engine.net import Socket
from bpflens.engine.tasks import Task
from bpflens.insn import encode
from bpflens.insn.build import R0, R1, R2, R3, call, exit_, ld_map_fd, mov
from bpflens.port.calls import MAP_IDS, CallNotFound, Calls

CODE = encode([mov(R0, 0), exit_()])


@pytest.fixture
def task() -> Task:
    return Engine().task()


@pytest.fixture
def calls(task: Task) -> Calls:
    return Calls(task)


def live(task: Task, kind: str) -> int:
    return len(task.engine.ids[kind])


def array(calls: Calls, type: int = MapType.ARRAY) -> int:
    return calls.map_create(MapCreate(map_type=type, key_size=4, value_size=4, max_entries=2))


def test_duplicates_and_children_hold_a_map(task: Task, calls: Calls) -> None:
    fd = array(calls)
    other = task.dup(fd)
    child = task.fork()
    task.close(fd)
    task.close(other)
    assert live(task, "map") == 1
    child.exit()
    assert live(task, "map") == 0


def test_a_pin_holds_a_program_until_it_is_unlinked(task: Task, calls: Calls) -> None:
    fd = calls.prog_load(ProgLoad(prog_type=ProgType.XDP), CODE)
    calls.obj_pin(fd, "/sys/fs/bpf/p")
    task.close(fd)
    calls.close(calls.obj_get("/sys/fs/bpf/p"))
    assert live(task, "prog") == 1
    assert task.doors().host.listdir("/sys/fs/bpf") == [("p", False)]
    task.unlink("/sys/fs/bpf/p")
    assert live(task, "prog") == 0


def test_a_program_holds_its_maps(task: Task, calls: Calls) -> None:
    fd = array(calls)
    code = encode([*ld_map_fd(R1, fd), mov(R0, 0), exit_()])
    prog = calls.prog_load(ProgLoad(prog_type=ProgType.XDP), code)
    task.close(fd)
    told = calls.prog_array(prog, MAP_IDS, calls.info(prog, ProgInfo))
    assert told == (1).to_bytes(4, "little")
    task.close(prog)
    assert live(task, "map") == 0


def test_a_circle_of_tail_calls_is_broken_when_user_space_lets_go(task: Task, calls: Calls) -> None:
    fd = array(calls, MapType.PROG_ARRAY)
    code = encode([*ld_map_fd(R2, fd), mov(R3, 0), call(12), mov(R0, 0), exit_()])
    prog = calls.prog_load(ProgLoad(prog_type=ProgType.XDP), code)
    calls.map_update(fd, bytes(4), prog.to_bytes(4, "little"))
    task.close(prog)
    assert (live(task, "prog"), live(task, "map")) == (1, 1)
    assert calls.map_lookup(fd, bytes(4), 4) == (1).to_bytes(4, "little")
    task.close(fd)
    assert (live(task, "prog"), live(task, "map")) == (0, 0)


def test_a_thousand_maps_in_maps_go_at_once(task: Task, calls: Calls) -> None:
    inner = array(calls)
    attr = MapCreate(map_type=MapType.ARRAY_OF_MAPS, key_size=4, value_size=4, max_entries=1500)
    attr.inner_map_fd = inner
    outer = calls.map_create(attr)
    for index in range(1500):
        fd = array(calls)
        calls.map_update(outer, index.to_bytes(4, "little"), fd.to_bytes(4, "little"))
        task.close(fd)
    assert live(task, "map") == 1502
    task.close(outer)
    assert live(task, "map") == 1


def test_a_link_lets_its_program_go(task: Task, calls: Calls) -> None:
    device = task.netns.add("v0")
    prog = calls.prog_load(ProgLoad(prog_type=ProgType.XDP), CODE)
    attr = LinkCreate(prog_fd=prog, target_fd=device.index, attach_type=AttachType.XDP)
    link = calls.link_create(attr)
    task.close(prog)
    assert live(task, "prog") == 1
    task.close(link)
    assert (live(task, "prog"), live(task, "link"), device.xdp) == (0, 0, {})


def test_a_device_that_goes_leaves_its_link_without_a_place(task: Task, calls: Calls) -> None:
    device = task.netns.add("v0")
    prog = calls.prog_load(ProgLoad(prog_type=ProgType.XDP), CODE)
    attr = LinkCreate(prog_fd=prog, target_fd=device.index, attach_type=AttachType.XDP)
    link = calls.link_create(attr)
    device.remove()
    assert b"ifindex:\t0" in task.doors().host.fdinfo(link)


def test_a_link_that_gets_no_fd_lets_its_program_go(task: Task, calls: Calls) -> None:
    device = task.netns.add("v0")
    prog = calls.prog_load(ProgLoad(prog_type=ProgType.XDP), CODE)
    task.files.limit = prog + 1
    attr = LinkCreate(prog_fd=prog, target_fd=device.index, attach_type=AttachType.XDP)
    with pytest.raises(OSError, match="open files"):
        calls.link_create(attr)
    task.close(prog)
    assert (live(task, "prog"), live(task, "link")) == (0, 0)


def test_a_socket_map_lets_its_programs_go_with_its_last_user(task: Task, calls: Calls) -> None:
    """Also where the program holds the map: sock_map_release_progs()."""
    sockets = array(calls, MapType.SOCKMAP)
    prog = calls.prog_load(ProgLoad(prog_type=ProgType.SK_MSG), CODE)
    calls.call(Cmd.PROG_BIND_MAP, ProgBindMap(prog_fd=prog, map_fd=sockets))
    attached = ProgAttach(
        target_fd=sockets, attach_bpf_fd=prog, attach_type=AttachType.SK_MSG_VERDICT
    )
    calls.prog_attach(attached)
    task.close(prog)
    assert live(task, "prog") == 1
    task.close(sockets)
    assert (live(task, "prog"), live(task, "map")) == (0, 0)


def test_a_link_is_a_user_of_its_socket_map(task: Task, calls: Calls) -> None:
    sockets = array(calls, MapType.SOCKMAP)
    prog = calls.prog_load(ProgLoad(prog_type=ProgType.SK_MSG), CODE)
    attr = LinkCreate(prog_fd=prog, target_fd=sockets, attach_type=AttachType.SK_MSG_VERDICT)
    link = calls.link_create(attr)
    for fd in (prog, sockets):
        task.close(fd)
    assert (live(task, "prog"), live(task, "map")) == (1, 1)
    task.close(link)
    assert (live(task, "prog"), live(task, "map")) == (0, 0)


def test_a_socket_holds_its_filter_and_no_call_tells(task: Task, calls: Calls) -> None:
    fd = calls.prog_load(ProgLoad(prog_type=ProgType.SOCKET_FILTER), CODE)
    socket = Socket()
    socket.attach(task.engine.ids["prog"].objects[1])
    task.close(fd)
    assert live(task, "prog") == 1
    socket.drop()
    assert live(task, "prog") == 0


def test_an_id_is_spent_when_there_is_no_fd_left(calls: Calls, task: Task) -> None:
    task.files.limit = 3
    with pytest.raises(OSError, match="open files"):
        array(calls)
    task.files.limit = 9
    array(calls)
    assert list(task.engine.ids["map"].objects) == [2]
    with pytest.raises(CallNotFound):
        calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, 1)
