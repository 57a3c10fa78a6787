"""What is attached where, as queries and info tell it."""

from __future__ import annotations

import errno
import struct

import pytest

from bpflens.abi.attrs import LinkCreate, LinkCreateTcx, ProgAttach, ProgLoad, ProgQuery
from bpflens.abi.enums import AttachType, Cmd, LinkType, ProgType
from bpflens.abi.infos import LinkInfo
from bpflens.engine import Engine
from bpflens.engine.perf import PerfEvent
from bpflens.engine.tasks import Task
from bpflens.errors import SyscallError
from bpflens.insn import encode
from bpflens.insn.build import R0, exit_, mov
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory

EGRESS = AttachType.CGROUP_INET_EGRESS
MULTI, BEFORE, PREORDER = 2, 8, 64


@pytest.fixture
def task() -> Task:
    return Engine().task()


def load(task: Task, type: int, attach: int = 0) -> int:
    attr = ProgLoad(prog_type=type, expected_attach_type=attach)
    return Calls(task).prog_load(attr, encode([mov(R0, 1), exit_()]))


def query(task: Task, target: int, attach: int, flags: int = 0) -> list[int]:
    mem = Memory()
    ids = bytearray(4 * 8)
    attr = ProgQuery(target_fd=target, attach_type=attach, query_flags=flags, prog_cnt=8)
    attr.prog_ids = mem.pin(ids)
    Calls(task).call(Cmd.PROG_QUERY, attr, mem)
    return list(struct.unpack_from(f"<{attr.prog_cnt}I", ids))


def test_programs_of_a_cgroup_run_before_those_of_its_parents(task: Task) -> None:
    task.engine.cgroup.make("a").make("b")
    upper, lower = task.open("/sys/fs/cgroup/a"), task.open("/sys/fs/cgroup/a/b")
    for target, flags in ((upper, MULTI), (upper, MULTI | PREORDER), (lower, MULTI)):
        prog = load(task, ProgType.CGROUP_SKB, EGRESS)
        Calls(task).prog_attach(
            ProgAttach(target_fd=target, attach_bpf_fd=prog, attach_type=EGRESS, attach_flags=flags)
        )
    assert query(task, upper, EGRESS) == [1, 2]
    assert query(task, lower, EGRESS, 1) == [2, 3, 1]


def test_a_cgroup_that_goes_leaves_its_link_alone(task: Task) -> None:
    task.engine.cgroup.make("a")
    prog = load(task, ProgType.CGROUP_SKB, EGRESS)
    attr = LinkCreate(prog_fd=prog, target_fd=task.open("/sys/fs/cgroup/a"), attach_type=EGRESS)
    link = Calls(task).link_create(attr)
    task.engine.cgroup.find("a").remove()
    assert "cgroup_id:\t0" in task.doors().host.fdinfo(link).decode()
    assert Calls(task).info(link, LinkInfo).type == LinkType.CGROUP


def test_tcx_keeps_an_order(task: Task) -> None:
    device = task.netns.add("v0")
    first, second = load(task, ProgType.SCHED_CLS), load(task, ProgType.SCHED_CLS)
    attach = AttachType.TCX_INGRESS
    for prog, flags in ((first, 0), (second, BEFORE)):
        Calls(task).link_create(
            LinkCreateTcx(prog_fd=prog, target_fd=device.index, attach_type=attach, flags=flags)
        )
    assert query(task, device.index, attach) == [2, 1]
    assert query(task, device.index, AttachType.TCX_EGRESS) == []
    with pytest.raises(SyscallError) as caught:
        query(task, 99, attach)
    assert caught.value.errno == errno.ENODEV


def test_a_perf_event_takes_one_program(task: Task) -> None:
    event = task.add(PerfEvent("tracepoint", "sched_switch"))
    prog = load(task, ProgType.TRACEPOINT)
    attr = LinkCreate(prog_fd=prog, target_fd=event, attach_type=AttachType.PERF_EVENT)
    link = Calls(task).link_create(attr)
    assert "tp_name:\tsched_switch" in task.doors().host.fdinfo(link).decode()
    with pytest.raises(SyscallError) as caught:
        Calls(task).link_create(attr)
    assert caught.value.errno == errno.EEXIST


def test_a_failed_attachment_has_cost_an_id(task: Task) -> None:
    device = task.netns.add("v0")
    prog = load(task, ProgType.XDP)
    attr = LinkCreate(prog_fd=prog, target_fd=device.index, attach_type=AttachType.XDP)
    Calls(task).link_create(attr)
    with pytest.raises(SyscallError):
        Calls(task).link_create(attr)
    device.remove()
    attr.target_fd = task.netns.add("v1").index
    Calls(task).link_create(attr)
    assert list(task.engine.ids["link"].objects) == [1, 3]
