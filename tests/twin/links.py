"""Random steps about links."""

from __future__ import annotations

from bpflens.abi.attrs import (
    IterCreate,
    LinkCreateIter,
    LinkCreateNetfilter,
    LinkCreatePerfEvent,
    LinkCreateTcx,
    LinkCreateTracing,
    LinkCreateUprobeMulti,
    LinkDetach,
    LinkUpdate,
    ProgLoad,
    RawTracepointOpen,
)
from bpflens.abi.enums import Cmd
from bpflens.abi.record import Record
from tests.twin.choices import SURROUNDINGS, Thing
from tests.twin.hooks import ON_DEVICE, ON_MAP, ON_NETNS, A, Hooks, P
from tests.twin.steps import NAMED_TYPES, Buffer, Named, Step
from tests.twin.surroundings import CGROUP, CHILD, FOLDER, NULL, PROBED, QUIET

_PATHS = (*(PROBED,) * 20, FOLDER, f"{FOLDER}/none", "")


class Links(Hooks):
    """Writes steps that make links, change and detach them."""

    def link_create(self) -> Step:
        thing = self.prog()
        if thing and thing.type == P.KPROBE:
            return self.uprobes(thing)
        if thing and thing.type == P.TRACING:
            return self.tracing(thing)
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
        elif type in (P.PERF_EVENT, P.TRACEPOINT):
            record = LinkCreatePerfEvent(
                target_fd=target, attach_type=attach, flags=self.pick(0, 0, 0, 1),
                bpf_cookie=self.pick(0, 7),
            )  # fmt: skip
        elif type in ON_DEVICE or type in ON_NETNS or type in ON_MAP:
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

    def tracing(self, thing: Thing) -> Step:
        """A link to what a program named when it was loaded."""
        assert isinstance(thing.attr, ProgLoad)
        attach = thing.attr.expected_attach_type
        names = [Named(0, "fd", thing.step)]
        buffers = []
        record: Record
        if self.rarely(0.05):
            attach = self.where(P.TRACING)
        if attach == A.TRACE_ITER:
            record = LinkCreateIter(attach_type=attach, flags=int(self.rarely()))
            if not self.rarely(0.3):
                buffers.append(self.iterated(NAMED_TYPES[thing.attr.attach_btf_id]))
                self.pointer(names, 16, 0)
                record.iter_info_len = self.pick(4, 8, 12, 16, 16, 16, 20)
        else:
            record = LinkCreateTracing(attach_type=attach, cookie=self.pick(0, 0, 7))
            if self.rarely():
                names.append(Named(self.pick(4, 16), "fd", self.fd("prog")[0]))
        step = self.step(Cmd.LINK_CREATE, record, names=names, buffers=buffers, makes="link")
        self.made("link", thing.attr, P.TRACING)
        return step

    def iterated(self, name: str) -> Buffer:
        """A union bpf_iter_link_info, and maybe something behind it: what to walk over."""
        buffer = Buffer(bytes(19) + bytes([self.pick(0, 0, 1)]))
        if name.endswith("cgroup"):
            order = self.pick(0, 1, 2, 3, 4, 5)
            buffer.data = order.to_bytes(4, "little") + buffer.data[4:]
            if not self.rarely(0.2):
                buffer.names.append(Named(4, "fd", self.pick(CGROUP, CHILD, NULL)))
        elif "task" in name:
            buffer.names.append(Named(self.pick(0, 4), "pid", 0))
            if self.rarely(0.1):
                buffer.names.append(Named(8, "fd", self.pick(NULL, 10**6)))
        return buffer

    def raw_tracepoint(self) -> Step:
        type = self.pick(P.RAW_TRACEPOINT, P.RAW_TRACEPOINT, P.TRACING)
        name = self.random.choice((QUIET, QUIET, QUIET, "no_such_tracepoint", ""))
        found = [
            thing.step for thing in self.things
            if isinstance(thing.attr, ProgLoad) and thing.kind == "prog" and thing.type == type
            and thing.attr.expected_attach_type != A.TRACE_ITER
        ]  # fmt: skip
        if not found or self.rarely():
            found = [*SURROUNDINGS, 10**6]
        names = [Named(8, "fd", self.random.choice(found))]
        if type != P.TRACING or self.rarely(0.1):
            self.pointer(names, 0, 0)
        step = self.step(
            Cmd.RAW_TRACEPOINT_OPEN,
            RawTracepointOpen(cookie=self.pick(0, 5)),
            names=names,
            buffers=[Buffer(name.encode() + b"\0")],
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
        found = [
            thing.step for thing in self.things
            if isinstance(thing.attr, ProgLoad) and thing.kind == "link"
            and thing.attr.expected_attach_type == A.TRACE_ITER
        ]  # fmt: skip
        fd = self.random.choice(found) if found and not self.rarely(0.2) else self.link()[0]
        record = IterCreate(flags=self.pick(0, 0, 0, 1))
        step = self.step(Cmd.ITER_CREATE, record, names=[Named(0, "fd", fd)], makes="other")
        self.made("other")
        return step
