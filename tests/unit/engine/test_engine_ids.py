"""IDs: cyclic, never given out twice at a time, and found in order at any number of objects."""

from __future__ import annotations

import random

import pytest

from bpflens.abi.attrs import MapCreate
from bpflens.abi.enums import Cmd, MapType
from bpflens.abi.infos import MapInfo
from bpflens.engine import Engine
from bpflens.engine.ids import FIRST, LAST, Idr
from bpflens.port.calls import CallNotFound, Calls


def test_ids_go_up_and_are_not_used_again_soon() -> None:
    idr: Idr[str] = Idr()
    assert [idr.allocate("a"), idr.allocate("b")] == [1, 2]
    idr.remove(2)
    assert idr.allocate("c") == 3


def test_past_the_last_id_it_goes_on_from_the_first_free_one() -> None:
    idr: Idr[int] = Idr()
    for _ in range(3):
        idr.allocate(0)
    idr.remove(2)
    idr.last = LAST - 2
    assert [idr.allocate(0) for _ in range(4)] == [LAST - 1, LAST, 2, 4]


def test_after_finds_the_smallest_live_id_above() -> None:
    idr: Idr[int] = Idr()
    source = random.Random(3)
    live: set[int] = set()
    for start in (1, 1000, 1 << 20, 1 << 29, LAST - 50):
        idr.last = start - 1
        live |= {idr.allocate(0) for _ in range(1500)}
    for gone in source.sample(sorted(live), 4000):
        idr.remove(gone)
        live.discard(gone)
    for _ in range(3000):
        asked = source.choice([source.randrange(LAST), source.choice(sorted(live)) - 1])
        assert idr.after(asked) == min((id for id in live if id > asked), default=0)


@pytest.mark.parametrize("full", [1024, 1 << 20])
def test_a_full_word_is_stepped_over(full: int) -> None:
    idr: Idr[None] = Idr()
    for _ in range(full + 5):
        idr.allocate(None)
    idr.last = 0
    assert idr.allocate(None) == full + 6
    assert idr.after(full) == full + 1
    assert FIRST == 1


def test_a_walk_over_a_wrapped_space_neither_repeats_nor_loses_what_lives_through_it() -> None:
    engine = Engine()
    calls = Calls(engine.task())
    engine.ids["map"].last = LAST - 3
    attr = MapCreate(map_type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)
    fds = [calls.map_create(attr) for _ in range(6)]
    ids = {calls.info(fd, MapInfo).id for fd in fds}
    assert {LAST, LAST - 1, LAST - 2, 1, 2, 3} == ids
    walked = []
    at = 0
    while (found := calls.next_id(Cmd.MAP_GET_NEXT_ID, at)) is not None:
        walked.append(found)
        calls.close(calls.map_create(attr))  # comes and goes beside the walk
        at = found
    assert [id for id in walked if id in ids] == sorted(ids)
    assert len(set(walked)) == len(walked)


def test_an_id_that_is_gone_is_not_found() -> None:
    engine = Engine()
    calls = Calls(engine.task())
    attr = MapCreate(map_type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)
    fd = calls.map_create(attr)
    calls.close(fd)
    with pytest.raises(CallNotFound):
        calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, 1)
