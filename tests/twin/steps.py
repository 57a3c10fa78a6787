"""What is sent to both kernels: calls in which fds, IDs and addresses are named, not numbered.

A step that makes something is known by its own number; others name it by that. So steps can be
left out of a story to shrink it: what they would have made is then a closed fd.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bpflens.abi.enums import Cmd

BAD = 0x1000
"""An address at which nothing is mapped."""
CLOSED = 990
"""An fd that is never open."""


@dataclass
class Named:
    """A place in the attr or a buffer that is filled in on each side."""

    offset: int
    kind: str
    """fd, or the ID of a map, prog, btf or link, or ptr."""
    of: int
    """Step that made it (negative: something of the surroundings); for ptr, which buffer."""


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
            f"#{self.number} {Cmd(self.cmd).name} size={self.size} attr={self.attr.hex()} "
            f"{named} {buffers} {self.note}"
        )
