"""Routes with programs: they hold them, tell what Linux tells of them, and go with their device."""

from __future__ import annotations

import errno
import os

import pytest

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import (
    NETLINK_ROUTE,
    RTMSG,
    Encap,
    LwtBpf,
    LwtBpfProg,
    NlMsgType,
    Rta,
    attributes,
    get_routes,
    message,
)
from bpflens.engine.engine import Engine
from bpflens.engine.tasks import Task
from bpflens.port.calls import Calls
from bpflens.testing.builders import program
from bpflens.testing.rtnetlink import new_route, route_program, seg6_program

NET = bytes([10, 1, 0, 0])


@pytest.fixture
def task() -> Task:
    return Engine(policy="linux").task()


def ask(task: Task, request: bytes) -> list[bytes]:
    return task.doors().net.dump(NETLINK_ROUTE, request)


def program_ids(task: Task) -> list[int]:
    task.engine.work()
    return list(task.engine.ids["prog"].objects)


def test_a_route_holds_its_program_until_its_device_goes(task: Task) -> None:
    device = task.netns.add("eth0")
    prog = program(Calls(task), type=ProgType.LWT_OUT)
    ask(task, new_route(device.index, NET, 16, Encap.BPF, route_program(LwtBpf.OUT, prog, b"o")))
    task.close(prog)
    assert program_ids(task) == [1]
    (answer,) = ask(task, get_routes(2))
    told = attributes(answer[RTMSG.size :])
    assert (told[Rta.DST], told[Rta.ENCAP_TYPE]) == (NET, b"\6\0")
    place = attributes(attributes(told[Rta.ENCAP])[LwtBpf.OUT])
    assert place == {LwtBpfProg.NAME: b"o\0"}  # and no ID: bpf_fill_lwt_prog()
    assert ask(task, get_routes(10)) == []
    device.remove()
    assert program_ids(task) == []


def test_one_is_replaced_or_deleted(task: Task) -> None:
    device = task.netns.add("eth0")
    prog = program(Calls(task), type=ProgType.LWT_SEG6LOCAL)
    request = new_route(device.index, bytes(16), 64, Encap.SEG6_LOCAL, seg6_program(prog, b"s"))
    ask(task, request)
    with pytest.raises(FileExistsError):
        ask(task, request)
    task.close(prog)
    kind = message(NlMsgType.DELROUTE, 5, request[16:])
    ask(task, kind)
    assert program_ids(task) == []
    with pytest.raises(ProcessLookupError):
        ask(task, kind)


@pytest.mark.parametrize(
    ("type", "encap", "code"),
    [
        (ProgType.LWT_IN, Encap.BPF, errno.EINVAL),
        (ProgType.LWT_OUT, Encap.SEG6_LOCAL, errno.EINVAL),
        (ProgType.LWT_OUT, 1, errno.EOPNOTSUPP),
    ],
)
def test_what_is_no_program_for_a_route(task: Task, type: ProgType, encap: int, code: int) -> None:
    device = task.netns.add("eth0")
    prog = program(Calls(task), type=type)
    with pytest.raises(OSError, match=os.strerror(code)):
        ask(task, new_route(device.index, NET, 16, encap, route_program(LwtBpf.OUT, prog, b"o")))
