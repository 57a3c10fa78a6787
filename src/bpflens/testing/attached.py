"""What is attached where on an engine, in the words that finders have for it (`attach.record`)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.engine.classifiers import MatchAll
from bpflens.engine.links.iter import IterLink
from bpflens.engine.links.multi import KprobeMultiLink
from bpflens.engine.links.netns import NetfilterLink, NetnsLink
from bpflens.engine.links.sockmap import SockmapLink
from bpflens.engine.links.struct_ops import StructOpsLink
from bpflens.engine.links.tcx import TcxLink
from bpflens.engine.links.tracing import PerfLink, RawTracepointLink
from bpflens.engine.links.trampoline import TracingLink
from bpflens.engine.links.xdp import XdpLink
from bpflens.engine.maps.nested import ProgArray
from bpflens.engine.maps.redirect import Devmap
from bpflens.engine.maps.sockets import Sockets
from bpflens.engine.maps.struct_ops import INUSE, StructOps
from bpflens.engine.net import NetNs, Socket
from bpflens.engine.progs.prog import Prog
from bpflens.engine.routes import Route
from bpflens.engine.tasks import Task
from bpflens.testing.truth import Truth

_INET = 2
_NETKIT = (AttachType.NETKIT_PRIMARY, AttachType.NETKIT_PEER)


class Placed(NamedTuple):
    """A program at a place: fields of an `Attachment`."""

    kind: str
    prog_id: int
    target: str


class Attached:
    """All places of programs, as one task sees them.

    `shown` has to be found. `hidden` cannot be, or not with that target: what is in a network
    namespace that no path leads to, and what only a message on its way holds.
    """

    def __init__(self, truth: Truth, looker: Task) -> None:
        self._truth = truth
        self._looker = looker
        self._names = dict(self._named())
        self._unreached = truth.unreached
        self.shown: set[Placed] = set()
        self.hidden: set[Placed] = set()
        for netns in truth.netns:
            self._netns(netns)
        self._links()
        self._files()
        self._maps()

    def _named(self) -> Iterator[tuple[NetNs, str]]:
        spaces = dict.fromkeys(task.mntns for task in self._truth.engine.tasks.values())
        for mntns in reversed([self._looker.mntns, *spaces]):  # the looker's names come first
            for path, mount in reversed(mntns.mounts.items()):
                if isinstance(mount.node, NetNs):
                    elsewhere = "" if mntns is self._looker.mntns else f"@{mntns.inode}"
                    yield mount.node, path.removeprefix("/run/netns/") + elsewhere

    def _add(self, shown: bool, kind: str, prog: Prog | None, target: str) -> None:
        if prog:
            (self.shown if shown else self.hidden).add(Placed(kind, prog.id, target))

    def _word(self, netns: NetNs) -> str:
        return self._names.get(netns, str(netns.inode))

    def _suffix(self, netns: NetNs | None) -> str:
        own = netns is None or netns is self._looker.netns
        return "" if own or netns is None else f"@{self._word(netns)}"

    def _netns(self, netns: NetNs) -> None:
        seen, suffix = netns not in self._unreached, self._suffix(netns)
        for device in netns.devices.values():
            name = device.name + suffix
            for running, _link in device.xdp.values():
                self._add(seen, "xdp", running, name)
            for attach, hook in device.tcx.items():
                kind = "netkit" if attach in _NETKIT else "tcx"
                # the primary end of a pair stands for both
                there = device.peer if attach == AttachType.NETKIT_PEER else device
                for running, _link in hook.entries:
                    self._add(seen, kind, running, (there or device).name + suffix)
            for chain in device.clsact.sides.values() if device.clsact else ():
                for one in (one for proto in chain for one in proto.filters):
                    self._add(seen, "tc", one.prog, name)
                    for action in one.actions if isinstance(one, MatchAll) else ():
                        self._add(seen, "act_bpf", action.prog, name)
        for action in netns.actions.values():
            if not action.filters:
                self._add(seen, "act_bpf", action.prog, f"netns {self._word(netns)}")
        for route in netns.routes:
            for prog, _name in route.progs.values():
                self._route(seen, route, prog, suffix)
        for attach, attached in netns.hooks.items():
            for one in attached:
                linked = isinstance(one, NetnsLink)
                # a link tells its namespace, also of one that cannot be entered
                where = f"netns {self._word(netns)}"
                prog = one.prog if linked else one
                self._add(seen or linked, AttachType(attach).label, prog, where)
        for link in netns.filters:
            self._add(seen, "netfilter", link.prog, f"netns {self._word(netns)}")

    def _route(self, seen: bool, route: Route, prog: Prog, suffix: str) -> None:
        _family, bits, network, _table = route.place
        target = f"route {ip_address(network)}/{bits} dev {route.device.name}{suffix}"
        # the kernel tells the ID of seg6local alone; it is known where no other program can be it
        programs = self._truth.engine.ids["prog"].objects.values()
        known = prog.type == ProgType.LWT_SEG6LOCAL or (
            [each.type for each in programs].count(prog.type) == 1
        )
        place = Placed("lwt", prog.id if known else 0, target)
        (self.shown if seen else self.hidden).add(place)

    def _links(self) -> None:
        for cgroup in self._truth.cgroups:
            for hook in cgroup.hooks.values():
                for entry in hook.entries:
                    self._add(not cgroup.gone, "cgroup", entry.prog, cgroup.path)
        for link in self._truth.engine.ids["link"].objects.values():
            if isinstance(link, RawTracepointLink):
                self._add(True, "raw_tracepoint", link.prog, link.name.decode())
            elif isinstance(link, IterLink):
                self._add(True, "iter", link.prog, _over(link))
            elif isinstance(link, PerfLink):
                told = self._truth.engine.release.perf_link_info
                self._add(told, link.event.kind, link.prog, link.event.name)
                self._add(False, link.event.kind, link.prog, "perf event")
            elif isinstance(link, TracingLink):
                self._traced(link)
            elif isinstance(link, KprobeMultiLink):
                names = [self._truth.engine.symbols.at(address) for address, _ in link.probes]
                told = self._truth.engine.release.perf_link_info
                place = names[0] if told else "kernel functions"
                self._add(True, "kprobe_multi", link.prog, place)
            elif isinstance(link, SockmapLink) and link.map:
                self._add(True, "sockmap", link.prog, f"map {link.map.id}")
            elif isinstance(link, XdpLink | TcxLink) and link.device:
                # by its own info, of a device that no finder comes to
                index = f"ifindex {link.device.index}"
                self._add(False, link.type.label, link.prog, index)
            elif isinstance(link, NetfilterLink):
                # its info tells neither the namespace nor whether it was detached
                self._add(False, "netfilter", link.prog, "a network namespace")

    def _traced(self, link: TracingLink) -> None:
        assert link.prog
        if link.target:
            types = link.target.btf
            assert types
            name = types.types.type_name(link.place[1])
            kind = "tracing" if link.attach_type else "freplace"
            self._add(True, kind, link.prog, f"program {link.target.id} {name}")
            return
        name = self._truth.engine.vmlinux.types.type_name(link.place[1])
        kind = "lsm" if link.attach_type == AttachType.LSM_MAC else "tracing"
        self._add(True, kind, link.prog, name.removeprefix("bpf_lsm_"))

    def _files(self) -> None:
        truth = self._truth
        shown = {file.node for file, fds in truth.files.items() if fds}
        for socket in truth.sockets:
            where = _bound(socket) + self._suffix(socket.netns)
            self._add(socket in shown, "socket_filter", socket.filter, where)
            if socket.group:
                self._add(socket in shown, "sk_reuseport", socket.group.prog, where)
        for event in truth.events:
            self._add(event in shown, event.kind, event.prog, event.name)

    def _maps(self) -> None:
        links = self._truth.engine.ids["link"].objects.values()
        registered = {link.map for link in links if isinstance(link, StructOpsLink)}
        for found in self._truth.engine.ids["map"].objects.values():
            if isinstance(found, ProgArray):
                for slot, held in found.held.items():
                    assert isinstance(held, Prog)
                    self._add(True, "prog_array", held, f"map {found.id} [{slot}]")
            elif isinstance(found, Devmap):
                for slot, target in found.targets.items():
                    self._add(
                        True, MapType(found.type).label, target.prog, f"map {found.id} [{slot}]"
                    )
            elif isinstance(found, StructOps) and (found.state == INUSE or found in registered):
                name = found.name.decode()
                for prog in found.progs:
                    self._add(True, "struct_ops", prog, f"tcp_congestion_ops {name}".strip())
            elif isinstance(found, Sockets):
                for there in found.progs.values():
                    if isinstance(there, Prog):
                        self._add(True, "sockmap", there, f"map {found.id}")


def _over(link: IterLink) -> str:
    name = link.name.decode()
    return f"{name} map {link.map.id}" if link.map else name


def _bound(socket: Socket) -> str:
    row = socket.row
    if row.family == _INET:
        return f"udp {ip_address(row.local[:4])}:{row.local_port}"
    return f"unix socket:[{row.inode}]"
