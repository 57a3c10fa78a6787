"""Filters of traffic control: net/sched/cls_bpf.c, cls_matchall.c."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from bpflens.abi.enums import ProgType
from bpflens.abi.netlink import FILTER_ACTIONS, TcaBpf
from bpflens.engine import actions
from bpflens.engine.call import U32, err
from bpflens.engine.netlink import nested, nla
from bpflens.engine.progs.classic import MOST, SIZE, check_classic

if TYPE_CHECKING:
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.tasks import Task

_SKIP_HW, _SKIP_SW, _NOT_IN_HW = 1, 2, 8
"""TCA_CLS_FLAGS_* (include/uapi/linux/pkt_cls.h)."""
_ACT_DIRECT = 1
_NAME_LEN = 256
_MALL_FLAGS = 3
"""TCA_MATCHALL_FLAGS."""


class Classifier:
    """A filter."""

    __slots__ = ("gen_flags", "handle")

    name: ClassVar[bytes]
    """Its kind."""
    prog: Prog | None = None

    def __init__(self, task: Task, options: bytes) -> None:
        self.handle = 0
        self.gen_flags = 0

    def message(self) -> bytes:
        """The options."""
        raise NotImplementedError

    def take(self) -> None:
        """It comes to stay."""

    def release(self) -> None:
        """It goes."""


class Filter(Classifier):
    """A program of cls_bpf (struct cls_bpf_prog)."""

    __slots__ = ("classid", "flags", "ops", "prog", "said")

    name = b"bpf"

    def __init__(self, task: Task, options: bytes) -> None:
        """cls_bpf_set_parms()."""
        from bpflens.engine.progs.prog import Prog

        super().__init__(task, options)
        told = nested(options)
        self.said = _name(told)
        self.classid = _number(told, TcaBpf.CLASSID)
        self.flags = _number(told, TcaBpf.FLAGS)
        self.gen_flags = _number(told, TcaBpf.FLAGS_GEN)
        classic = TcaBpf.OPS in told and TcaBpf.OPS_LEN in told
        if classic == (TcaBpf.FD in told):
            raise err(errno.EINVAL)
        if self.flags & ~_ACT_DIRECT or self.gen_flags not in (0, _SKIP_HW, _SKIP_SW):
            raise err(errno.EINVAL)
        self.ops = b""
        """The instructions of a classic program, which is no object and has no ID."""
        self.prog: Prog | None = None
        if classic:
            self.ops = _classic(told)
            return
        self.prog = task.files.get(_number(told, TcaBpf.FD), Prog)
        if self.prog.type != ProgType.SCHED_CLS:
            raise err(errno.EINVAL)

    def message(self) -> bytes:
        """The options of a filter: cls_bpf_dump()."""
        data = b""
        if self.classid:
            data += nla(TcaBpf.CLASSID, U32.pack(self.classid))
        if self.prog:
            if self.said is not None:
                data += nla(TcaBpf.NAME, self.said + b"\0")
            data += nla(TcaBpf.ID, U32.pack(self.prog.id)) + nla(TcaBpf.TAG, self.prog.tag)
        else:
            count = len(self.ops) // SIZE
            data += nla(TcaBpf.OPS_LEN, count.to_bytes(2, "little")) + nla(TcaBpf.OPS, self.ops)
        if self.flags:
            data += nla(TcaBpf.FLAGS, U32.pack(self.flags))
        return data + nla(TcaBpf.FLAGS_GEN, U32.pack(self.gen_flags | _NOT_IN_HW))

    def take(self) -> None:
        if self.prog:
            self.prog.hold()

    def release(self) -> None:
        """__cls_bpf_delete_prog()."""
        if self.prog:
            self.prog.drop()


class MatchAll(Classifier):
    """Every packet, with actions (struct cls_mall_head)."""

    __slots__ = ("actions",)

    name = b"matchall"

    def __init__(self, task: Task, options: bytes) -> None:
        """mall_set_parms()."""
        super().__init__(task, options)
        table = nested(options).get(FILTER_ACTIONS["matchall"], b"")
        self.actions = actions.parse_table(task, table)

    def message(self) -> bytes:
        """mall_dump()."""
        table = actions.table(self.actions, first=1)
        return nla(_MALL_FLAGS, U32.pack(_NOT_IN_HW)) + nla(FILTER_ACTIONS["matchall"], table)

    def take(self) -> None:
        for action in self.actions:
            action.bind()

    def release(self) -> None:
        for action in self.actions:
            action.unbind()


CLASSIFIERS: dict[bytes, type[Classifier]] = {one.name: one for one in (Filter, MatchAll)}


class Proto:
    """The filters of one priority (struct tcf_proto), the newest first."""

    __slots__ = ("filters", "kind", "prio", "protocol")

    def __init__(self, kind: type[Classifier], prio: int, protocol: int) -> None:
        self.kind = kind
        self.prio = prio
        self.protocol = protocol
        self.filters: list[Classifier] = []

    def find(self, handle: int) -> Classifier | None:
        """cls_bpf_get()."""
        return next((one for one in self.filters if one.handle == handle), None)

    def put(self, new: Classifier, old: Classifier | None, handle: int) -> None:
        """cls_bpf_change(), its second half; mall_change()."""
        if self.kind is MatchAll and self.filters:
            raise err(errno.EEXIST)
        if old and old.gen_flags != new.gen_flags:
            raise err(errno.EINVAL)
        if new.gen_flags & _SKIP_SW:
            raise err(errno.EOPNOTSUPP)  # cls_bpf_offload(): there is no such hardware
        used = {one.handle for one in self.filters}
        new.handle = handle or next(n for n in range(1, len(used) + 2) if n not in used)
        new.take()
        if old:
            self.filters[self.filters.index(old)] = new
            old.release()
        else:
            self.filters.insert(0, new)

    def clear(self) -> None:
        """cls_bpf_destroy()."""
        while self.filters:
            self.filters.pop().release()


def _number(told: dict[int, bytes], kind: int) -> int:
    """A u32; validate_nla() of one that is cut is ERANGE."""
    data = told.get(kind)
    if data is None:
        return 0
    if len(data) < 4:
        raise err(errno.ERANGE)
    return int(U32.unpack_from(data)[0])


def _classic(told: dict[int, bytes]) -> bytes:
    """cls_bpf_prog_from_ops()."""
    data, count = told[TcaBpf.OPS], int.from_bytes(told[TcaBpf.OPS_LEN][:2], "little")
    if not 0 < count <= MOST or count * SIZE != len(data):
        raise err(errno.EINVAL)
    check_classic(data)
    return data


def _name(told: dict[int, bytes]) -> bytes | None:
    """A string with its NUL (NLA_NUL_STRING)."""
    data = told.get(TcaBpf.NAME)
    if data is None:
        return None
    if b"\0" not in data[: _NAME_LEN + 1]:
        raise err(errno.EINVAL)
    return data.partition(b"\0")[0]
