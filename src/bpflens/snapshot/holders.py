"""Who keeps each object alive: fds, pins, links, slots of maps, programs, maps, attachments.

Whatever could not be looked at is told beside what was found: then "nothing holds it" is no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

from bpflens.abi.enums import ProgType
from bpflens.abi.rows import FileKind
from bpflens.attach import sockets
from bpflens.attach.everything import find
from bpflens.attach.files import OpenFile
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.model.parts import Missing, Reason
from bpflens.snapshot.records import ErrorRecord, MapRecord, ProgramRecord

HOWS = ("fd", "pin", "link", "attachment", "slot", "program", "map", "kernel")
"""The ways to keep an object alive, those of user space first."""

Facts = tuple[
    str, str | None, int | None, str | None, str | None, str | None, str | None, dict[str, str]
]
"""A process in words; command, user, cgroup, unit, container; what is missing and why."""

SOURCES = ("files", "pins", "links", "attachments", "contents")
"""Where holders are looked for, in this order."""

Key = tuple[str, int]
"""An object: `program`, `map`, `link` or `btf`, and its ID (as `port.fdinfo.identify` has it)."""


class Holder(NamedTuple):
    """One thing that keeps an object alive. The fields' names are the JSON keys.

    None: it does not apply; or it is not known, with the reason in `missing`.
    """

    how: str
    """One of `HOWS`."""
    words: str
    """One line: `pid 812 (nginx) fd 5`, `link 7`, `map 12 [3]`, `/sys/fs/bpf/x`, `xdp eth0`."""
    pid: int | None = None
    """`fd`, and an attachment that a file keeps (socket, perf event): the process."""
    fd: int | None = None
    comm: str | None = None
    uid: int | None = None
    user: str | None = None
    cgroup: str | None = None
    """Path of the process's cgroup, from the root."""
    unit: str | None = None
    """The systemd unit that the cgroup's path tells."""
    container: str | None = None
    """The ID of the container, where the cgroup's path tells one."""
    path: str | None = None
    """`pin`: the path in its mount namespace."""
    mntns: int | None = None
    """`pin`: the mount namespace, by inode number."""
    link_id: int | None = None
    """`link`: it runs the program, or is attached to it (freplace, fentry), or to the map."""
    map_id: int | None = None
    """`slot`, `map`: the map (of BTF: whose types it has; of a program: its struct_ops); of an
    attachment at a map: that."""
    slot: str | None = None
    """`slot`: the key, as a number where it is one, else in hex."""
    prog_id: int | None = None
    """`program`: it uses the map, or has the BTF."""
    kind: str | None = None
    """`attachment`: one of `attach.kinds`."""
    target: str | None = None
    """`attachment`: where, as the list of attachments has it."""
    missing: dict[str, str] = {}


class Unseen(NamedTuple):
    """What could not be looked at, and may hold an object of the kind that was asked for."""

    what: str
    """`fds of 12 processes`, `pins in mount namespace 4026532199`, `slots of map 12`."""
    reason: str
    """`reason: detail`, as everywhere."""


class Held(NamedTuple):
    """Who keeps one object alive."""

    holders: list[Holder]
    """Everybody who was found, user space first."""
    unseen: list[Unseen]
    """Not empty: there may be more, and "nothing" is no answer."""


UNTOLD = {
    "program": "an fd on its way through a unix socket, a socket that no process has open, a pin "
    "in a file system that no process sees, a place in a network namespace that only a socket "
    "keeps, a perf event or an armed timer in a map",
    "map": "an fd on its way through a unix socket, a pin in a file system that no process sees, "
    "memory that a process has mapped",
    "link": "an fd on its way through a unix socket, a pin in a file system that no process sees",
    "btf": "an fd on its way through a unix socket, a map of maps that was made with a map of "
    "that BTF",
}
"""What may keep an object of each kind alive and is told nowhere."""

_OBJECTS: dict[int, str] = {
    FileKind.PROGRAM: "program",
    FileKind.MAP: "map",
    FileKind.LINK: "link",
    FileKind.BTF: "btf",
}
_FOUND = (*sockets.KINDS, "struct_ops")
"""Kinds of attachments whose holders are found by themselves: files, and maps."""


class Holders:
    """Who keeps the objects of a host alive; the host is looked at when that is first asked.

    `attachments` is what `attach.everything.find` gave, `programs` and `maps` are the records of
    all that there are, with the maps of the programs: for those who have them already.
    """

    def __init__(
        self,
        places: Places,
        attachments: Iterable[Attachment | Failure] | None = None,
        programs: Iterable[ProgramRecord] | None = None,
        maps: Iterable[MapRecord] | None = None,
    ) -> None:
        self.places = places
        self.system = places.system
        self._attachments = attachments
        self._programs = programs
        self._maps = maps
        self._processes: dict[int, Facts] = {}
        self._unseen: dict[str, list[Unseen]] = {kind: [] for kind in UNTOLD}
        self._by_source: dict[str, list[Unseen]] = {source: [] for source in SOURCES}
        self._source = ""
        self._perhaps: dict[Key, list[Unseen]] = {}
        """Attachments that tell no program, for each program that it may be."""

    def of(self, kind: str, id: int) -> Held:
        """Who keeps this object alive. Whether there is such an object is not checked."""
        held = [self._told(found) for found in self._index.get((kind, id), ())]
        unseen = [*self.unseen(kind), *self._perhaps.get((kind, id), ())]
        if not held:
            unseen = [*unseen, Unseen(UNTOLD[kind], "unsupported: Linux tells it nowhere")]
        return Held(held, unseen)

    @cached_property
    def all(self) -> dict[Key, list[Holder]]:
        """The holders of every object that has any."""
        return {key: [self._told(found) for found in held] for key, held in self._index.items()}

    def unseen(self, kind: str) -> list[Unseen]:
        """What could not be looked at that may hold objects of this kind.

        What nobody can look at is not among it (`UNTOLD`).
        """
        _ = self._index  # a look, by the way of which it is known
        return self._unseen[kind]

    @property
    def errors(self) -> list[ErrorRecord]:
        """What could not be looked at, beside attachments, of which `Attachments` has the errors,
        and what this kernel has no way to tell at all."""
        return [
            ErrorRecord(source, None, each.what.removeprefix(f"{source} "), each.reason)
            for source, unseen in self.by_source.items()
            if source != "attachments"
            for each in unseen
            if not each.reason.startswith(Reason.UNSUPPORTED)
        ]

    @property
    def by_source(self) -> dict[str, list[Unseen]]:
        """What could not be looked at, of objects of any kind, by where it was looked for."""
        _ = self._index
        return self._by_source

    @cached_property
    def _index(self) -> dict[Key, list[Holder | OpenFile]]:
        """A file stands for its holder until that is asked for: there are many, of few processes.

        Files come first: what a process opens or attaches while we look is seen twice rather than
        never.
        """
        from bpflens.snapshot.contents import Contents

        found: dict[Key, list[Holder | OpenFile]] = {}
        contents = Contents(self.places, self._programs, self._maps, self._hidden)
        sources: tuple[Iterator[tuple[Key, Holder | OpenFile]], ...] = (
            self._files(), self._pins(), self._links(), self._attached(), contents.find(),
        )  # fmt: skip
        for self._source, source in zip(SOURCES, sources, strict=True):
            for key, holder in source:
                found.setdefault(key, []).append(holder)
        return found

    def _hidden(self, kinds: Iterable[str], what: str, reason: object) -> None:
        unseen = Unseen(what, str(reason))
        for kind in kinds:
            self._unseen[kind].append(unseen)
        self._by_source[self._source].append(unseen)

    # --- files

    def _files(self) -> Iterator[tuple[Key, OpenFile]]:
        files = self.places.files
        for file in files.rows:
            kind = _OBJECTS.get(file.kind)
            if kind is not None:
                yield (kind, file.id), file
            elif file.kind == FileKind.ITERATOR and file.prog_id:
                yield ("program", file.prog_id), file
                if file.id:
                    yield ("map", file.id), file
        if files.hidden:
            pids = ", ".join(map(str, list(files.hidden)[:3])) + ", …" * (len(files.hidden) > 3)
            reason = next(iter(files.hidden.values()))
            self._hidden(UNTOLD, f"open files of processes {pids}", reason)
        if files.bulk is not None:
            self._hidden(UNTOLD, "open files that a thread does not share", files.bulk)
            self._hidden(["program"], "programs of open sockets and iterators", files.bulk)
        if files.elsewhere is not None:
            self._hidden(UNTOLD, "open files of other processes", files.elsewhere)

    def _told(self, found: Holder | OpenFile) -> Holder:
        if isinstance(found, Holder):
            return found
        facts = self._facts(found.pid)
        what = " (iterator)" if found.kind == FileKind.ITERATOR else ""
        words = f"{facts[0]} fd {found.fd}{what}"
        return Holder("fd", words, found.pid, found.fd, *facts[1:-1], missing=facts[-1])

    def _keeping(self, file: OpenFile, kind: str, target: str) -> Holder:
        """The holder that keeps an attachment by a file."""
        facts = self._facts(file.pid)
        words = f"{kind} {target}, {facts[0]} fd {file.fd}"
        who = Holder("attachment", words, file.pid, file.fd, *facts[1:-1], missing=facts[-1])
        return who._replace(kind=kind, target=target)

    def _facts(self, pid: int) -> Facts:
        """The fields of every holder that is a file of this process."""
        if pid not in self._processes:
            self._processes[pid] = self._read_facts(pid)
        return self._processes[pid]

    def _read_facts(self, pid: int) -> Facts:
        told = self.places.process(pid, self.places.files.at)
        if isinstance(told, Missing):
            fields = ("comm", "uid", "user", "cgroup", "unit", "container")
            none = (None, None, None, None, None, None)
            return (f"pid {pid}", *none, dict.fromkeys(fields, str(told)))
        user = self.places.users.get(told.uid)
        place = (told.cgroup, told.unit, told.container)
        return (told.words, told.comm, told.uid, user, *place, told.missing)

    # --- pins, links and attachments

    def _pins(self) -> Iterator[tuple[Key, Holder]]:
        pins = self.places.pins
        for pin in pins.found:
            yield (pin.kind, pin.id), Holder("pin", pin.words, path=pin.path, mntns=pin.mntns)
        for what, reason in pins.unseen:
            self._hidden(("program", "map", "link"), what, reason)

    def _links(self) -> Iterator[tuple[Key, Holder]]:
        for link in self.places.links:
            holder = Holder("link", f"link {link.id}", link_id=link.id)
            if link.prog_id:
                yield ("program", link.prog_id), holder
            if link.map_id:
                yield ("map", link.map_id), holder
        for what, why in self.places.link_failures:
            self._hidden(("program", "map"), what, f"failed: {why}")

    def _attached(self) -> Iterator[tuple[Key, Holder]]:
        """What the kernel runs without a link, and what a link of another program leads to."""
        yield from self._of_sockets()
        events = [file for file in self.places.files.rows if file.kind == FileKind.PERF_EVENT]
        for found in find(self.places) if self._attachments is None else self._attachments:
            if isinstance(found, Failure):
                what = f"{found.kind} {found.target}".strip()
                known = found.error.partition(":")[0] in set(Reason)
                words = found.error if known else f"failed: {found.error}"
                self._hidden(["program"], what, words)
            elif found.link_id is not None:
                if found.on_prog_id is not None:
                    holder = Holder("link", f"link {found.link_id}", link_id=found.link_id)
                    yield ("program", found.on_prog_id), holder
            elif found.prog_id and found.kind not in _FOUND:
                for holder in self._at(found, events):
                    yield ("program", found.prog_id), holder
            elif found.prog_id is None and found.kind == "lwt":
                place = Unseen(f"lwt {found.target}", found.missing.get("prog_id", ""))
                for id, told in (self.places.programs or {}).items():
                    if ProgType(told.type).label == found.attach_type:
                        self._perhaps.setdefault(("program", id), []).append(place)

    def _of_sockets(self) -> Iterator[tuple[Key, Holder]]:
        for use in sockets.uses(self.places.files.rows):
            target = sockets.target(self.places, use.socket)
            for file in use.files:
                yield ("program", use.prog_id), self._keeping(file, use.kind, target)

    def _at(self, found: Attachment, events: list[OpenFile]) -> Iterator[Holder]:
        """What holds a program by an attachment without a link: its place, or the files there."""
        if found.slot is not None:
            yield Holder("slot", found.target, map_id=found.map_id, slot=found.slot)
            return
        words = f"{found.kind} {found.target}"
        for file in events if found.files else ():
            if (file.pid, file.fd) in found.files:
                yield self._keeping(file, found.kind, found.target)
        if not found.files:
            yield Holder(
                "attachment", words, map_id=found.map_id, kind=found.kind, target=found.target
            )
