"""What random programs are attached to: types, places, order."""

from __future__ import annotations

from bpflens.abi.attrs import ProgLoad
from bpflens.abi.enums import AttachType, Cmd, ProgType
from bpflens.insn import encode
from bpflens.insn.build import R0, exit_, mov
from tests.twin.choices import SURROUNDINGS, Choices, Thing
from tests.twin.steps import NAMED_TYPES, Buffer, Named, Step
from tests.twin.surroundings import CGROUP, CHILD, NETNS, PERF, TRACED

A, P = AttachType, ProgType
KINDS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    # type, expected attach type, attach types; what takes more steps to get anywhere more often
    (P.XDP, A.XDP, (A.XDP,)),
    (P.SCHED_CLS, 0, (A.TCX_INGRESS, A.TCX_EGRESS)),
    (P.CGROUP_SKB, A.CGROUP_INET_EGRESS, (A.CGROUP_INET_EGRESS, A.CGROUP_INET_INGRESS)),
    (P.CGROUP_SKB, A.CGROUP_INET_INGRESS, (A.CGROUP_INET_EGRESS, A.CGROUP_INET_INGRESS)),
    (P.CGROUP_SOCK, A.CGROUP_INET_SOCK_CREATE, (A.CGROUP_INET_SOCK_CREATE,)),
    (P.CGROUP_SOCK_ADDR, A.CGROUP_INET4_BIND, (A.CGROUP_INET4_BIND,)),
    (P.SOCK_OPS, 0, (A.CGROUP_SOCK_OPS,)),
    (P.CGROUP_DEVICE, 0, (A.CGROUP_DEVICE,)),
    (P.CGROUP_SYSCTL, 0, (A.CGROUP_SYSCTL,)),
    (P.SK_LOOKUP, A.SK_LOOKUP, (A.SK_LOOKUP,)),
    (P.FLOW_DISSECTOR, 0, (A.FLOW_DISSECTOR,)),
    (P.NETFILTER, A.NETFILTER, (A.NETFILTER,)),
    (P.SK_MSG, 0, (A.SK_MSG_VERDICT,)),
    (P.SK_SKB, 0, (A.SK_SKB_VERDICT, A.SK_SKB_STREAM_VERDICT, A.SK_SKB_STREAM_PARSER)),
    (P.PERF_EVENT, 0, (A.PERF_EVENT,)),
    *[(P.RAW_TRACEPOINT, 0, (A.TRACE_RAW_TP,))] * 2,
    *[(P.TRACEPOINT, 0, (A.PERF_EVENT,))] * 3,
    (P.CGROUP_SOCK_ADDR, A.CGROUP_INET6_CONNECT, (A.CGROUP_INET6_CONNECT,)),
    (P.CGROUP_SOCKOPT, A.CGROUP_SETSOCKOPT, (A.CGROUP_SETSOCKOPT,)),
    *[(P.TRACING, A.TRACE_ITER, (A.TRACE_ITER,))] * 4,
    (P.TRACING, A.TRACE_RAW_TP, (A.TRACE_RAW_TP,)),
    (P.KPROBE, A.TRACE_UPROBE_MULTI, (A.TRACE_UPROBE_MULTI,)),
)
ATTACHES: dict[int, tuple[int, ...]] = {}
for _type, _attach, _where in KINDS:
    ATTACHES[_type] = (*ATTACHES.get(_type, ()), *_where)
_PREFIXES: dict[int, str] = {A.TRACE_ITER: "bpf_iter_", A.TRACE_RAW_TP: "btf_trace_"}
SOCKMAPS = (15, 18)
ON_CGROUP = (
    *(P.CGROUP_SKB, P.CGROUP_SOCK, P.CGROUP_SOCK_ADDR, P.SOCK_OPS, P.CGROUP_DEVICE),
    *(P.CGROUP_SYSCTL, P.CGROUP_SOCKOPT),
)
ON_DEVICE = (P.XDP, P.SCHED_CLS)
ON_NETNS = (P.SK_LOOKUP, P.FLOW_DISSECTOR)
ON_MAP = (P.SK_MSG, P.SK_SKB)


class Hooks(Choices):
    """Writes programs that can be attached, and says where to."""

    def attachable(self) -> Step:
        """A program that does nothing, of a type that can be attached."""
        type, attach, _where = self.random.choice(KINDS)
        code = encode([mov(R0, self.pick(0, 0, 1, 1, 2)), exit_()])
        attr = ProgLoad(prog_type=type, insn_cnt=2, expected_attach_type=attach)
        names = [Named(8, "ptr", 0), Named(16, "ptr", 1)]
        buffers = [Buffer(code), Buffer(b"GPL\0")]
        if type == P.TRACING:
            attr.attach_btf_id = self.named_type(attach)
            names.append(Named(108, "type", attr.attach_btf_id))
        step = self.step(Cmd.PROG_LOAD, attr, names=names, buffers=buffers, makes="prog")
        step.ignore = [(-1, 140, 4)]
        self.made("prog", attr, type)
        return step

    def named_type(self, attach: int) -> int:
        """Which of `NAMED_TYPES` a program of that attach type is for, mostly."""
        prefix = _PREFIXES[attach]
        return self.pick(*[
            number for number, name in enumerate(NAMED_TYPES)
            if name.startswith(prefix) or self.rarely(0.02)
        ])  # fmt: skip

    def prog(self) -> Thing | None:
        """A program that can be attached."""
        found = [thing for thing in self.things if thing.kind == "prog" and thing.type]
        return self.random.choice(found[-6:]) if found else None

    def like(self, type: int) -> int:
        """Another program of a type, mostly."""
        found = [thing for thing in self.things if thing.kind == "prog" and thing.type == type]
        if not found or self.rarely(0.1):
            return self.fd("prog")[0]
        return self.random.choice(found).step

    def where(self, type: int) -> int:
        """An attach type for a program of a type."""
        if self.rarely(0.06) or type not in ATTACHES:
            return self.pick(*AttachType)
        return self.pick(*ATTACHES[type])

    def target(self, type: int, names: list[Named], offset: int) -> int:
        """What to attach to: an ifindex, or a name for an fd."""
        if type in ON_DEVICE:
            return self.pick(1, 2, 2, 2, 3, 99)
        if type == P.NETFILTER or self.rarely(0.04):
            return 0
        if type in ON_NETNS:
            names.append(Named(offset, "fd", NETNS))
        elif type in ON_MAP:
            names.append(Named(offset, "fd", self.fd("map", *SOCKMAPS)[0]))
        elif type == P.PERF_EVENT:
            names.append(Named(offset, "fd", self.pick(PERF, PERF, PERF, TRACED)))
        elif type == P.TRACEPOINT:
            names.append(Named(offset, "fd", self.pick(TRACED, TRACED, TRACED, PERF)))
        elif self.rarely(0.05):
            names.append(Named(offset, "fd", self.pick(*SURROUNDINGS)))
        else:
            names.append(Named(offset, "fd", self.pick(CGROUP, CGROUP, CHILD)))
        return 0

    def relative(self, names: list[Named], flags: int, type: int, offset: int) -> None:
        """The program or link beside which to go."""
        if not flags & (8 | 16 | 32 | 8192) or self.rarely(0.3):
            return
        kind = "link" if flags & 8192 else "prog"
        of = self.like(type) if kind == "prog" else self.fd("link")[0]
        names.append(Named(offset, kind if flags & 32 else "fd", of))

    def order(self) -> int:
        """Flags of an ordered attachment."""
        return self.pick(0, 0, 0, 0, 8, 16, 8 | 32, 16 | 32, 8 | 8192, 16 | 8192 | 32, 24, 32, 8192)
