"""Network namespaces: one visit to each, in which every finder of what is there looks."""

from __future__ import annotations

import errno
import importlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bpflens.abi.enums import LinkType
from bpflens.abi.netlink import (
    IFINFO,
    NETLINK_ROUTE,
    IfLa,
    IfLaInfo,
    attributes,
    get_links,
)
from bpflens.attach.record import Attachment, Failure, failure
from bpflens.errors import BpflensError, FormatError
from bpflens.model.parts import Missing, Reason

if TYPE_CHECKING:
    from bpflens.attach.filters import Filter
    from bpflens.attach.places import Netns, Places
    from bpflens.model.link import LinkFacts
    from bpflens.model.system import System

LOOKS = ("xdp", "tc", "act_bpf", "tcx", "netkit", "netns", "netfilter", "lwt")
"""The modules of this package that have a `look(visit)`, and in `TYPES` the types of program that
it may find: where none of these is loaded, there is nothing to look for."""

ABSENT = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT})
"""What a kernel answers that does not have what it is asked for."""

_REFUSED = frozenset({errno.EPERM, errno.EACCES})
"""A namespace that is there, and not for us."""

_NAMED_MAX = 8


class Device(NamedTuple):
    """A network device."""

    ifindex: int
    name: str
    """With its namespace where that is not ours: `eth0@blue`."""
    kind: str
    """`veth`, `netkit`; empty for what is no virtual device."""
    xdp: bytes
    """IFLA_XDP."""
    link: int
    """The index of the device to which it belongs, as the other end of a pair; 0: none."""
    abroad: bool
    """Whether that is in another network namespace."""


class Visit:
    """A network namespace while the thread is in it."""

    def __init__(self, places: Places, netns: Netns) -> None:
        self.places = places
        self.system = places.system
        self.netns = netns
        self.devices = devices(places.system, netns.suffix)

    def dump(self, request: bytes, protocol: int = NETLINK_ROUTE) -> list[bytes]:
        """What the namespace answers to a request. Raises OSError."""
        return self.system.doors.net.dump(protocol, request)

    @cached_property
    def filters(self) -> list[Filter]:
        """The filters of traffic control. Raises OSError, FormatError."""
        from bpflens.attach.filters import read

        return read(self)


class Linked(NamedTuple):
    """An attachment that may be by a link, of which the kernel tells no more than `key`."""

    attachment: Attachment
    key: tuple[Any, ...]
    """As `_key` has it of the link."""


Found: TypeAlias = Attachment | Linked | Failure


def find(places: Places) -> Iterator[Attachment | Failure]:
    """What is attached in every network namespace."""
    modules = [importlib.import_module(f"bpflens.attach.{name}") for name in LOOKS]
    modules = [module for module in modules if places.loaded(*module.TYPES)]
    found: list[Found] = []
    known: dict[tuple[int, int], Device] = {}
    for netns in places.netns if modules else ():
        with ExitStack() as stay:
            try:
                if not _enter(places, netns, stay):
                    continue
                visit = Visit(places, netns)
            except (OSError, FormatError) as error:
                found.append(failure("network", netns.words, error))
                continue
            for module in modules:
                found += _looked(module, visit)
        known |= {(netns.inode, ifindex): each for ifindex, each in visit.devices.items()}
    if modules:
        places.devices = known
        yield from _closed(places)
    yield from _with_links(places, found)


def _closed(places: Places) -> Iterator[Failure]:
    """The network namespaces that may be there, or are there, and cannot be looked into."""
    if places.unseen:
        needs = f"{places.unseen} of them: needs CAP_SYS_PTRACE, or their own user"
        yield Failure("network", "namespaces of hidden processes", needs)
    if elsewhere := places.files.elsewhere:
        yield Failure("network", "namespaces of other processes", str(elsewhere))
    for inode in places.closed_netns:
        why = "it cannot be entered: only processes that are hidden from us lead there"
        yield Failure("network", f"netns {inode}", why)
    for inode, why in places.shut_netns.items():
        yield Failure("network", f"netns {inode}", why)
    for mntns, reason in places.tables.unread.items():
        what = f"network namespaces that are mounted in mount namespace {mntns}"
        yield Failure("network", what, str(reason))


def _enter(places: Places, netns: Netns, stay: ExitStack) -> bool:
    """Be in a network namespace until `stay` ends; in our own one, no right is needed. False where
    it is gone. Raises OSError."""
    if netns.own:
        return True
    refused: OSError | None = None
    for way in netns.ways:
        try:
            stay.enter_context(places.system.doors.net.entered(way))
        except OSError as error:
            refused = refused or error
        else:
            return True
    if refused is None:
        return False
    # Its processes ended and its files were unmounted meanwhile; or others lie in their place.
    if refused.errno in _REFUSED or any(places.leads(way) for way in netns.ways):
        raise refused
    return False


def _looked(module: Any, visit: Visit) -> list[Found]:
    found: list[Found] = []
    try:
        for each in module.look(visit):
            found.append(each)  # what came before a failure stands
    except (BpflensError, OSError) as error:
        name = module.__name__.rpartition(".")[2]
        found.append(failure(name, visit.netns.words, error))
    return found


def everywhere(places: Places) -> dict[tuple[int, int], Device]:
    """Every network device, by the inode number of its namespace and its index.

    Those of a namespace that cannot be entered are left out.
    """
    found: dict[tuple[int, int], Device] = {}
    for netns in places.netns:
        with ExitStack() as stay, suppress(OSError, FormatError):
            if _enter(places, netns, stay):
                there = devices(places.system, netns.suffix)
                found |= {(netns.inode, ifindex): each for ifindex, each in there.items()}
    return found


def devices(system: System, suffix: str = "") -> dict[int, Device]:
    """The devices of the network namespace that the thread is in, by index.

    Raises OSError, FormatError.
    """
    return {device.ifindex: device for device in each_device(system, suffix)}


def each_device(system: System, suffix: str = "") -> Iterator[Device]:
    """The same one after another: those before damage stand."""
    for message in system.doors.net.dump(NETLINK_ROUTE, get_links()):
        if len(message) < IFINFO.size:
            raise FormatError("link message is cut short", len(message))
        index = IFINFO.unpack_from(message)[2]
        told = attributes(message[IFINFO.size :])
        kind = attributes(told.get(IfLa.LINKINFO, b"")).get(IfLaInfo.KIND, b"")
        name = text(told.get(IfLa.IFNAME, b""))
        link = int.from_bytes(told.get(IfLa.LINK, b""), sys.byteorder)
        xdp, abroad = told.get(IfLa.XDP, b""), IfLa.LINK_NETNSID in told
        yield Device(index, name + suffix, text(kind), xdp, link, abroad)


def text(data: bytes) -> str:
    """A string of netlink, which ends with a NUL or with the attribute."""
    return data.partition(b"\0")[0].decode(errors="surrogateescape")


def _key(link: LinkFacts) -> tuple[Any, ...] | None:
    """What the info of a link tells of its place, where that is not the whole place: the network
    namespace is missing."""
    if link.type is LinkType.XDP and link.ifindex:
        return "xdp", link.ifindex, link.prog_id
    if link.type is LinkType.NETFILTER:
        return "netfilter", link.pf, link.hooknum, link.priority, link.prog_id
    return None


def _with_links(places: Places, found: Iterable[Found]) -> Iterator[Attachment | Failure]:
    """The attachments with their links, where it can be told which."""
    rivals = Counter(each.key for each in found if isinstance(each, Linked))
    links: dict[tuple[Any, ...] | None, list[int]] = {}
    for link in places.links if rivals else ():
        links.setdefault(_key(link), []).append(link.id)
    for each in found:
        if isinstance(each, Linked):
            yield _linked(places, each.attachment, links.get(each.key, []), rivals[each.key])
        else:
            yield each


def _linked(places: Places, found: Attachment, links: list[int], rivals: int) -> Attachment:
    """With the one link that it must be; else with the reason why none is told.

    Of `rivals` attachments that look the same, some or all are by `links`.
    """
    if not links:
        refused = [why for what, why in places.link_failures if what == "links"]
        if not refused:
            return found
        missing = Missing(Reason.DENIED, refused[0])
    elif len(links) == rivals == 1:
        return found._replace(link_id=links[0])
    else:
        if len(links) <= rivals:
            # each of them has its record here, though which is which is not known
            places.told.update(links)
        few = ", ".join(map(str, links[:_NAMED_MAX]))
        more = f" and {len(links) - _NAMED_MAX} more" if len(links) > _NAMED_MAX else ""
        missing = Missing(
            Reason.UNSUPPORTED,
            f"the kernel tells no network namespace of these links, and {rivals} attachments "
            f"look the same: {few}{more}",
        )
    return found._replace(missing=found.missing | {"link_id": str(missing)})
