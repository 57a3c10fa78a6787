"""Perf events, as far as programs hang at them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.enums import ProgType
from bpflens.engine.call import err
from bpflens.engine.files import Node

if TYPE_CHECKING:
    from bpflens.engine.progs.prog import Prog

TRACEPOINT, SOFTWARE = "tracepoint", "event"
_PROGS = {
    TRACEPOINT: ProgType.TRACEPOINT,
    "kprobe": ProgType.KPROBE,
    "uprobe": ProgType.KPROBE,
    SOFTWARE: ProgType.PERF_EVENT,
}


class PerfEvent(Node):
    """An event opened with perf_event_open(2). `kind` is tracepoint, kprobe, uprobe, … or event."""

    __slots__ = (
        "config",
        "cookie",
        "counter",
        "kind",
        "name",
        "offset",
        "prog",
        "refs",
        "return_probe",
        "type",
    )

    anon = "anon_inode:[perf_event]"

    def __init__(
        self,
        kind: str = SOFTWARE,
        name: str = "",
        *,
        type: int = 1,
        config: int = 0,
        offset: int = 0,
        return_probe: bool = False,
        counter: int = 0,
    ) -> None:
        self.kind = kind
        self.name = name
        self.type = type
        self.config = config
        self.offset = offset
        self.return_probe = return_probe
        self.counter = counter
        """Offset of the semaphore that says whether a uprobe is in use (ref_ctr_offset)."""
        self.prog: Prog | None = None
        self.cookie = 0
        self.refs = 0

    def hold(self) -> None:
        self.refs += 1

    def drop(self) -> None:
        self.refs -= 1
        if not self.refs:
            self.clear()

    def set(self, prog: Prog, cookie: int = 0) -> None:
        """perf_event_set_bpf_prog(): one program an event, of the type for it."""
        if self.kind == SOFTWARE and self.prog:
            raise err(errno.EEXIST)  # perf_event_set_bpf_handler() looks at the type after that
        if prog.type != _PROGS[self.kind]:
            raise err(errno.EINVAL)
        if self.prog:
            raise err(errno.EEXIST)
        prog.hold()
        self.prog = prog
        self.cookie = cookie

    def clear(self) -> None:
        """Take the program off."""
        if self.prog:
            self.prog.drop()
            self.prog = None
