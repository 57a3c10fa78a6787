"""Elements: each map type by its own rule."""

from __future__ import annotations

import errno

import pytest

from bpflens.abi.attrs import MapBatch
from bpflens.abi.enums import Cmd, MapType
from bpflens.abi.mapfacts import MAP_FACTS, Walk
from bpflens.errors import Denied, NotFound, SyscallError, Unsupported, UsageError
from bpflens.model.elements import INSN_DELETED, Element
from bpflens.port.memory import Memory
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import Table, table, u32, u64


def read(found: Table) -> tuple[list[Element], bool, str]:
    """(all elements of a map, whether it was complete, why not)."""
    with Kernel(found).system().map(found.id) as map:
        walk = map.items()
        elements = list(walk)
        assert walk.seen == len(elements)
        return elements, walk.complete, walk.why


@pytest.mark.parametrize("size", [1, 4, 8, 12, 16])
@pytest.mark.parametrize("type", [MapType.PERCPU_HASH, MapType.PERCPU_ARRAY])
def test_a_per_cpu_value_has_a_slot_of_whole_words_for_each_cpu(type: MapType, size: int) -> None:
    slot = size + 7 & ~7
    first, second = bytes(range(1, size + 1)), bytes(range(101, 101 + size))
    raw = first.ljust(slot, b"\xee") + second.ljust(slot, b"\xee")
    found = table(1, type, {u32(0): raw}, value_size=size, max_entries=1)
    elements, complete, _ = read(found)
    assert elements == [Element(u32(0), (first, second))]
    assert complete
    with Kernel(found).system().map(1) as map:
        assert map.lookup(u32(0)) == elements[0]
        assert map.value_room == 2 * slot


def test_a_plain_value_of_odd_size_is_not_rounded() -> None:
    elements, _, _ = read(table(1, MapType.HASH, {u32(7): b"abc"}, value_size=3))
    assert elements == [Element(u32(7), (b"abc",))]


@pytest.mark.parametrize("type", [MapType.QUEUE, MapType.STACK])
def test_a_queue_shows_the_next_element_and_says_that_there_may_be_others(type: MapType) -> None:
    found = table(1, type, {b"": u64(5)}, key_size=0)
    elements, complete, why = read(found)
    assert elements == [Element(b"", (u64(5),))]
    assert not complete
    assert type.label in why
    with Kernel(found).system().map(1) as map:
        assert map.lookup(b"").values == (u64(5),)


@pytest.mark.parametrize("type", [MapType.QUEUE, MapType.STACK])
def test_an_empty_queue_is_complete(type: MapType) -> None:
    assert read(table(1, type, key_size=0)) == ([], True, "")


def test_an_array_of_programs_names_them_and_leaves_empty_slots_out() -> None:
    slots = {u32(1): u32(77), u32(3): u32(78)}
    found = table(1, MapType.PROG_ARRAY, slots, value_size=4, max_entries=5)
    elements, complete, _ = read(found)
    assert complete
    assert [(e.key, e.prog_id) for e in elements] == [(u32(1), 77), (u32(3), 78)]
    assert all(e.map_id is e.ifindex is e.cookie is None for e in elements)


@pytest.mark.parametrize("type", [MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS])
def test_a_map_of_maps_names_the_maps_inside(type: MapType) -> None:
    elements, _, _ = read(table(1, type, {u32(0): u32(42)}, value_size=4, max_entries=2))
    assert [(e.key, e.map_id, e.prog_id) for e in elements] == [(u32(0), 42, None)]


@pytest.mark.parametrize("type", [MapType.DEVMAP, MapType.DEVMAP_HASH])
@pytest.mark.parametrize(
    ("value", "ifindex", "prog_id"),
    [(u32(3), 3, None), (u32(3, 0), 3, None), (u32(3, 77), 3, 77)],
)
def test_a_devmap_names_the_device_and_the_program_that_it_runs(
    type: MapType, value: bytes, ifindex: int, prog_id: int | None
) -> None:
    found = table(1, type, {u32(2): value}, value_size=len(value), max_entries=4)
    ((element,), complete, _) = read(found)
    assert (element.ifindex, element.prog_id, complete) == (ifindex, prog_id, True)


@pytest.mark.parametrize(("value", "prog_id"), [(u32(192), None), (u32(192, 77), 77)])
def test_a_cpumap_names_its_queue_and_the_program_that_it_runs(
    value: bytes, prog_id: int | None
) -> None:
    found = table(1, MapType.CPUMAP, {u32(1): value}, value_size=len(value), max_entries=2)
    ((element,), _, _) = read(found)
    assert (element.queue_size, element.prog_id, element.ifindex) == (192, prog_id, None)


@pytest.mark.parametrize("type", [MapType.SOCKMAP, MapType.SOCKHASH, MapType.REUSEPORT_SOCKARRAY])
def test_a_map_of_sockets_names_them_by_cookie(type: MapType) -> None:
    ((element,), _, _) = read(table(1, type, {u32(0): u64(1 << 60)}, max_entries=1))
    assert element.cookie == 1 << 60


def test_a_map_of_sockets_with_short_values_says_why_it_cannot_be_read() -> None:
    kernel = Kernel(table(1, MapType.SOCKMAP, {u32(0): bytes(8)}, value_size=4, max_entries=1))
    kernel.refused[Cmd.MAP_LOOKUP_ELEM] = errno.ENOSPC
    with kernel.system().map(1) as map, pytest.raises(Unsupported, match="8-byte values only"):
        list(map.items())


@pytest.mark.parametrize("type", [t for t, row in MAP_FACTS.items() if row.walk is Walk.NONE])
def test_a_type_that_cannot_be_read_says_why_and_costs_no_call(type: MapType) -> None:
    kernel = Kernel(table(1, type))
    with kernel.system().map(1) as map:
        map.basic()
        kernel.log.clear()
        with pytest.raises(Unsupported, match=f"elements of {type.label} maps cannot be read: "):
            list(map.items())
    assert kernel.log == []


@pytest.mark.parametrize("type", [t for t, row in MAP_FACTS.items() if row.walk is Walk.KEYS])
@pytest.mark.parametrize("batch", [True, False])
def test_every_type_that_has_keys_is_walked_whole(type: MapType, batch: bool) -> None:
    slots = 2 if MAP_FACTS[type].per_cpu else 1
    elements = {u32(n): u64(n) * slots for n in range(16)}
    found = table(1, type, elements)
    found.batch = batch
    seen, complete, _ = read(found)
    assert {e.key: b"".join(e.values) for e in seen} == elements
    assert len(seen) == 16
    assert complete


class Moved(Table):
    """A hash of which the buckets move: passes that meet elements twice, lose their place, or miss
    some, as __rhtab_map_lookup_and_delete_batch() does beside a rehash."""

    passes: tuple[tuple[int, ...] | None, ...] = ()
    at = 0

    def lookup_batch(self, asked: MapBatch, mem: Memory) -> None:
        told = self.passes[min(self.at, len(self.passes) - 1)]
        self.at += 1
        if told is None:
            raise OSError(errno.EAGAIN, "the key that it stopped at is gone")
        mem.write(asked.keys, u32(*told))
        mem.write(asked.values, u64(*told))
        mem.write(asked.out_batch, u32(*told[-1:]))
        asked.count = len(told)
        if not self.at % 2:
            raise OSError(errno.ENOENT, "the end")


def test_a_hash_whose_buckets_move_is_read_until_nothing_new_is_found() -> None:
    like = table(1, MapType.RHASH)
    found = Moved(like.info, {u32(n): u64(n) for n in range(1, 5)})
    # by two: the first part of a pass, and its end
    found.passes = ((1, 2), (2,), (1,), None, (3, 1), (4,), (1, 2), (3, 4))
    seen, complete, _ = read(found)
    assert [e.key for e in seen] == [u32(n) for n in (1, 2, 3, 4)]
    assert complete


def test_the_slots_of_an_insn_array_say_where_instructions_are() -> None:
    elements = {u32(0): u32(3, 1, 20, 0), u32(1): u32(4, INSN_DELETED, 0, 0)}
    found = table(1, MapType.INSN_ARRAY, elements, value_size=16, max_entries=2)
    (first, second), complete, _ = read(found)
    assert (first.orig_off, first.xlated_off, first.jitted_off) == (3, 1, 20)
    assert (second.orig_off, second.xlated_off) == (4, INSN_DELETED)
    assert complete


def test_a_type_from_a_newer_kernel_is_tried_like_a_hash() -> None:
    elements, complete, _ = read(table(1, MapType(4711), {u32(1): u64(2)}))
    assert elements == [Element(u32(1), (u64(2),))]
    assert complete


def test_a_key_of_another_size_is_refused_before_the_kernel_is_asked() -> None:
    kernel = Kernel(table(1, elements={u32(1): u64(2)}))
    with kernel.system().map(1) as map:
        map.basic()
        kernel.log.clear()
        for key in (b"", b"abc", b"abcde"):
            with pytest.raises(UsageError, match=f"the key has {len(key)} bytes, map 1 has 4"):
                map.lookup(key)
    assert kernel.log == []


def test_a_key_that_is_not_there_is_not_found() -> None:
    kernel = Kernel(table(1))
    with kernel.system().map(1) as map, pytest.raises(NotFound, match="no element with key 0100"):
        map.lookup(u32(1))


def test_elements_that_may_not_be_read_say_what_would_grant_it() -> None:
    kernel = Kernel(table(1, elements={u32(1): u64(2)}))
    kernel.refused[Cmd.MAP_LOOKUP_ELEM] = errno.EPERM
    with kernel.system().map(1) as map:
        with pytest.raises(Denied, match="map 1 cannot be read") as caught:
            list(map.items())
        assert caught.value.needs == "CAP_SYS_ADMIN"


def test_another_failure_ends_the_walk_as_what_it_is() -> None:
    kernel = Kernel(table(1, elements={u32(1): u64(2)}))
    kernel.refused[Cmd.MAP_GET_NEXT_KEY] = errno.EIO
    with kernel.system().map(1) as map:
        walk = map.items()
        with pytest.raises(SyscallError):
            list(walk)
        assert not walk.complete


def test_memory_frozen_state_and_owner_come_from_fdinfo() -> None:
    found = table(1, MapType.PROG_ARRAY)
    found.fdinfo = b"memlock:\t4096\nfrozen:\t1\nowner_prog_type:\t6\n"
    with Kernel(found).system().map(1) as map:
        assert map.accounts() == (4096, True, 6)


def test_what_fdinfo_does_not_tell_is_missing_with_its_reason() -> None:
    found = table(1)
    found.fdinfo = b""
    with Kernel(found).system().map(1) as map:
        reasons = [getattr(value, "reason", None) for value in map.accounts()]
    assert reasons == ["unsupported", "unsupported", "none"]
