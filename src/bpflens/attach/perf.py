"""Programs at perf events that no link holds: found by the fds on the events, of all processes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple

from bpflens.abi.attrs import TaskFdQuery
from bpflens.abi.enums import Cmd, LinkType, PerfEventType, ProgType, TaskFdType
from bpflens.abi.rows import FileKind
from bpflens.attach.files import OpenFile
from bpflens.attach.links import event_words
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.attach.targets import Targets
from bpflens.errors import SyscallError
from bpflens.model.link import LinkFacts
from bpflens.model.parts import Missing, Reason
from bpflens.port.calls import CallDenied
from bpflens.port.memory import Memory

_NAME_MAX = 4096
"""PATH_MAX: the longest name is that of a file with a uprobe."""

_KINDS = {
    TaskFdType.TRACEPOINT: "tracepoint",
    TaskFdType.KPROBE: "kprobe",
    TaskFdType.KRETPROBE: "kprobe",
    TaskFdType.UPROBE: "uprobe",
    TaskFdType.URETPROBE: "uprobe",
}


class Event(NamedTuple):
    """Where a program is, as far as that is told of an fd: equal for events of one place."""

    prog_id: int | None
    kind: str
    target: str
    attach_type: str | None
    missing: tuple[tuple[str, str], ...] = ()


def find(places: Places) -> Iterator[Attachment | Failure]:
    """A program at a place once, with all fds that hold it there. Since: 4.18."""
    if not places.loaded(ProgType.KPROBE, ProgType.TRACEPOINT, ProgType.PERF_EVENT):
        return
    targets = Targets(places)
    held: dict[Event, list[OpenFile]] = {}
    for file in places.files.rows:
        if file.kind != FileKind.PERF_EVENT:
            continue
        try:
            found = _event(targets, file)
        except CallDenied as error:
            yield Failure("perf_event", "perf events", f"{error} (needs CAP_SYS_ADMIN)")
            break
        if found:
            held.setdefault(found, []).append(file)
    for event, files in held.items():
        links = [link for link in places.links if _may_hold(link, event)]
        # Only a link can give a program a cookie.
        free = [file for file in files if not file.cookie]
        spare = len(links) - _distinct([file for file in files if file.cookie])
        link_id = None
        if _distinct(free) <= spare:
            if len(links) > 1 or links[0].perf_event_type is not None:
                continue  # the links tell of them, and where they are
            link_id, free = links[0].id, files
        elif not free:
            continue
        holder = ", ".join(places.file_words(file.pid, file.fd) for file in free)
        yield Attachment(
            event.prog_id, event.kind, event.target, None, [], "perf_fd", link_id,
            event.attach_type, None, holder, dict(event.missing),
        )  # fmt: skip


def _event(targets: Targets, file: OpenFile) -> Event | None:
    """What an fd of a perf event tells; None for one without a program. Raises CallDenied."""
    try:
        told, name = _ask(targets.places, file)
    except CallDenied:
        raise
    except SyscallError as error:
        if error.errno == errno.EOPNOTSUPP:  # a program of the event itself, not of a probe
            return _plain(targets.places, file)
        return None  # without a program, or gone
    type = TaskFdType(told.fd_type)
    kind = _KINDS.get(type)
    if kind is None:
        return None
    target = name
    if kind == "uprobe":
        target = f"{name}+{told.probe_offset:#x}"
    elif kind == "kprobe" and name:
        target = name + (f"+{told.probe_offset:#x}" if told.probe_offset else "")
    elif kind == "kprobe":
        target = targets.symbol(told.probe_addr) if told.probe_addr else "an address that is hidden"
    return Event(told.prog_id, kind, target, None if kind == "tracepoint" else type.label)


def _ask(places: Places, file: OpenFile) -> tuple[TaskFdQuery, str]:
    """TASK_FD_QUERY: the attr with the kernel's answers, and the name of the place."""
    mem = Memory()
    name = bytearray(_NAME_MAX)
    attr = TaskFdQuery(pid=file.pid, fd=file.fd, buf=mem.pin(name), buf_len=len(name))
    places.system.calls.call(Cmd.TASK_FD_QUERY, attr, mem)
    return attr, name.partition(b"\0")[0].decode(errors="surrogateescape")


def _plain(places: Places, file: OpenFile) -> Event:
    """An event that counts or samples: only the bulk door tells what it is."""
    if file.event:
        words = event_words(file.event.event_type, file.event.config)
        return Event(file.prog_id, "perf_event", words, None)
    told = places.files.bulk or Missing(Reason.UNSUPPORTED, "the kernel does not tell it of an fd")
    missing = tuple((field, str(told)) for field in ("prog_id", "target"))
    return Event(None, "perf_event", "perf event", None, missing)


def _distinct(files: list[OpenFile]) -> int:
    """How many events they are open on; one, where that is not told: forks share files."""
    return len({file.event.event if file.event else 0 for file in files})


def _may_hold(link: LinkFacts, event: Event) -> bool:
    """Whether a link may be what holds the program there."""
    if link.type is not LinkType.PERF_EVENT or event.prog_id not in (None, link.prog_id):
        return False
    if link.perf_event_type is None:  # before 6.6 it does not tell where it is
        return True
    if event.kind == "perf_event":
        there = event_words(link.event_type or 0, link.config or 0)
        is_event = link.perf_event_type is PerfEventType.EVENT
        return is_event and (event.prog_id is None or event.target == there)
    name = link.tp_name or link.func_name or link.file_name or ""
    if event.kind == "tracepoint":
        return link.perf_event_type is PerfEventType.TRACEPOINT and name == event.target
    same = link.perf_event_type.label == event.attach_type
    return same and (not name or event.target.partition("+")[0] == name)
