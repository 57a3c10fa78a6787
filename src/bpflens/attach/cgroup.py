"""Programs at cgroups: in bulk, or else by PROG_QUERY of each cgroup and attach type."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import NamedTuple, TypeAlias

from bpflens.abi.enums import AttachType, LinkType, ProgType
from bpflens.abi.rows import CgroupRow
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure, failure
from bpflens.errors import BpflensError, SyscallError
from bpflens.model.parts import Missing, Reason
from bpflens.port.calls import CallDenied
from bpflens.port.query import prog_query

PROGRAMS = (
    ProgType.CGROUP_SKB, ProgType.CGROUP_SOCK, ProgType.CGROUP_SOCK_ADDR, ProgType.CGROUP_SOCKOPT,
    ProgType.CGROUP_DEVICE, ProgType.CGROUP_SYSCTL, ProgType.SOCK_OPS, ProgType.LSM,
)  # fmt: skip
"""The types of program that can be there."""
TYPES = [
    type for type in AttachType if type.name.startswith("CGROUP_") or type is AttachType.LSM_CGROUP
]
"""What PROG_QUERY can be asked about a cgroup (bpf_prog_query())."""

OVERRIDE, MULTI, PREORDER = 1, 2, 64
"""BPF_F_ALLOW_OVERRIDE, BPF_F_ALLOW_MULTI, BPF_F_PREORDER."""
_WORDS = {OVERRIDE: "override", MULTI: "multi", PREORDER: "preorder"}

_GONE = frozenset({errno.ENOENT, errno.ENODEV})
"""There is no such directory; its cgroup is being removed."""
_ROOT = 1
"""The inode number of the root of the tree (kernfs_create_root()), in any mount that shows it."""
_HOST = 0xEFFFFFFB
"""The inode of the first cgroup namespace (PROC_CGROUP_INIT_INO)."""


class Entry(NamedTuple):
    """A program at a cgroup."""

    cgroup: int
    prog_id: int
    link_id: int
    """0: attached without a link."""
    attach_type: int
    flags: int


Linked: TypeAlias = dict[tuple[int, int], dict[int, list[int]]]
"""(cgroup, attach type) → program → its links there."""


def find(places: Places) -> Iterator[Attachment | Failure]:
    """The programs that are attached to each cgroup itself. Since: 4.15."""
    if not places.loaded(*PROGRAMS):
        return
    entries: list[Entry] = []
    try:
        entries, via = in_bulk(places), "cgroups"
    except (BpflensError, OSError):
        via = "prog_query"
        for found in by_query(places):
            if isinstance(found, Failure):
                yield found
            else:
                entries.append(found)
    targets = places.targets
    yield from _nameless(places, entries)
    unlinked = {} if via == "cgroups" else _unlinked(places)
    for (id, _, hook), group in groupby(entries, lambda entry: _place(places, entry)):
        path = targets.cgroup(id)
        if isinstance(path, Missing) and path.reason is Reason.GONE and not _hidden(places):
            continue  # it was removed meanwhile, and what was attached to it
        nameless = {"target": str(path)} if isinstance(path, Missing) else {}
        # compute_effective_progs(): in the order of the list, but these go first
        turns = sorted(group, key=lambda entry: not entry.flags & PREORDER)
        for turn, entry in enumerate(turns):
            yield Attachment(
                entry.prog_id,
                "cgroup",
                f"cgroup {id}" if isinstance(path, Missing) else path,
                turn if entry.flags & MULTI else None,
                [word for bit, word in _WORDS.items() if entry.flags & bit],
                via,
                entry.link_id or None,
                hook,
                None,
                None,
                nameless if entry.link_id else nameless | unlinked,
            )


def _nameless(places: Places, entries: list[Entry]) -> Iterator[Failure]:
    """Why cgroups have no names, where a mount that would tell them cannot be looked at."""
    if not entries:
        return
    try:
        _ = places.cgroups
        if places.cgroup_root() is None and any(m.kind == "cgroup2" for m in places.mounts):
            yield Failure("cgroup", "names of cgroups", _unmounted(places))
    except OSError as error:
        yield failure("cgroup", "names of cgroups", error)


def effective(places: Places, path: str) -> Iterator[Attachment | Failure]:
    """What runs for the processes of one cgroup, in that order: its own programs and those of the
    cgroups above. The path is from the root, or that of the directory. Since: 4.15."""
    try:
        path = _from_root(places, path)
        with _opened(places, path) as fd:
            for type in TYPES:
                try:
                    told = prog_query(places.system.calls, fd, type, effective=True)
                except SyscallError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    continue
                for turn, prog_id in enumerate(told.progs):
                    yield Attachment(
                        prog_id, "cgroup", path, turn, ["effective"], "prog_query", None,
                        _place(places, Entry(0, prog_id, 0, type, 0))[2], None, None,
                        {"link_id": _NOT_EFFECTIVE},
                    )  # fmt: skip
    except (BpflensError, OSError) as error:
        yield failure("cgroup", path, error)


def _from_root(places: Places, path: str) -> str:
    """The path of a cgroup from the root, by that or by its directory."""
    mount = places.cgroup_root()
    if mount is not None:
        with suppress(OSError):  # no such directory, or one that is not recorded
            device, inode = places.host.identity(path)
            if device == mount.device and inode in places.cgroups:
                return places.cgroups[inode]
        if mount.holds(path):
            path = mount.root.rstrip("/") + (path.removeprefix(mount.path.rstrip("/")) or "/")
    return "/" + "/".join(filter(None, path.split("/")))


_NOT_EFFECTIVE = str(Missing(Reason.UNSUPPORTED, "told only of a cgroup's own programs"))


def _place(places: Places, entry: Entry) -> tuple[int, int, str]:
    """What programs share that run one after another: cgroup, attach type, and hook in words."""
    hook = AttachType(entry.attach_type).label
    if entry.attach_type == AttachType.LSM_CGROUP:
        hook += f" {_lsm_hook(places, entry.prog_id)}"
    return entry.cgroup, entry.attach_type, hook


def _lsm_hook(places: Places, prog_id: int) -> str:
    name = places.targets.traced(prog_id)
    return "of an unknown hook" if isinstance(name, Missing) else name


# --- in bulk


def in_bulk(places: Places) -> list[Entry]:
    """All of them. Raises BpflensError or OSError where there is nothing to be had in bulk."""
    system = places.system
    if system.doors.bulk is None or not _sees_the_root(places):
        raise BpflensError("not offered")
    rows = system.doors.bulk.cgroups(system.doors.bpf, system.index_dir)
    return [Entry(*row) for row in CgroupRow.__struct__.iter_unpack(rows.data)]


def _sees_the_root(places: Places) -> bool:
    """Whether we are in the first cgroup namespace, or nothing tells that we are not.

    In another the iterator begins at the root of that one, though a mount may show more.
    """
    try:
        name = places.host.readlink("/proc/self/ns/cgroup")
    except OSError:
        return True
    return name == f"cgroup:[{_HOST}]"


# --- by plain calls


def by_query(places: Places) -> Iterator[Entry | Failure]:
    """The same by a call for each cgroup and attach type. Raises OSError.

    Who goes first (BPF_F_PREORDER) is not told there: the order is.
    """
    hidden = _hidden(places)
    if hidden:
        yield Failure("cgroup", "cgroups", hidden)
    linked = _links(places)
    unknown: set[AttachType] = set()
    for id, path in places.cgroups.items():
        try:
            with _opened(places, path) as fd:
                for type in TYPES:
                    if type not in unknown:
                        yield from _query(places, fd, id, type, linked, unknown)
        except CallDenied as error:
            yield Failure("cgroup", "cgroups", f"{error} (needs CAP_NET_ADMIN)")
            return
        except OSError as error:
            if error.errno not in _GONE:
                yield failure("cgroup", path, error)


def _hidden(places: Places) -> str:
    """Why there may be cgroups that no mount shows; empty where there are none."""
    mount = places.cgroup_root()
    if mount is None:
        return _unmounted(places)
    _, inode = places.cgroup_tree[0]
    return "" if inode == _ROOT else f"{mount.path} shows a part of the tree"


def _unmounted(places: Places) -> str:
    """Why there is no cgroup2 mount to look at."""
    closed = [mount for mount in places.mounts if mount.kind == "cgroup2"]
    return f"{closed[0].path}: {closed[0].closed}" if closed else "no cgroup2 is mounted"


@contextmanager
def _opened(places: Places, path: str) -> Iterator[int]:
    """The directory of a cgroup, by its path from the root."""
    mount = places.cgroup_root()
    if mount is None:
        raise OSError(errno.EXDEV, _unmounted(places))
    fd = places.system.doors.mounts.folder(mount, path.removeprefix(mount.root.rstrip("/")))
    try:
        yield fd
    finally:
        places.system.calls.close(fd)


def _query(
    places: Places, fd: int, id: int, type: AttachType, linked: Linked, unknown: set[AttachType]
) -> list[Entry]:
    """The programs of one cgroup and type, in the order in which they run."""
    calls = places.system.calls
    try:
        told = prog_query(calls, fd, type)
        order = told.progs
        if len(order) > 1 and type is not AttachType.LSM_CGROUP:
            order = _turns(order, prog_query(calls, fd, type, effective=True).progs)
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
        unknown.add(type)  # this kernel does not have it: no other cgroup is asked
        return []
    links = {prog: list(ids) for prog, ids in linked.get((id, type), {}).items()}
    # A program is there once without a link, and once with each of its links; which of several
    # stands where is not told.
    return [
        Entry(id, prog, links[prog].pop(0) if links.get(prog) else 0, type, flags)
        for prog, flags in zip(order, told.flags, strict=True)
    ]


def _turns(own: list[int], effective: list[int]) -> list[int]:
    """A cgroup's own programs as they stand among the effective ones, where they are neighbours:
    behind what goes first of the cgroups above, and before the rest of them."""
    count, wanted = len(own), sorted(own)
    windows = [effective[at : at + count] for at in range(len(effective) - count + 1)]
    return own if own in windows else next((w for w in windows if sorted(w) == wanted), own)


def _links(places: Places) -> Linked:
    found: Linked = {}
    for link in places.links:
        if link.type is LinkType.CGROUP and link.cgroup_id:
            key = link.cgroup_id, link.attach_type or 0
            found.setdefault(key, {}).setdefault(link.prog_id, []).append(link.id)
    return found


def _unlinked(places: Places) -> dict[str, str]:
    """Why it is not known of an attachment whether it is by a link, if so."""
    for what, why in places.link_failures:
        if what == "links":
            return {"link_id": str(Missing(Reason.DENIED, why))}
    return {}
