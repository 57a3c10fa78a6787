"""Walks over maps that others write to: bounded, without repeats, and honest about the end."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens import limits
from bpflens.abi.enums import Cmd, MapType
from bpflens.errors import SyscallError
from bpflens.model import elements as module
from bpflens.port.faults import Fault, FaultyBpf
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import Table, table, u32, u64


def hash_of(count: int, max_entries: int = 16, batch: bool = False) -> Table:
    found = table(1, elements={u32(n): u64(n) for n in range(count)}, max_entries=max_entries)
    found.batch = batch
    return found


def keys_of(kernel: Kernel, limit: int | None = None, seconds: float | None = None) -> list[bytes]:
    with kernel.system().map(1) as map:
        return [element.key for element in map.items(limit, seconds)]


def test_a_hash_that_loses_each_key_as_it_is_read_ends_without_repeats() -> None:
    found = hash_of(6)
    kernel = Kernel(found)
    kept = {u32(4), u32(5)}

    def delete(cmd: Cmd) -> None:
        # the key that the walk stands on goes: the kernel starts over
        if cmd is Cmd.MAP_GET_NEXT_KEY:
            for key in [k for k in found.elements if k not in kept][:1]:
                del found.elements[key]

    kernel.before = delete
    seen = keys_of(kernel)
    assert len(seen) == len(set(seen))
    assert kept <= set(seen)


@given(st.integers(0, 1 << 32))
def test_what_stays_in_a_busy_hash_is_given_once_whatever_the_others_do(seed: int) -> None:
    chance = random.Random(seed)
    found = hash_of(8)
    stay = set(chance.sample(list(found.elements), 4))
    kernel = Kernel(found)

    def churn(cmd: Cmd) -> None:
        loose = [key for key in found.elements if key not in stay]
        if loose and chance.random() < 0.3:
            del found.elements[chance.choice(loose)]
        if chance.random() < 0.2:
            found.elements[u32(chance.randrange(100, 200))] = u64(0)

    kernel.before = churn
    with kernel.system().map(1) as map:
        walk = map.items()
        seen = [element.key for element in walk]
        assert len(seen) == len(set(seen))
        if walk.complete:
            assert stay <= set(seen)
        else:
            assert walk.why


def test_a_hash_that_changes_for_ever_is_left_after_a_bounded_number_of_steps() -> None:
    found = hash_of(2, max_entries=4)
    kernel = Kernel(found)
    fresh = iter(range(1000, 1 << 30))

    def replace(cmd: Cmd) -> None:
        if cmd is Cmd.MAP_GET_NEXT_KEY:
            found.elements.clear()
            found.elements.update({u32(next(fresh)): u64(0), u32(next(fresh)): u64(0)})

    kernel.before = replace
    with kernel.system().map(1) as map:
        walk = map.items()
        steps = sum(1 for _ in walk)
        assert steps <= 4 * 4 + limits.SPARE_STEPS.value
        assert (walk.complete, walk.limited) == (False, False)
        assert "changes faster" in walk.why


def test_an_element_that_goes_between_key_and_value_is_left_out() -> None:
    found = hash_of(3)
    kernel = Kernel(found)

    def delete(cmd: Cmd) -> None:
        if cmd is Cmd.MAP_LOOKUP_ELEM:
            found.elements.pop(u32(1), None)

    kernel.before = delete
    assert keys_of(kernel) == [u32(0), u32(2)]


def test_an_array_is_walked_by_index_and_cannot_start_over() -> None:
    kernel = Kernel(table(1, MapType.ARRAY, {u32(n): u64(n) for n in range(9)}, max_entries=9))
    with kernel.system().map(1) as map:
        walk = map.items()
        assert [element.key for element in walk] == [u32(n) for n in range(9)]
        assert walk.complete
    # a batch was tried, and then one lookup a slot
    assert kernel.counts()["MAP_LOOKUP_BATCH"] == 1
    assert kernel.counts()["MAP_LOOKUP_ELEM"] == 9
    assert "MAP_GET_NEXT_KEY" not in kernel.counts()


def test_an_array_of_any_length_is_fetched_in_a_few_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 12 * 100)
    found = table(1, MapType.ARRAY, {u32(n): u64(n) for n in range(250)}, max_entries=250)
    found.batch = True
    kernel = Kernel(found)
    assert keys_of(kernel) == [u32(n) for n in range(250)]
    assert kernel.counts()["MAP_LOOKUP_BATCH"] == 3
    assert "MAP_LOOKUP_ELEM" not in kernel.counts()


@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_bucket_that_does_not_fit_makes_the_batch_grow(size: int) -> None:
    found = hash_of(size + 2, max_entries=1, batch=True)
    keys = list(found.elements)
    found.buckets = [keys[:1], [], keys[1 : size + 1], keys[size + 1 :]]
    kernel = Kernel(found)
    assert keys_of(kernel) == keys
    assert "MAP_GET_NEXT_KEY" not in kernel.counts()


def test_a_bucket_that_never_fits_is_an_error_and_no_endless_growth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits.BUCKET_BYTES, "value", 1 << 12)
    kernel = Kernel(hash_of(2, batch=True))
    kernel.refused[Cmd.MAP_LOOKUP_BATCH] = errno.ENOSPC
    with kernel.system().map(1) as map:
        walk = map.items()
        assert list(walk) == []
        assert (walk.complete, walk.why) == (False, str(limits.BUCKET_BYTES))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, 524])
def test_a_kernel_without_batches_is_walked_key_by_key(code: int) -> None:
    kernel = Kernel(hash_of(5))
    kernel.refused[Cmd.MAP_LOOKUP_BATCH] = code
    assert keys_of(kernel) == [u32(n) for n in range(5)]
    assert kernel.counts()["MAP_LOOKUP_BATCH"] == 1


def test_a_batch_that_fails_in_the_middle_gives_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 24)
    kernel = Kernel(hash_of(6, batch=True))
    faulty = FaultyBpf(kernel, [Fault(Cmd.MAP_LOOKUP_BATCH, errno.EINVAL, nth=2)])
    with kernel.system(faulty).map(1) as map:
        walk = iter(map.items())
        assert [next(walk).key, next(walk).key] == [u32(0), u32(1)]
        with pytest.raises(SyscallError):
            next(walk)


def test_a_trie_that_starts_over_in_the_middle_gives_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 24)
    found = table(1, MapType.LPM_TRIE, {u32(n): u64(n) for n in range(6)})
    found.batch = True
    kernel = Kernel(found)

    def delete(cmd: Cmd) -> None:
        if cmd is Cmd.MAP_LOOKUP_BATCH and kernel.counts()["MAP_LOOKUP_BATCH"] == 2:
            del found.elements[u32(1)]  # where the cursor stands

    kernel.before = delete
    seen = keys_of(kernel)
    assert len(seen) == len(set(seen))
    assert set(seen) >= {u32(n) for n in (0, 2, 3, 4, 5)}


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize(("limit", "complete"), [(0, False), (4, False), (5, True), (9, True)])
def test_a_limit_ends_the_walk_and_says_whether_there_was_more(
    limit: int, complete: bool, batch: bool
) -> None:
    with Kernel(hash_of(5, batch=batch)).system().map(1) as map:
        walk = map.items(limit)
        assert len(list(walk)) == min(limit, 5)
        assert walk.complete is complete
        assert walk.limited is not complete
        assert walk.why == ("" if complete else f"limited to {limit} elements")


def test_a_walk_that_is_left_early_is_not_complete() -> None:
    with Kernel(hash_of(5)).system().map(1) as map:
        walk = map.items()
        next(iter(walk))
        assert (walk.complete, walk.limited) == (False, True)
        assert walk.why


def test_a_walk_ends_when_its_time_is_over_but_not_without_an_element() -> None:
    # the scripted clock goes a second with each look
    with Kernel(hash_of(5)).system().map(1) as map:
        walk = map.items(seconds=2.5)
        assert len(list(walk)) == 3
        assert (walk.complete, walk.limited) == (False, False)
        assert "time" in walk.why


def test_a_walk_within_its_time_is_complete() -> None:
    with Kernel(hash_of(5)).system().map(1) as map:
        walk = map.items(seconds=1e6)
        assert len(list(walk)) == 5
        assert walk.complete


@pytest.mark.parametrize("make", [lambda: hash_of(0), lambda: hash_of(0, batch=True)])
def test_an_empty_map_is_complete(make: Callable[[], Table]) -> None:
    with Kernel(make()).system().map(1) as map:
        walk = map.items()
        assert list(walk) == []
        assert walk.complete


def test_sizes_that_no_kernel_tells_are_no_crash() -> None:
    found = table(1, key_size=0, value_size=0)
    found.batch = True
    assert keys_of(Kernel(found)) == []
