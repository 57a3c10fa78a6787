"""Words that are safe to show."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.present import text

ANY = st.text(st.characters(), max_size=40)  # surrogates, controls and all

UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(ANY)
def test_what_is_clean_holds_nothing_that_a_terminal_obeys(raw: str) -> None:
    shown = text.clean(raw)
    assert not {unicodedata.category(char) for char in shown} & UNSAFE
    shown.encode()  # and can be written


@given(st.binary(max_size=40))
def test_bytes_of_any_path_can_be_shown(raw: bytes) -> None:
    text.clean(raw.decode(errors="surrogateescape")).encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=40))
def test_what_prints_is_left_as_it_is(raw: str) -> None:
    assert text.clean(raw) == raw


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[2J\x1b[1;1H", r"\x1b[2J\x1b[1;1H"),
        ("a\nb\tc\r", r"a\x0ab\x09c\x0d"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
        ("\u2028\u2029\ufeff\u200b", r"\u2028\u2029\ufeff\u200b"),
        ("x\udcff", r"x\xff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("größe 尺寸", "größe 尺寸"),
        ("", ""),
    ],
)
def test_an_escape_says_what_was_there(raw: str, shown: str) -> None:
    assert text.clean(raw) == shown


@given(ANY)
def test_what_is_clean_stays_as_it_is(raw: str) -> None:
    assert text.clean(text.clean(raw)) == text.clean(raw)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (1023, "1023"), (1024, "1.0K"), (4096, "4.0K"), (10240, "10K"), (5 << 20, "5.0M"),
     (1 << 30, "1.0G"), ((1 << 64) - 1, "16E")],
)  # fmt: skip
def test_bytes_are_told_short(value: int, words: str) -> None:
    assert text.bytes_text(value) == words


@given(st.integers(0, (1 << 64) - 1))
def test_bytes_take_five_places_at_most(value: int) -> None:
    assert len(text.bytes_text(value)) <= 5


def test_a_cell_tells_nothing_from_unknown() -> None:
    assert text.cell(str, None, "") == text.NOTHING
    assert text.cell(str, None, "denied: no") == text.UNKNOWN
    assert text.cell(str, 0, "") == "0"
    assert text.cell(str, "", "") == text.NOTHING
    assert text.cell(text.list_text, [], "") == text.NOTHING
    assert text.cell(str, "\x1b[1m", "") == r"\x1b[1m"


def test_objects_are_named_by_what_a_person_knows() -> None:
    assert text.named_text({"id": 7, "type": "xdp", "name": "lb", "tag": "ab" * 8}) == (
        "7 lb abababababababab"
    )
    assert text.named_text({"id": 5, "type": "hash", "name": ""}) == "5 hash"
    assert text.named_text({"id": 9, "error": "gone"}) == "9 (gone)"
    assert text.per_cpu_text([{"cpu": 0, "value": "01"}, {"cpu": 1, "value": "02"}]) == "0:01 1:02"
    assert text.counts_text({"xdp": 3, "tracepoint": 2}) == "xdp 3, tracepoint 2"
