"""Programs at tracepoints, perf events and iterators; TASK_FD_QUERY."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bpflens.abi.attrs import (
    LinkCreatePerfEvent,
    LinkCreateTracing,
    RawTracepointOpen,
    TaskFdQuery,
)
from bpflens.abi.enums import (
    AttachType,
    Cmd,
    LinkType,
    PerfEventType,
    ProgType,
    TaskFdType,
)
from bpflens.engine.bpffs import read_string
from bpflens.engine.call import U32, U64, Call, command, err
from bpflens.engine.links import cgroup
from bpflens.engine.links.base import Link, finish, give_name, maker
from bpflens.engine.links.iter import iterator
from bpflens.engine.links.multi import KPROBE_TYPES, UPROBE_TYPES, kprobe_multi, uprobe_multi
from bpflens.engine.links.trampoline import at_function
from bpflens.engine.perf import PerfEvent
from bpflens.engine.progs.prog import Prog
from bpflens.errors import ENOTSUPP

if TYPE_CHECKING:
    from bpflens.abi.attrs import LinkCreate
    from bpflens.engine.creds import Owned


class RawTracepointLink(Link):
    """A program at a raw tracepoint, by name or by BTF (tp_btf)."""

    __slots__ = ("cookie", "name")

    type = LinkType.RAW_TRACEPOINT
    name: bytes
    cookie: int

    def fields(self, call: Call, data: bytearray) -> None:
        if call.engine.release.raw_tracepoint_cookie:
            U64.pack_into(data, 32, self.cookie)
        give_name(call, data, 16, self.name)

    def lines(self) -> str:
        return f"tp_name:\t{self.name.decode()}\ncookie:\t{self.cookie}\n"


def _raw_tracepoint(call: Call, prog: Prog, name: bytes, cookie: int) -> int:
    """bpf_raw_tp_link_attach()."""
    if not call.engine.has_tracepoint(name.decode(errors="replace")):
        raise err(errno.ENOENT)
    if not call.engine.release.tracepoint_shared:
        for other in call.engine.ids["link"].objects.values():
            if isinstance(other, RawTracepointLink) and (other.prog, other.name) == (prog, name):
                raise err(errno.EEXIST)
    made = RawTracepointLink(call.engine, call.task.creds, prog, AttachType.TRACE_RAW_TP)
    made.name, made.cookie = name, cookie
    return finish(call, made, lambda: None)


@command(Cmd.RAW_TRACEPOINT_OPEN, RawTracepointOpen)
def raw_tracepoint_open(call: Call, attr: RawTracepointOpen) -> int:
    """bpf_raw_tracepoint_open()."""
    prog = call.task.files.get(attr.prog_fd, Prog)
    if prog.type in (ProgType.TRACING, ProgType.LSM, ProgType.EXT):
        if attr.name:
            raise err(errno.EINVAL)
        return _tracing(call, prog, attr.cookie)
    if prog.type not in (ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE):
        raise err(errno.EINVAL)
    return _raw_tracepoint(call, prog, read_string(call.mem, attr.name, 127), attr.cookie)


def _tracing(call: Call, prog: Prog, cookie: int) -> int:
    """A program that named what it attaches to when it was loaded."""
    if prog.type == ProgType.TRACING and prog.attach_type == AttachType.TRACE_RAW_TP:
        assert prog.attach_btf
        name = prog.attach_btf.types.type_name(prog.attach_btf_id)
        return _raw_tracepoint(call, prog, name.removeprefix("btf_trace_").encode(), cookie)
    if prog.type == ProgType.TRACING and prog.attach_type == AttachType.TRACE_ITER:
        raise err(errno.EINVAL)
    return at_function(call, prog, 0, 0, cookie)


@maker(ProgType.TRACING, ProgType.LSM)
def tracing(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """The part of link_create() for programs that name their target by BTF."""
    if attr.attach_type != prog.attach_type:
        raise err(errno.EINVAL)
    if prog.type == ProgType.TRACING and prog.attach_type == AttachType.TRACE_ITER:
        return iterator(call, attr, prog)
    if prog.attach_type == AttachType.LSM_CGROUP:
        return cgroup.link(call, attr, prog)
    more = LinkCreateTracing.decode(call.raw)
    if prog.attach_type == AttachType.TRACE_RAW_TP:
        return _tracing(call, prog, more.cookie)
    return at_function(call, prog, attr.target_fd, more.target_btf_id, more.cookie)


@maker(ProgType.EXT)
def extension(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """The same for a program that takes the place of a function of another."""
    more = LinkCreateTracing.decode(call.raw)
    return at_function(call, prog, attr.target_fd, more.target_btf_id, more.cookie)


_PROBE = {
    ("kprobe", False): (PerfEventType.KPROBE, TaskFdType.KPROBE),
    ("kprobe", True): (PerfEventType.KRETPROBE, TaskFdType.KRETPROBE),
    ("uprobe", False): (PerfEventType.UPROBE, TaskFdType.UPROBE),
    ("uprobe", True): (PerfEventType.URETPROBE, TaskFdType.URETPROBE),
}
_UPROBE = struct.Struct("=IQ")
_KPROBE = struct.Struct("=IQQQ")
_EVENT = struct.Struct("=QI4xQ")


class PerfLink(Link):
    """A program at a perf event."""

    __slots__ = ("event",)

    type = LinkType.PERF_EVENT
    event: PerfEvent

    def word(self) -> str:
        return "perf"

    def release(self) -> None:
        self.event.clear()
        self.event.drop()

    def fields(self, call: Call, data: bytearray) -> None:
        """bpf_perf_link_fill_link_info()."""
        event = self.event
        if not call.engine.release.perf_link_info:
            return
        if event.kind == "event":
            U32.pack_into(data, 16, PerfEventType.EVENT)
            _EVENT.pack_into(data, 24, event.config, event.type, event.cookie)
            return
        if event.kind == "tracepoint":
            U32.pack_into(data, 16, PerfEventType.TRACEPOINT)
            U64.pack_into(data, 40, event.cookie)
        else:
            U32.pack_into(data, 16, _PROBE[event.kind, event.return_probe][0])
            if event.kind == "uprobe":
                _UPROBE.pack_into(data, 36, event.offset, event.cookie)
                if call.engine.release.uprobe_counter:
                    U64.pack_into(data, 48, event.counter)
            else:
                address = _address(call, event, self)
                _KPROBE.pack_into(data, 36, event.offset, address, 0, event.cookie)
        give_name(call, data, 24, event.name.encode(errors="surrogateescape"))

    def lines(self) -> str:
        """bpf_perf_link_show_fdinfo()."""
        event = self.event
        if not self.engine.release.probe_lines:
            return ""
        if event.kind == "event":
            return (
                f"type:\t{event.type}\nconfig:\t{event.config}\nevent_type:\tevent\n"
                f"cookie:\t{event.cookie}\n"
            )
        if event.kind == "tracepoint":
            return f"tp_name:\t{event.name}\nevent_type:\ttracepoint\ncookie:\t{event.cookie}\n"
        word = _PROBE[event.kind, event.return_probe][0].label
        if event.kind == "uprobe":
            middle = f"ref_ctr_offset:\t{event.counter:#x}\n"
        else:
            address = self.engine.symbols.find(event.name) + event.offset
            middle = f"missed:\t0\naddr:\t{address:#x}\n"
        return (
            f"name:\t{event.name}\noffset:\t{event.offset:#x}\n{middle}event_type:\t{word}\n"
            f"cookie:\t{event.cookie}\n"
        )


def _address(call: Call, event: PerfEvent, seen: Owned) -> int:
    """Where a kprobe is; 0 for one who may not see it. kallsyms_show_value()."""
    if not call.engine.policy.sees_raw(call.task.creds, seen):
        return 0
    return call.engine.symbols.find(event.name) + event.offset


@maker(ProgType.PERF_EVENT, ProgType.TRACEPOINT, ProgType.KPROBE)
def perf(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """bpf_perf_link_attach()."""
    if attr.attach_type in KPROBE_TYPES:
        return kprobe_multi(call, attr, prog)
    if attr.attach_type in UPROBE_TYPES:
        return uprobe_multi(call, attr, prog)
    if attr.flags:
        raise err(errno.EINVAL)
    event = call.task.files.get(attr.target_fd, PerfEvent, errno.EBADF)
    cookie = LinkCreatePerfEvent.decode(call.raw).bpf_cookie
    made = PerfLink(call.engine, call.task.creds, prog, attr.attach_type)
    made.event = event

    def attach() -> None:
        event.set(prog, cookie)
        event.hold()

    return finish(call, made, attach)


@command(Cmd.TASK_FD_QUERY, TaskFdQuery)
def task_fd_query(call: Call, attr: TaskFdQuery) -> int:
    """bpf_task_fd_query()."""
    engine = call.engine
    target = engine.tasks.get(attr.pid)
    if not engine.policy.may_look(call.task.creds, target.creds.uid if target else 0):
        raise err(errno.EPERM)
    if attr.flags:
        raise err(errno.EINVAL)
    if target is None:
        raise err(errno.ENOENT)
    node = target.files.file(attr.fd).node
    offset = address = 0
    if isinstance(node, RawTracepointLink):
        kind, name, prog = TaskFdType.RAW_TRACEPOINT, node.name, node.prog
    elif isinstance(node, PerfEvent):
        prog = node.prog
        if prog is None:
            raise err(errno.ENOENT)
        if prog.type == ProgType.PERF_EVENT:
            raise err(errno.EOPNOTSUPP)
        name, offset = node.name.encode(errors="surrogateescape"), node.offset
        kind = TaskFdType.TRACEPOINT
        if node.kind != "tracepoint":
            kind = _PROBE[node.kind, node.return_probe][1]
            if node.kind == "kprobe":
                address = _address(call, node, prog)
            elif engine.release.uprobe_counter:
                address = node.counter
    else:
        raise err(ENOTSUPP)
    return _fd_answer(call, attr, prog.id if prog else 0, kind, name, offset, address)


def _fd_answer(
    call: Call, attr: TaskFdQuery, prog_id: int, kind: int, name: bytes, offset: int,
    address: int,
) -> int:  # fmt: skip
    """bpf_task_fd_query_copy(): all is written, also where the name does not fit."""
    failed = 0
    call.put_u32(12, len(name))
    if attr.buf and attr.buf_len:
        if attr.buf_len >= len(name) + 1:
            call.mem.write(attr.buf, name + b"\0")
        else:
            call.mem.write(attr.buf, name[: attr.buf_len - 1] + b"\0")
            failed = errno.ENOSPC
    call.put_u32(24, prog_id)
    call.put_u32(28, kind)
    call.put_u64(32, offset)
    call.put_u64(40, address)
    if failed:
        raise err(failed)
    return 0
