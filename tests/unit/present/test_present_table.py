"""Tables: what fits is whole, what does not fit gives way in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.present import table
from bpflens.present.columns import MAPS, NOUNS, PROGRAMS, Column
from bpflens.snapshot.records import ProgramRecord
from bpflens.snapshot.take import take
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import prog, u32
from tests.unit.scripted_objects import table as map_table


def records(count: int = 3, name: str = "xdp_lb", maps: int = 2) -> list[ProgramRecord]:
    made = [
        prog(id, name.encode()[:15], map_ids=u32(*range(1, maps + 1))) for id in range(1, count + 1)
    ]
    found = take(Kernel(*made).system()).programs
    return [record._replace(full_name=name) for record in found]


@given(
    st.integers(40, 200),
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=120),
    st.integers(0, 60),
)
def test_no_line_is_longer_than_the_terminal_is_wide(width: int, name: str, maps: int) -> None:
    lines, hidden = table.table(PROGRAMS.table(), records(3, name, maps), width)
    assert max(map(len, lines)) <= width
    assert len(lines) == 4
    # what is hidden is named, and what is shown is not
    titles = {c.key: c.title for c in PROGRAMS.table()}
    assert all(titles[key] not in lines[0].split("  ") for key in hidden)


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=300),
    st.integers(0, 60),
)
def test_without_a_width_nothing_is_cut_or_left_out(name: str, maps: int) -> None:
    lines, hidden = table.table(PROGRAMS.columns, records(1, name, maps))
    assert hidden == []
    assert name in lines[1]
    assert ",".join(map(str, range(1, maps + 1))) in lines[1]
    assert table.CUT not in lines[1] or table.CUT in name


def test_columns_give_way_from_the_highest_rank() -> None:
    found = records()
    gone: set[str] = set()
    for width in range(200, 39, -1):
        _, hidden = table.table(PROGRAMS.table(), found, width)
        # once a column went, it does not come back on a narrower terminal
        assert gone <= set(hidden)
        gone |= set(hidden)
        kept = [c.rank for c in PROGRAMS.table() if c.key not in hidden]
        lost = [c.rank for c in PROGRAMS.table() if c.key in hidden]
        assert not lost or min(lost) >= max(kept)
    assert {"id", "type"} & gone == set()


def test_the_columns_stand_under_their_titles() -> None:
    (title, line), _ = table.table(
        (PROGRAMS.column("id"), PROGRAMS.column("type"), PROGRAMS.column("tag")), records(1)
    )
    assert title == "ID  TYPE           TAG"
    assert line == " 1  socket_filter  0101010101010101"


def test_a_long_cell_is_cut_with_a_mark() -> None:
    lines, _ = table.table(PROGRAMS.table(), records(1, "n" * 100), 60)
    assert "nnn..." in lines[1]


def test_text_gets_the_room_that_a_column_left_out_had() -> None:
    name = "a_function_with_a_name_that_is_long_enough"
    for width in range(60, 120):
        lines, hidden = table.table(PROGRAMS.table(), records(1, name), width)
        cut = len(lines[0]) < width and name not in lines[1]
        assert not (hidden and cut), (width, lines)


def test_a_table_of_nothing_is_its_titles() -> None:
    lines, hidden = table.table(MAPS.table(), [])
    assert len(lines) == 1
    assert lines[0].startswith("ID  TYPE  NAME")
    assert hidden == []


def test_lines_do_not_end_in_blanks() -> None:
    for width in (None, 60, 80):
        lines, _ = table.table(PROGRAMS.table(), records(2, maps=0), width)
        assert all(line == line.rstrip() for line in lines)


def test_an_escape_sequence_does_not_reach_the_table() -> None:
    found = [record._replace(pinned=["/sys/fs/bpf/\x1b[31m"]) for record in records(1)]
    lines, _ = table.table(PROGRAMS.columns, found)
    assert all("\x1b" not in line for line in (*lines, *table.detail(PROGRAMS.columns, found[0])))
    assert r"/sys/fs/bpf/\x1b[31m" in lines[1]


def test_what_is_unknown_looks_other_than_what_there_is_none_of() -> None:
    (record,) = records(1)
    record = record._replace(
        memlock_bytes=None, btf_id=None, missing={"memlock_bytes": "denied: no"}
    )
    columns = tuple(PROGRAMS.column(key) for key in ("memlock_bytes", "btf_id"))
    (_, line), _ = table.table(columns, [record])
    assert line.split() == ["?", "-"]


def test_a_name_that_is_not_known_whole_is_shown_as_far_as_it_is() -> None:
    (record,) = records(1, "fifteen_letters")
    record = record._replace(full_name=None, missing={"full_name": "denied: no"})
    (_, line), _ = table.table(PROGRAMS.table(), [record])
    assert "fifteen_letters" in line


def test_a_stream_is_the_same_table_without_an_end() -> None:
    found = records(5)
    whole, _ = table.table(PROGRAMS.table(), found)
    assert list(table.streamed(PROGRAMS.table(), iter(found))) == whole


def test_a_stream_begins_before_its_records_end() -> None:
    def endless() -> object:
        while True:
            yield from records(1)

    lines = table.streamed((PROGRAMS.column("id"),), endless())  # type: ignore[arg-type]
    assert [next(lines) for _ in range(3)] == ["ID", " 1", " 1"]


def test_a_detail_leaves_out_what_there_is_none_of_and_says_what_is_unknown() -> None:
    (record,) = records(1, maps=0)
    record = record._replace(memlock_bytes=None, missing={"memlock_bytes": "denied: no"})
    lines = {line.split()[0]: line for line in table.detail(PROGRAMS.columns, record)}
    assert "btf_id" not in lines
    assert "map_ids" not in lines
    assert lines["memlock_bytes"].endswith("(denied: no)")
    assert lines["jited_bytes"].split() == ["jited_bytes", "0"]


@pytest.mark.parametrize("kind", NOUNS)
def test_every_kind_of_record_has_columns_that_can_be_told_apart(kind: str) -> None:
    noun = NOUNS[kind]
    keys = [c.key for c in noun.columns]
    assert len(set(keys)) == len(keys)
    assert all(c.help and c.title.isupper() for c in noun.columns)
    assert set(noun.parts) <= set(keys)
    assert noun.table()


def test_the_columns_of_a_map_are_those_of_its_record() -> None:
    (record,) = take(Kernel(map_table(5)).system()).maps
    assert {c.key for c in MAPS.columns} == set(record._fields) - {"missing"}
    (other,) = records(1)
    assert {c.key for c in PROGRAMS.columns} == set(other._fields) - {"missing"}


def test_a_single_column_is_a_table_too() -> None:
    lines, _ = table.table((Column("id", "ID", "number", 1, True),), records(2), 40)
    assert lines == ["ID", " 1", " 2"]
