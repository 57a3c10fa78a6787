"""Types as plain facts: given once, compared by value, never changed."""

from __future__ import annotations

import copy
import pickle

import pytest

from bpflens.btf import types as t

MEMBER = t.Member("x", 7, 32, 3)


def test_fields_are_given_by_position_or_by_name() -> None:
    assert t.Member(name="x", type_id=7, bit_offset=32, bitfield_size=3) == MEMBER
    assert t.Member("x", 7, bitfield_size=3, bit_offset=32) == MEMBER
    assert t.Typedef(id=4, name="u32", to=1).id == 4


def test_a_missing_or_unknown_field_is_an_error() -> None:
    with pytest.raises(TypeError, match="takes name, type_id, bit_offset, bitfield_size"):
        t.Member("x", 7, 32)  # type: ignore[call-arg]
    with pytest.raises(KeyError):
        t.Member("x", 7, 32, bits=3)  # type: ignore[call-arg]


def test_types_are_equal_when_kind_and_fields_are() -> None:
    assert t.Const(1, 2) == t.Const(1, 2)
    assert t.Const(1, 2) != t.Volatile(1, 2)
    assert t.Const(1, 2) != (1, 2)
    assert len({t.Const(1, 2), t.Const(1, 2), t.Volatile(1, 2)}) == 2


def test_a_type_does_not_change() -> None:
    with pytest.raises(AttributeError, match="does not change"):
        MEMBER.name = "y"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="does not change"):
        del MEMBER.name


def test_a_type_can_be_copied_sent_and_matched() -> None:
    assert copy.deepcopy(MEMBER) == MEMBER
    assert pickle.loads(pickle.dumps(t.Ptr(1, 2))) == t.Ptr(1, 2)
    match MEMBER:
        case t.Member(name, type_id):
            assert (name, type_id) == ("x", 7)


def test_a_type_shows_its_fields() -> None:
    assert repr(t.Ptr(3, to=1)) == "Ptr(id=3, to=1)"


def test_every_kind_has_its_number() -> None:
    assert t.KINDS.index(t.Int) == 1
    assert t.KINDS.index(t.Enum64) == 19
    assert all(issubclass(kind, t.Type) and "id" in kind.fields for kind in t.KINDS)
