"""The netlink door: which request is whose."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import (
    IFINFO,
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NLM_F_DUMP,
    IfLa,
    IfLaXdp,
    NlMsgType,
)
from bpflens.engine import actions, routes, tc
from bpflens.engine.call import err
from bpflens.engine.creds import Cap
from bpflens.engine.links import netns
from bpflens.engine.net import MODES, REPLACE, UPDATE_IF_NOEXIST, NetNs
from bpflens.engine.netlink import nested, parse
from bpflens.port.doors import Way

if TYPE_CHECKING:
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.tasks import Task


def _links(task: Task, body: bytes) -> list[bytes]:
    return [device.message() for device in task.netns.devices.values()]


DUMPS: dict[tuple[int, int], Callable[[Task, bytes], list[bytes]]] = {
    (NETLINK_ROUTE, NlMsgType.GETLINK): _links,
    (NETLINK_ROUTE, NlMsgType.GETQDISC): tc.qdiscs,
    (NETLINK_ROUTE, NlMsgType.GETTFILTER): tc.filters,
    (NETLINK_ROUTE, NlMsgType.GETACTION): actions.actions,
    (NETLINK_ROUTE, NlMsgType.GETROUTE): routes.routes,
    (NETLINK_NETFILTER, NlMsgType.GETHOOK): netns.hooks,
}

GETS: dict[tuple[int, int], Callable[[Task, bytes], list[bytes]]] = {
    (NETLINK_ROUTE, NlMsgType.GETTFILTER): tc.get_filter,
}
"""Who answers where one thing is asked for, not all."""


class EngineNet:
    """`NetPort` of a task: its network namespace."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def dump(self, protocol: int, request: bytes) -> list[bytes]:
        """See `NetPort.dump`. What changes something answers nothing."""
        if protocol not in (NETLINK_ROUTE, NETLINK_NETFILTER):
            raise err(errno.EPROTONOSUPPORT)
        task = self._task
        kind, flags = int.from_bytes(request[4:6], "little"), int.from_bytes(request[6:8], "little")
        body = request[16:]
        one = GETS.get((protocol, kind)) if flags & NLM_F_DUMP != NLM_F_DUMP else None
        if answer := one or DUMPS.get((protocol, kind)):
            return answer(task, body)
        change = CHANGES.get(NlMsgType(kind))
        if protocol != NETLINK_ROUTE or change is None:
            raise err(errno.EOPNOTSUPP)
        task.require(Cap.NET_ADMIN)  # rtnetlink_rcv_msg() asks before
        change(task, flags, body)
        task.engine.work()
        return []

    @contextmanager
    def entered(self, way: Way) -> Iterator[None]:
        """See `NetPort.entered`."""
        from bpflens.engine.host import EngineHost

        task = self._task
        there = EngineHost(task).node(way.path)
        if not isinstance(there, NetNs) or way.inode not in (0, there.inode):
            raise err(errno.ESTALE)
        task.require(Cap.SYS_ADMIN)
        home, task.netns = task.netns, there
        try:
            yield
        finally:
            task.netns = home


def _set_link(task: Task, flags: int, body: bytes) -> None:
    """do_setlink(), the part for XDP."""
    (_family, _type, index, _flags, _change), told = parse(IFINFO, body)
    device = task.netns.devices.get(index)
    if device is None:
        raise err(errno.ENODEV)
    xdp = nested(told.get(IfLa.XDP, b""))
    if IfLaXdp.ATTACHED in xdp or IfLaXdp.PROG_ID in xdp:
        raise err(errno.EINVAL)
    flags = int.from_bytes(xdp.get(IfLaXdp.FLAGS, b""), "little")
    modes = flags & MODES
    if flags & ~(MODES | UPDATE_IF_NOEXIST | REPLACE) or modes & modes - 1:
        raise err(errno.EINVAL)
    if IfLaXdp.FD not in xdp:
        return
    if flags & REPLACE and IfLaXdp.EXPECTED_FD not in xdp:
        raise err(errno.EINVAL)
    # dev_change_xdp_fd()
    new = _prog(task, xdp[IfLaXdp.FD])
    old = _prog(task, xdp[IfLaXdp.EXPECTED_FD]) if flags & REPLACE else None
    device.xdp_attach(new, flags, old=old)


def _prog(task: Task, raw: bytes) -> Prog | None:
    from bpflens.engine.progs.prog import Prog

    fd = int.from_bytes(raw[:4], "little", signed=True)
    if fd < 0:
        return None
    prog = task.files.get(fd, Prog)
    if prog.type != ProgType.XDP:
        raise err(errno.EINVAL)
    return prog


CHANGES: dict[NlMsgType, Callable[[Task, int, bytes], None]] = {
    NlMsgType.SETLINK: _set_link,
    **tc.CHANGES,
    **actions.CHANGES,
    **routes.CHANGES,
}
