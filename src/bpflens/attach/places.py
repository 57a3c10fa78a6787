"""Where on a host programs can be attached: processes, namespaces and mounts, read once a look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from errno import EINVAL
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from bpflens.abi.enums import ProgType
from bpflens.abi.infos import ProgInfo
from bpflens.abi.rows import FileKind
from bpflens.attach import processes
from bpflens.attach.processes import Process
from bpflens.errors import BpflensError, NotFound
from bpflens.model.link import LinkFacts
from bpflens.model.parts import Missing
from bpflens.model.system import LINK, System
from bpflens.port.mountinfo import mounted

if TYPE_CHECKING:
    from bpflens.attach.files import Files
    from bpflens.attach.networks import Device
    from bpflens.attach.pins import Pins
    from bpflens.attach.targets import Targets
    from bpflens.model.processes import ProcessFacts

_NAMED = "/run/netns/"


class Netns(NamedTuple):
    """A network namespace that can be entered."""

    inode: int
    ways: list[str]
    """The files by which, until they are gone."""
    name: str
    """As ip-netns(8) names it; empty where it has no name."""
    own: bool
    """Whether it is the one that we are in."""
    pids: list[int]

    @property
    def words(self) -> str:
        """`netns blue`, or `netns 4026532199` without a name."""
        return f"netns {self.name or self.inode}"

    @property
    def suffix(self) -> str:
        """What stands behind a device's name: nothing in our own namespace, else `@blue`."""
        return "" if self.own else f"@{self.name or self.inode}"


class Mount(NamedTuple):
    """A mounted file system, in one of the mount namespaces."""

    kind: str
    device: str
    """`major:minor`: the same for every mount of one file system."""
    root: str
    """Which directory of it is mounted; of nsfs: `net:[inode]`."""
    path: str
    mntns: int
    reach: str
    """The path by which we get there."""
    covered: bool = False
    """Whether something else is mounted over it: then nobody gets there by its path."""

    @property
    def netns(self) -> int | None:
        """The network namespace that this keeps, if it is such a mount."""
        inode = self.root.removeprefix("net:[").removesuffix("]")
        told = self.kind == "nsfs" and self.root.startswith("net:[") and inode.isdecimal()
        return int(inode) if told else None


class Closed(NamedTuple):
    """What hidden processes tell of mount namespaces that we cannot enter."""

    mounts: list[Mount]
    """The mounts there; `mntns` is 0 where it is not told."""
    unread: list[int]
    """Processes that do not even tell their mounts."""


class Places:
    """The processes, namespaces and mounts of a host, each read when first asked for."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.host = system.host
        self.unseen = 0
        """Processes of which nothing tells in which network namespace they are."""
        self.link_failures: list[tuple[str, str]] = []
        """(what, why) of links that could not be looked at, when `links` was asked for."""
        self.told: set[int] = set()
        """The links of attachments that were found by something else than the link."""
        self._known: dict[int, ProcessFacts | Missing] = {}

    @cached_property
    def processes(self) -> list[Process]:
        """Every process that there was when this was first asked. Raises OSError."""
        found = processes.read(self.system)
        self.unseen = sum(process.netns is None for process in found)
        return found

    @cached_property
    def own_netns(self) -> int:
        """The network namespace that we are in. Raises OSError."""
        return processes.namespace(self.host, "/proc/self/ns/net")

    @cached_property
    def own_mntns(self) -> int:
        """The mount namespace that we are in. Raises OSError."""
        return processes.namespace(self.host, "/proc/self/ns/mnt")

    @cached_property
    def closed(self) -> Closed:
        """What there is in mount namespaces that no process lets us into."""
        return self._closed()

    def _closed(self) -> Closed:
        told = Closed([], [])
        known = {self.own_mntns, *(each.mntns for each in self.processes if not each.hidden)}
        for pid, _, mntns, hidden, _ in self.processes:
            if not hidden or mntns in known:
                continue
            try:
                # mounts_open_common() asks for no right, as long as nobody wants to go there.
                told.mounts.extend(self._mounts(f"/proc/{pid}", mntns or 0, f"/proc/{pid}/root"))
            except OSError as error:
                if error.errno != EINVAL and processes.one(self.host, pid):  # EINVAL: a zombie
                    told.unread.append(pid)
            else:
                known |= {mntns} - {None}
        return told

    @cached_property
    def closed_netns(self) -> list[int]:
        """The network namespaces to which only hidden processes and their mounts lead."""
        inside = {each.netns for each in self.processes}
        there = inside | {mount.netns for mount in self.closed.mounts}
        there -= {None, *(each.inode for each in self.netns)}
        if there:  # it may have been mounted, or unmounted, since we read what is mounted
            there -= {mount.netns for mount in self._mounts("/proc/self", self.own_mntns, "")}
            there &= inside | {mount.netns for mount in self._closed().mounts}
        return sorted(inode for inode in there if inode)

    @cached_property
    def mounts(self) -> list[Mount]:
        """The mounts of bpffs, cgroup2 and namespace files, of all mount namespaces, ours first."""
        found = self._mounts("/proc/self", self.own_mntns, "")
        seen = {self.own_mntns}
        for process in self.processes:
            if process.hidden or process.mntns is None or process.mntns in seen:
                continue
            try:
                found += self._mounts(process.folder, process.mntns, f"{process.folder}/root")
            except OSError:
                continue  # it ended: another process of that namespace may not have
            seen.add(process.mntns)
        return found

    def _mounts(self, folder: str, mntns: int, before: str) -> list[Mount]:
        text = self.host.read(f"{folder}/mountinfo")
        return [
            Mount(*each[:-1], mntns, before + each.path, each.covered)
            for each in mounted(text, "bpf", "cgroup2", "nsfs")
        ]

    @cached_property
    def netns(self) -> list[Netns]:
        """Every network namespace that a process lets us into, that is mounted or that a process
        has open, ours first. One that only a socket keeps alive cannot be entered."""
        ways: dict[int, list[str]] = {self.own_netns: ["/proc/self/ns/net"]}
        names: dict[int, str] = {}
        for mount in self.mounts:
            if mount.netns is not None and not mount.covered:
                ways.setdefault(mount.netns, []).append(mount.reach)
                if mount.path.startswith(_NAMED):
                    names.setdefault(mount.netns, mount.path.removeprefix(_NAMED))
        pids: dict[int, list[int]] = {}
        for process in sorted(self.processes, key=lambda process: process.hidden):
            if process.netns is not None:
                pids.setdefault(process.netns, []).append(process.pid)
                if not process.hidden:
                    ways.setdefault(process.netns, []).append(f"{process.folder}/ns/net")
        for number, path in self._open_netns():
            ways.setdefault(number, []).append(path)
        return [
            Netns(inode, paths, names.get(inode, ""), inode == self.own_netns, pids.get(inode, []))
            for inode, paths in ways.items()
        ]

    def _open_netns(self) -> Iterator[tuple[int, str]]:
        for file in self.files.rows:
            if file.kind == FileKind.NAMESPACE:
                path = f"/proc/{file.pid}/fd/{file.fd}"
                with suppress(OSError):  # closed since
                    if self.host.readlink(path) == f"net:[{file.id}]":
                        yield file.id, path

    @cached_property
    def links(self) -> list[LinkFacts]:
        """Every link with all that the kernel tells of it; where links cannot be listed, those that
        open files tell of.

        `link_failures` has what could not be looked at.
        """
        found: list[LinkFacts] = []
        try:
            for id in self.system.ids(LINK):
                try:
                    with self.system.link(id) as link:
                        found.append(link.info())
                except NotFound:
                    continue  # gone between the walk and the open: not a failure
                except (BpflensError, OSError) as error:
                    self.link_failures.append((f"link {id}", str(error)))
        except (BpflensError, OSError) as error:
            self.link_failures.append(("links", str(error)))
            found = self._open_links()
        return found

    def _open_links(self) -> list[LinkFacts]:
        """The links that processes which show their files have open."""
        from bpflens.model.fdinfolink import facts

        found: dict[int, LinkFacts] = {}
        for file in self.files.rows:
            if file.kind == FileKind.LINK and file.id not in found:
                with suppress(OSError):  # another's; or closed since
                    told = facts(self.host.read(f"/proc/{file.pid}/fdinfo/{file.fd}"))
                    if told and told.id == file.id:
                        found[told.id] = told
        return [found[id] for id in sorted(found)]

    @cached_property
    def programs(self) -> dict[int, ProgInfo] | None:
        """What each program is, by its ID; None where programs cannot be listed."""
        try:
            found = dict(self._programs())
        except (BpflensError, OSError):
            return None
        self.targets.infos |= found
        return found

    def _programs(self) -> Iterator[tuple[int, ProgInfo]]:
        for program in self.system.programs():
            with program:
                yield program.id, program.basic()

    @cached_property
    def targets(self) -> Targets:
        """The names of programs, maps, functions and cgroups."""
        from bpflens.attach.targets import Targets

        return Targets(self)

    def loaded(self, *types: ProgType) -> bool:
        """Whether there may be a program of one of these types."""
        programs = self.programs
        return programs is None or any(info.type in types for info in programs.values())

    @cached_property
    def devices(self) -> dict[tuple[int, int], Device]:
        """Every network device that we can see, by the inode number of its namespace and its index.
        (A look at what is attached to them fills this by the way.) Raises OSError."""
        from bpflens.attach.networks import everywhere

        return everywhere(self)

    @cached_property
    def files(self) -> Files:
        """The open files of every process that have to do with BPF."""
        from bpflens.attach import files

        return files.read(self)

    @cached_property
    def pins(self) -> Pins:
        """Where objects are pinned, in all mount namespaces."""
        from bpflens.attach import pins

        return pins.read(self)

    def process(self, pid: int, before: int | None = None) -> ProcessFacts | Missing:
        """The process with this pid; `before`: it was seen at this time (see `processes.read`)."""
        from bpflens.model.processes import read

        if pid not in self._known:
            self._known[pid] = read(self.host, pid, before)
        return self._known[pid]

    def file_words(self, pid: int, fd: int) -> str:
        """One of `files` in words: `pid 812 (nginx) fd 5`."""
        told = self.process(pid, self.files.at)
        words = f"pid {pid}" if isinstance(told, Missing) else told.words
        return f"{words} fd {fd}"

    @cached_property
    def users(self) -> dict[int, str]:
        """The names of users."""
        from bpflens.model.processes import users

        return users(self.host)

    def netns_of(self, inode: int) -> Netns:
        """A network namespace by its inode number, also one that cannot be entered."""
        with suppress(OSError):  # nothing tells of any
            for found in self.netns:
                if found.inode == inode:
                    return found
        return Netns(inode, [], "", False, [])

    def cgroup_root(self) -> Mount | None:
        """A mount of the whole cgroup2 tree, ours before others'; else one of a part of it."""
        mounts = [each for each in self.mounts if each.kind == "cgroup2" and not each.covered]
        whole = [mount for mount in mounts if mount.root == "/"]
        return next(iter(whole or mounts), None)

    @cached_property
    def cgroups(self) -> dict[int, str]:
        """The path of every cgroup by its ID, from the root. Raises OSError."""
        mount = self.cgroup_root()
        if mount is None:
            return {}
        above = mount.root.rstrip("/")
        # kernfs numbers a directory by the ID of its cgroup (cgroup_id())
        return {inode: f"{above}/{name}" for name, inode in self.host.tree(mount.reach)}
