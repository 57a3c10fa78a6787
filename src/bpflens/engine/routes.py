"""Routes with programs: net/core/lwt_bpf.c, net/ipv6/seg6_local.c.

No packet is routed here, so other routes are not taken, nor next hops of which there are several.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTMSG,
    SEG6_LOCAL_BPF,
    Encap,
    LwtBpf,
    LwtBpfProg,
    NlMsgType,
    Rta,
)
from bpflens.engine.call import U32, err
from bpflens.engine.netlink import nested, nla, parse

if TYPE_CHECKING:
    from bpflens.engine.net import Device
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.tasks import Task

_INET, _INET6 = 2, 10
_MAIN, _BOOT, _LINK, _UNICAST = 254, 3, 253, 1
"""RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_LINK, RTN_UNICAST."""
_ACTION, _END_BPF = 1, 15
"""SEG6_LOCAL_ACTION and the action that is a program."""
_TYPES: dict[int, dict[int, ProgType]] = {
    Encap.BPF: {
        LwtBpf.IN: ProgType.LWT_IN,
        LwtBpf.OUT: ProgType.LWT_OUT,
        LwtBpf.XMIT: ProgType.LWT_XMIT,
    },
    Encap.SEG6_LOCAL: {SEG6_LOCAL_BPF: ProgType.LWT_SEG6LOCAL},
}
"""Kind of tunnel → which program is where."""


class Route:
    """A route by a device, with programs."""

    __slots__ = ("device", "encap", "place", "progs")

    def __init__(
        self, place: tuple[int, int, bytes, int], device: Device, encap: int,
        progs: dict[int, tuple[Prog, bytes]],
    ) -> None:  # fmt: skip
        self.place = place
        """Family, length of the prefix, network, table."""
        self.device = device
        self.encap = encap
        self.progs = progs
        """Where in the way of a packet → the program, and what its loader called it."""

    @property
    def names(self) -> tuple[object, ...]:
        """What tells it from others: its family, table, device and what its programs are called."""
        called = [(place, name) for place, (_, name) in sorted(self.progs.items())]
        return self.place[0], self.place[3], self.device, self.encap, called

    def message(self) -> bytes:
        """The body of RTM_NEWROUTE: fib_dump_info(), rt6_fill_node()."""
        family, bits, network, table = self.place
        scope = _LINK if family == _INET else 0
        head = RTMSG.pack(family, bits, 0, 0, min(table, 255), _BOOT, scope, _UNICAST, 0)
        told = nla(Rta.TABLE, U32.pack(table))
        if bits:
            told += nla(Rta.DST, network)
        told += nla(Rta.OIF, U32.pack(self.device.index)) + nla(Rta.ENCAP, self._encap())
        return head + told + nla(Rta.ENCAP_TYPE, self.encap.to_bytes(2, "little"))

    def _encap(self) -> bytes:
        """bpf_fill_encap_info(), put_nla_bpf(): only seg6local tells the program's ID."""
        local = self.encap == Encap.SEG6_LOCAL
        data = nla(_ACTION, U32.pack(_END_BPF)) if local else b""
        for place, (prog, name) in self.progs.items():
            id = nla(LwtBpfProg.FD, U32.pack(prog.id)) if local else b""
            data += nla(place, id + nla(LwtBpfProg.NAME, name + b"\0"))
        return data

    def release(self) -> None:
        """lwtstate_free()."""
        for prog, _ in self.progs.values():
            prog.drop()


def _place(body: bytes) -> tuple[tuple[int, int, bytes, int], dict[int, bytes]]:
    (family, bits, _src, _tos, table, *_rest), told = parse(RTMSG, body)
    if family not in (_INET, _INET6):
        raise err(errno.EAFNOSUPPORT)
    size = 4 if family == _INET else 16
    network = told.get(Rta.DST, bytes(size))
    if len(network) != size or bits > 8 * size:
        raise err(errno.EINVAL)
    table = int.from_bytes(told.get(Rta.TABLE, b""), "little") or table or _MAIN
    return (family, bits, network, table), told


def new(task: Task, flags: int, body: bytes) -> None:
    """inet_rtm_newroute(), inet6_rtm_newroute()."""
    place, told = _place(body)
    device = task.netns.devices.get(int.from_bytes(told.get(Rta.OIF, b""), "little"))
    if device is None:
        raise err(errno.ENODEV)
    encap = int.from_bytes(told.get(Rta.ENCAP_TYPE, b""), "little")
    if encap not in _TYPES or Rta.ENCAP not in told:
        raise err(errno.EOPNOTSUPP)
    made = Route(place, device, encap, _programs(task, place[0], encap, nested(told[Rta.ENCAP])))
    old = next((one for one in task.netns.routes if one.place == place), None)
    if old and flags & NLM_F_EXCL:
        raise err(errno.EEXIST)
    if not old and not flags & NLM_F_CREATE:
        raise err(errno.ENOENT)
    if old and not flags & NLM_F_REPLACE:
        raise err(errno.EEXIST)
    # fib_find_info(): what bpf_encap_cmp() takes for the same, which looks at names alone
    same = (one for one in task.netns.routes if place[0] == _INET and one.names == made.names)
    if like := next(same, None):
        made.progs = like.progs
    for prog, _ in made.progs.values():
        prog.hold()
    if old:
        task.netns.routes.remove(old)
        old.release()
    task.netns.routes.append(made)


def _programs(
    task: Task, family: int, encap: int, told: dict[int, bytes]
) -> dict[int, tuple[Prog, bytes]]:
    """bpf_build_state(), seg6_local_build_state()."""
    from bpflens.engine.progs.prog import Prog

    if encap == Encap.SEG6_LOCAL and (family != _INET6 or told.get(_ACTION) != U32.pack(_END_BPF)):
        raise err(errno.EINVAL)
    found: dict[int, tuple[Prog, bytes]] = {}
    for place, type in _TYPES[encap].items():
        if place not in told:
            continue
        one = nested(told[place])
        if LwtBpfProg.FD not in one or LwtBpfProg.NAME not in one:
            raise err(errno.EINVAL)
        prog = task.files.get(int.from_bytes(one[LwtBpfProg.FD], "little"), Prog)
        if prog.type != type:
            raise err(errno.EINVAL)
        found[place] = prog, one[LwtBpfProg.NAME].partition(b"\0")[0]
    if not found:
        raise err(errno.EINVAL)
    return found


def delete(task: Task, flags: int, body: bytes) -> None:
    """inet_rtm_delroute(), inet6_rtm_delroute()."""
    place, _told = _place(body)
    for route in task.netns.routes:
        if route.place == place:
            task.netns.routes.remove(route)
            route.release()
            return
    raise err(errno.ESRCH)


def routes(task: Task, body: bytes) -> list[bytes]:
    """inet_dump_fib(), inet6_dump_fib()."""
    (family, *_rest), _told = parse(RTMSG, body)
    found = (route for route in task.netns.routes if family in (0, route.place[0]))
    return [route.message() for route in found]


CHANGES = {NlMsgType.NEWROUTE: new, NlMsgType.DELROUTE: delete}
