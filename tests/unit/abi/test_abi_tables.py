"""Tables of facts: complete, and in agreement with themselves."""

from __future__ import annotations

import re

import pytest

from bpflens.abi.attrs import ATTR_SIZE, ATTRS
from bpflens.abi.enums import Cmd, LinkType, MapType, PerfEventType
from bpflens.abi.infos import LINK_INFO_SIZE, LINK_INFOS, PERF_LINK_INFOS, LinkInfo
from bpflens.abi.mapfacts import MAP_FACTS, Batch, Value, Walk, facts


def test_every_map_type_has_a_row() -> None:
    assert set(MAP_FACTS) == set(MapType) - {MapType.UNSPEC}


@pytest.mark.parametrize("type", list(MAP_FACTS), ids=lambda t: t.label)
def test_a_row_does_not_contradict_itself(type: MapType) -> None:
    row = MAP_FACTS[type]
    assert re.fullmatch(r"\d+\.\d+", row.since)
    # what cannot be walked says why, and what can be has no excuse
    assert (row.walk is Walk.NONE) == bool(row.unreadable)
    if row.walk in (Walk.NONE, Walk.PEEK):
        assert row.batch is Batch.NONE
    assert not (row.per_cpu and row.value is not Value.BYTES)


def test_the_per_cpu_types_are_those_that_say_so() -> None:
    named = {type for type in MapType if "PERCPU" in type.name}
    assert {type for type, row in MAP_FACTS.items() if row.per_cpu} == named


def test_rows_stand_in_the_order_in_which_linux_got_the_types() -> None:
    sinces = [tuple(map(int, row.since.split("."))) for row in MAP_FACTS.values()]
    assert sinces == sorted(sinces)


def test_a_type_from_a_newer_kernel_promises_nothing() -> None:
    row = facts(4711)
    assert (row.walk, row.value, row.batch, row.per_cpu) == (
        Walk.KEYS, Value.BYTES, Batch.NONE, False,
    )  # fmt: skip
    assert facts(MapType(4711)) == row


def test_facts_are_found_by_plain_numbers_too() -> None:
    assert facts(1) is MAP_FACTS[MapType.HASH]


def test_every_command_has_an_attr_that_fits_the_union() -> None:
    assert set(ATTRS) == set(Cmd)
    assert all(record.__size__ <= ATTR_SIZE for record in ATTRS.values())


def test_every_kind_of_link_has_an_info_that_begins_like_all_others() -> None:
    assert set(LINK_INFOS) == set(LinkType) - {LinkType.UNSPEC}
    assert set(PERF_LINK_INFOS) == set(PerfEventType) - {PerfEventType.UNSPEC}
    for record in (*LINK_INFOS.values(), *PERF_LINK_INFOS.values()):
        assert list(record.__layout__)[:3] == list(LinkInfo.__layout__)
        assert record.__size__ <= LINK_INFO_SIZE
