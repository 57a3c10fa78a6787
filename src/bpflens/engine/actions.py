"""Actions of traffic control that are programs: net/sched/act_api.c, act_bpf.c.

Classic programs are not taken, and an action is not changed or deleted by itself.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import (
    ACT_BPF,
    TCAMSG,
    NlMsgType,
    TcaAct,
    TcaActBpf,
)
from bpflens.engine.call import U32, err
from bpflens.engine.netlink import nested, nla, parse

if TYPE_CHECKING:
    from bpflens.engine.net import NetNs
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.tasks import Task


class Action:
    """A program as an action (struct tcf_bpf)."""

    __slots__ = ("alone", "filters", "index", "name", "netns", "prog", "verdict")

    def __init__(self, netns: NetNs, prog: Prog, name: bytes | None, verdict: int) -> None:
        self.netns = netns
        self.index = 0
        self.prog = prog
        self.name = name
        self.verdict = verdict
        self.filters = 0
        """How many filters have it."""
        self.alone = False
        """Whether it was made without one."""

    def enter(self) -> None:
        """Take the lowest number that is free: tcf_idr_check_alloc()."""
        used = self.netns.actions
        self.index = next(n for n in range(1, len(used) + 2) if n not in used)
        used[self.index] = self
        self.prog.hold()

    def bind(self) -> None:
        """A filter has it from now on."""
        if not self.filters and not self.alone:
            self.enter()
        self.filters += 1

    def unbind(self) -> None:
        """A filter that had it goes: __tcf_idr_release()."""
        self.filters -= 1
        if not self.filters and not self.alone:
            self.release()

    def release(self) -> None:
        """tcf_bpf_cleanup()."""
        del self.netns.actions[self.index]
        self.prog.drop()

    def message(self) -> bytes:
        """tcf_action_dump_1(), tcf_bpf_dump()."""
        parms = ACT_BPF.pack(self.index, 0, self.verdict, self.filters + self.alone, self.filters)
        told = nla(TcaActBpf.PARMS, parms)
        if self.name is not None:
            told += nla(TcaActBpf.NAME, self.name + b"\0")
        told += nla(TcaActBpf.ID, U32.pack(self.prog.id)) + nla(TcaActBpf.TAG, self.prog.tag)
        return nla(TcaAct.KIND, b"bpf\0") + nla(TcaAct.OPTIONS, told)


def parse_table(task: Task, table: bytes) -> list[Action]:
    """tcf_action_init(): the actions in a list, in its order; they are not there yet."""
    return [_parse(task, nested(data)) for _, data in sorted(nested(table).items())]


def _parse(task: Task, told: dict[int, bytes]) -> Action:
    """tcf_bpf_init()."""
    from bpflens.engine.progs.prog import Prog

    if TcaAct.KIND not in told:
        raise err(errno.EINVAL)
    if told[TcaAct.KIND].rstrip(b"\0") != b"bpf":
        raise err(errno.ENOENT)  # no module has it
    options = nested(told.get(TcaAct.OPTIONS, b""))
    parms = options.get(TcaActBpf.PARMS, b"")
    if len(parms) < ACT_BPF.size or TcaActBpf.FD not in options:
        raise err(errno.EINVAL)
    prog = task.files.get(int.from_bytes(options[TcaActBpf.FD], "little"), Prog)
    if prog.type != ProgType.SCHED_ACT:
        raise err(errno.EINVAL)
    name = options.get(TcaActBpf.NAME)
    verdict = ACT_BPF.unpack_from(parms)[2]
    return Action(task.netns, prog, name and name.partition(b"\0")[0], verdict)


def table(actions: Iterable[Action], first: int = 0) -> bytes:
    """A list of actions, numbered."""
    return b"".join(nla(first + at, action.message()) for at, action in enumerate(actions))


def new(task: Task, flags: int, body: bytes) -> None:
    """tcf_action_add()."""
    _head, told = parse(TCAMSG, body)
    for action in parse_table(task, told.get(TcaAct.TAB, b"")):
        action.alone = True
        action.enter()


def actions(task: Task, body: bytes) -> list[bytes]:
    """tc_dump_action(): of one kind, in one message."""
    _head, told = parse(TCAMSG, body)
    wanted = nested(nested(told.get(TcaAct.TAB, b"")).get(1, b"")).get(TcaAct.KIND, b"")
    if wanted.rstrip(b"\0") != b"bpf" or not task.netns.actions:
        return []
    return [TCAMSG.pack(0) + nla(TcaAct.TAB, table(task.netns.actions.values()))]


CHANGES = {NlMsgType.NEWACTION: new}
