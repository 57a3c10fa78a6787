"""What a struct must say so that a C compiler lays it out as BTF tells.

BTF holds where each member is, not why: `packed`, `aligned` and `int :0` of the source are lost. A
compiler is told with `packed`, where a member is nearer than its alignment allows, and with
explicit padding, where it is farther away.
"""

from __future__ import annotations

from bpflens.btf import types as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.btf.parse import Btf


class Pad(t.Record):
    """Room between members: `count` bytes, or as many bits within one byte."""

    count: int
    in_bits: bool


class Lost(t.Record):
    """A member that overlaps one before it, as Rust's enums have them: C cannot say this."""

    member: t.Member


def is_packed(btf: Btf, found: t.Composite) -> bool:
    """Whether the layout can only come from `packed`. Raises FormatError."""
    if btf.alignof(found.id) > 1:
        return False
    return any(btf.alignof(member.type_id) > 1 for member in found.members)


def pieces(btf: Btf, found: t.Composite) -> Iterator[t.Member | Pad | Lost]:
    """The members and the padding, in the order of their places. Raises FormatError."""
    packed = is_packed(btf, found)
    align = btf.alignof(found.id)
    end = 0  # in bits: how far the compiler has come
    is_union = isinstance(found, t.Union)
    for member in sorted(map(btf.place, found.members), key=lambda member: member.bit_offset):
        natural = 0 if is_union else _natural(btf, member, end, packed)
        if member.bit_offset < natural or (member.bitfield_size == 0 and member.bit_offset % 8):
            yield Lost(member)
            continue
        if natural != member.bit_offset:
            yield from _padding(end, member.bit_offset)
        yield member
        size = member.bitfield_size or 8 * btf.sizeof(member.type_id)
        end = max(end, member.bit_offset + size)
    used = -(-end // (8 * align)) * align
    if used < found.size:
        # In a union the padding is one more member, so it is as long as the whole.
        yield Pad(found.size if is_union else found.size - -(-end // 8), False)


def _natural(btf: Btf, member: t.Member, end: int, packed: bool) -> int:
    """Where a compiler puts a member by itself, in bits, as the System V ABI says."""
    if member.bitfield_size:
        unit = 8 * btf.sizeof(member.type_id) or 1
        crosses = end // unit != (end + member.bitfield_size - 1) // unit
        return -(-end // unit) * unit if crosses and not packed else end
    step = 8 * (1 if packed else btf.alignof(member.type_id))
    return -(-end // step) * step


def _padding(start: int, end: int) -> Iterator[Pad]:
    """Bits up to a byte's end, then bytes, then bits."""
    to_byte = min(-start % 8, end - start)
    if to_byte:
        yield Pad(to_byte, True)
    start += to_byte
    if end // 8 > start // 8:
        yield Pad(end // 8 - start // 8, False)
        start = end // 8 * 8
    if end > start:
        yield Pad(end - start, True)
