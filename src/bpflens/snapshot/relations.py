"""From a system to its object graph: every object, who holds it, where it is attached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TypeVar

from bpflens.abi.enums import LinkType
from bpflens.attach import sockets
from bpflens.attach.networks import Device
from bpflens.attach.pairs import pairs
from bpflens.attach.places import Netns, Places
from bpflens.errors import Denied
from bpflens.model.link import LinkFacts
from bpflens.model.parts import Missing, Part
from bpflens.model.system import System
from bpflens.port.mountinfo import Mount
from bpflens.snapshot.attachments import Attachments
from bpflens.snapshot.btf import BtfLook
from bpflens.snapshot.graph import OBJECTS, PLACES, PREFIXES, Edge, Graph, Node, graph
from bpflens.snapshot.holders import Holder, Holders
from bpflens.snapshot.records import BtfRecord, ErrorRecord, MapRecord, ProgramRecord
from bpflens.snapshot.take import Look

R = TypeVar("R", ProgramRecord, MapRecord, BtfRecord)

_PARTS = Part.BASIC | Part.MAPS

_DEVICES = ("xdp", "tc", "act_bpf", "tcx", "netkit")
_KEPT_OTHERWISE = ("netfilter", "struct_ops")
"""Kinds of attachments where a link, or a map, keeps the program, also where nobody tells which."""

_LINKED = {
    LinkType.ITER: ("iterates", True),
    LinkType.SOCKMAP: ("attached-to", True),
    LinkType.STRUCT_OPS: ("attached-to", False),
}
"""Type of a link to a map → the kind of edge, and whether it counts as a user of the map
(bpf_map_get_with_uref())."""


class Relations:
    """One look at the objects of a host and at all that ties them; each part is read when needed.

    Objects are listed first: what holds them is looked for when they are known to be there. `more`
    are parts of programs and maps that are wanted beside their names.
    """

    def __init__(self, system: System, more: Part = _PARTS, at: Places | None = None) -> None:
        self.system = system
        self._errors: list[ErrorRecord] = []
        self.denied: Denied | None = None
        """Why objects cannot be listed, if so: then those of open files are known."""
        look = Look(system, _PARTS | more)
        self.programs: list[ProgramRecord] = self._listed(look.programs)
        self.maps: list[MapRecord] = self._listed(look.maps)
        types = BtfLook(system, Part.BASIC)
        self.btfs: list[BtfRecord] = self._listed(types.objects)
        self.places = at or Places(system)
        self.links: list[LinkFacts] = self.places.links
        self._errors += look.errors + types.errors

    def _listed(self, read: Callable[[], Iterator[R]]) -> list[R]:
        try:
            return list(read())
        except Denied as error:
            self.denied = self.denied or error
            self._errors.append(ErrorRecord("objects", None, None, str(error)))
            return []

    @cached_property
    def attachments(self) -> Attachments:
        """What is attached."""
        return Attachments(self.places)

    @cached_property
    def holders(self) -> Holders:
        """Who holds what."""
        if self.denied:
            return Holders(self.places, self.attachments.raw)
        return Holders(self.places, self.attachments.raw, self.programs, self.maps)

    @property
    def errors(self) -> list[ErrorRecord]:
        """What could not be looked at."""
        return self._errors + self.attachments.errors + self.holders.errors

    @cached_property
    def unseen(self) -> list[str]:
        """What could not be looked at, and may hold an object, each with the reason."""
        told = (
            f"{each.what}: {each.reason}" for kind in OBJECTS for each in self.holders.unseen(kind)
        )
        return list(dict.fromkeys(told))

    @cached_property
    def graph(self) -> Graph:
        """All of it as one graph."""
        made = _Drawing(self)
        return graph(made.nodes.values(), made.edges, self.unseen, self.errors)


class _Drawing:
    """The nodes and edges of a graph, as they are put together."""

    def __init__(self, told: Relations) -> None:
        self.told = told
        self.nodes: dict[str, Node] = {node.key: node for node in _objects(told)}
        self.edges: list[Edge] = []
        self._links = {link.id: link for link in told.links}
        self._by_link = {
            record.link_id: record for record in told.attachments.records if record.link_id
        }
        self._files: dict[str, list[tuple[set[tuple[int | None, int | None]], str]]] = {}
        try:
            self._own_mntns: int | None = told.places.own_mntns
        except OSError:
            self._own_mntns = None
        self._runs: set[tuple[str, str]] = set()
        """What the attachments told of places and programs."""
        self._attached()
        self._by_tun()
        for (kind, id), holders in told.holders.all.items():
            self._held(kind, id, holders)
        self._inside()

    def _add(self, node: Node) -> str:
        self.nodes.setdefault(node.key, node)
        return node.key

    def _type(self, key: str) -> str | None:
        return self.nodes[key].type if key in self.nodes else None

    # --- attachments

    def _attached(self) -> None:
        for record in self.told.attachments.records:
            if record.link_id is None and (record.holder or record.slot is not None):
                continue  # a file or a slot keeps it: that is among the holders
            place = self._place(record.kind, record.target, record.map_id, record.on_prog_id)
            type = record.attach_type or ""
            if record.link_id is not None:
                # What a link to a program or map keeps is among the holders of those.
                if self.nodes[place].kind in PLACES:
                    self._edge(f"link:{record.link_id}", place, "attached-to", False, type)
            elif record.prog_id:
                lost = record.kind == "sockmap"
                self._runs.add((place, f"prog:{record.prog_id}"))
                keeps = record.kind not in _KEPT_OTHERWISE
                self._edge(place, f"prog:{record.prog_id}", "runs", keeps, type, needs_user=lost)
            elif record.kind == "lwt":  # told by nothing but its type
                for program in self.told.programs:
                    if program.type == type:
                        self._edge(place, f"prog:{program.id}", "may-run", False, type)

    def _by_tun(self) -> None:
        """Whether a tun device runs a program (TUNSETSTEERINGEBPF, TUNSETFILTEREBPF), and which,
        nobody is told."""
        filters = [each.id for each in self.told.programs if each.type == "socket_filter"]
        for device in self._devices().values() if filters else ():
            if device.kind == "tun":
                place = self._place("xdp", device.name)
                for id in filters:
                    self._edge(place, f"prog:{id}", "may-run", False, "tun")

    def _place(
        self, kind: str, target: str, map_id: int | None = None, prog_id: int | None = None
    ) -> str:
        """The node of a place; of one at a map or a program, that of the object."""
        for key in (f"map:{map_id}", f"prog:{prog_id}"):
            if key in self.nodes and kind != "iter":
                return key
        words, _, rest = target.partition(" ")
        if kind in _DEVICES and not target.startswith("netns "):
            return self._add(Node(f"device:{target}", "device", None, target, None))
        if kind == "lwt" and " dev " in target:  # a route goes with its device
            return self._place("xdp", target.partition(" dev ")[2])
        if kind in ("cgroup", "lsm") and target.startswith("/"):
            return self._add(Node(f"cgroup:{target}", "cgroup", None, target, None))
        if words == "netns":
            return self._add(Node(f"netns:{rest}", "netns", None, rest, None))
        return self._add(Node(f"hook:{kind} {target}", "hook", None, target, kind))

    # --- holders

    def _held(self, kind: str, id: int, holders: list[Holder]) -> None:
        target = f"{PREFIXES.get(kind, kind)}:{id}"
        if self.told.denied:  # an open file names it
            self._add(Node(target, kind, id, "", None))
        fds: dict[str, list[int]] = {}
        files: dict[tuple[str, str], list[Holder]] = {}
        for holder in holders:
            if holder.how == "fd":
                fds.setdefault(self._process(holder), []).append(holder.fd or 0)
            elif holder.how == "attachment":
                if holder.pid is not None:
                    files.setdefault((holder.kind or "", holder.target or ""), []).append(holder)
                else:
                    place = self._place(holder.kind or "", holder.target or "", holder.map_id)
                    if (place, target) not in self._runs:
                        self._edge(place, target, "runs", True)
            else:
                self._by_object(holder, kind, id, target)
        for process, numbers in fds.items():
            self._edge(process, target, "holds", True, _fds(numbers), user=True)
        for (hook, place), found in files.items():
            self._edge(self._file(hook, place, found), target, "runs", True)

    def _by_object(self, holder: Holder, kind: str, id: int, target: str) -> None:
        """What another object holds, or a pin."""
        match holder.how:
            case "pin":
                self._edge(self._pin(holder), target, "pins", True, user=True)
            case "link":
                self._linked(holder.link_id or 0, kind, id, target)
            case "slot":
                source = f"map:{holder.map_id}"
                jump = self._type(source) == "prog_array"
                edge = "tail-calls" if jump else "contains"
                self._edge(source, target, edge, True, f"[{holder.slot}]", needs_user=jump)
            case "program":
                edge = {"btf": "types", "map": "uses"}.get(kind, "")
                source = f"prog:{holder.prog_id}"
                if not edge:  # a program that is to replace or trace this one, not attached yet
                    edge = "replaces" if self._type(source) == "ext" else "traces"
                self._edge(source, target, edge, True)
            case "map":
                edge = "types" if kind == "btf" else "part"  # a function of a struct_ops
                self._edge(f"map:{holder.map_id}", target, edge, True)
            case "kernel":
                self._edge(
                    self._add(Node("kernel:", "kernel", None, "", None)), target, "part", True
                )

    def _linked(self, link_id: int, kind: str, id: int, target: str) -> None:
        link = self._links.get(link_id)
        if kind == "map":
            edge, user = _LINKED.get(link.type if link else LinkType.UNSPEC, ("attached-to", False))
            self._edge(f"link:{link_id}", target, edge, True, user=user)
            return
        edge, function = "links", ""
        if link is not None and link.prog_id != id and kind == "program":
            record = self._by_link.get(link_id)
            edge = "replaces" if record and record.kind == "freplace" else "traces"
            function = record.target.partition(f"program {id}")[2].lstrip() if record else ""
        self._edge(f"link:{link_id}", target, edge, True, function)

    def _process(self, holder: Holder) -> str:
        pid, comm = holder.pid, holder.comm or ""
        return self._add(Node(f"pid:{pid}", "process", pid, comm, None))

    def _pin(self, holder: Holder) -> str:
        key = f"pin:{holder.words}"
        if key not in self.nodes:
            self._add(Node(key, "pin", None, holder.words, None))
            if holder.mntns not in (None, self._own_mntns):
                mounts = [
                    mount
                    for mount in self.told.places.mounts
                    if mount.kind == "bpf" and not mount.covered
                ]
                self._mounted(key, holder.mntns or 0, holder.path or "", mounts)
        return key

    def _mounted(self, key: str, mntns: int, path: str, mounts: list[Mount]) -> None:
        """What is mounted nowhere in our own mount namespace goes with the others that have it."""
        here = [m for m in mounts if m.mntns == mntns and (path + "/").startswith(m.path + "/")]
        if not here:
            return
        device = max(here, key=lambda mount: len(mount.path)).device
        spaces = dict.fromkeys(mount.mntns for mount in mounts if mount.device == device)
        if self._own_mntns in spaces:
            return
        for inode in spaces:
            name = str(inode)
            source = self._add(Node(f"mntns:{name}", "mntns", None, name, None))
            self._edge(source, key, "part", True)

    def _file(self, hook: str, place: str, holders: list[Holder]) -> str:
        """The socket or perf event that runs a program; one that several processes have is one."""
        kind = "socket" if hook in sockets.KINDS else "event"
        opened = {(holder.pid, holder.fd) for holder in holders}
        known = self._files.setdefault(f"{kind}:{place}", [])
        for files, key in known:
            if files == opened:
                return key
        key = f"{kind}:{place}" + (f"#{len(known) + 1}" if known else "")
        known.append((opened, key))
        self._add(Node(key, kind, None, place, hook))
        fds: dict[str, list[int]] = {}
        for holder in holders:
            fds.setdefault(self._process(holder), []).append(holder.fd or 0)
        for process, numbers in fds.items():
            self._edge(process, key, "holds", True, _fds(numbers))
        return key

    # --- places in places

    def _inside(self) -> None:
        """A network namespace takes its devices along, a device the other end of its pair, a cgroup
        those below it."""
        self._paired()
        cgroups = sorted(node.name for node in self.nodes.values() if node.kind == "cgroup")
        for node in [*self.nodes.values()]:
            if node.kind == "device" and (netns := self._netns_of(node.name)):
                source = self._add(Node(f"netns:{netns}", "netns", None, netns, None))
                self._edge(source, node.key, "part", True)
            elif node.kind == "cgroup":
                above = [path for path in cgroups if _below(node.name, path)]
                if above:
                    self._edge(f"cgroup:{above[-1]}", node.key, "part", True)
        if any(node.kind == "netns" for node in self.nodes.values()):
            self._in_networks()
        for process in self.told.places.processes:
            key = f"mntns:{process.mntns}"
            if key in self.nodes:
                self._edge(self._known_process(process.pid), key, "in", True)

    def _devices(self) -> dict[tuple[int, int], Device]:
        try:
            return self.told.places.devices
        except OSError:
            return {}  # that no network namespace is known is among the errors

    def _paired(self) -> None:
        devices = [node for node in self.nodes.values() if node.kind == "device"]
        others = pairs(self._devices()) if devices else {}
        for node in devices:
            if node.name in others:
                other = self._place("xdp", others[node.name])
                self._edge(node.key, other, "paired", False, ends=True)
                self._edge(other, node.key, "paired", False, ends=True)

    def _netns_of(self, device: str) -> str:
        """The namespace that a device's name ends with; an @ may be in the name of either."""
        parts = device.split("@")
        ends = ("@".join(parts[at:]) for at in range(1, len(parts)))
        return next((end for end in ends if f"@{end}" in self._suffixes), "")

    @cached_property
    def _netns(self) -> list[Netns]:
        try:
            return self.told.places.netns
        except OSError:
            return []  # the finders of what is in them have said so

    @cached_property
    def _suffixes(self) -> set[str]:
        return {netns.suffix for netns in self._netns}

    def _in_networks(self) -> None:
        """A network namespace is there while a process is in it, or while it is mounted."""
        for netns in self._netns:
            key = f"netns:{netns.words.partition(' ')[2]}"
            if key not in self.nodes:
                continue
            for pid in netns.pids:
                self._edge(self._known_process(pid), key, "in", True)
            for mount in self.told.places.mounts:
                if mount.kind == "nsfs" and mount.root == f"net:[{netns.inode}]":
                    path = mount.path + self.told.places.elsewhere(mount.mntns)
                    name = self._add(Node(f"mount:{path}", "mount", None, path, None))
                    self._edge(name, key, "names", True)
                    if mount.mntns != self._own_mntns:
                        self._mounted(name, mount.mntns, mount.path, [mount])

    def _known_process(self, pid: int) -> str:
        told = self.told.places.process(pid)
        comm = "" if isinstance(told, Missing) else told.comm or ""
        return self._add(Node(f"pid:{pid}", "process", pid, comm, None))

    def _edge(
        self, source: str, target: str, kind: str, keeps: bool, label: str = "",
        *, user: bool = False, needs_user: bool = False, ends: bool = False,
    ) -> None:  # fmt: skip
        self.edges.append(Edge(source, target, kind, keeps, label, user, needs_user, ends))


def _objects(told: Relations) -> Iterator[Node]:
    for program in told.programs:
        name = program.full_name or program.name
        yield Node(f"prog:{program.id}", "program", program.id, name, program.type)
    for found in told.maps:
        yield Node(f"map:{found.id}", "map", found.id, found.name, found.type)
    for link in told.links:
        yield Node(f"link:{link.id}", "link", link.id, "", link.type.label)
    for types in told.btfs:
        kernel = "kernel" if types.kernel else None
        yield Node(f"btf:{types.id}", "btf", types.id, types.name or "", kernel)


def _fds(numbers: list[int]) -> str:
    return "fd " + ", ".join(map(str, sorted(numbers)))


def _below(path: str, above: str) -> bool:
    return path != above and path.startswith(above.rstrip("/") + "/")
