"""`--where` and `--sort`: conditions that choose, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bpflens.errors import UsageError
from bpflens.present import query
from bpflens.present.columns import ELEMENTS, MAPS, PROGRAMS

RECORD = SimpleNamespace(
    id=12, type="xdp", name="xdp_lb", run_cnt=1000, run_time_ns=5000, map_ids=[12, 13],
    btf_id=None, gpl_compatible=True, memlock_bytes=0, pinned=[], verified_insns=7,
)  # fmt: skip


def holds(condition: str, record: Any = RECORD) -> bool:
    test, _ = query.where(PROGRAMS, condition)
    return bool(test(record))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("id == 12", True),
        ("id != 12", False),
        ("id < 13", True),
        ("id <= 12", True),
        ("id > 12", False),
        ("id >= 12", True),
        ("10 < id < 20", True),
        ("10 < id < 12", False),
        ("'lb' in name", True),
        ("'lb' not in name", False),
        ("12 in map_ids", True),
        ("12 not in map_ids", False),
        ("id in (11, 12)", True),
        ("id in [1, 2]", False),
        ('type == "xdp" and run_cnt > 999', True),
        ("type == 'tc' or gpl_compatible", True),
        ("not gpl_compatible", False),
        ("gpl_compatible == true", True),
        ("gpl_compatible == false", False),
        ("pinned", False),
        ("run_time_ns / run_cnt == 5", True),
        ("run_time_ns // 3 == 1666", True),
        ("run_time_ns % 3 == 2", True),
        ("id + 1 == 13", True),
        ("id - 1 == 11", True),
        ("id * 2 == 24", True),
        ("id & 4 == 4", True),
        ("-id == -12", True),
        ("  id == 12  ", True),
    ],
)
def test_every_operator_does_what_it_does_in_python(condition: str, expected: bool) -> None:
    assert holds(condition) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("btf_id == null", True),
        ("btf_id == None", True),
        ("btf_id != null", False),
        ("id != null", True),
        ("btf_id == 0", False),
        ("btf_id < 5", False),
        ("btf_id > 5", False),
        ("not btf_id > 5", True),
        ("5 in btf_id", False),
        ("5 not in btf_id", False),
        ("btf_id in map_ids", False),
        ("btf_id + 1 > 0", False),
        ("-btf_id < 0", False),
        ("btf_id", False),
        ("memlock_bytes == 0", True),
        ("id / memlock_bytes > 1", False),
        ("id % memlock_bytes == null", True),
    ],
)
def test_what_is_missing_is_neither_smaller_nor_larger_nor_contained(
    condition: str, expected: bool
) -> None:
    assert holds(condition) is expected


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "id ==",
        "id = 12",
        "print(1)",
        "name.upper() == 'X'",
        "name.__class__",
        "map_ids[0] == 12",
        "lambda: 1",
        "[x for x in map_ids]",
        "{1: 2}",
        "{1, 2}",
        "f'{name}'",
        "id if id else 1",
        "(id := 5)",
        "id ** 100",
        "id << 4",
        "~id",
        "id is null",
        "id == 1j",
        "name == b'x'",
        "...",
        "*map_ids,",
        "await id",
        "import os",
        "id; id",
        "__import__('os')",
        "nothing == 1",
        "id == 1 and nothing",
        "'\\udcff' == name\0",
        "name == '\udcff",
    ],
)
def test_what_is_no_condition_is_a_usage_error(condition: str) -> None:
    with pytest.raises(UsageError):
        query.where(PROGRAMS, condition)


@pytest.mark.parametrize(
    "condition",
    [
        "1" * 3000,
        "-" * 1900 + "1",
        "not " * 490 + "id",
        "(" * 150 + "id" + ")" * 150,
        "(" * 900 + "id" + ")" * 900,
        "[" * 190 + "]" * 190,
        "1" + "+1" * 900,
        "id" + " and id" * 250,
        "id<" * 600 + "id",
    ],
)
def test_a_condition_of_any_length_or_depth_is_answered(condition: str) -> None:
    """With a value, or with a usage error: never by running out of stack later."""
    try:
        test, _ = query.where(PROGRAMS, condition)
    except UsageError:
        return
    test(RECORD)


@pytest.mark.parametrize("depth", range(60, 1000, 47))
def test_what_can_be_compiled_can_be_run_on_the_same_stack(depth: int) -> None:
    try:
        test, _ = query.where(PROGRAMS, "-" * depth + "1 == 1")
    except UsageError:
        return
    assert test(RECORD) in (True, False)


@pytest.mark.parametrize(
    "condition",
    ["name < 5", "5 in id", "name in 5", "name + 1 == 2", "name * 1000 == 1", "map_ids + 1",
     "map_ids < 1"],
)  # fmt: skip
def test_values_that_do_not_go_together_are_a_usage_error(condition: str) -> None:
    with pytest.raises(UsageError, match="--where"):
        holds(condition)


@pytest.mark.parametrize(
    "condition", [f"{'9' * 400} * 1.5 > 0", f"{'9' * 400} / 3 > 0", "1e308 * 10 % 3 == 0",
                  "id & 1.5 == 0", "1e400 // 1 > 0"]
)  # fmt: skip
def test_numbers_beyond_all_measure_are_no_crash(condition: str) -> None:
    assert holds(condition) in (True, False)


@example("'\\d' in name")
@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_a_usage_error(condition: str) -> None:
    try:
        test, names = query.where(PROGRAMS, condition)
        test(RECORD)
    except UsageError:
        return
    except AttributeError:
        assert names  # the record of this test has not every column
        return


WORDS = st.sampled_from(
    ["id", "name", "map_ids", "btf_id", "null", "true", "1", "0", "'x'", "(", ")", "[", "]", ",",
     "==", "<", "in", "not", "and", "or", "+", "-", "*", "/", "//", "%", "&", "1.5", "1e400"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=12).map(" ".join))
def test_any_sentence_of_the_language_is_answered(condition: str) -> None:
    try:
        holds(condition)
    except UsageError:
        return


def test_a_condition_names_its_columns() -> None:
    assert query.where(PROGRAMS, "map_ids == null or 'x' in pinned")[1] == {"map_ids", "pinned"}


def test_an_unknown_column_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"no column 'nam'; there are: id, type, name"):
        query.where(MAPS, "nam == 1")


def sorted_ids(keys: str, *rows: tuple[int, Any]) -> list[int]:
    records = [SimpleNamespace(id=id, memlock_bytes=value, name=str(value)) for id, value in rows]
    return [record.id for record in query.sort(PROGRAMS, records, keys)]


ROWS = [(1, 5), (2, None), (3, 9), (4, 5), (5, None)]


def test_what_is_missing_comes_last_in_both_directions() -> None:
    assert sorted_ids("memlock_bytes", *ROWS) == [1, 4, 3, 2, 5]
    assert sorted_ids("-memlock_bytes", *ROWS) == [3, 1, 4, 2, 5]


def test_what_is_no_number_comes_last_in_both_directions() -> None:
    rows = [(1, float("nan")), (2, 7.5), (3, float("inf")), (4, float("nan")), (5, -1.0)]
    assert sorted_ids("memlock_bytes", *rows) == [5, 2, 3, 1, 4]
    assert sorted_ids("-memlock_bytes", *rows) == [3, 2, 5, 1, 4]


def test_later_keys_decide_where_earlier_ones_are_equal() -> None:
    assert sorted_ids("memlock_bytes,-id", *ROWS) == [4, 1, 3, 5, 2]
    assert sorted_ids(" -memlock_bytes , -id ,", *ROWS) == [3, 4, 1, 5, 2]


@given(st.lists(st.tuples(st.integers(), st.none() | st.integers())))
def test_sorting_keeps_every_record(rows: list[tuple[int, int | None]]) -> None:
    assert sorted(sorted_ids("-memlock_bytes", *rows)) == sorted(id for id, _ in rows)


def test_an_unknown_key_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no column"):
        sorted_ids("-nothing", *ROWS)


@pytest.mark.parametrize("key", ["program", "values", "-map"])
def test_what_has_no_order_is_a_usage_error(key: str) -> None:
    records = [
        SimpleNamespace(program={"id": n}, values=[{"cpu": n}], map={"id": n}) for n in (2, 1)
    ]
    with pytest.raises(UsageError, match="--sort"):
        query.sort(ELEMENTS, records, key)


def test_bytes_that_are_no_text_can_be_asked_for() -> None:
    record = SimpleNamespace(name="e\udcfe")
    assert holds('name == "e\udcfe"', record)
    assert not holds('name == "e\udcff"', record)
