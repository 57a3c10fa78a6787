"""Programs at perf events: set by ioctl(2), and so held by nothing but the fds of the events."""

from __future__ import annotations

from bpflens.abi.attrs import LinkCreatePerfEvent
from bpflens.abi.enums import AttachType, ProgType
from bpflens.errors import SyscallError
from bpflens.testing.attachments.suite import Expected, case
from bpflens.testing.bench import TRACEPOINT, Bench, NotOffered
from bpflens.testing.builders import program
from bpflens.testing.hooks import id_of, link_id

FUNCTION = "do_syslog"
"""A function of the kernel that is hardly ever called."""


def _set(bench: Bench, event: int, type: ProgType) -> tuple[int, str]:
    """Attach a program to an event: its ID, and what must stand in the holder."""
    prog = program(bench.calls, type=type)
    bench.set_event(event, prog)
    return id_of(bench.calls, prog), f"pid {bench.pid} "


def _set_on(bench: Bench, event: int, type: ProgType, target: str, word: str) -> Expected:
    id, holder = _set(bench, event, type)
    return Expected(id, target, via="perf_fd", attach_type=word or None, holder=holder)


@case("tracepoint", "a perf event")
def tracepoint(bench: Bench) -> Expected:
    event = bench.tracepoint("sched", TRACEPOINT)
    return _set_on(bench, event, ProgType.TRACEPOINT, TRACEPOINT, "")


@case("kprobe", "a perf event")
def kprobe(bench: Bench) -> Expected:
    event = bench.probe("kprobe", FUNCTION)
    return _set_on(bench, event, ProgType.KPROBE, FUNCTION, "kprobe")


@case("kprobe", "a perf event, at the return")
def kretprobe(bench: Bench) -> Expected:
    event = bench.probe("kprobe", FUNCTION, back=True)
    return _set_on(bench, event, ProgType.KPROBE, FUNCTION, "kretprobe")


@case("uprobe", "a perf event")
def uprobe(bench: Bench) -> Expected:
    path = bench.executable()
    event = bench.probe("uprobe", path, 0x1230)
    return _set_on(bench, event, ProgType.KPROBE, f"{path}+0x1230", "uprobe")


@case("uprobe", "a perf event, at the return")
def uretprobe(bench: Bench) -> Expected:
    path = bench.executable()
    event = bench.probe("uprobe", path, 0x40, back=True)
    return _set_on(bench, event, ProgType.KPROBE, f"{path}+0x40", "uretprobe")


@case("perf_event", "an event of software")
def software(bench: Bench) -> Expected:
    return _set_on(bench, bench.ticks(), ProgType.PERF_EVENT, "dummy", "")


@case("perf_event", "two fds of one event")
def shared(bench: Bench) -> Expected:
    event = bench.ticks()
    copy = bench.dup(event)
    id, _ = _set(bench, event, ProgType.PERF_EVENT)
    return Expected(id, "dummy", holder=f"fd {copy}")


@case("perf_event", "one event by link, one without")
def mixed(bench: Bench) -> list[Expected]:
    prog = program(bench.calls, type=ProgType.PERF_EVENT)
    id = id_of(bench.calls, prog)
    first, second = bench.ticks(), bench.ticks()
    attr = LinkCreatePerfEvent(
        prog_fd=prog, target_fd=first, attach_type=AttachType.PERF_EVENT, bpf_cookie=7
    )
    link = bench.calls.link_create(attr)
    bench.set_event(second, prog)
    return [
        Expected(id, "dummy", link_id=link_id(bench.calls, link)),
        Expected(id, "dummy", via="perf_fd", holder=f"fd {second}"),
    ]


@case("tracepoint", "an event that a link holds")
def linked(bench: Bench) -> Expected:
    prog = program(bench.calls, type=ProgType.TRACEPOINT)
    event = bench.tracepoint("sched", TRACEPOINT)
    attr = LinkCreatePerfEvent(
        prog_fd=prog, target_fd=event, attach_type=AttachType.PERF_EVENT, bpf_cookie=7
    )
    try:
        link = bench.calls.link_create(attr)
    except SyscallError as error:
        raise NotOffered(f"this kernel has no links to perf events: {error}") from error
    return Expected(id_of(bench.calls, prog), TRACEPOINT, link_id=link_id(bench.calls, link))


@case("uprobe", "one program at two places, by links")
def linked_twice(bench: Bench) -> list[Expected]:
    prog = program(bench.calls, type=ProgType.KPROBE)
    path = bench.executable()
    for at in (0x100, 0x200):
        event = bench.probe("uprobe", path, at)
        attr = LinkCreatePerfEvent(prog_fd=prog, target_fd=event, attach_type=AttachType.PERF_EVENT)
        bench.calls.link_create(attr)
    id = id_of(bench.calls, prog)
    return [Expected(id, f"{path}+{at:#x}", attach_type="uprobe") for at in (0x100, 0x200)]
