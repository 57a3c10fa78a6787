"""Random steps that attach without links, and that look what is attached."""

from __future__ import annotations

from bpflens.abi.attrs import ProgAttach, ProgQuery, TaskFdQuery
from bpflens.abi.enums import Cmd
from tests.twin.choices import SURROUNDINGS
from tests.twin.hooks import ON_MAP, ON_NETNS, P
from tests.twin.links import Links
from tests.twin.steps import Buffer, Ids, Named, Step
from tests.twin.surroundings import PERF, TRACED


class Attachments(Links):
    """Writes steps that attach, detach, and look."""

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
        elif type not in (*ON_NETNS, *ON_MAP):
            flags = self.pick(0, 1, 2, 2, 2, 2 | 8, 2 | 16, 2 | 4, 2 | 64, 3, 4, 2 | 8 | 32)
            if cmd == Cmd.PROG_DETACH:
                flags = self.pick(0, 0, 0, 0, 2)
        elif self.rarely(0.05):
            flags = self.pick(1, 2, 8)
        if flags & 4:
            names.append(Named(16, "fd", self.like(type)))
        if type not in (*ON_NETNS, *ON_MAP):
            self.relative(names, flags, type, 20)
        record = ProgAttach(
            target_fd=target, attach_type=self.where(type), attach_flags=flags,
            expected_revision=self.pick(0, 0, 0, 0, 0, 0, 1, 2, 3, 4),
        )  # fmt: skip
        if type in (*ON_NETNS, *ON_MAP) and not self.rarely(0.05):
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
        of = self.pick(PERF, *(TRACED,) * 8, self.link()[0], *found[-8:], *SURROUNDINGS)
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
