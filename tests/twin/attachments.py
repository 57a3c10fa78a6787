"""Random steps about links and attachments."""

from __future__ import annotations

import random

from bpflens.abi.attrs import (
    IterCreate,
    LinkCreateNetfilter,
    LinkCreatePerfEvent,
    LinkCreateTcx,
    LinkCreateUprobeMulti,
    LinkDetach,
    LinkUpdate,
    ProgAttach,
    ProgLoad,
    ProgQuery,
    RawTracepointOpen,
    TaskFdQuery,
)
from bpflens.abi.enums import AttachType, Cmd, ProgType
from bpflens.abi.record import Record
from bpflens.insn import encode
from bpflens.insn.build import R0, exit_, mov
from tests.twin.choices import SURROUNDINGS, Choices, Thing
from tests.twin.steps import Buffer, Ids, Named, Step
from tests.twin.surroundings import FOLDER, PROBED

A, P = AttachType, ProgType
CGROUP, CHILD, NETNS, PERF = -6, -8, -7, -5
QUIET = b"xdp_bulk_tx"
"""A tracepoint that nothing in the test's surroundings reaches."""

KINDS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
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
    (P.RAW_TRACEPOINT, 0, (A.TRACE_RAW_TP,)),
    (P.KPROBE, A.TRACE_UPROBE_MULTI, (A.TRACE_UPROBE_MULTI,)),
)
_PATHS = (*(PROBED,) * 20, FOLDER, f"{FOLDER}/none", "")
ATTACHES: dict[int, tuple[int, ...]] = {}
for _type, _attach, _where in KINDS:
    ATTACHES[_type] = (*ATTACHES.get(_type, ()), *_where)
_SOCKMAPS = (15, 18)
_ON_DEVICE = (P.XDP, P.SCHED_CLS)
_ON_NETNS = (P.SK_LOOKUP, P.FLOW_DISSECTOR)
_ON_MAP = (P.SK_MSG, P.SK_SKB)


class Attachments(Choices):
    """Writes steps that attach, detach, and look."""

    def __init__(self, source: random.Random) -> None:
        super().__init__(source)

    def attachable(self) -> Step:
        """A program that does nothing, of a type that can be attached."""
        type, attach, _where = self.random.choice(KINDS)
        code = encode([mov(R0, self.pick(0, 0, 1, 1, 2)), exit_()])
        attr = ProgLoad(prog_type=type, insn_cnt=2, expected_attach_type=attach)
        names = [Named(8, "ptr", 0), Named(16, "ptr", 1)]
        buffers = [Buffer(code), Buffer(b"GPL\0")]
        step = self.step(Cmd.PROG_LOAD, attr, names=names, buffers=buffers, makes="prog")
        step.ignore = [(-1, 140, 4)]
        self.made("prog", attr, type)
        return step

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
        if type in _ON_DEVICE:
            return self.pick(1, 2, 2, 2, 3, 99)
        if type == P.NETFILTER or self.rarely(0.04):
            return 0
        if type in _ON_NETNS:
            names.append(Named(offset, "fd", NETNS))
        elif type in _ON_MAP:
            names.append(Named(offset, "fd", self.fd("map", *_SOCKMAPS)[0]))
        elif type == P.PERF_EVENT:
            names.append(Named(offset, "fd", PERF))
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

    def uprobes(self, thing: Thing) -> Step:
        """A link to many places of a file."""
        count = self.pick(1, 1, 2, 3) if not self.rarely() else 0
        names = [Named(0, "fd", thing.step if not self.rarely(0.03) else self.fd("map")[0])]
        buffers = [Buffer(self.random.choice(_PATHS).encode() + b"\0")]
        for usual, other in (((0, 64, 128, 4096), 4097), ((0, 0, 0, 0, 2), 3), ((0, 7), 8)):
            numbers = [
                other if self.rarely(0.02) else self.pick(*usual) for _ in range(max(count, 1))
            ]
            buffers.append(Buffer(b"".join(n.to_bytes(8, "little") for n in numbers)))
        for at in (0, 1):
            self.pointer(names, 16 + 8 * at, at)
        for at, chance in ((2, 0.15), (3, 0.5)):
            if self.rarely(chance):
                self.pointer(names, 16 + 8 * at, at)
        record = LinkCreateUprobeMulti(
            attach_type=self.where(P.KPROBE), flags=int(self.rarely()), cnt=count,
            uprobe_multi_flags=self.pick(0, 0, 0, 1, 1, 2),
            pid=self.pick(1 << 31, 1 << 22) if self.rarely() else 0,
        )  # fmt: skip
        if self.rarely(0.2):
            names.append(Named(56, "pid", 0))
        step = self.step(Cmd.LINK_CREATE, record, names=names, buffers=buffers, makes="link")
        self.made("link", None, P.KPROBE)
        return step

    def link_create(self) -> Step:
        thing = self.prog()
        if thing and thing.type == P.KPROBE:
            return self.uprobes(thing)
        type = thing.type if thing else P.XDP
        names = [
            Named(0, "fd", thing.step if thing and not self.rarely(0.03) else self.fd("map")[0])
        ]
        target = self.target(type, names, 4)
        attach = self.where(type)
        flags = self.pick(0, 0, 0, 0, 0, 1, 2, 4, 8)
        record: Record
        if type == P.NETFILTER:
            record = LinkCreateNetfilter(
                target_fd=target, attach_type=attach, flags=self.pick(0, 0, 0, 1),
                pf=self.pick(2, 10, 2, 3, 0), hooknum=self.pick(0, 1, 4, 5),
                priority=self.pick(0, -100, 5, -(1 << 31), (1 << 31) - 1),
            )  # fmt: skip
        elif type == P.PERF_EVENT:
            record = LinkCreatePerfEvent(
                target_fd=target, attach_type=attach, flags=self.pick(0, 0, 0, 1),
                bpf_cookie=self.pick(0, 7),
            )  # fmt: skip
        elif type in _ON_DEVICE or type in _ON_NETNS or type in _ON_MAP:
            if type == P.SCHED_CLS:
                flags = self.order()
            elif type != P.XDP:
                flags = self.pick(0, 0, 0, 1)
            record = LinkCreateTcx(
                target_fd=target, attach_type=attach, flags=flags,
                expected_revision=self.pick(0, 0, 0, 0, 1, 2, 3),
            )  # fmt: skip
            if type == P.SCHED_CLS:
                self.relative(names, flags, type, 16)
        else:
            flags = self.order() if not self.rarely(0.1) else self.pick(64, 1, 2, 4)
            record = LinkCreateTcx(
                target_fd=target, attach_type=attach, flags=flags,
                expected_revision=self.pick(0, 0, 0, 0, 1, 2, 3),
            )  # fmt: skip
            self.relative(names, flags, type, 16)
        step = self.step(Cmd.LINK_CREATE, record, names=names, makes="link")
        self.made("link", None, type)
        return step

    def order(self) -> int:
        """Flags of an ordered attachment."""
        return self.pick(0, 0, 0, 0, 8, 16, 8 | 32, 16 | 32, 8 | 8192, 16 | 8192 | 32, 24, 32, 8192)

    def raw_tracepoint(self) -> Step:
        name = self.random.choice((QUIET, QUIET, b"no_such_tracepoint", b""))
        names = [Named(8, "fd", self.like(P.RAW_TRACEPOINT))]
        self.pointer(names, 0, 0)
        step = self.step(
            Cmd.RAW_TRACEPOINT_OPEN,
            RawTracepointOpen(cookie=self.pick(0, 5)),
            names=names,
            buffers=[Buffer(name + b"\0")],
            makes="link",
        )
        self.made("link", None, P.RAW_TRACEPOINT)
        return step

    def link(self) -> tuple[int, int]:
        """A link and the type of its program."""
        thing = self.thing("link")
        if thing is None or self.rarely(0.05):
            return self.fd("link")[0], P.XDP
        return thing.step, thing.type

    def link_update(self) -> Step:
        fd, type = self.link()
        names = [Named(0, "fd", fd), Named(4, "fd", self.like(type))]
        flags = self.pick(0, 0, 0, 4, 4, 1)
        if flags == 4 or self.rarely(0.05):
            names.append(Named(12, "fd", self.like(type)))
        return self.step(Cmd.LINK_UPDATE, LinkUpdate(flags=flags), names=names)

    def link_detach(self) -> Step:
        return self.step(Cmd.LINK_DETACH, LinkDetach(), names=[Named(0, "fd", self.link()[0])])

    def iter_create(self) -> Step:
        record = IterCreate(flags=self.pick(0, 0, 1))
        return self.step(Cmd.ITER_CREATE, record, names=[Named(0, "fd", self.link()[0])])

    def attachment(self, cmd: int) -> Step:
        thing = self.prog()
        type = thing.type if thing else P.XDP
        names = [Named(4, "fd", thing.step if thing else 10**6)]
        if self.rarely(0.08):
            names = [] if self.rarely(0.5) else [Named(4, "fd", self.fd("prog")[0])]
        target = 0 if type == P.FLOW_DISSECTOR else self.target(type, names, 0)
        flags = 0
        if type == P.SCHED_CLS:
            flags = self.order() | (4 if self.rarely(0.1) else 0)
        elif type not in (*_ON_NETNS, *_ON_MAP):
            flags = self.pick(0, 1, 2, 2, 2, 2 | 8, 2 | 16, 2 | 4, 2 | 64, 3, 4, 2 | 8 | 32)
            if cmd == Cmd.PROG_DETACH:
                flags = self.pick(0, 0, 0, 0, 2)
        elif self.rarely(0.05):
            flags = self.pick(1, 2, 8)
        if flags & 4:
            names.append(Named(16, "fd", self.like(type)))
        if type not in (*_ON_NETNS, *_ON_MAP):
            self.relative(names, flags, type, 20)
        record = ProgAttach(
            target_fd=target, attach_type=self.where(type), attach_flags=flags,
            expected_revision=self.pick(0, 0, 0, 0, 0, 0, 1, 2, 3, 4),
        )  # fmt: skip
        if type in (*_ON_NETNS, *_ON_MAP) and not self.rarely(0.05):
            record.expected_revision = 0
        return self.step(cmd, record, names=names)

    def prog_attach(self) -> Step:
        return self.attachment(Cmd.PROG_ATTACH)

    def prog_detach(self) -> Step:
        return self.attachment(Cmd.PROG_DETACH)

    def prog_query(self) -> Step:
        thing = self.prog()
        type = thing.type if thing else P.XDP
        names: list[Named] = []
        target = self.target(type, names, 0)
        count = self.pick(0, 1, 2, 8, 8, 70)
        record = ProgQuery(
            target_fd=target, attach_type=self.where(type),
            query_flags=self.pick(0, 0, 0, 0, 1, 1, 2), attach_flags=self.pick(0, 0, 0, 0, 9),
            prog_cnt=count, revision=self.pick(0, 77),
        )  # fmt: skip
        buffers = [Buffer(bytes(4 * max(count, 1))) for _ in range(4)]
        ids = []
        for at, (offset, kind) in enumerate(((16, "prog"), (32, ""), (40, "link"), (48, ""))):
            if at == 0 or self.rarely(0.4):
                self.pointer(names, offset, at)
            if kind:
                ids.append(Ids(at, 0, kind, 4, count))
        return self.step(Cmd.PROG_QUERY, record, names=names, buffers=buffers, ids=ids)

    def task_fd_query(self) -> Step:
        found = [t.step for t in self.things if t.kind == "link" and t.type == P.RAW_TRACEPOINT]
        of = self.pick(PERF, self.link()[0], *found[-8:], *SURROUNDINGS)
        names = [Named(0, "pid", 0), Named(4, "fd", of)]
        if self.rarely(0.1):
            names.pop(0)
        size = self.pick(0, 1, 5, 12, 64)
        self.pointer(names, 16, 0)
        record = TaskFdQuery(buf_len=size, flags=self.pick(0, 0, 0, 1))
        step = self.step(
            Cmd.TASK_FD_QUERY, record, names=names, buffers=[Buffer(bytes(max(size, 1)))]
        )
        step.ids = [Ids(-1, 24, "prog")]
        return step

    def link_info(
        self,
        thing: Thing | None,
        buffers: list[Buffer],
        data: bytearray,
        ids: list[Ids],
        ignore: list[tuple[int, int, int]],
    ) -> None:
        """What the info of a link needs, by the type of its program."""
        type = thing.type if thing else 0
        if type in (P.CGROUP_SKB, P.CGROUP_SOCK, P.CGROUP_SOCK_ADDR, P.SOCK_OPS, P.CGROUP_DEVICE,
                    P.CGROUP_SYSCTL):  # fmt: skip
            ignore.append((0, 16, 8))  # a cgroup's ID
        elif type in _ON_NETNS:
            ignore.append((0, 16, 4))  # a namespace's inode
        elif type in _ON_MAP:
            ids.append(Ids(0, 16, "map"))
        elif type == P.KPROBE:
            ignore.append((0, 60, 4))  # the process's number
            if len(data) >= 64 and self.rarely(0.7):
                self.places(buffers, data)
        elif type == P.PERF_EVENT:
            ignore.append((0, 32, 4))  # the number of the clock's PMU differs by machine
        elif type == P.RAW_TRACEPOINT and len(data) >= 40 and self.rarely(0.6):
            room = self.pick(1, 5, 12, 64)
            data[24:28] = room.to_bytes(4, "little")
            buffers[0].names.append(Named(16, "ptr", 1))
            buffers.append(Buffer(bytes(room)))

    def places(self, buffers: list[Buffer], data: bytearray) -> None:
        """Arrays for what a link to many places tells."""
        room, count = self.pick(0, 4, 12, 64), self.pick(0, 1, 2, 8)
        data[48:56] = room.to_bytes(4, "little") + count.to_bytes(4, "little")
        for at, size in enumerate((room, 8 * count, 8 * count, 8 * count)):
            if self.rarely(0.6):
                buffers[0].names.append(Named(16 + 8 * at, "ptr", len(buffers)))
                buffers.append(Buffer(bytes(max(size, 1))))
