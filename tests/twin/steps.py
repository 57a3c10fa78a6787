"""What is sent to both kernels: calls in which fds, IDs and addresses are named, not numbered.

A step that makes something is known by its own number; others name it by that. So steps can be
left out of a story to shrink it: what they would have made is then a closed fd.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bpflens.abi.enums import Cmd
from bpflens.testing.bench import NOBODY, Cap

BAD = 0x1000
"""An address at which nothing is mapped."""
CLOSED = 990
"""An fd that is never open."""
CALLERS: tuple[tuple[int, tuple[Cap, ...]], ...] = (
    (0, tuple(Cap)),  # and every other capability
    (0, ()),
    (NOBODY, ()),
    (NOBODY, (Cap.BPF,)),
    (NOBODY, (Cap.NET_ADMIN,)),
    (NOBODY, (Cap.PERFMON,)),
    (NOBODY, (Cap.BPF, Cap.PERFMON)),
    (NOBODY, (Cap.BPF, Cap.NET_ADMIN)),
    (NOBODY, (Cap.SYS_ADMIN,)),
)
"""Users and their capabilities; they share their open files."""
NAMED_TYPES = (
    *("bpf_iter_bpf_map", "bpf_iter_bpf_prog", "bpf_iter_bpf_link", "bpf_iter_task"),
    *("bpf_iter_task_file", "bpf_iter_cgroup", "bpf_iter_udp"),
    "btf_trace_xdp_bulk_tx",
)
"""Types of the kernel that programs name: iterators and a tracepoint. Programs at functions, and
iterators that may write into what maps hold, are left out: there are machines whose policy lets
nobody load one (EPERM)."""


@dataclass
class Named:
    """A place in the attr or a buffer that is filled in on each side."""

    offset: int
    kind: str
    """fd; ptr; pid; the ID of a map, prog, btf or link; `before` that ID (before map, …); or type,
    the ID of a type of the kernel."""
    of: int
    """Step that made it (negative: something of the surroundings); for ptr, which buffer; for type,
    which of `NAMED_TYPES`."""


@dataclass
class Ids:
    """Where IDs come back: in buffer `buffer` (-1: the attr) each `stride` bytes from `offset`."""

    buffer: int
    offset: int
    kind: str
    stride: int = 0
    count: int = 1


@dataclass
class Buffer:
    """Memory that the call points at."""

    data: bytes
    names: list[Named] = field(default_factory=list)


@dataclass
class Step:
    """One call, or `close` / `dup` where there is no command."""

    number: int
    cmd: int
    attr: bytes = b""
    names: list[Named] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    size: int = -1
    """What the caller says of the attr's size; -1: as it is."""
    caller: int = 0
    """Which of `CALLERS` makes the call."""
    makes: str = ""
    """Kind of object that a success makes: map, prog, btf, link or other."""
    ids: list[Ids] = field(default_factory=list)
    ignore: list[tuple[int, int, int]] = field(default_factory=list)
    """(buffer, offset, size): what is never compared, see section 10 of the specification."""
    loose: bool = False
    """Compare the errno only: what is written depends on the rest of the machine."""
    unordered: bool = False
    """Where a walk is depends on a random seed, and so whether it is at its end."""
    close: int | None = None
    """Close what this step made."""
    bad_attr: bool = False
    note: str = ""

    def who(self) -> str:
        """The caller, unless it is root."""
        uid, caps = CALLERS[self.caller]
        return f"by {uid} with {[cap.name for cap in caps]}: " if self.caller else ""

    def __str__(self) -> str:
        if self.close is not None:
            return f"#{self.number} close #{self.close}"
        named = ", ".join(f"{n.kind}@{n.offset}=#{n.of}" for n in self.names)
        buffers = "; ".join(
            f"[{at}] {b.data[:400].hex()}({len(b.data)})"
            + "".join(f" {n.kind}@{n.offset}=#{n.of}" for n in b.names)
            for at, b in enumerate(self.buffers)
        )
        return (
            f"#{self.number} {self.who()}{Cmd(self.cmd).name} size={self.size} "
            f"attr={self.attr.hex()} {named} {buffers} {self.note}"
        )
