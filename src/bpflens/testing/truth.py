"""Who refers to what on an engine, one entry for each reference that it counts.

It walks the engine's own tables, which no door shows, so that tests can hold what finders find
against it: `references` for holders, `attached` for attachments. `check` compares with the counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from bpflens.engine.bpffs import Directory, Pin
from bpflens.engine.cgroups import Cgroup
from bpflens.engine.classifiers import Proto
from bpflens.engine.engine import Engine
from bpflens.engine.files import File, Node
from bpflens.engine.links.base import Link
from bpflens.engine.links.commands import Iterator as OpenIterator
from bpflens.engine.links.iter import IterLink
from bpflens.engine.links.netns import NetfilterLink
from bpflens.engine.links.sockmap import SockmapLink
from bpflens.engine.links.struct_ops import StructOpsLink
from bpflens.engine.links.tracing import PerfLink
from bpflens.engine.links.trampoline import TracingLink
from bpflens.engine.maps.array import Slots
from bpflens.engine.maps.base import Map
from bpflens.engine.maps.nested import HashOfMaps
from bpflens.engine.maps.redirect import Cpumap, Devmap
from bpflens.engine.maps.sockets import Sockets
from bpflens.engine.maps.struct_ops import INUSE, StructOps
from bpflens.engine.mounts import MountNs
from bpflens.engine.net import NetNs, Socket
from bpflens.engine.objects import Object
from bpflens.engine.perf import PerfEvent
from bpflens.engine.progs.prog import Prog
from bpflens.engine.unix import UnixSocket

Key = tuple[str, int]
"""ID space (prog, map, btf, link) and ID."""


class Reference(NamedTuple):
    """One reference to an object."""

    kind: str
    """By user space: file, pin, mapping. By the kernel: iterator (an open one), program,
    map, link, device, action, route, cgroup, netns, socket, reuseport, event, kernel."""
    name: str = ""
    """Who it is, if it has a name: `program 3`, `map 12 [3]`, `eth0`, `/web.slice`."""
    fds: tuple[tuple[int, int], ...] = ()
    """(pid, fd) of a file, also of an iterator's: one file may have many."""
    in_flight: int = 0
    """In how many messages the file is that nobody has received."""
    paths: tuple[tuple[int, str], ...] = ()
    """(mount namespace, path) of a pin: one may be seen by several mounts."""

    @property
    def user(self) -> bool:
        """Whether user space has it."""
        return self.kind in ("file", "pin", "mapping")


class Truth:
    """All that refers to an object at this moment."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.references: dict[Key, list[Reference]] = defaultdict(list)
        self.files: dict[File, list[tuple[int, int]]] = {}
        """Every open file, with its fds."""
        self.in_flight: dict[File, int] = defaultdict(int)
        self.netns: list[NetNs] = []
        self.mntns: list[MountNs] = []
        self.sockets: list[Socket] = []
        self.events: list[PerfEvent] = []
        self.cgroups: list[Cgroup] = list(engine.cgroup.family())
        self._files()
        self._namespaces()
        self._users()
        self._kernel()

    def of(self, space: str, id: int) -> list[Reference]:
        """The references of one object."""
        return self.references.get((space, id), [])

    def check(self) -> None:
        """Raises AssertionError where a count is not what was found."""
        for space, idr in self.engine.ids.items():
            for id, found in idr.objects.items():
                told = self.of(space, id)
                if found.refs != len(told):
                    listed = "".join(f"\n  {one}" for one in told)
                    raise AssertionError(f"{space} {id} has {found.refs} references, not{listed}")

    @property
    def unreached(self) -> list[NetNs]:
        """Network namespaces that no task is in and that have no name: nobody can look there."""
        entered = {task.netns for task in self.engine.tasks.values()}
        for mntns in {task.mntns for task in self.engine.tasks.values()}:
            entered |= {one.node for one in mntns.mounts.values() if isinstance(one.node, NetNs)}
        return [netns for netns in self.netns if netns not in entered]

    # --- what there is

    def _files(self) -> None:
        for task in self.engine.tasks.values():
            for fd, file in sorted(task.files.files.items()):
                self.files.setdefault(file, []).append((task.pid, fd))
        waiting = list(self.files)
        while waiting:
            node = waiting.pop().node
            for files in node.queue if isinstance(node, UnixSocket) else ():
                for file in files:
                    self.in_flight[file] += 1
                    if file not in self.files:
                        self.files[file] = []
                        waiting.append(file)

    def _open(self) -> Iterator[tuple[Node, File]]:
        for file in self.files:
            yield file.node, file

    def _namespaces(self) -> None:
        engine = self.engine
        nodes = [node for node, _file in self._open()]
        self.sockets = [node for node in nodes if isinstance(node, Socket)]
        spaces = [engine.mntns, *(task.mntns for task in engine.tasks.values())]
        spaces += [node for node in nodes if isinstance(node, MountNs)]
        self.mntns = list(dict.fromkeys(spaces))
        nets = [engine.netns, *(task.netns for task in engine.tasks.values())]
        nets += [node for node in nodes if isinstance(node, NetNs)]
        nets += [socket.netns for socket in self.sockets if socket.netns]
        for mntns in self.mntns:
            nets += [one.node for one in mntns.mounts.values() if isinstance(one.node, NetNs)]
        links = engine.ids["link"].objects.values()
        nets += [one.netns for one in links if isinstance(one, NetfilterLink) and one.netns]
        self.netns = list(dict.fromkeys(nets))
        events = [node for node in nodes if isinstance(node, PerfEvent)]
        events += [one.event for one in links if isinstance(one, PerfLink)]
        for found in engine.ids["map"].objects.values():
            held = found.held.values() if isinstance(found, Slots) else ()
            events += [item[0] for item in held if isinstance(item, tuple)]
        self.events = list(dict.fromkeys(events))

    # --- who refers to it

    def _add(self, obj: object, reference: Reference) -> None:
        if isinstance(obj, Object):
            self.references[obj.space, obj.id].append(reference)

    def _users(self) -> None:
        for node, file in self._open():
            fds, waiting = tuple(self.files[file]), self.in_flight[file]
            self._add(node, Reference("file", "", fds, waiting))
            if isinstance(node, OpenIterator):
                for held in (node.prog, node.map):
                    self._add(held, Reference("iterator", "", fds, waiting))
        for task in self.engine.tasks.values():
            for mapping in task.mappings:
                self._add(mapping.map, Reference("mapping", f"pid {task.pid}"))
        seen: dict[Pin, list[tuple[int, str]]] = {}
        for mntns in self.mntns:
            for path, bpffs in mntns.bpffs.items():
                for below, pin in _pins(bpffs, path):
                    seen.setdefault(pin, []).append((mntns.inode, below))
        for node, _file in self._open():  # a file system that is mounted nowhere any more
            if isinstance(node, Directory) and node.bpffs:
                for _below, pin in _pins(node.bpffs, ""):
                    seen.setdefault(pin, [])
        for pin, paths in seen.items():
            self._add(pin.obj, Reference("pin", paths=tuple(paths)))

    def _kernel(self) -> None:
        for prog in self.engine.ids["prog"].objects.values():
            assert isinstance(prog, Prog)
            for held in (*prog.maps, prog.btf, prog.target):
                self._add(held, Reference("program", f"program {prog.id}"))
        for found in self.engine.ids["map"].objects.values():
            assert isinstance(found, Map)
            self._map(found)
        for link in self.engine.ids["link"].objects.values():
            assert isinstance(link, Link)
            for beside in (link.prog, *_targets(link)):
                self._add(beside, Reference("link", f"link {link.id}"))
        for kind, name, prog in self._hooks():
            self._add(prog, Reference(kind, name))
        self._add(self.engine.vmlinux, Reference("kernel"))

    def _map(self, found: Map) -> None:
        self._add(found.btf, Reference("map", f"map {found.id}"))
        for slot, held in _slots(found):
            self._add(held, Reference("map", f"map {found.id} [{slot}]"))
        if isinstance(found, Sockets):
            for there in found.progs.values():
                if isinstance(there, Prog):
                    self._add(there, Reference("map", f"map {found.id}"))
        if isinstance(found, StructOps):
            for prog in found.progs:
                self._add(prog, Reference("map", f"map {found.id}"))
            if found.state == INUSE:
                self._add(found, Reference("kernel", "registered"))

    def _hooks(self) -> Iterator[tuple[str, str, Prog]]:
        """What is attached without a link."""
        for netns in self.netns:
            yield from _in_netns(netns)
        for cgroup in self.cgroups:
            for hook in cgroup.hooks.values():
                for entry in hook.entries:
                    if entry.own:
                        yield "cgroup", cgroup.path, entry.own
        for socket in self.sockets:
            if socket.filter:
                yield "socket", str(socket.inode), socket.filter
        for group in {socket.group for socket in self.sockets if socket.group}:
            if group.prog:
                yield "reuseport", "", group.prog
        for event in self.events:
            if event.prog:
                yield "event", event.name, event.prog


def _in_netns(netns: NetNs) -> Iterator[tuple[str, str, Prog]]:
    chains: dict[int, tuple[str, list[Proto]]] = {}
    for device in netns.devices.values():
        entries = list(device.xdp.values())
        entries += [entry for hook in device.tcx.values() for entry in hook.entries]
        for prog, link in entries:
            if not link:
                yield "device", device.name, prog
        for chain in device.clsact.sides.values() if device.clsact else ():
            chains[id(chain)] = device.name, chain  # devices can share one
    for name, chain in chains.values():
        for one in (one for proto in chain for one in proto.filters):
            if one.prog:
                yield "device", name, one.prog
    for action in netns.actions.values():
        yield "action", str(action.index), action.prog
    for route in netns.routes:
        for prog, _name in route.progs.values():
            yield "route", route.device.name, prog
    for there in netns.hooks.values():
        for one in there:
            if isinstance(one, Prog):
                yield "netns", str(netns.inode), one


def _targets(link: Link) -> Iterator[object]:
    """What a link holds beside its program."""
    if isinstance(link, IterLink | SockmapLink | StructOpsLink):
        yield link.map
    if isinstance(link, TracingLink):
        yield link.target


def _slots(found: Map) -> Iterator[tuple[object, object]]:
    """(key, object) of the elements that hold an object."""
    if isinstance(found, Slots):
        yield from found.held.items()
    if isinstance(found, HashOfMaps):
        for key, inner in found.maps.items():
            yield key.hex(), inner
    if isinstance(found, Devmap | Cpumap):
        for index, target in found.targets.items():
            yield index, target.prog


def _pins(place: Directory, path: str) -> Iterator[tuple[str, Pin]]:
    """Every pin below a directory, with its path."""
    for name, entry in place.entries.items():
        below = f"{path}/{name}"
        if isinstance(entry, Pin):
            yield below, entry
        elif isinstance(entry, Directory):
            yield from _pins(entry, below)
