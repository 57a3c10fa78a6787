"""Programs at perf events of kprobes, uprobes and software."""

from __future__ import annotations

import errno
from typing import TypeVar

from bpflens.abi.attrs import LinkCreatePerfEvent
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import LinkType, TaskFdType
from bpflens.abi.enums import PerfEventType as E
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import (
    PerfEventLinkInfo,
    PerfKprobeLinkInfo,
    PerfUprobeLinkInfo,
)
from bpflens.abi.record import Record
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import Bench, Cap
from bpflens.testing.builders import program
from bpflens.testing.conformance.links import task_fd
from bpflens.testing.conformance.suite import BAD, cases, fails, same
from bpflens.testing.hooks import detach_link

FUNCTION = "vfs_unlink"
"""A function of the kernel that can be probed."""
R = TypeVar("R", bound=Record)


# --- perf events


def at_event(bench: Bench, event: int, cookie: int = 0, type: P = P.KPROBE, prog: int = 0) -> int:
    """A link of a program to a perf event."""
    attr = LinkCreatePerfEvent(
        prog_fd=prog or program(bench.calls, type=type),
        target_fd=event,
        attach_type=A.PERF_EVENT,
        bpf_cookie=cookie,
    )
    return bench.calls.link_create(attr)


def named(calls: Calls, link: int, record: type[R], pointer: str) -> tuple[R, bytes]:
    """What a link tells with the name that `pointer` asks for."""
    mem = Memory()
    name = bytearray(256)
    asked = record(**{pointer: mem.pin(name), "name_len": len(name)})
    return calls.fill_info(link, asked, mem), bytes(name).partition(b"\0")[0]


@cases(kprobe=(False, E.KPROBE), kretprobe=(True, E.KRETPROBE))
def check_kprobe(bench: Bench, back: bool, kind: E) -> None:
    """A link to a kprobe's perf event tells function, offset, address and cookie."""
    event = bench.probe("kprobe", FUNCTION, back=back)
    link = at_event(bench, event, 5)
    told, name = named(bench.calls, link, PerfKprobeLinkInfo, "func_name")
    same((told.type, told.perf_event_type, name), (LinkType.PERF_EVENT, kind, FUNCTION.encode()))
    same((told.name_len, told.offset, told.missed), (len(FUNCTION) + 1, 0, 0))
    same((told.addr != 0, told.cookie), (True, 5))
    hidden = bench.caller(0, [Cap.BPF]).info(link, PerfKprobeLinkInfo)
    same((hidden.perf_event_type, hidden.addr), (kind, 0))
    seen = task_fd(bench, event)
    same((seen.fd_type, seen.probe_offset), (TaskFdType[kind.name], 0))
    same(seen.probe_addr, told.addr)
    same(seen.prog_id, told.prog_id)


@cases(uprobe=(False, E.UPROBE), uretprobe=(True, E.URETPROBE))
def check_uprobe(bench: Bench, back: bool, kind: E) -> None:
    """A link to a uprobe's perf event tells file, offset and cookie."""
    path = bench.executable()
    event = bench.probe("uprobe", path, 64, back=back)
    link = at_event(bench, event, 6)
    told, name = named(bench.calls, link, PerfUprobeLinkInfo, "file_name")
    same((told.type, told.perf_event_type, name), (LinkType.PERF_EVENT, kind, path.encode()))
    same((told.name_len, told.offset, told.cookie), (len(path) + 1, 64, 6))
    seen = task_fd(bench, event)
    same((seen.fd_type, seen.probe_offset, seen.buf_len), (TaskFdType[kind.name], 64, len(path)))


def check_uprobe_with_a_counter(bench: Bench) -> None:
    """It tells the offset of its semaphore as well, here and to TASK_FD_QUERY."""
    event = bench.probe("uprobe", bench.executable(), 512, counter=4096)
    link = at_event(bench, event)
    same(bench.calls.info(link, PerfUprobeLinkInfo).ref_ctr_offset, 4096)
    same(task_fd(bench, event).probe_addr, 4096)


def check_uprobe_in_fdinfo(bench: Bench) -> None:
    """fdinfo tells the same words."""
    path = bench.executable()
    link = at_event(bench, bench.probe("uprobe", path, 64))
    lines = bench.fdinfo(link)
    same((lines["link_type"], lines["prog_id"]), ("perf", str(_prog_of(bench.calls, link))))


def check_uprobe_in_fdinfo_with_its_place(bench: Bench) -> None:
    """fdinfo tells where the probe is."""
    path = bench.executable()
    lines = bench.fdinfo(at_event(bench, bench.probe("uprobe", path, 64, back=True), 3))
    words = [lines.get(key) for key in ("name", "offset", "ref_ctr_offset", "event_type", "cookie")]
    same(words, [path, "0x40", "0x0", "uretprobe", "3"])


def _prog_of(calls: Calls, link: int) -> int:
    return calls.info(link, PerfEventLinkInfo).prog_id


def check_name_cut(bench: Bench) -> None:
    """A name that does not fit is cut and ENOSPC; one half of pointer and length is EINVAL."""
    link = at_event(bench, bench.probe("uprobe", bench.executable(), 64))
    mem = Memory()
    name = bytearray(b"\xee" * 8)
    asked = PerfUprobeLinkInfo(file_name=mem.pin(name), name_len=4)
    fails(errno.ENOSPC, bench.calls.fill_info, link, asked, mem)
    same((name[0], bytes(name[3:])), (0x2F, b"\0\xee\xee\xee\xee"))
    for half in (PerfUprobeLinkInfo(file_name=BAD), PerfUprobeLinkInfo(name_len=9)):
        fails(errno.EINVAL, bench.calls.fill_info, link, half, Memory())


def check_software_event(bench: Bench) -> None:
    """A link to another perf event tells its type and number."""
    link = at_event(bench, bench.ticks(), 9, P.PERF_EVENT)
    told = bench.calls.info(link, PerfEventLinkInfo)
    same((told.perf_event_type, told.event_type, told.config), (E.EVENT, 1, 9))
    same(told.cookie, 9)
    fails(errno.EOPNOTSUPP, detach_link, bench.calls, link)


def check_event_that_does_not_fit(bench: Bench) -> None:
    """Probes take programs for kprobes, other events those for perf events (EINVAL)."""
    probe = bench.probe("uprobe", bench.executable(), 64)
    for type in (P.TRACEPOINT, P.PERF_EVENT):
        fails(errno.EINVAL, at_event, bench, probe, 0, type)
    for type in (P.TRACEPOINT, P.KPROBE):
        fails(errno.EINVAL, at_event, bench, bench.ticks(), 0, type)


def check_task_fd_of_a_software_event(bench: Bench) -> None:
    """TASK_FD_QUERY knows no events but tracepoints and probes (EOPNOTSUPP)."""
    event = bench.ticks()
    at_event(bench, event, 0, P.PERF_EVENT)
    fails(errno.EOPNOTSUPP, task_fd, bench, event)
