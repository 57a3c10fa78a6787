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
    for why in (*places.files.hidden.values(), places.files.elsewhere):
        if why:
            yield Failure("perf_event", "perf events of other processes", str(why))
            break
    targets = places.targets
    held: dict[int | None, dict[Event, list[OpenFile]]] = {}
    for file in places.files.rows:
        if file.kind != FileKind.PERF_EVENT:
            continue
        try:
            found = _event(targets, file)
        except CallDenied as error:
            yield Failure("perf_event", "perf events", f"{error} (needs CAP_SYS_ADMIN)")
            break
        if found:
            held.setdefault(found.prog_id, {}).setdefault(found, []).append(file)
    for prog_id, events in held.items():
        links = [link for link in places.links if _may_be_of(link, prog_id)]
        look = _beside_silent if any(map(_is_silent, links)) else _beside
        yield from look(places, events, links)


def _may_be_of(link: LinkFacts, prog_id: int | None) -> bool:
    return link.type is LinkType.PERF_EVENT and prog_id in (None, link.prog_id)


def _is_silent(link: LinkFacts) -> bool:
    """Whether a link does not tell where it is. Before: 6.6."""
    return link.perf_event_type is None


def _beside(
    places: Places, events: dict[Event, list[OpenFile]], links: list[LinkFacts]
) -> Iterator[Attachment]:
    """The events that no link of the program tells of: at the same place there are more events than
    links."""
    for event, files in events.items():
        # Only a link can give a program a cookie.
        free = [file for file in files if not file.cookie]
        there = sum(_is_at(link, event) for link in links)
        if free and _distinct(free) > there - _distinct([file for file in files if file.cookie]):
            yield _attachment(places, event, free, None)


def _beside_silent(
    places: Places, events: dict[Event, list[OpenFile]], links: list[LinkFacts]
) -> Iterator[Attachment]:
    """Every event: the links do not tell where they are."""
    all = [file for files in events.values() for file in files]
    by_link = _distinct([file for file in all if file.cookie])
    ids = ", ".join(str(link.id) for link in links)
    why = {"link_id": str(Missing(Reason.UNSUPPORTED, f"links {ids} do not tell where they are"))}
    for event, files in events.items():
        for linked in (True, False):
            some = [file for file in files if bool(file.cookie) is linked]
            if not some:
                continue
            found = _attachment(places, event, some, None)
            if not linked and by_link == len(links):
                yield found
            elif len(links) == 1 and (linked or _distinct(all) == 1):
                yield found._replace(link_id=links[0].id)
            else:
                yield found._replace(missing=found.missing | why)
    if len(links) > 1:  # so many of them are told of
        places.told.update(link.id for link in links[: _distinct(all)])


def _attachment(
    places: Places, event: Event, files: list[OpenFile], link_id: int | None
) -> Attachment:
    holder = ", ".join(places.file_words(file.pid, file.fd) for file in files)
    return Attachment(
        event.prog_id, event.kind, event.target, None, [], "perf_fd", link_id,
        event.attach_type, None, holder, dict(event.missing),
        files=tuple((file.pid, file.fd) for file in files),
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


def _is_at(link: LinkFacts, event: Event) -> bool:
    """Whether a link that tells its place is at this one."""
    if event.kind == "perf_event":
        there = event_words(link.event_type or 0, link.config or 0)
        is_event = link.perf_event_type is PerfEventType.EVENT
        return is_event and (event.prog_id is None or event.target == there)
    if event.kind == "tracepoint":
        return link.tp_name == event.target
    name = link.func_name or link.file_name or ""
    same = link.perf_event_type is not None and link.perf_event_type.label == event.attach_type
    return same and (not name or event.target.partition("+")[0] == name)
