"""The open files of every process, as far as they have to do with BPF."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from bpflens.abi.rows import EventRow, FileKind, FileRow, SocketRow
from bpflens.errors import BpflensError, Unsupported
from bpflens.model.parts import Missing, Reason, because
from bpflens.port import fdinfo

if TYPE_CHECKING:
    from bpflens.attach.places import Places
    from bpflens.attach.processes import Process
    from bpflens.port.doors import HostPort, Rows

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

_PROCFS = re.compile(rb"^(?:\S+ ){4}/proc .* - proc \S+ (\S+)$", re.MULTILINE)
"""The options of the procfs at /proc in mountinfo; the last one covers those before it."""
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
_FIRST_USER_NAMESPACE = "user:[4026531837]"
"""PROC_PID_INIT_INO, PROC_USER_INIT_INO."""
_BY_GROUP = (b"2", b"invisible")
_HIDES = (*_BY_GROUP, b"4", b"ptraceable")
"""hidepid=, as a number before Linux 5.8 and as a word since (hidepid2str()): what shows no
processes of others. `noaccess` (1) shows them, and that they are closed."""
_SYS_PTRACE = 19
"""CAP_SYS_PTRACE."""


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
    mounted so, those alone that we may look into (proc(5), hidepid), or not all of what it has."""
    host = places.host
    try:
        if host.readlink("/proc/self/ns/pid") != _FIRST_PID_NAMESPACE:
            return Missing(Reason.RESTRICTED, "processes outside of our PID namespace are not seen")
        options = _options(host.read("/proc/self/mountinfo"))
        if options.get(b"subset") == b"pid":
            return Missing(Reason.RESTRICTED, "procfs does not show all that it has (subset=pid)")
        hidepid = options.get(b"hidepid", b"")
        if hidepid in _HIDES and not _sees_hidden(host, hidepid, options.get(b"gid", b"0")):
            return Missing(Reason.RESTRICTED, "procfs shows no processes of others (hidepid)")
    except FileNotFoundError:
        if _is_there(host, "/proc/self"):
            return None  # a kernel without PID namespaces
        # proc_self_get_link(): it is the procfs of a PID namespace that we are not in
        return Missing(Reason.RESTRICTED, "/proc does not show the processes that we are among")
    except OSError as error:
        return because(error)
    return None


def _is_there(host: HostPort, link: str) -> bool:
    with suppress(OSError):
        return bool(host.readlink(link))
    return False


def _options(mountinfo: bytes) -> dict[bytes, bytes]:
    """The options with a value of the procfs at /proc."""
    told = _PROCFS.findall(mountinfo)
    pairs = (option.partition(b"=") for option in told[-1].split(b",")) if told else ()
    return {name: value for name, _, value in pairs}


def _sees_hidden(host: HostPort, hidepid: bytes, gid: bytes) -> bool:
    """Whether what hides processes of others hides none from us (has_pid_permissions()); not, where
    nothing tells."""
    try:
        status = dict(line.split(b":", 1) for line in host.read("/proc/self/status").splitlines())
        groups = status.get(b"Groups", b"").split() + status.get(b"Gid", b"").split()[-1:]
        if hidepid in _BY_GROUP and gid in groups:
            return True
        capable = int(status.get(b"CapEff", b"0"), 16) >> _SYS_PTRACE & 1
        return bool(capable) and host.readlink("/proc/self/ns/user") == _FIRST_USER_NAMESPACE
    except (OSError, ValueError):
        return False
