"""Network namespaces, their devices with XDP, and sockets."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar

from bpflens.abi.enums import AttachType, ProgType
from bpflens.abi.netlink import IFINFO, IfLa, IfLaInfo, IfLaXdp, XdpAttached
from bpflens.abi.rows import SocketRow
from bpflens.engine import tc
from bpflens.engine.call import err
from bpflens.engine.files import Node
from bpflens.engine.netlink import nla
from bpflens.errors import ENOTSUPP

if TYPE_CHECKING:
    from bpflens.engine.actions import Action
    from bpflens.engine.engine import Engine
    from bpflens.engine.links.mprog import Mprog
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.routes import Route

UPDATE_IF_NOEXIST, SKB, DRV, HW, REPLACE = 1, 2, 4, 8, 16
"""XDP_FLAGS_* (include/uapi/linux/if_link.h)."""
MODES = SKB | DRV | HW

_XDP_MODES = (
    (SKB, IfLaXdp.SKB_PROG_ID, XdpAttached.SKB),
    (DRV, IfLaXdp.DRV_PROG_ID, XdpAttached.DRV),
    (HW, IfLaXdp.HW_PROG_ID, XdpAttached.HW),
)
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772
_UP = 0x1 | 0x40  # IFF_UP, IFF_RUNNING
_FAMILIES = {"unix": 1, "inet": 2, "xdp": 44}
_SOCK_DGRAM = 2


class ReuseGroup:
    """Sockets that share a port, and the program that chooses among them (struct
    sock_reuseport)."""

    __slots__ = ("members", "prog")

    def __init__(self) -> None:
        self.members = 0
        self.prog: Prog | None = None

    def attach(self, prog: Prog | None) -> None:
        """reuseport_attach_prog(); None takes off what is there."""
        if prog:
            prog.hold()
        if self.prog:
            self.prog.drop()
        self.prog = prog


class Socket(Node):
    """A socket; what it is good for is said by whoever makes it."""

    __slots__ = (
        "cookie", "established", "family", "filter", "group", "maps", "netns", "row",
    )  # fmt: skip

    mnt_id: ClassVar[int] = 10

    def __init__(
        self, cookie: int = 1, *, established: bool = False, reuseport: bool = False,
        beside: Socket | None = None, family: str = "inet", row: SocketRow | None = None,
        netns: NetNs | None = None,
    ) -> None:  # fmt: skip
        """`reuseport` makes a group of its own, `beside` joins that of another socket; `family` is
        inet, unix or xdp."""
        self.cookie = cookie
        self.row = row or SocketRow(family=_FAMILIES[family], type=_SOCK_DGRAM)
        """What it is bound to, as the bulk door tells it."""
        self.netns = netns
        if netns:
            netns.hold()
            self.row.netns, self.row.inode = netns.inode, netns.engine.inode() & 0xFFFFFFF
        self.established = established
        self.family = family
        self.group: ReuseGroup | None = ReuseGroup() if reuseport else None
        if beside:
            self.group = beside.group
        if self.group:
            self.group.members += 1
        self.filter: Prog | None = None
        """SO_ATTACH_BPF."""
        self.maps: set[Any] = set()
        """Maps that this is in; they do not keep it."""

    @property
    def inode(self) -> int:  # type: ignore[override]
        return self.row.inode

    @property
    def anon(self) -> str:  # type: ignore[override]
        return f"socket:[{self.inode}]"

    def attach(self, prog: Prog) -> None:
        """setsockopt(SO_ATTACH_BPF)."""
        prog.hold()
        if self.filter:
            self.filter.drop()
        self.filter = prog

    def attach_reuseport(self, prog: Prog) -> None:
        """setsockopt(SO_ATTACH_REUSEPORT_EBPF): reuseport_attach_bpf()."""
        if prog.type not in (ProgType.SOCKET_FILTER, ProgType.SK_REUSEPORT):
            raise err(errno.EINVAL)
        if prog.type == ProgType.SK_REUSEPORT and self.family != "inet":
            raise err(ENOTSUPP)
        if not self.group:
            raise err(errno.EINVAL)
        self.group.attach(prog)

    def detach_reuseport(self) -> None:
        """setsockopt(SO_DETACH_REUSEPORT_BPF): reuseport_detach_prog()."""
        if not self.group:
            raise err(errno.EINVAL)
        if not self.group.prog:
            raise err(errno.ENOENT)
        self.group.attach(None)

    def drop(self) -> None:
        """It is closed, and goes from all maps."""
        for one in self.maps:
            one.socket_gone(self)
        self.maps.clear()
        if self.filter:
            self.filter.drop()
            self.filter = None
        if self.group:
            self.group.members -= 1
            if not self.group.members:
                self.group.attach(None)
            self.group = None
        if self.netns:
            self.netns.drop()
            self.netns = None


class Device:
    """A network device. `native` says whether its driver has ndo_bpf."""

    __slots__ = (
        "clsact", "index", "ingress_queue", "name", "native", "netns", "peer", "primary", "tcx",
        "xdp",
    )  # fmt: skip

    def __init__(self, netns: NetNs, index: int, name: str, native: bool) -> None:
        self.netns = netns
        self.index = index
        self.name = name
        self.native = native
        self.xdp: dict[int, tuple[Prog, Any]] = {}
        """Mode → program, and the link that holds it or None."""
        self.tcx: dict[int, Mprog] = {}
        """Attach type, of tcx or netkit → the programs there."""
        self.peer: Device | None = None
        """The other end, if this is one of a pair of netkit devices."""
        self.primary = False
        """Whether it is the end from which programs come to both."""
        self.clsact: tc.Clsact | None = None
        self.ingress_queue = False
        """Whether it ever had a qdisc there: what is told of none depends on that."""

    def xdp_attach(
        self, new: Prog | None, flags: int, *, link: Any = None, old: Prog | None = None
    ) -> int:
        """dev_xdp_attach(); returns the mode."""
        modes = flags & MODES
        if link and flags & ~MODES:
            raise err(errno.EINVAL)
        if modes & modes - 1:
            raise err(errno.EINVAL)
        if old and not flags & REPLACE:
            raise err(errno.EINVAL)
        mode = modes or (DRV if self.native else SKB)
        current, holder = self.xdp.get(mode, (None, None))
        if holder or (link and current):
            raise err(errno.EBUSY)
        if flags & REPLACE and current is not old:
            raise err(errno.EEXIST)
        if new:
            if flags & UPDATE_IF_NOEXIST and current:
                raise err(errno.EBUSY)
            if mode != HW and (DRV if mode == SKB else SKB) in self.xdp:
                raise err(errno.EEXIST)
            if new.attach_type in (AttachType.XDP_DEVMAP, AttachType.XDP_CPUMAP):
                raise err(errno.EINVAL)
        if new is not current and (mode == HW or (mode == DRV and not self.native)):
            # a driver that takes programs knows of hardware, and has none
            raise err(errno.EINVAL if mode == HW and self.native else errno.EOPNOTSUPP)
        self.xdp_set(mode, new, link)
        return mode

    def xdp_set(self, mode: int, new: Prog | None, link: Any) -> None:
        """Put a program in place; a link holds its own reference to it."""
        old, holder = self.xdp.pop(mode, (None, None))
        if new:
            if not link:
                new.hold()
            self.xdp[mode] = (new, link)
        if old and not holder:
            old.drop()

    def remove(self) -> None:
        """The device goes: links to it stay, attached to nothing. Of a pair both go."""
        peer, self.peer = self.peer, None
        if peer:
            peer.peer = None
            peer.remove()  # netkit_del_link()
        for mode, (_prog, link) in list(self.xdp.items()):
            if link:
                link.target_gone()
            self.xdp_set(mode, None, None)
        for hook in list(self.tcx.values()):
            hook.clear()
        self.tcx.clear()
        if self.clsact:
            self.clsact.clear(self.netns)
        for route in list(self.netns.routes):
            if route.device is self:
                self.netns.routes.remove(route)
                route.release()
        for found in list(self.netns.engine.ids["map"].objects.values()):
            gone = getattr(found, "device_gone", None)
            if gone:
                gone(self)
        del self.netns.devices[self.index]

    def message(self) -> bytes:
        """The body of RTM_NEWLINK: rtnl_fill_ifinfo(), as far as it is about BPF."""
        loopback = self.index == 1
        head = IFINFO.pack(0, _ARPHRD_LOOPBACK if loopback else _ARPHRD_ETHER, self.index, _UP, 0)
        # rtnl_xdp_fill() nests without NLA_F_NESTED
        xdp = b""
        attached: int = XdpAttached.NONE
        prog_id = 0
        for mode, attribute, value in _XDP_MODES:
            if mode in self.xdp:
                prog_id = self.xdp[mode][0].id
                xdp += nla(attribute, prog_id.to_bytes(4, "little"))
                attached = XdpAttached.MULTI if attached else value
        xdp += nla(IfLaXdp.ATTACHED, bytes([attached]))
        if attached not in (XdpAttached.NONE, XdpAttached.MULTI):
            xdp += nla(IfLaXdp.PROG_ID, prog_id.to_bytes(4, "little"))
        told = nla(IfLa.IFNAME, self.name.encode(errors="surrogateescape") + b"\0") + nla(
            IfLa.XDP, xdp
        )
        if self.peer:
            told += nla(IfLa.LINK, self.peer.index.to_bytes(4, "little"))
            told += nla(IfLa.LINKINFO, nla(IfLaInfo.KIND, b"netkit\0"))
        return head + told


class NetNs(Node):
    """A network namespace; `hooks` holds what is attached to itself, by attach type.

    Tasks in it, its names, open files of it and sockets keep it; its devices go with it.
    """

    __slots__ = (
        "_next", "actions", "blocks", "devices", "engine", "filters", "hooks", "inode", "routes",
        "users",
    )  # fmt: skip

    mnt_id: ClassVar[int] = 3

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.inode = engine.inode()
        self.users = 0
        self.devices: dict[int, Device] = {}
        self.hooks: dict[int, list[Any]] = {}
        self.filters: list[Any] = []
        """Links of netfilter programs."""
        self.routes: list[Route] = []
        self.blocks: dict[int, tc.Block] = {}
        """By number: filters that devices share."""
        self.actions: dict[int, Action] = {}
        self._next = 1
        self.add("lo", native=False)

    @property
    def anon(self) -> str:  # type: ignore[override]
        return f"net:[{self.inode}]"

    def hold(self) -> None:
        self.users += 1

    def drop(self) -> None:
        self.users -= 1
        if not self.users:
            self.engine.later(self.free)

    def free(self) -> None:
        """cleanup_net(): netns_bpf_pernet_pre_exit(), then the devices."""
        for there in self.hooks.values():
            for one in there:
                getattr(one, "netns_gone", one.drop)()  # a link stays, a program goes
        self.hooks.clear()
        for device in list(self.devices.values()):
            if device.index in self.devices:  # not gone with its peer
                device.remove()
        for action in list(self.actions.values()):
            action.release()

    def add(self, name: str, native: bool = True) -> Device:
        """A new device with the next index."""
        device = Device(self, self._next, name, native)
        self.devices[self._next] = device
        self._next += 1
        return device

    def add_netkit(self, name: str, peer: str = "") -> Device:
        """A pair of netkit devices, of which the primary one is given. Since: 6.7."""
        other = self.add(peer or f"{name}_peer", native=False)
        device = self.add(name, native=False)
        device.primary, device.peer, other.peer = True, other, device
        return device
