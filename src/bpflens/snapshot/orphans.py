"""Orphans: what is loaded and does nothing, or is held by nobody who would miss it.

Nothing is listed on the word of one reading. Whatever seems to be an orphan is looked at again from
the start, and listed where both looks agree; so what came, went or moved in between is not. And
where a part of the host could not be looked at, the row says that it cannot be told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from bpflens.attach.links import gone
from bpflens.model.parts import Missing, Part, Reason
from bpflens.model.system import System
from bpflens.snapshot.graph import Indexed
from bpflens.snapshot.holders import UNTOLD
from bpflens.snapshot.lifetime import Chain, Chains
from bpflens.snapshot.records import ErrorRecord, MapRecord, ProgramRecord
from bpflens.snapshot.relations import Relations
from bpflens.snapshot.why import IN_NETWORKS

MANY = 16
"""Copies that are worth a row; a handful is normal (one for each cgroup)."""

VERDICTS = {
    "detached": "attached nowhere, and nothing that is attached leads to it",
    "idle": "what it was attached to is gone",
    "unused": "no program uses it",
    "pinned": "only pins hold it, and it is attached or used nowhere",
    "unowned": "it runs, but only a socket or a slot of a map holds it: no fd, pin, link or place",
    "leaked": "nothing that can be seen holds it",
    "copies": "the same thing several times",
}
"""Why something is listed, in words; the last that is true of an object counts."""

_UNOWNED = {("runs", "socket"), ("tail-calls", "map"), ("contains", "map")}
"""Edges and sources by which a program may be kept and known to nobody."""

_ON_CALL = ("syscall",)
"""Types of programs that run when a process asks, and are attached nowhere."""

KINDS_OF = {
    "xdp": ("xdp", "devmap", "cpumap"),
    "sched_cls": ("tc", "tcx", "netkit", "act_bpf"),
    "sched_act": ("act_bpf",),
    "socket_filter": ("socket_filter", "sk_reuseport", "packet_fanout", "xt_bpf"),
    "sk_reuseport": ("sk_reuseport",),
    "sk_skb": ("sockmap",),
    "sk_msg": ("sockmap",),
    "flow_dissector": ("flow_dissector",),
    "sk_lookup": ("sk_lookup",),
    "netfilter": ("netfilter",),
    "lwt_in": ("lwt",),
    "lwt_out": ("lwt",),
    "lwt_xmit": ("lwt",),
    "lwt_seg6local": ("lwt",),
    "kprobe": ("kprobe", "uprobe", "kprobe_multi", "uprobe_multi"),
    "tracepoint": ("tracepoint",),
    "perf_event": ("perf_event",),
    "raw_tracepoint": ("raw_tracepoint",),
    "raw_tracepoint_writable": ("raw_tracepoint",),
    "lirc_mode2": ("lirc",),
    "struct_ops": ("struct_ops",),
    "cgroup_skb": ("cgroup",),
    "cgroup_sock": ("cgroup",),
    "cgroup_sock_addr": ("cgroup",),
    "cgroup_sockopt": ("cgroup",),
    "cgroup_sysctl": ("cgroup",),
    "cgroup_device": ("cgroup",),
    "sock_ops": ("cgroup",),
}
"""Type of program → the kinds of places at which it can be attached: what could not be looked at
of another kind says nothing about it. Types that are not here may be anywhere."""


class OrphanRecord(NamedTuple):
    """One orphan. The fields' names are the JSON keys."""

    kind: str
    """program, map, link."""
    id: int
    """The object, or the first of its copies."""
    type: str
    name: str
    verdict: str
    """One of `VERDICTS`."""
    certain: bool
    """Whether everything could be looked at that would say otherwise."""
    why: str
    """Why it is listed, in words."""
    holders: list[str]
    """Who holds it, in words."""
    copies: int
    """How many there are: 1, but where the verdict is `copies`."""
    ids: list[int]
    memlock_bytes: int | None
    loaded_at: str | None
    missing: dict[str, str]


def orphans(system: System, many: int = MANY) -> tuple[list[OrphanRecord], list[ErrorRecord]]:
    """(the orphans of a host, what could not be looked at). Raises Denied."""
    told = Relations(system, Part.MEMORY)
    if told.denied:
        raise told.denied
    cut: list[ErrorRecord] = []
    first = dict(_orphans(told, many, cut))
    if any(record.verdict != "copies" for record in first.values()):
        system.settle()
        again = Relations(system, Part.MEMORY)
        cut = []
        second = dict(_orphans(again, many, cut))
        return [second[same] for same in first if same in second], again.errors + cut
    return list(first.values()), told.errors + cut


Identity: TypeAlias = tuple[object, ...]
"""What makes an orphan the same one in two looks: an ID is given out again."""


def _orphans(
    told: Relations, many: int, cut: list[ErrorRecord]
) -> Iterator[tuple[Identity, OrphanRecord]]:
    """The orphans of one look; `cut` gets what a limit left open."""
    alone = list(_alone(told, cut))
    for record in alone:
        yield (record.kind, record.id, record.type, record.name, record.loaded_at), record
    detached = {each.id for each in alone if each.kind == "program" and each.verdict != "unowned"}
    yield from _copies("program", told.programs, _program_shape, many, detached)
    yield from _copies("map", told.maps, _map_shape, many, ())


def _alone(told: Relations, cut: list[ErrorRecord]) -> Iterator[OrphanRecord]:
    """The orphans that are such by themselves."""
    seen = _Seen(told, cut)
    for program in told.programs:
        verdict = seen.program(program)
        if verdict:
            name = program.full_name or program.name
            yield seen.record("program", program.id, program.type, name, verdict, program)
    for found in told.maps:
        verdict = seen.map(found)
        if verdict:
            yield seen.record("map", found.id, found.type, found.name, verdict, found)
    for link in told.links:
        if f"link:{link.id}" in seen.graph.nodes and link.id in seen.idle:
            yield seen.record("link", link.id, link.type.label, "", "idle", None)


class _Seen:
    """One look, as far as it says who is an orphan."""

    def __init__(self, told: Relations, errors: list[ErrorRecord]) -> None:
        self.told = told
        self.errors = errors
        self.graph = Indexed(told.graph)
        self.reached = self._reached()
        self.idle = {link.id for link in told.links if gone(link)}
        """Links whose place is gone."""
        self.cut: dict[str, str] = {}
        """Objects of which a limit left it open what holds them."""

    def _reached(self) -> set[str]:
        """The programs that run: attached ones, and those to which these lead."""
        waiting = [
            f"prog:{record.prog_id}"
            for record in self.told.attachments.records
            if record.slot is None and record.on_prog_id is None
        ]
        reached: set[str] = set()
        while waiting:
            key = waiting.pop()
            if key in reached or key not in self.graph.nodes:
                continue
            reached.add(key)
            for edge in self.graph.leaving[key]:
                if edge.kind == "uses":  # what is in the slots of its maps
                    waiting += [
                        slot.target
                        for slot in self.graph.leaving[edge.target]
                        if slot.target.startswith("prog:")
                    ]
            for edge in self.graph.arriving[key]:  # what replaces or traces it
                if edge.kind in ("replaces", "traces"):
                    waiting += [
                        run.target for run in self.graph.leaving[edge.source] if run.kind == "links"
                    ]
        return reached

    def program(self, program: ProgramRecord) -> str:
        """Why a program is an orphan; empty where it is none."""
        key = f"prog:{program.id}"
        if key in self.reached:
            kept = {(edge.kind, edge.source.partition(":")[0]) for edge in self.graph.keepers(key)}
            return "unowned" if kept and kept <= _UNOWNED else ""
        verdict = self._held(key)
        if verdict or program.type in _ON_CALL:
            return verdict
        return "detached"

    def map(self, found: MapRecord) -> str:
        """The same of a map."""
        key = f"map:{found.id}"
        edges = self.graph.arriving[key]
        if any(edge.kind in ("uses", "contains", "iterates", "attached-to") for edge in edges):
            return ""
        if any(edge.kind in ("attached-to", "runs") for edge in self.graph.leaving[key]):
            return ""  # a sockmap whose sockets run a program, a struct_ops that is registered
        return self._held(key) or "unused"

    def _held(self, key: str) -> str:
        """Whether nothing that can be seen holds an object, or pins alone."""
        chains = Chains(self.graph, key)
        if not all(chain[0].kind == "pins" for chain in chains.found):
            return ""
        if chains.cut:
            self.cut[key] = chains.cut
        return "pinned" if chains.found else "leaked"

    def record(
        self, kind: str, id: int, type: str, name: str, verdict: str,
        of: ProgramRecord | MapRecord | None,
    ) -> OrphanRecord:  # fmt: skip
        """The row."""
        key = f"{'prog' if kind == 'program' else kind}:{id}"
        unsure = self._unsure(key, kind, type, verdict)
        words = VERDICTS[verdict]
        chains = Chains(self.graph, key)
        if chains.cut:
            why = str(Missing(Reason.LIMITED, chains.cut))
            self.errors.append(ErrorRecord(kind, id, None, why))
        return OrphanRecord(
            kind, id, type, name, verdict, not unsure,
            f"cannot tell: {unsure}" if unsure else words,
            self._holders(chains.found), 1, [id],
            None if of is None else of.memlock_bytes,
            of.loaded_at if isinstance(of, ProgramRecord) else None,
            {} if of is None else {k: v for k, v in of.missing.items() if k == "memlock_bytes"},
        )  # fmt: skip

    def _unsure(self, key: str, kind: str, type: str, verdict: str) -> str:
        """What could not be looked at and might say otherwise."""
        if verdict in ("leaked", "pinned") and key in self.cut:
            return self.cut[key]
        if verdict == "unowned":
            return ""
        for edge in self.graph.perhaps(key):
            place = self.graph.nodes[edge.source].words
            return f"{place} may run it ({edge.label}): the kernel tells no ID there"
        if kind == "program" and verdict != "copies":
            places = KINDS_OF.get(type)
            elsewhere = _ALL_PLACES - set(places or ())
            if places and type not in IN_NETWORKS:
                elsewhere |= {"network", "netns"}
            for error in self.told.errors:
                if places is None or error.kind not in elsewhere:
                    return " ".join(filter(None, (error.kind, error.path, error.error)))
        if verdict in ("leaked", "pinned", "unused"):
            for each in self.told.holders.unseen(kind):
                return f"{each.what}: {each.reason}"
        if verdict == "leaked":
            return f"nothing that can be seen holds it; it may be {UNTOLD[kind]}"
        return ""

    def _holders(self, chains: list[Chain]) -> list[str]:
        """What keeps it, and the roots of that: processes, pins, places."""
        told = []
        for chain in chains:
            first, last = chain[0], chain[-1]
            words = self.graph.nodes[first.source].words
            if first.kind == "holds":
                words += f" {first.label}"
            if first is not last and last.kind in ("runs", "tail-calls", "contains"):
                told.append(f"{self.graph.nodes[last.source].words} {last.label}".rstrip())
            told.append(words)
        return list(dict.fromkeys(told))


_ALL_PLACES = {kind for kinds in KINDS_OF.values() for kind in kinds} | {"tracing", "lsm"}


def _program_shape(program: ProgramRecord) -> Identity:
    return (program.type, program.name, program.tag, len(program.map_ids or ()))


def _map_shape(found: MapRecord) -> Identity:
    sizes = (found.key_size, found.value_size, found.max_entries)
    return (found.type, found.name, *sizes, *found.flags)


def _copies(
    kind: str,
    objects: Iterable[ProgramRecord] | Iterable[MapRecord],
    shape: Callable[..., Identity],
    many: int,
    idle: Collection[int],
) -> Iterator[tuple[Identity, OrphanRecord]]:
    """A row for each group of copies that is large, or of which some are `idle`."""
    groups: dict[Identity, list[ProgramRecord | MapRecord]] = defaultdict(list)
    for each in objects:
        groups[shape(each)].append(each)
    for common, group in groups.items():
        first, ids = group[0], [each.id for each in group]
        useless = len([id for id in ids if id in idle])
        if len(group) < many and (len(group) == 1 or not useless):
            continue
        known = [each.memlock_bytes for each in group if each.memlock_bytes is not None]
        words = VERDICTS["copies"] + (f", {useless} of them attached nowhere" if useless else "")
        name, loaded_at = first.name, None
        if isinstance(first, ProgramRecord):
            name, loaded_at = first.full_name or first.name, first.loaded_at
        record = OrphanRecord(
            kind, first.id, first.type, name, "copies", True, words, [],
            len(group), ids, sum(known) if len(known) == len(group) else None, loaded_at, {},
        )  # fmt: skip
        yield ("copies", kind, *common), record
