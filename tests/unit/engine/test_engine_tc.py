"""What the conformance suite does not ask of the engine's rtnetlink: who may, and broken bytes."""

from __future__ import annotations

import errno
import random
from contextlib import suppress

import pytest

from bpflens.abi.attrs import ProgLoad
from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import NETLINK_ROUTE, TcParent, get_filters, get_qdiscs
from bpflens.engine import Engine
from bpflens.engine.tasks import Task
from bpflens.insn import encode
from bpflens.insn.build import R0, exit_, mov
from bpflens.port.calls import Calls
from bpflens.testing.rtnetlink import clsact, del_filter, new_filter, no_clsact, set_xdp


@pytest.fixture
def task() -> Task:
    return Engine(policy="linux").task()


def ask(task: Task, request: bytes) -> list[bytes]:
    return task.doors().net.dump(NETLINK_ROUTE, request)


def classifier(task: Task) -> int:
    return Calls(task).prog_load(
        ProgLoad(prog_type=ProgType.SCHED_CLS), encode([mov(R0, 0), exit_()])
    )


def test_only_changes_need_a_capability(task: Task) -> None:
    index = task.netns.add("v0").index
    ask(task, clsact(index))
    ask(task, new_filter(index, TcParent.INGRESS, classifier(task)))
    other = task.engine.task(uid=1000)
    for request in (
        clsact(index),
        no_clsact(index),
        new_filter(index, TcParent.INGRESS, 3),
        del_filter(index, TcParent.INGRESS),
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            ask(other, request)
        assert caught.value.errno == errno.EPERM
    assert len(ask(other, get_qdiscs())) == 1
    assert len(ask(other, get_filters(index, TcParent.INGRESS))) == 2


def test_a_number_that_is_cut_is_out_of_range(task: Task) -> None:
    index = task.netns.add("v0").index
    ask(task, clsact(index))
    request = bytearray(new_filter(index, TcParent.INGRESS, classifier(task)))
    request[-8:-6] = (6).to_bytes(2, "little")  # the attribute's length: FD comes last
    with pytest.raises(OSError, match="range"):
        ask(task, bytes(request))


@pytest.mark.parametrize("seed", range(3))
def test_any_bytes_give_messages_or_an_errno_and_leave_nothing(task: Task, seed: int) -> None:
    chance = random.Random(seed)
    device = task.netns.add("v0")
    index = device.index
    fd = classifier(task)
    good = (
        clsact(index),
        new_filter(index, TcParent.INGRESS, fd, b"name", prio=1, CLASSID=1),
        del_filter(index, TcParent.INGRESS, prio=1, handle=1),
        get_qdiscs(),
        get_filters(index, TcParent.INGRESS),
        set_xdp(index, -1),
    )
    for _ in range(3000):
        request = bytearray(chance.choice(good))
        for _ in range(chance.choice((0, 0, 1, 1, 3))):
            request[chance.randrange(len(request))] = chance.choice((0, 1, 2, 4, 8, 255))
        if chance.random() < 0.1:
            del request[chance.randrange(len(request)) :]
        with suppress(OSError):
            ask(task, bytes(request))
    task.exit()
    device.remove()
    assert len(task.engine.ids["prog"]) == 0
