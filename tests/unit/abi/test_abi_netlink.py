"""Netlink messages: split, padded, and refused where they do not add up."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.abi.netlink import (
    EXT_SKIP_STATS,
    IFINFO,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    IfLa,
    NlMsgType,
    attribute,
    attributes,
    error_code,
    get_links,
    message,
    messages,
)
from bpflens.errors import FormatError


def test_the_request_for_links_is_a_dump_without_counters() -> None:
    ((kind, flags, body),) = messages(get_links())
    assert (kind, flags) == (NlMsgType.GETLINK, NLM_F_REQUEST | NLM_F_DUMP)
    assert body[: IFINFO.size] == bytes(IFINFO.size)
    assert attributes(body[IFINFO.size :]) == {IfLa.EXT_MASK: struct.pack("=I", EXT_SKIP_STATS)}


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8))
def test_messages_come_out_as_they_went_in(parts: list[tuple[int, bytes]]) -> None:
    data = b""
    for kind, body in parts:
        data += message(kind, 7, body) + bytes(-len(body) % 4)
    assert list(messages(data)) == [(kind, 7, body) for kind, body in parts]


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_attributes_come_out_as_they_went_in(parts: dict[int, bytes]) -> None:
    data = b"".join(attribute(kind, body) for kind, body in parts.items())
    assert attributes(data) == parts


def test_the_flags_in_the_type_of_an_attribute_are_not_part_of_it() -> None:
    assert attributes(attribute(0x8000 | IfLa.XDP, b"ab")) == {IfLa.XDP: b"ab"}


@pytest.mark.parametrize("data", [b"\x01", struct.pack("=HH", 3, 1), struct.pack("=HH", 9, 1)])
def test_an_attribute_that_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        attributes(data)


@pytest.mark.parametrize(
    "data", [b"\x10", struct.pack("=IHHII", 15, 1, 0, 0, 0), struct.pack("=IHHII", 17, 1, 0, 0, 0)]
)
def test_a_message_that_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        list(messages(data))


@given(st.binary(max_size=64))
def test_any_bytes_are_messages_or_one_error(data: bytes) -> None:
    try:
        for _, _, body in messages(data):
            attributes(body)
    except FormatError:
        return


def test_an_error_message_holds_a_negative_errno() -> None:
    assert error_code(struct.pack("=i", -1) + bytes(16)) == 1
    with pytest.raises(FormatError, match="without a code"):
        error_code(b"\0\0")
