"""Where on a host programs can be attached: processes, namespaces and mounts, read once a look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from errno import EFBIG, EINVAL
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from bpflens.abi.enums import ProgType
from bpflens.abi.infos import ProgInfo
from bpflens.abi.rows import FileKind
from bpflens.attach import processes
from bpflens.attach.mounttables import MountTables
from bpflens.attach.processes import Process
from bpflens.errors import BpflensError, NotFound
from bpflens.model.link import LinkFacts
from bpflens.model.parts import Missing, because
from bpflens.model.system import LINK, System
from bpflens.port.doors import Way
from bpflens.port.mountinfo import Mount

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
    ways: list[Way]
    """The files by which, until they are gone."""
    name: str
    """As ip-netns(8) names it, `blue@4026532199` where it does so in another mount namespace; empty
    where it has no name."""
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
        self.tables = MountTables(self.host)
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
                told.mounts.extend(self.tables.of(f"/proc/{pid}", mntns or 0, f"/proc/{pid}/root"))
            except OSError as error:
                if error.errno == EFBIG:
                    self.tables.unread[mntns or 0] = because(error)
                elif error.errno != EINVAL and processes.one(self.host, pid):  # EINVAL: a zombie
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
            there -= {mount.netns for mount in self.tables.of("/proc/self", self.own_mntns, "")}
            there &= inside | {mount.netns for mount in self._closed().mounts}
        return sorted(inode for inode in there if inode)

    @cached_property
    def mounts(self) -> list[Mount]:
        """The mounts of bpffs, cgroup2 and namespace files, of all mount namespaces, ours first."""
        return self.tables.read(self.own_mntns, self.processes)

    def mount_of(self, path: str, mntns: int) -> Mount | None:
        """The bpffs mount of another mount namespace that a path there leads to."""
        inside = [
            mount
            for mount in reversed(self.mounts)
            if mount.kind == "bpf" and mount.mntns == mntns and mount.holds(path)
        ]
        return max(inside, key=lambda mount: (len(mount.path), not mount.closed), default=None)

    @cached_property
    def netns(self) -> list[Netns]:
        """Every network namespace that a process lets us into, that is mounted or that a process
        has open, ours first. One that only a socket keeps alive cannot be entered."""
        own = self.own_netns
        ways: dict[int, list[Way]] = {own: [Way("/proc/self/ns/net", own)]}
        names: dict[int, str] = {}
        for mount in self.mounts:
            if mount.netns is not None and not mount.closed:
                ways.setdefault(mount.netns, []).append(Way(mount.reach, mount.netns, mount))
                if mount.path.startswith(_NAMED):
                    name = mount.path.removeprefix(_NAMED)
                    names.setdefault(mount.netns, name + self.elsewhere(mount.mntns))
        pids: dict[int, list[int]] = {}
        for process in sorted(self.processes, key=lambda process: process.hidden):
            if process.netns is not None:
                pids.setdefault(process.netns, []).append(process.pid)
                if not process.hidden:
                    way = Way(f"{process.folder}/ns/net", process.netns)
                    ways.setdefault(process.netns, []).append(way)
        for way in self._open_netns():
            ways.setdefault(way.inode, []).append(way)
        return [
            Netns(inode, paths, names.get(inode, ""), inode == own, pids.get(inode, []))
            for inode, paths in ways.items()
        ]

    def elsewhere(self, mntns: int) -> str:
        """What stands behind a path of another mount namespace: `@4026532199`."""
        return "" if mntns == self.own_mntns else f"@{mntns}"

    @cached_property
    def shut_netns(self) -> dict[int, str]:
        """The network namespaces to which only mounts lead that are not looked up, and why not."""
        known = {netns.inode for netns in self.netns}
        return {
            mount.netns: f"{mount.path}{self.elsewhere(mount.mntns)}: {mount.closed}"
            for mount in self.mounts
            if mount.netns is not None and mount.closed and mount.netns not in known
        }

    def _open_netns(self) -> Iterator[Way]:
        for file in self.files.rows:
            if file.kind == FileKind.NAMESPACE:
                way = Way(f"/proc/{file.pid}/fd/{file.fd}", file.id)
                if self.leads(way):  # else closed since
                    yield way

    def leads(self, way: Way) -> bool:
        """Whether what was read to find a way still says that it leads to its namespace."""
        if way.mount is not None:
            return self.is_mounted(way.mount)
        try:
            return self.host.readlink(way.path) == f"net:[{way.inode}]"
        except OSError:
            return False

    def is_mounted(self, mount: Mount) -> bool:
        """Whether a mount is there still, by the mountinfo of any process that sees it."""
        folders = ["/proc/self"]
        if mount.before:
            folders = [each.folder for each in self.processes if each.mntns == mount.mntns]
        for folder in folders:
            with suppress(OSError):  # it ended
                there = self.tables.of(folder, mount.mntns, "")
                return any((each.id, each.root) == (mount.id, mount.root) for each in there)
        return False

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
        mounts = [each for each in self.mounts if each.kind == "cgroup2" and not each.closed]
        whole = [mount for mount in mounts if mount.root == "/"]
        return next(iter(whole or mounts), None)

    @cached_property
    def cgroup_tree(self) -> list[tuple[str, int]]:
        """The directories of `cgroup_root` (see `MountPort.tree`). Raises OSError."""
        mount = self.cgroup_root()
        return [] if mount is None else self.system.doors.mounts.tree(mount)

    @cached_property
    def cgroups(self) -> dict[int, str]:
        """The path of every cgroup by its ID, from the root. Raises OSError."""
        mount = self.cgroup_root()
        above = mount.root.rstrip("/") if mount else ""
        # kernfs numbers a directory by the ID of its cgroup (cgroup_id())
        return {inode: f"{above}/{name}" for name, inode in self.cgroup_tree}
