"""Enums of the kernel: what we do not know is a value like any other."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.abi import enums
from bpflens.abi.enums import AttachType, Cmd, MapFlag, MapType, ProgType
from bpflens.abi.word import FlagWord, Word

WORDS = [
    found
    for found in vars(enums).values()
    if isinstance(found, type) and issubclass(found, Word) and found is not Word
]


@given(st.sampled_from(WORDS), st.integers(0, 0xFFFF_FFFF))
def test_every_number_is_a_member_and_the_same_one_each_time(kind: type[Word], value: int) -> None:
    found = kind(value)
    assert found == value
    assert isinstance(found, kind)
    assert kind(value) is found
    assert kind(value).label == found.label.lower()


def test_a_type_from_a_newer_kernel_has_a_label_that_says_so() -> None:
    assert MapType(77).label == "unknown_77"
    assert MapType(77).name == "UNKNOWN_77"
    assert ProgType(77).label == "unknown_77"
    assert type(ProgType(77)) is ProgType


def test_unknown_values_do_not_join_the_list_of_known_ones() -> None:
    known = list(MapType)
    MapType(1234)
    assert list(MapType) == known
    assert "UNKNOWN_1234" not in MapType.__members__


def test_labels_are_the_words_that_bpftool_prints() -> None:
    assert MapType.LRU_PERCPU_HASH.label == "lru_percpu_hash"
    assert ProgType.RAW_TRACEPOINT_WRITABLE.label == "raw_tracepoint_writable"
    assert AttachType.CGROUP_INET_INGRESS.label == "cgroup_inet_ingress"


def test_text_is_no_member() -> None:
    with pytest.raises(ValueError, match="'hash' is not a valid MapType"):
        MapType("hash")  # type: ignore[arg-type]


def test_a_member_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(MapType.HASH)) is MapType.HASH
    assert pickle.loads(pickle.dumps(MapType(991))) is MapType(991)


def test_two_names_of_one_command_are_one_command() -> None:
    assert Cmd["PROG_RUN"] is Cmd["PROG_TEST_RUN"]
    assert Cmd(10).name == "PROG_TEST_RUN"


@given(st.integers(0, 0xFFFF_FFFF))
def test_flags_keep_every_bit(value: int) -> None:
    flags = MapFlag(value)
    assert int(flags) == value
    known = 0
    for label in flags.labels():
        known |= int(label, 16) if label.startswith("0x") else MapFlag[label.upper()]
    assert known == value


def test_flags_are_named_from_the_lowest_bit_and_unknown_ones_are_one_number() -> None:
    assert MapFlag(0).labels() == []
    assert MapFlag(0x401).labels() == ["no_prealloc", "mmapable"]
    assert MapFlag(0x8000_0001 | 1 << 20).labels() == ["no_prealloc", "0x80100000"]


def test_a_flag_set_without_names_is_all_number() -> None:
    class Odd(FlagWord):
        LOW = 1

    assert Odd(6).labels() == ["0x6"]


def test_every_known_value_is_distinct_and_starts_where_c_starts() -> None:
    for kind in WORDS:
        assert len({int(member) for member in kind}) == len(list(kind))
    assert [int(member) for member in MapType] == list(range(len(MapType)))
    assert [int(member) for member in Cmd] == list(range(len(Cmd)))
