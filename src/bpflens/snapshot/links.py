"""Links as records: every fact of every type, with the names of what they are attached to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple

from bpflens.abi.enums import AttachType, LinkType, ProgType
from bpflens.attach import networks
from bpflens.attach.links import ORDERS, attachment, gone
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.errors import BpflensError, NotFound
from bpflens.model.link import Link, LinkFacts
from bpflens.model.parts import Missing, Part, is_limited
from bpflens.model.system import LINK, System
from bpflens.snapshot.records import ErrorRecord, limited
from bpflens.snapshot.take import Look

_ELSEWHERE = (LinkType.XDP, LinkType.TCX, LinkType.NETKIT, LinkType.NETFILTER)
"""Types whose info names a device or a hook, but no network namespace: who looks into each of them
knows."""


class LinkRecord(NamedTuple):
    """One link. Below `pinned` are the facts of its type, by the kernel's names."""

    id: int
    type: str
    prog_id: int | None
    prog_type: str | None
    prog_name: str | None
    prog_tag: str | None
    kind: str | None
    """One of `attach.kinds`; None where it is attached nowhere."""
    target: str | None
    attach_type: str | None
    flags: list[str] | None
    pinned: list[str] | None
    cookie: int | None
    tp_name: str | None
    target_obj_id: int | None
    target_btf_id: int | None
    target_btf_ids: list[int] | None
    target_name: str | None
    map_id: int | None
    cgroup_id: int | None
    order: str | None
    tid: int | None
    pid: int | None
    netns_ino: int | None
    ifindex: int | None
    pf: int | None
    hooknum: int | None
    priority: int | None
    perf_event_type: str | None
    func_name: str | None
    addr: int | None
    file_name: str | None
    offset: int | None
    ref_ctr_offset: int | None
    event_type: int | None
    config: int | None
    missed: int | None
    probe_count: int | None
    functions: list[str] | None
    """kprobe_multi: the names of what is at the addresses; tracing_multi: of the BTF types."""
    addrs: list[int] | None
    path: str | None
    offsets: list[int] | None
    ref_ctr_offsets: list[int] | None
    cookies: list[int] | None
    raw: str | None
    missing: dict[str, str]
    holders: list[dict[str, Any]] | None = None
    unseen: list[str] | None = None


_SAME = [name for name in LinkRecord._fields if name in LinkFacts._fields]
_take_same = attrgetter(*_SAME)


class LinkLook:
    """One look at the links of a system; `errors` collects what could not be looked at."""

    def __init__(self, system: System, parts: Part = Part.BASIC) -> None:
        self.places = Places(system)
        self.targets = self.places.targets
        self._look = Look(system, parts)
        self.errors: list[ErrorRecord] = self._look.errors
        self._basic = Part.BASIC in parts
        self._parts = parts

    def links(self, links: Iterable[Link] | None = None) -> Iterator[LinkRecord]:
        """A record for each link (default: all of the system). Closes each after reading it.

        Raises Denied where nothing may be seen at all.
        """
        found = self._links(links)
        return self._with_holders(found) if Part.HOLDERS in self._parts else found

    def _with_holders(self, records: Iterator[LinkRecord]) -> Iterator[LinkRecord]:
        from bpflens.snapshot.ties import Ties

        ties = Ties(self.places, self._parts & Part.HOLDERS)
        for at, record in enumerate(records):
            tied = ties.of("link", record.id)
            if not at:
                self.errors += ties.errors
            yield record._replace(**tied)

    def _links(self, links: Iterable[Link] | None) -> Iterator[LinkRecord]:
        if links is None:
            if not self.places.links:
                next(self.places.system.ids(LINK), None)  # of a look, a refusal is only a part
            yield from map(self.record, self.places.links)
            for what, why in self.places.link_failures:
                which = None if what == "links" else what
                self.errors.append(ErrorRecord(LINK.noun, None, which, why))
            return
        for link in links:
            with link:
                try:
                    record = self.record(link.info())
                except NotFound:
                    continue
                except (BpflensError, OSError) as error:
                    self.errors.append(ErrorRecord(LINK.noun, None, None, str(error)))
                    continue
            yield record

    def record(self, link: LinkFacts) -> LinkRecord:
        """A link with the names of its program and its target."""
        missing = {name: str(why) for name, why in link.missing.items()}
        values: dict[str, Any] = dict(zip(_SAME, _take_same(link), strict=True))
        program = self.targets.program(link.prog_id) if link.prog_id else None
        if isinstance(program, Missing):
            missing |= dict.fromkeys(("prog_type", "prog_name", "prog_tag"), str(program))
            program = None
        place = None if gone(link) else self._attachment(link)
        if place is not None:
            missing |= place.missing
        if place is None and link.attach_type is not None:
            values["attach_type"] = AttachType(link.attach_type).label
        values |= {
            "type": link.type.label,
            "prog_id": link.prog_id or None,
            "prog_type": ProgType(program.info.type).label if program else None,
            "prog_name": program.name if program else None,
            "prog_tag": program.info.tag.hex() if program else None,
            "kind": place.kind if place else None,
            "target": None if place is None or "target" in missing else place.target,
            "flags": None if "flags" in missing else place.flags if place else [],
            "pinned": self._look.pinned.of("link", link.id, missing) if self._basic else None,
            "functions": self._functions(link, missing),
            "missing": missing,
        }
        if place is not None:
            values["attach_type"] = place.attach_type
        if link.order is not None:
            values["order"] = ORDERS.get(link.order, str(link.order))
        if link.perf_event_type is not None:
            values["perf_event_type"] = link.perf_event_type.label
        if link.raw is not None:
            values["raw"] = link.raw.hex()
        if missing:
            self.errors += limited(LINK.noun, link.id, None, missing)
        return LinkRecord(**values)

    def _functions(self, link: LinkFacts, missing: dict[str, str]) -> list[str] | None:
        """The names of the kernel functions that a link is at, where it can be at many."""
        if link.target_btf_ids is not None:
            object = link.target_obj_id or 0
            names = [self.targets.kernel_function(object, id) for id in link.target_btf_ids]
            return [
                f"type {id}" if isinstance(name, Missing) else name
                for id, name in zip(link.target_btf_ids, names, strict=True)
            ]
        if link.addrs is None:
            if "addrs" in missing:
                missing["functions"] = missing["addrs"]
            return None
        return list(map(self.targets.symbol, link.addrs))

    def _attachment(self, link: LinkFacts) -> Attachment:
        """Where a link is attached, by who knows most of it."""
        found = None
        if link.type in _ELSEWHERE:
            found = self._in_networks.get(link.id)
        elif "perf_event_type" in link.missing:
            found = self._at_events.get(link.id)
        return found or attachment(self.targets, link)

    @cached_property
    def _in_networks(self) -> dict[int, Attachment]:
        """What is found in network namespaces, by the IDs of links."""
        try:
            return self._by_link(networks.find(self.places))
        except OSError as error:
            self.errors.append(ErrorRecord("network", None, error.filename, error.strerror or ""))
            return {}

    @cached_property
    def _at_events(self) -> dict[int, Attachment]:
        """What the fds of perf events tell, by the IDs of links."""
        from bpflens.attach import perf

        return self._by_link(perf.find(self.places))

    def _by_link(self, found: Iterator[Attachment | Failure]) -> dict[int, Attachment]:
        by_link: dict[int, Attachment] = {}
        for each in found:
            if isinstance(each, Failure):
                if is_limited(each.error):
                    self.errors.append(ErrorRecord(each.kind, None, each.target, each.error))
            elif each.link_id is not None:
                by_link[each.link_id] = each
        return by_link
