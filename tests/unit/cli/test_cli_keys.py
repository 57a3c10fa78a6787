"""Keys and selectors as people type them."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.cli import selectors
from bpflens.cli.keys import key_bytes
from bpflens.errors import UsageError

KINDS = ("id", "name", "tag", "pin", "prog")


@given(st.integers(1, 16), st.data())
def test_a_number_is_a_key_in_the_order_of_the_machine(size: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(-(1 << 8 * size - 1), (1 << 8 * size) - 1))
    key = key_bytes(str(number), size)
    assert len(key) == size
    assert int.from_bytes(key, sys.byteorder, signed=number < 0) == number
    assert key_bytes(hex(number), size) == key


@given(st.binary(min_size=1, max_size=16))
def test_bytes_are_a_key_in_their_own_order(key: bytes) -> None:
    assert key_bytes(f"hex:{key.hex()}", len(key)) == key
    assert key_bytes(f"hex:{key.hex(':')}", len(key)) == key
    assert key_bytes(f"hex:{key.hex(' ')}", len(key)) == key


@pytest.mark.parametrize(
    ("text", "size"),
    [("256", 1), ("-129", 1), ("x", 4), ("", 4), ("hex:", 4), ("hex:0", 1), ("hex:zz", 1),
     ("hex:0000", 1), ("1.5", 4), (None, 4), ("1", 0), ("", 0), ("9" * 5000, 8)],
)  # fmt: skip
def test_what_is_no_key_of_this_map_is_a_usage_error(text: str | None, size: int) -> None:
    with pytest.raises(UsageError):
        key_bytes(text, size)


def test_a_map_without_keys_is_asked_without_one() -> None:
    assert key_bytes(None, 0) == b""


@given(st.text(max_size=20), st.integers(0, 16))
def test_any_text_is_a_key_or_a_usage_error(text: str, size: int) -> None:
    try:
        assert len(key_bytes(text, size)) == size
    except UsageError:
        return


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12", ("id", "12")),
        ("id:12", ("id", "12")),
        ("prog:4294967295", ("prog", "4294967295")),
        ("name:xdp_lb", ("name", "xdp_lb")),
        ("name:a:b", ("name", "a:b")),
        ("pin:/sys/fs/bpf/a b", ("pin", "/sys/fs/bpf/a b")),
        ("tag:59F4A931744DCDC6", ("tag", "59F4A931744DCDC6")),
    ],
)
def test_a_selector_is_a_kind_and_a_value(text: str, found: tuple[str, str]) -> None:
    assert selectors.parse(text, KINDS, "forms") == found


@pytest.mark.parametrize(
    "text",
    ["", "id:", "id:x", "id:-1", "id:4294967296", "id:٣", "tag:59f4", "tag:59f4a931744dcdcg",
     "other:1", ":1", "name:", "0x10", " 12", "1_0"],
)  # fmt: skip
def test_what_is_no_selector_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        selectors.parse(text, KINDS, "forms")


def test_a_name_that_was_taken_for_an_id_comes_with_the_way_to_say_it() -> None:
    with pytest.raises(UsageError, match="name:xdp_lb"):
        selectors.parse("xdp_lb", KINDS, "forms")
