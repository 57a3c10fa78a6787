"""Random steps with paths."""

from __future__ import annotations

import random

from bpflens.abi.attrs import ObjPath
from bpflens.abi.enums import Cmd
from tests.twin.choices import SURROUNDINGS, Choices
from tests.twin.steps import Buffer, Named, Step

PATH_FD = 1 << 14


class Pins(Choices):
    """Writes steps that pin and open pins."""

    def __init__(self, source: random.Random, cpus: int) -> None:
        super().__init__(source, cpus)
        self.pins: list[bytes] = []

    def path(self) -> bytes:
        if self.pins and not self.rarely(0.3):
            return self.random.choice(self.pins)
        name = self.random.choice((b"p", b"q", b"r1", b"with.dot", b"dir/x", b""))
        return self.random.choice((b"/sys/fs/bpf/", b"/sys/fs/bpf/", b"/tmp/none/", b"/")) + name

    def pin(self) -> Step:
        path = self.path()
        self.pins.append(path)
        made = [t.kind for t in self.things if t.kind != "btf" or self.rarely()]
        fd, _thing = self.fd(self.random.choice(made or ["map"]))
        names = [Named(8, "fd", fd)]
        self.pointer(names, 0, 0)
        record = ObjPath(file_flags=self.pick(0, 0, 0, 0, 0, 0, 8, 1, PATH_FD))
        if self.rarely(0.05) or record.file_flags == PATH_FD:
            names.append(Named(16, "fd", self.pick(*SURROUNDINGS)))
            path = path.removeprefix(b"/sys/fs/bpf/")
        return self.step(Cmd.OBJ_PIN, record, names=names, buffers=[Buffer(path + b"\0")])

    def get(self) -> Step:
        names: list[Named] = []
        self.pointer(names, 0, 0)
        flags = self.pick(0, 0, 0, 0, 8, 16, 24, 1, PATH_FD)
        record = ObjPath(file_flags=flags, bpf_fd=1 if self.rarely() else 0)
        path = self.path()
        if self.rarely(0.05) or flags == PATH_FD:
            names.append(Named(16, "fd", self.pick(*SURROUNDINGS)))
            path = path.removeprefix(b"/sys/fs/bpf/")
        buffers = [Buffer(path + b"\0")]
        step = self.step(Cmd.OBJ_GET, record, names=names, buffers=buffers, makes="other")
        self.made("other")
        return step
