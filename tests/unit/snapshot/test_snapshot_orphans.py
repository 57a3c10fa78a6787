"""Who is an orphan, and of whom that cannot be told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpflens.abi.attrs import LinkCreate
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.abi.netlink import Encap, LwtBpf
from bpflens.attach import cgroup
from bpflens.attach.places import Places
from bpflens.attach.record import Failure
from bpflens.engine.engine import Engine
from bpflens.engine.tasks import Task
from bpflens.engine.unix import UnixSocket
from bpflens.model.system import System
from bpflens.port.calls import Calls
from bpflens.snapshot.graph import Indexed
from bpflens.snapshot.lifetime import freed
from bpflens.snapshot.orphans import OrphanRecord, orphans
from bpflens.snapshot.relations import Relations
from bpflens.snapshot.why import why
from bpflens.testing.attachments import slots
from bpflens.testing.builders import map, program
from bpflens.testing.on_engine import EngineBench
from bpflens.testing.rtnetlink import new_route, route_program


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def task(engine: Engine) -> Task:
    return engine.task(comm="maker")


def listed(engine: Engine) -> dict[tuple[str, int], OrphanRecord]:
    """The orphans as another process sees them."""
    with System(engine.task(comm="looker").doors()) as system:
        found, _ = orphans(system)
    return {(each.kind, each.id): each for each in found if each.verdict != "copies"}


def verdicts(engine: Engine) -> dict[tuple[str, int], str]:
    return {key: each.verdict for key, each in listed(engine).items()}


def test_a_link_whose_device_is_gone(engine: Engine, task: Task) -> None:
    calls = Calls(task)
    device = task.netns.add("eth0")
    fd = program(calls, type=ProgType.XDP)
    attr = LinkCreate(prog_fd=fd, target_fd=device.index, attach_type=AttachType.XDP)
    calls.link_create(attr)
    assert verdicts(engine) == {}
    device.remove()
    assert verdicts(engine) == {("link", 1): "idle", ("program", 1): "detached"}


def test_a_map_that_no_program_uses(engine: Engine, task: Task) -> None:
    calls = Calls(task)
    fd = map(calls, MapType.HASH, name="idle")
    found = listed(engine)["map", 1]
    assert (found.verdict, found.certain) == ("unused", True)
    assert found.holders == [f"pid {task.pid} (maker) fd {fd}"]
    calls.obj_pin(fd, "/sys/fs/bpf/idle")
    calls.close(fd)
    assert verdicts(engine) == {("map", 1): "pinned"}


def test_an_fd_in_flight_is_not_told(engine: Engine, task: Task) -> None:
    fd = program(Calls(task))
    here, _there = task.socketpair()
    assert isinstance(task.files.file(here).node, UnixSocket)
    task.sendmsg(here, [fd])
    task.close(fd)
    found = listed(engine)["program", 1]
    assert (found.verdict, found.certain) == ("leaked", False)
    assert "unix socket" in found.why


def test_where_not_all_was_seen_it_cannot_be_told(
    engine: Engine, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(places: Places) -> Iterator[Failure]:
        yield Failure("cgroup", "/web.slice", "denied")

    monkeypatch.setattr(cgroup, "find", refused)
    program(Calls(task), "r0 = 1; exit", ProgType.CGROUP_SKB)
    program(Calls(task), type=ProgType.XDP)
    found = listed(engine)
    assert not found["program", 1].certain
    assert found["program", 1].why.startswith("cannot tell: cgroup /web.slice")
    assert found["program", 2].certain


def test_copies(engine: Engine, task: Task) -> None:
    for _ in range(3):
        program(Calls(task), type=ProgType.XDP, name="same")
    with System(engine.task().doors()) as system:
        (found,) = (each for each in orphans(system)[0] if each.verdict == "copies")
    assert (found.copies, found.ids) == (3, [1, 2, 3])
    assert "3 of them attached nowhere" in found.why


def test_two_groups_of_copies_with_the_same_name(engine: Engine, task: Task) -> None:
    for n in range(4):
        program(Calls(task), f"r0 = {n % 2}; exit", type=ProgType.XDP, name="same")
    with System(engine.task().doors()) as system:
        found = [each for each in orphans(system)[0] if each.verdict == "copies"]
    assert [each.ids for each in found] == [[1, 3], [2, 4]]


def test_functions_of_a_registered_table_are_no_orphans() -> None:
    bench = EngineBench()
    slots.struct_ops(bench)
    bench.task.exit()
    with System(bench.engine.task().doors()) as system:
        assert orphans(system)[0] == []
        graph = Indexed(Relations(system).graph)
    told = why(graph, "prog:1")
    assert [edge.source for (edge,) in told.ways] == ["hook:struct_ops tcp_congestion_ops"]


def test_one_that_a_route_may_run_is_no_certain_orphan() -> None:
    bench = EngineBench()
    fds = [program(bench.calls, f"r0 = {n}; exit", ProgType.LWT_XMIT) for n in range(2)]
    places = route_program(LwtBpf.XMIT, fds[0], b"x.o:[b]")
    bench.change_net(new_route(bench.device(), bytes([10, 1, 0, 0]), 16, Encap.BPF, places))
    for n, fd in enumerate(fds):
        bench.calls.obj_pin(fd, f"/sys/fs/bpf/{n}")
        bench.calls.close(fd)
    with System(bench.engine.task().doors()) as system:
        found = [each for each in orphans(system)[0] if each.verdict != "copies"]
        graph = Indexed(Relations(system).graph)
    assert [(each.verdict, each.certain) for each in found] == [("pinned", False)] * 2
    assert "may run it (lwt_xmit)" in found[0].why
    told = why(graph, "prog:1")
    assert [edge.source for (edge,) in told.ways] == ["pin:/sys/fs/bpf/0"]
    assert "does not tell which program" in told.unseen[0].what
    assert "prog:1" not in freed(graph, gone=["pin:/sys/fs/bpf/0"])
