"""Fields of map values that the kernel keeps to itself: where they are found, and where not."""

from __future__ import annotations

import errno
from collections.abc import Callable

from bpflens.abi.enums import MapType as T
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.port.calls import Calls
from bpflens.testing.builders import btf, map, u32
from bpflens.testing.conformance.hashes import LOCK
from bpflens.testing.conformance.suite import cases, each, fails, same


class Types(BtfBuilder):
    """BTF with what values hold."""

    def __init__(self) -> None:
        super().__init__()
        self.int = self.add_int("int", 4, Int.SIGNED)
        self.words = self.add_array(self.add_int("unsigned long long", 8), 2, self.int)
        self.own = self.add_struct("held_by_pointers", 8, [("n", self.int, 0)])

    def lock(self) -> int:
        return self.add_struct("bpf_spin_lock", 4, [("val", self.int, 0)])

    def count(self) -> int:
        return self.add_struct("bpf_refcount", 4, [("val", self.int, 0)])

    def timer(self) -> int:
        return self.add_struct("bpf_timer", 16, [("opaque", self.words, 0)])

    def pointer(self, tag: str, to: int | None = None) -> int:
        return self.add_ptr(self.add_type_tag(tag, self.own if to is None else to))

    def value(self, *members: tuple[int, int], size: int) -> tuple[int, int]:
        """A struct of types at bytes: its id and size."""
        fields = [(f"m{at}", type_id, at * 8) for type_id, at in members]
        return self.add_struct("value", size, fields), size


Make = Callable[[Types], tuple[int, int]]


def made(calls: Calls, make: Make, type: T) -> tuple[int, int]:
    """A map with such values, and their size."""
    types = Types()
    value, size = make(types)
    bound = (btf(calls, types.build()), types.int, value)
    return map(calls, type, value_size=size, max_entries=4, btf=bound), size


def inside(t: Types) -> tuple[int, int]:
    inner = t.add_struct("inner", 8, [("n", t.int, 0), ("lock", t.lock(), 32)])
    return t.value((inner, 0), (t.int, 8), size=12)


def in_an_array(t: Types) -> tuple[int, int]:
    return t.value((t.add_array(t.lock(), 1, t.int), 0), (t.int, 4), size=8)


def under_a_name(t: Types) -> tuple[int, int]:
    return t.value((t.add_typedef("lock_t", t.lock()), 0), (t.int, 4), size=8)


def in_a_union(t: Types) -> tuple[int, int]:
    return t.value((t.add_union("either", 4, [("lock", t.lock(), 0)]), 0), (t.int, 4), size=8)


def counts_in_an_array(t: Types) -> tuple[int, int]:
    inner = t.add_struct("inner", 8, [("n", t.int, 0), ("count", t.count(), 32)])
    return t.value((t.add_array(inner, 2, t.int), 0), size=16)


def a_pointer(t: Types) -> tuple[int, int]:
    return t.value((t.pointer("kptr"), 0), (t.int, 8), size=16)


def pointers(t: Types) -> tuple[int, int]:
    inner = t.add_struct("inner", 16, [("n", t.int, 0), ("p", t.pointer("kptr"), 64)])
    return t.value((t.add_array(inner, 2, t.int), 0), (t.pointer("kptr"), 32), size=40)


def a_count(t: Types) -> tuple[int, int]:
    return t.value((t.count(), 0), (t.int, 4), size=8)


def a_timer(t: Types) -> tuple[int, int]:
    return t.value((t.timer(), 0), (t.int, 16), size=20)


def two_timers(t: Types) -> tuple[int, int]:
    timer = t.timer()
    return t.value((timer, 0), (timer, 16), size=32)


def a_short_timer(t: Types) -> tuple[int, int]:
    return t.value((t.add_struct("bpf_timer", 8, [("n", t.int, 0)]), 0), size=8)


@cases(
    inside=(inside, "....0000...."),
    in_an_array=(in_an_array, "0000...."),
    under_a_name=(under_a_name, "........"),
    in_a_union=(in_a_union, "........"),
    counts_in_an_array=(counts_in_an_array, "................"),
    a_pointer=(a_pointer, "00000000........"),
    pointers=(pointers, "........00000000........0000000000000000"),
    a_count=(a_count, "1000...."),
    a_timer=(a_timer, "0000000000000000...."),
    two_timers=(two_timers, 32 * "."),
    a_short_timer=(a_short_timer, 8 * "."),
)
def check_fields(calls: Calls, make: Make, seen: str) -> None:
    """Special fields read as zeros, a count as one; what is none reads as it was written."""
    for type in (T.HASH, T.ARRAY):
        fd, size = made(calls, make, type)
        calls.map_update(fd, u32(1), bytes([0xEE]) * size)
        told = calls.map_lookup(fd, u32(1), size)
        same("".join("." if byte == 0xEE else str(byte) for byte in told), seen)


@cases(inside=inside, in_an_array=in_an_array)
def check_locks_inside(calls: Calls, make: Make) -> None:
    """A lock deep inside the value is one to copy it under."""
    fd, size = made(calls, make, T.HASH)
    calls.map_update(fd, u32(1), bytes(size), LOCK)


@cases(under_a_name=under_a_name, in_a_union=in_a_union, a_timer=a_timer)
def check_no_lock(calls: Calls, make: Make) -> None:
    """LOCK needs a lock (EINVAL)."""
    fd, size = made(calls, make, T.HASH)
    fails(errno.EINVAL, calls.map_update, fd, u32(1), bytes(size), LOCK)


@cases(**each(T.PERCPU_HASH, T.PERCPU_ARRAY, T.LRU_PERCPU_HASH))
def check_timers_where_none_can_be(calls: Calls, type: T) -> None:
    """Values of a CPU hold no timers (EOPNOTSUPP), but pointers to objects."""
    fails(errno.EOPNOTSUPP, made, calls, a_timer, type)
    made(calls, pointers, type)


def another_tag(t: Types) -> tuple[int, int]:
    return t.value((t.pointer("user"), 0), (t.lock(), 8), size=12)


def a_pointer_to_nothing(t: Types) -> tuple[int, int]:
    return t.value((t.pointer("kptr", 0), 0), (t.lock(), 8), size=12)


def a_list_of_nothing(t: Types) -> tuple[int, int]:
    head = t.add_struct("bpf_list_head", 16, [("opaque", t.words, 0)])
    return t.value((head, 0), (t.lock(), 16), size=20)


def too_many(t: Types) -> tuple[int, int]:
    return t.value((t.add_array(t.pointer("kptr"), 12, t.int), 0), (t.lock(), 96), size=100)


@cases(
    another_tag=(another_tag, errno.EINVAL),
    a_pointer_to_nothing=(a_pointer_to_nothing, errno.EINVAL),
    a_list_of_nothing=(a_list_of_nothing, errno.EINVAL),
    too_many=(too_many, errno.E2BIG),
)
def check_objects_that_cannot_be(calls: Calls, make: Make, code: int) -> None:
    """Types of objects that programs could not use do not even load."""
    types = Types()
    make(types)
    fails(code, btf, calls, types.build())
