"""Text that is not UTF-8: every document is valid Unicode, and no byte is lost."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens import rawtext
from bpflens.errors import UsageError
from bpflens.present import documents, query
from bpflens.present.columns import ELEMENTS, MAPS, PROGRAMS, Column, Noun
from bpflens.present.parts import taker
from bpflens.snapshot.take import take
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import prog
from tests.unit.strict import replaced, strict, texts

NAMES = st.binary(max_size=12).map(rawtext.decoded)
"""What anything may be called."""
ANY = NAMES | st.text(st.characters(), max_size=8)  # and surrogates that stand for no byte
VALUES = st.recursive(
    ANY | st.integers(-(1 << 53), 1 << 53) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=40))
def test_text_leads_back_to_its_bytes(data: bytes) -> None:
    assert rawtext.raw(rawtext.decoded(data)) == data
    assert rawtext.shown(rawtext.decoded(data)) == data.decode(errors="replace")


@given(st.text(st.characters(), max_size=20))
def test_whatever_a_text_holds_it_can_be_shown(text: str) -> None:
    rawtext.shown(text).encode()
    assert rawtext.shown(text) == text or not rawtext.whole(text)


@given(VALUES)
def test_every_document_is_valid_unicode(value: Any) -> None:
    strict(documents.encode(value).encode())


@given(st.dictionaries(ANY, VALUES, max_size=4))
def test_what_is_valid_stays_as_it_is(value: dict[str, Any]) -> None:
    found = strict(documents.encode(value).encode())
    if all(map(rawtext.whole, texts(value))):
        assert found == value
    for key, part in value.items():
        if rawtext.whole(key) and all(map(rawtext.whole, texts(part))):
            assert found[key] == part


@given(st.dictionaries(st.sampled_from(["name", "path", "comm"]), NAMES | st.lists(NAMES)))
def test_the_bytes_stand_beside_the_text(item: dict[str, Any]) -> None:
    found = strict(documents.encode(item).encode())
    for key, part in item.items():
        names, kept = ([part], [found[key]]) if isinstance(part, str) else (part, found[key])
        if not all(map(rawtext.whole, names)):
            data = found[f"{key}_hex"]
            listed = [data] if isinstance(part, str) else data
            assert [bytes.fromhex(one) for one in listed] == [rawtext.raw(name) for name in names]
        else:
            assert f"{key}_hex" not in found
        assert kept == [rawtext.shown(name) for name in names]


@given(st.dictionaries(NAMES, st.integers(), max_size=6))
def test_no_member_of_a_type_is_lost_behind_another(members: dict[str, int]) -> None:
    found = strict(documents.encode(members).encode())
    bytes_of = {rawtext.raw(name): value for name, value in members.items()}
    told: dict[bytes, int] = {}
    for key, value in found.items():
        if isinstance(value, int):
            data = found.get(f"{key}_key_hex")
            told[bytes.fromhex(data) if data is not None else key.encode()] = value
    assert told == bytes_of


def test_the_rule_by_example() -> None:
    told = {
        "name": "a\udcff",
        "pinned": ["/x", "/y\udcfe"],
        "value": {rawtext.decoded(b"m\xe9"): 1, "m\udcff": "\udc80", "comm": "sh", "comm_hex": 5},
        "slots": [["\udcff", 1], [{"in": "\udcff"}], 2],
    }
    assert strict(documents.encode(told).encode()) == {
        "name": "a\ufffd",
        "name_hex": "61ff",
        "pinned": ["/x", "/y\ufffd"],
        "pinned_hex": ["2f78", "2f79fe"],
        "value": {
            "m\ufffd": 1,
            "m\ufffd_key_hex": "6de9",
            "m\ufffd~2": "\ufffd",
            "m\ufffd~2_key_hex": "6dff",
            "m\ufffd~2_hex": "80",
            "comm": "sh",
            "comm_hex": 5,
        },
        "slots": [["\ufffd", 1], [{"in": "\ufffd", "in_hex": "ff"}], 2],
        "slots_hex": [["ff", None], None, None],
    }
    taken = documents.encode({"comm": "\udcff", "comm_hex": 5})
    assert strict(taken.encode()) == {"comm": "\ufffd", "comm_hex~2": "ff", "comm_hex": 5}
    assert documents.encode(["größe", "\U0001f980", "\ud55c", "\0\ufffe"]) == json.dumps(
        ["größe", "\U0001f980", "\ud55c", "\0\ufffe"]
    )


@given(st.binary(max_size=15).filter(lambda name: b"\0" not in name))
def test_a_name_reaches_its_document_with_all_its_bytes(name: bytes) -> None:
    (record,) = take(Kernel(prog(1, name)).system()).programs
    item = documents.item_of((PROGRAMS.column("name"),))(record)
    found = strict(documents.encode(item).encode())
    assert bytes.fromhex(found.get("name_hex", name.hex())) == name
    assert found["name"] == name.decode(errors="replace")
    assert ("name_hex" in found) == (name.decode(errors="ignore").encode() != name)


@pytest.mark.parametrize("apart", [False, True])
def test_lines_and_documents_follow_the_same_rule(apart: bool) -> None:
    items = [{"id": id, "name": f"n{id}\udcff" if id % 3 else "clean"} for id in range(600)]
    lines = list(documents.lines(items, apart))
    assert [strict(line.encode())["id"] for line in lines] == list(range(600))
    text = "\n".join(documents.document("things", items, [], lambda: True, apart=apart))
    found = strict(text.encode())
    assert len(replaced(found)) == 400
    assert found["items"] == [strict(line.encode()) for line in lines]


# --- CSV

CELLS = st.one_of(
    ANY, st.integers(-(1 << 64), 1 << 64), st.booleans(), st.none(), st.floats(),
    st.lists(st.integers(), min_size=1), st.lists(ANY, min_size=1),
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def undone(cell: str) -> str:
    """The text of a cell without the apostrophe that defuses a formula."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'").startswith(FORMULA) else cell


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_csv_reads_back_what_json_says(rows: list[tuple[Any, Any]]) -> None:
    columns = (Column("a", "A", "a"), Column("b", "B", "b"))
    records = [SimpleNamespace(a=a, b=b, missing={}) for a, b in rows]
    text = "\n".join(documents.sheet(columns, records)) + "\n"
    text.encode()
    header, *found = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == ["a", "b"]
    for row, told in zip(rows, found, strict=True):
        item = strict(documents.encode([documents.safe(cell) for cell in row]).encode())
        for cell, value, said in zip(told, row, item, strict=True):
            if isinstance(value, str) or (isinstance(value, list) and isinstance(value[0], str)):
                assert not cell.startswith(FORMULA)
                assert undone(cell) == (said if isinstance(value, str) else " ".join(said))
            elif value is None:
                assert cell == ""
            elif isinstance(value, bool):
                assert cell == json.dumps(value)
            elif not isinstance(value, list):  # a number, and never another
                assert cell == (said if isinstance(said, str) else repr(said))


@pytest.mark.parametrize(
    ("value", "cell"),
    [("=1+1", "'=1+1"), ("-2", "'-2"), (-2, "-2"), (-2.5, "-2.5"), (float("-inf"), "-Infinity"),
     ("'=1", "''=1"), ("'quoted'", "'quoted'"), ("\t", "'\t"), ("\r", "'\r"), ("\n=1", "\n=1"),
     ([-1, 2], "-1 2"), (["-1", "2"], "'-1 2"), ({"x": "=1"}, "{x=\"=1\"}"), ("a=b", "a=b"),
     ("+\udcff", "'+\ufffd"), ("", "")],
)  # fmt: skip
def test_only_text_that_begins_a_formula_is_defused(value: Any, cell: str) -> None:
    column = ELEMENTS.column("formatted")
    (_, line) = documents.sheet((column, column), [SimpleNamespace(formatted=value)])
    assert next(csv.reader(io.StringIO(line, newline=""))) == [cell, cell]


# --- names that are given

RECORDS = [SimpleNamespace(name=name, pinned=paths) for name, paths in (
    ("a\udcff", ["/p\udcff"]), ("a\udcfe", []), ("a\ufffd", ["/q"]), ("b", ["/p"]),
)]  # fmt: skip
THINGS = Noun("things", (MAPS.column("name"), MAPS.column("pinned")))


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('name == "a\ufffd"', [0, 1, 2]),
        ('name == "a\udcff"', [0]),
        ('name == "a\\udcff"', [0]),
        ('name != "a\ufffd"', [3]),
        ('name in ["a\ufffd", "b"]', [0, 1, 2, 3]),
        ('"\ufffd" in name', [0, 1, 2]),
        ('"/p\ufffd" in pinned', [0]),
        ('"/p\ufffd" not in pinned', [1, 2, 3]),
        ('name < "b" and "\udcfe" in name', [1]),
        ('name == "b"', [3]),
    ],
)
def test_a_condition_takes_bytes_and_what_documents_show(condition: str, found: list[int]) -> None:
    test, _ = query.where(THINGS, condition)
    assert [at for at, record in enumerate(RECORDS) if test(record)] == found


@given(st.binary(min_size=1, max_size=6))
def test_a_name_copied_from_a_document_finds_it(data: bytes) -> None:
    name = rawtext.decoded(data)
    assert rawtext.means(rawtext.shown(name), name)
    assert rawtext.means(name, name)


def test_a_field_is_found_by_its_bytes_and_as_shown() -> None:
    value = {"m\udcff": {"x": 1}, "n\udcff": 2, rawtext.decoded(b"n\xfe"): 3}

    def take(path: str) -> Any:
        return taker(lambda record: record, "value", path)(value)

    assert take(".m\udcff.x") == take(".m\ufffd.x") == 1
    assert take(".n\udcfe") == 3
    with pytest.raises(UsageError, match="give the bytes of one of"):
        take(".n\ufffd")
