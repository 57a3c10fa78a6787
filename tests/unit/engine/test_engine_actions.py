"""Traffic control: actions that are programs, blocks that devices share."""

from __future__ import annotations

import errno
import os

import pytest

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import (
    NETLINK_ROUTE,
    TCAMSG,
    TCMSG,
    Tca,
    TcaAct,
    TcParent,
    attributes,
    get_actions,
    get_filters,
    get_qdiscs,
)
from bpflens.engine.engine import Engine
from bpflens.engine.net import Device
from bpflens.engine.tasks import Task
from bpflens.port.calls import Calls
from bpflens.testing.builders import program
from bpflens.testing.rtnetlink import (
    BLOCK,
    bpf_action,
    clsact,
    matchall,
    new_action,
    new_filter,
    no_clsact,
)

INGRESS = TcParent.INGRESS


@pytest.fixture
def task() -> Task:
    return Engine(policy="linux").task()


def ask(task: Task, request: bytes) -> list[bytes]:
    return task.doors().net.dump(NETLINK_ROUTE, request)


def left(task: Task) -> int:
    """How many programs there are."""
    task.engine.work()
    return len(task.engine.ids["prog"].objects)


def actions(task: Task) -> int:
    """How many actions are told."""
    return sum(
        len(attributes(attributes(answer[TCAMSG.size :])[TcaAct.TAB]))
        for answer in ask(task, get_actions("bpf"))
    )


def device(task: Task, block: int = 0) -> Device:
    made = task.netns.add(f"eth{len(task.netns.devices)}")
    ask(task, clsact(made.index, block=block))
    return made


def test_an_action_goes_with_the_filter_that_has_it(task: Task) -> None:
    there = device(task)
    prog = program(Calls(task), type=ProgType.SCHED_ACT)
    ask(task, matchall(there.index, INGRESS, bpf_action(prog, b"a"), 5))
    with pytest.raises(FileExistsError):
        ask(task, matchall(there.index, INGRESS, bpf_action(prog, b"a"), 5))
    task.close(prog)
    assert (actions(task), left(task)) == (1, 1)
    ask(task, no_clsact(there.index))
    assert (actions(task), left(task)) == (0, 0)


def test_one_alone_stays(task: Task) -> None:
    prog = program(Calls(task), type=ProgType.SCHED_ACT)
    ask(task, new_action(prog, b"a"))
    ask(task, new_action(prog, b"b"))
    task.close(prog)
    assert (actions(task), left(task)) == (2, 1)


def test_what_is_no_action(task: Task) -> None:
    prog = program(Calls(task), type=ProgType.SCHED_CLS)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        ask(task, new_action(prog, b"a"))


def test_a_block_runs_on_all_its_devices_and_goes_with_the_last(task: Task) -> None:
    both = [device(task, 7), device(task, 7)]
    prog = program(Calls(task), type=ProgType.SCHED_CLS)
    with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
        ask(task, new_filter(both[0].index, INGRESS, prog))
    ask(task, new_filter(BLOCK, 7, prog))
    task.close(prog)
    told = [ask(task, get_filters(there.index, INGRESS)) for there in both]
    assert told[0] == told[1] == ask(task, get_filters(BLOCK, 7))
    assert [TCMSG.unpack_from(one)[1] for one in told[0]] == [BLOCK, BLOCK]
    qdiscs = [attributes(one[TCMSG.size :]) for one in ask(task, get_qdiscs())]
    assert [one[Tca.INGRESS_BLOCK] for one in qdiscs] == [b"\7\0\0\0"] * 2
    both[0].remove()
    assert left(task) == 1
    both[1].remove()
    assert left(task) == 0
    assert task.netns.blocks == {}
