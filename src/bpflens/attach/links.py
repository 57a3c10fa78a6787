"""Every link: what the finders of a hook have not told already is told by the link's own info."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bpflens.abi.enums import AttachType, LinkType, PerfEventType, ProgType
from bpflens.attach import netfilter
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.attach.targets import LSM, Targets
from bpflens.model.link import LinkFacts
from bpflens.model.parts import Missing, Reason


def find(places: Places) -> Iterator[Attachment | Failure]:
    """An attachment for each link whose target is still there. Since: 5.8."""
    targets = places.targets
    for link in places.links:
        if not gone(link):
            yield attachment(targets, link)
    for what, why in places.link_failures:
        yield Failure("links", what, why)


def gone(link: LinkFacts) -> bool:
    """Whether what the link was attached to is gone, or it was detached: it only holds its program
    then."""
    told = {
        LinkType.CGROUP: link.cgroup_id,
        LinkType.NETNS: link.netns_ino,
        LinkType.STRUCT_OPS: link.map_id,
        LinkType.SOCKMAP: link.map_id,
    } | dict.fromkeys((LinkType.XDP, LinkType.TCX, LinkType.NETKIT), link.ifindex)
    return told.get(link.type) == 0


class Place(NamedTuple):
    """Where a link is attached."""

    kind: str
    target: str | Missing
    attach_type: str | None = None
    flags: tuple[str, ...] = ()
    instead: str = ""
    """What stands for a target whose name is not known."""


def _hook(link: LinkFacts) -> str:
    return AttachType(link.attach_type or 0).label


def attachment(targets: Targets, link: LinkFacts) -> Attachment:
    """A link as an attachment."""
    place = PLACES.get(link.type, _unknown)(targets, link)
    missing: dict[str, str] = {}
    target = place.target
    if isinstance(target, Missing):
        missing["target"] = str(target)
        target = place.instead
    if place.attach_type is None and "attach_type" in link.missing:
        missing["attach_type"] = str(link.missing["attach_type"])
    if "cookie" in link.missing:
        missing["cookie"] = str(link.missing["cookie"])
    # The probes of one link may each have another.
    cookie = link.cookies[0] if link.cookies and len(link.cookies) == 1 else link.cookie
    return Attachment(
        link.prog_id or None,
        place.kind,
        target,
        None,
        list(place.flags),
        "link",
        link.id,
        place.attach_type,
        cookie or None,  # 0 is what a program gets without one
        None,
        missing,
        map_id=link.map_id or None,
        on_prog_id=targets.traced_program(link),
    )


def _unknown(targets: Targets, link: LinkFacts) -> Place:
    type = f"link type {int(link.type)}"
    return Place("unknown", link.missing.get("target_obj_id", _NOT_KNOWN), instead=type)


_NOT_KNOWN = Missing(Reason.UNSUPPORTED, "bpflens does not know links of this type")


# --- tracing


def _raw_tracepoint(targets: Targets, link: LinkFacts) -> Place:
    """bpf_raw_tp_link_attach(): programs of BTF have the same type of link."""
    told = targets.program(link.prog_id)
    by_btf = not isinstance(told, Missing) and told.info.type == ProgType.TRACING
    name = link.tp_name or ""
    if by_btf:
        return Place("tracing", name, AttachType.TRACE_RAW_TP.label)
    return Place("raw_tracepoint", name)


def _tracing(targets: Targets, link: LinkFacts) -> Place:
    # A program that replaces a function has no expected_attach_type, which is what is told.
    kind = {0: "freplace", AttachType.LSM_MAC: "lsm"}.get(link.attach_type or 0, "tracing")
    instead = "a function"
    if link.target_btf_id:
        instead = f"type {link.target_btf_id} of BTF object {link.target_obj_id}"
    found = targets.function(link)
    if kind == "lsm" and isinstance(found, str):
        found = found.removeprefix(LSM)
    return Place(kind, found, _hook(link) if link.attach_type else None, instead=instead)


ORDERS = {1: "self_only", 2: "descendants_pre", 3: "descendants_post", 4: "ancestors_up"}
"""enum bpf_cgroup_iter_order."""


def _iter(targets: Targets, link: LinkFacts) -> Place:
    words = [link.target_name or ""]
    if link.map_id:
        words.append(f"map {link.map_id}")
    if link.cgroup_id:
        path = targets.cgroup(link.cgroup_id)
        words.append(f"cgroup {link.cgroup_id}" if isinstance(path, Missing) else path)
        words.append(ORDERS.get(link.order or 0, f"order {link.order}"))
    words += [f"{field} {id}" for field, id in (("tid", link.tid), ("pid", link.pid)) if id]
    return Place("iter", " ".join(words), AttachType.TRACE_ITER.label)


_PROBES = {
    PerfEventType.KPROBE: "kprobe",
    PerfEventType.KRETPROBE: "kprobe",
    PerfEventType.UPROBE: "uprobe",
    PerfEventType.URETPROBE: "uprobe",
    PerfEventType.TRACEPOINT: "tracepoint",
}
_BY_PROGRAM = {ProgType.TRACEPOINT: "tracepoint", ProgType.KPROBE: "kprobe"}


def _perf_event(targets: Targets, link: LinkFacts) -> Place:
    told = link.perf_event_type
    if told is None:  # before 6.6
        program = targets.program(link.prog_id)
        kind = "perf_event"
        if not isinstance(program, Missing):
            kind = _BY_PROGRAM.get(ProgType(program.info.type), kind)
        return Place(kind, link.missing["perf_event_type"], instead="perf event")
    if told is PerfEventType.TRACEPOINT:
        return Place("tracepoint", link.tp_name or "")
    if told is PerfEventType.EVENT:
        return Place("perf_event", event_words(link.event_type or 0, link.config or 0))
    if _PROBES[told] == "uprobe":
        return Place("uprobe", f"{link.file_name}+{link.offset or 0:#x}", told.label)
    return Place("kprobe", _function(targets, link), told.label)


def _function(targets: Targets, link: LinkFacts) -> str:
    if link.func_name:
        return link.func_name + (f"+{link.offset:#x}" if link.offset else "")
    return targets.symbol(link.addr) if link.addr else "an address that is hidden"


_HARDWARE = (
    "cpu-cycles", "instructions", "cache-references", "cache-misses", "branch-instructions",
    "branch-misses", "bus-cycles", "stalled-cycles-frontend", "stalled-cycles-backend",
    "ref-cycles",
)  # fmt: skip
_SOFTWARE = (
    "cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations", "minor-faults",
    "major-faults", "alignment-faults", "emulation-faults", "dummy", "bpf-output",
    "cgroup-switches",
)  # fmt: skip
_EVENTS = {0: _HARDWARE, 1: _SOFTWARE}
"""PERF_TYPE_HARDWARE and PERF_TYPE_SOFTWARE: events by number, in perf-list(1)'s words."""


def event_words(type: int, config: int) -> str:
    """A perf event in words: `cpu-cycles`, `type 4 config 0x1c2`."""
    names = _EVENTS.get(type, ())
    return names[config] if config < len(names) else f"type {type} config {config:#x}"


RETURN = 1
"""BPF_F_KPROBE_MULTI_RETURN, BPF_F_UPROBE_MULTI_RETURN."""


def _word(link: LinkFacts, word: str) -> str:
    return f"{word[0]}ret{word[1:]}" if (link.flags or 0) & RETURN else word


def _untold(link: LinkFacts) -> Missing:
    """Why it is not known where the probes are. Told since: 6.6 (kprobe_multi), 6.8."""
    return link.missing.get("probe_count", Missing(Reason.UNSUPPORTED, "the info is cut short"))


def _kprobe_multi(targets: Targets, link: LinkFacts) -> Place:
    if link.probe_count is None:
        return Place("kprobe_multi", _untold(link), instead="kernel functions")
    target = f"{link.probe_count} functions"
    if link.probe_count == 1 and link.addrs:
        target = targets.symbol(link.addrs[0])
    return Place("kprobe_multi", target, _word(link, "kprobe_multi"))


def _tracing_multi(targets: Targets, link: LinkFacts) -> Place:
    hook = _hook(link) if link.attach_type else None
    if link.probe_count is None:
        return Place("tracing_multi", _untold(link), hook, instead="kernel functions")
    target: str | Missing = f"{link.probe_count} functions"
    if link.target_btf_ids and len(link.target_btf_ids) == 1:
        target = targets.kernel_function(link.target_obj_id or 0, link.target_btf_ids[0])
    return Place("tracing_multi", target, hook, instead="a function")


def _uprobe_multi(targets: Targets, link: LinkFacts) -> Place:
    if link.probe_count is None:
        return Place("uprobe_multi", _untold(link), instead="places in a program")
    target = f"{link.path}: {link.probe_count} places"
    if link.probe_count == 1 and link.offsets:
        target = f"{link.path}+{link.offsets[0]:#x}"
    if link.pid:
        target += f" of pid {link.pid}"
    return Place("uprobe_multi", target, _word(link, "uprobe_multi"))


# --- networks, cgroups, maps


def _netfilter(targets: Targets, link: LinkFacts) -> Place:
    flags = [f"priority {link.priority}"] + ["defrag"] * ((link.flags or 0) & 1)
    where = "a network namespace"
    if link.pf is None:  # fdinfo
        return Place("netfilter", _NO_HOOK, instead=where)
    hook = netfilter.words(link.pf, link.hooknum or 0)
    return Place("netfilter", _NO_HOOK, hook, tuple(flags), where)


_NO_NETNS = Missing(
    Reason.UNSUPPORTED,
    "the kernel tells no network namespace of this link, and what it tells fits no single place",
)


_NO_HOOK = _NO_NETNS._replace(detail=f"{_NO_NETNS.detail}; or it was detached")


def _device(targets: Targets, link: LinkFacts) -> Place:
    hook = _hook(link) if link.attach_type else None
    return Place(link.type.label, _NO_NETNS, hook, instead=f"ifindex {link.ifindex}")


def _netns(targets: Targets, link: LinkFacts) -> Place:
    words = targets.places.netns_of(link.netns_ino or 0).words
    return Place(_hook(link), words, _hook(link))


def _cgroup(targets: Targets, link: LinkFacts) -> Place:
    id, hook = link.cgroup_id or 0, _hook(link)
    if link.attach_type == AttachType.LSM_CGROUP:
        hook += f" {targets.traced(link.prog_id)}"
    return Place("cgroup", targets.cgroup(id), hook, instead=f"cgroup {id}")


def _sockmap(targets: Targets, link: LinkFacts) -> Place:
    return Place("sockmap", f"map {link.map_id}", _hook(link))


def _struct_ops(targets: Targets, link: LinkFacts) -> Place:
    id = link.map_id or 0
    return Place("struct_ops", targets.struct_ops(id), instead=f"map {id}")


PLACES: dict[LinkType, Callable[[Targets, LinkFacts], Place]] = {
    LinkType.RAW_TRACEPOINT: _raw_tracepoint,
    LinkType.TRACING: _tracing,
    LinkType.CGROUP: _cgroup,
    LinkType.ITER: _iter,
    LinkType.NETNS: _netns,
    LinkType.XDP: _device,
    LinkType.PERF_EVENT: _perf_event,
    LinkType.KPROBE_MULTI: _kprobe_multi,
    LinkType.STRUCT_OPS: _struct_ops,
    LinkType.NETFILTER: _netfilter,
    LinkType.TCX: _device,
    LinkType.UPROBE_MULTI: _uprobe_multi,
    LinkType.NETKIT: _device,
    LinkType.SOCKMAP: _sockmap,
    LinkType.TRACING_MULTI: _tracing_multi,
}
