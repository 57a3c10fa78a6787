"""JSON, JSON lines and CSV: documents that other programs read back."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.model.parts import Part
from bpflens.present import documents
from bpflens.present.columns import ELEMENTS, MAPS, PROGRAMS, Column
from bpflens.snapshot.records import ErrorRecord
from bpflens.snapshot.take import take
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import prog, table, u32, u64

ANY = st.text(max_size=20)
"""Valid Unicode; what else there is: test_present_unicode.py."""


def plain(*keys: str) -> tuple[Column, ...]:
    return tuple(Column(key, key.upper(), key) for key in keys)


def read(items: list[documents.Item], **more: Any) -> dict[str, Any]:
    text = "\n".join(documents.document("things", items, [], lambda: True, **more))
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_document_has_its_shape_also_without_items() -> None:
    assert read([]) == {
        "schema": "bpflens/1", "kind": "things", "items": [], "errors": [], "complete": True,
    }  # fmt: skip


ORDER = ("id", "name", "list", "nested", "one")
"""All items of a document have their keys in one order, that of the columns."""

items = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(), "name": ANY},
        optional={
            "list": st.lists(st.integers(), max_size=3),
            "nested": st.lists(st.fixed_dictionaries({"cpu": st.integers(), "value": ANY})),
            "one": st.fixed_dictionaries({"type": ANY}),
        },
    ),
    max_size=6,
).map(lambda found: [{key: item[key] for key in ORDER if key in item} for item in found])


@given(items)
def test_a_document_reads_back_as_its_items(given_items: list[documents.Item]) -> None:
    assert read(given_items)["items"] == given_items


@given(items)
def test_each_line_of_json_lines_is_one_item(given_items: list[documents.Item]) -> None:
    lines = list(documents.lines(given_items))
    assert [json.loads(line) for line in lines] == given_items
    assert all("\n" not in line for line in lines)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
def test_items_keep_their_lines_however_many_there_are(count: int) -> None:
    many = [{"id": id, "text": '}, {"id": 1'} for id in range(count)]
    assert [json.loads(line)["id"] for line in documents.lines(many)] == list(range(count))
    text = list(documents.document("things", many, [], lambda: True))
    assert len(text) == count + 2
    assert len(json.loads("\n".join(text))["items"]) == count


def test_errors_and_the_end_are_asked_after_the_last_item() -> None:
    errors: list[ErrorRecord] = []
    done: list[bool] = []

    def walk() -> Any:
        yield {"id": 1}
        errors.append(ErrorRecord("program", 2, None, "no"))
        done.append(True)

    text = "\n".join(documents.document("things", walk(), errors, lambda: bool(done)))
    assert json.loads(text)["errors"] == [{"kind": "program", "id": 2, "path": None, "error": "no"}]
    assert json.loads(text)["complete"] is True


def test_a_document_may_say_more_before_and_after_its_items() -> None:
    found = read([], head={"map": {"id": 5}}, tail=lambda: {"why": "limited"})
    assert found["map"] == {"id": 5}
    assert found["why"] == "limited"


def integers(value: Any) -> list[int]:
    """Every integer anywhere in a document."""
    if isinstance(value, dict):
        return [n for inner in value.values() for n in integers(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in integers(inner)]
    return [value] if type(value) is int else []


def test_no_integer_is_more_than_javascript_can_hold() -> None:
    top = (1 << 64) - 1
    found = prog(1, jited_prog_insns=b"\xc3", jited_ksyms=u64(top), jited_func_lens=u32(1))
    found.info.run_cnt = found.info.run_time_ns = found.info.recursion_misses = top
    found.info.load_time = 1 << 60
    found.fdinfo = b"memlock:\t1099511627776\n"  # no machine has more
    map = table(5)
    map.info.map_extra = top
    map.fdinfo = found.fdinfo
    kernel = Kernel(found, map)
    shot = take(kernel.system(), ~Part(0))
    for noun, record in ((PROGRAMS, shot.programs[0]), (MAPS, shot.maps[0])):
        item = documents.item_of(noun.columns)(record)
        assert all(abs(number) <= documents.SAFE for number in integers(item))
    item = documents.item_of(PROGRAMS.columns)(shot.programs[0])
    assert item["run_cnt"] == str(top)
    assert item["jited_ksyms"] == [str(top)]


@pytest.mark.parametrize(
    ("value", "told"),
    [((1 << 53) - 1, (1 << 53) - 1), (1 << 53, str(1 << 53)), (0, 0), (None, None)],
)
def test_a_cookie_is_a_number_as_long_as_it_is_a_safe_one(value: Any, told: Any) -> None:
    record = SimpleNamespace(cookie=value, missing={})
    assert documents.item_of((ELEMENTS.column("cookie"),))(record)["cookie"] == told


def test_every_null_has_its_reason() -> None:
    (record,) = take(Kernel(prog(1)).system(), Part(0)).programs
    item = documents.item_of(PROGRAMS.columns, PROGRAMS.parts)(record)
    nulls = {key for key, value in item.items() if value is None}
    assert set(item["missing"]) == nulls
    assert all(item["missing"].values())
    assert item["missing"]["map_ids"].startswith("not asked")
    assert item["missing"]["btf_id"].startswith("none")
    assert item["missing"]["run_cnt"].startswith("off")


def test_only_the_reasons_of_columns_that_are_shown_are_told() -> None:
    (record,) = take(Kernel(prog(1)).system()).programs
    item = documents.item_of((PROGRAMS.column("id"), PROGRAMS.column("run_cnt")))(record)
    assert list(item) == ["id", "run_cnt", "missing"]
    assert list(item["missing"]) == ["run_cnt"]


def sheet(columns: tuple[Column, ...], *records: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO("\n".join(documents.sheet(columns, records)))))


def test_csv_quotes_what_it_must_and_leaves_missing_values_empty() -> None:
    record = SimpleNamespace(a='say "hi", you', b=None, c=True, d=[1, 2], e=0)
    lines = list(documents.sheet(plain("a", "b", "c", "d", "e"), [record]))
    assert lines == ["a,b,c,d,e", '"say ""hi"", you",,true,1 2,0']


def test_an_object_in_a_cell_of_csv_is_told_in_words() -> None:
    columns = tuple(ELEMENTS.column(key) for key in ("key", "values", "program"))
    record = SimpleNamespace(
        key="00", values=[{"cpu": 0, "value": "aa"}, {"cpu": 1, "value": "bb"}],
        program={"id": 7, "type": "xdp", "name": "lb", "tag": "cd"}, missing={},
    )  # fmt: skip
    assert sheet(columns, record)[1] == ["00", "0:aa 1:bb", "7 lb cd"]


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY,
    # As types have it: the parts of a list are of one kind.
    lambda inner: (
        st.lists(ANY | st.integers(), max_size=4)
        | st.lists(st.dictionaries(ANY, inner, max_size=3), max_size=3)
        | st.dictionaries(ANY, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(ANY, _ANYTHING, min_size=1, max_size=3), max_size=6))
def test_items_whose_objects_begin_with_any_key_are_a_line_each(many: list[Any]) -> None:
    told = [
        json.loads(line, parse_constant=pytest.fail) for line in documents.lines(many, apart=True)
    ]
    assert told == [documents.safe(item) for item in many]
