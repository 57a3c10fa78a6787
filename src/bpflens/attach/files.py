"""The open files of every process, as far as they have to do with BPF."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from bpflens.abi.rows import EventRow, FileKind, FileRow, SocketRow
from bpflens.errors import BpflensError, Unsupported
from bpflens.model.parts import Missing, Reason, because
from bpflens.port import fdinfo

if TYPE_CHECKING:
    from bpflens.attach.places import Places
    from bpflens.attach.processes import Process
    from bpflens.port.doors import Rows

_SOCKET, _EVENT = int(FileKind.SOCKET), int(FileKind.PERF_EVENT)
_ROWS_OF_SOCKET = SocketRow.__size__ // FileRow.__size__

_KINDS = {
    "program": FileKind.PROGRAM,
    "map": FileKind.MAP,
    "link": FileKind.LINK,
    "btf": FileKind.BTF,
}
Head = tuple[int, int, int, int, int, int, int]
"""The fields of a `FileRow`."""

_NAMES = {
    "anon_inode:bpf-prog": None,
    "anon_inode:bpf-map": None,
    "anon_inode:bpf_link": None,
    "anon_inode:bpf-link": None,
    "anon_inode:btf": None,
    "anon_inode:bpf_iter": FileKind.ITERATOR,
    "anon_inode:[perf_event]": FileKind.PERF_EVENT,
}
"""What readlink of /proc/PID/fd/N says (anon_inode_getfd()); None: fdinfo tells which object."""

_PROCFS = re.compile(rb"^.* - proc .*$", re.MULTILINE)
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO."""


class OpenFile(NamedTuple):
    """One fd of one process: the fields of `abi.rows.FileRow`."""

    pid: int
    fd: int
    kind: int
    id: int
    prog_id: int
    reuseport_id: int
    cookie: int
    socket: SocketRow | None = None
    event: EventRow | None = None


class Files(NamedTuple):
    """The open files, and what could not be looked at."""

    rows: list[OpenFile]
    bulk: Missing | None
    """Why they were not had in bulk: then the programs of sockets, perf events and iterators are
    not known. None: they were."""
    hidden: dict[int, Missing]
    """Processes that did not show their files, with the reason."""
    elsewhere: Missing | None
    """Why there may be processes that we do not see at all."""
    at: int
    """When they had been read, in nanoseconds since boot."""


def read(places: Places) -> Files:
    """The files by the bulk door, else by /proc."""
    system, hidden = places.system, dict[int, Missing]()
    try:
        if system.doors.bulk is None:
            raise Unsupported("this kernel has no door to all files at once")
        rows = _decoded(system.doors.bulk.files(system.doors.bpf, system.index_dir))
        refused = None
    except (BpflensError, OSError) as error:
        refused = because(error)
        rows = list(dict.fromkeys(_listed(places, hidden)))
    at = system.host.clock().boottime
    ours = _ours(places)
    if ours:
        rows = [row for row in rows if (row.pid, row.fd) not in ours]
    return Files(rows, refused, hidden, _elsewhere(places), at)


def _ours(places: Places) -> set[tuple[int, int]]:
    """The fds by which we look, while this is read."""
    fds = places.system.calls.opened
    if not fds:
        return set()
    try:
        pid = int(places.host.readlink("/proc/self"))
    except (OSError, ValueError):
        return set()
    return {(pid, fd) for fd in fds}


def _decoded(rows: Rows) -> list[OpenFile]:
    """Each file once: threads that share theirs may have told of it several times."""
    data, size = rows.data, FileRow.__size__
    objects: list[Head] = []
    more: dict[Head, OpenFile] = {}
    heads = enumerate(FileRow.__struct__.iter_unpack(data), 1)
    for at, head in heads:
        if head[2] == _EVENT:
            event = EventRow.decode(data[at * size : at * size + EventRow.__size__])
            more[head] = OpenFile._make((*head, None, event))
            next(heads, None)
        elif head[2] == _SOCKET:
            socket = SocketRow.decode(data[at * size : at * size + SocketRow.__size__])
            more[head] = OpenFile._make((*head, socket, None))
            for _ in range(_ROWS_OF_SOCKET):
                next(heads, None)
        else:  # nearly all
            objects.append(head)
    return [*(OpenFile(*head) for head in dict.fromkeys(objects)), *more.values()]


def _listed(places: Places, hidden: dict[int, Missing]) -> Iterator[OpenFile]:
    """What /proc tells of each process that lets us look."""
    for process in places.processes:
        try:
            names = places.host.listdir(f"{process.folder}/fd")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended
        except OSError as error:
            hidden[process.pid] = Missing(
                Reason.DENIED, f"{error.strerror}: needs CAP_SYS_PTRACE, or its own user"
            )
            continue
        for name, _ in names:
            try:
                found = _file(places, process, int(name))
            except (OSError, ValueError):
                continue  # closed since
            if found:
                yield found


def _file(places: Places, process: Process, fd: int) -> OpenFile | None:
    pid, folder = process.pid, process.folder
    name = places.host.readlink(f"{folder}/fd/{fd}")
    if name.startswith("net:["):
        return OpenFile(pid, fd, FileKind.NAMESPACE, int(name[5:-1]), 0, 0, 0)
    if name not in _NAMES:
        return None
    kind = _NAMES[name]
    if kind is not None:
        return OpenFile(pid, fd, kind, 0, 0, 0, 0)
    told = fdinfo.identify(places.host.read(f"{folder}/fdinfo/{fd}"))
    return OpenFile(pid, fd, _KINDS[told[0]], told[1], 0, 0, 0) if told else None


def _elsewhere(places: Places) -> Missing | None:
    """Both ways show the processes of our own PID namespace and of those below it; procfs, if it is
    mounted so, those alone that we may look into (proc(5), hidepid)."""
    host = places.host
    try:
        if host.readlink("/proc/self/ns/pid") != _FIRST_PID_NAMESPACE:
            return Missing(Reason.RESTRICTED, "processes outside of our PID namespace are not seen")
        procfs = b"\n".join(_PROCFS.findall(host.read("/proc/self/mountinfo")))
        if b"hidepid=" in procfs and ("1", True) not in host.listdir("/proc"):
            return Missing(Reason.RESTRICTED, "procfs shows no processes of others (hidepid)")
    except OSError:
        return None
    return None
