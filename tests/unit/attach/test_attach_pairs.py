"""Which devices are the ends of one pair."""

from __future__ import annotations

from bpflens.attach.networks import Device
from bpflens.attach.pairs import pairs


def device(index: int, name: str, link: int, abroad: bool = False, kind: str = "veth") -> Device:
    return Device(index, name, kind, b"", link, abroad)


def test_ends_tell_the_index_of_each_other() -> None:
    here = {(1, 2): device(2, "a", 3), (1, 3): device(3, "b", 2), (1, 4): device(4, "c", 3)}
    assert pairs(here) == {"a": "b", "b": "a"}


def test_only_of_these_kinds_the_other_end_goes_too() -> None:
    here = {(1, 2): device(2, "a", 3, kind="vlan"), (1, 3): device(3, "b", 2)}
    assert pairs(here) == {}


def test_ends_in_two_namespaces() -> None:
    first, second = device(17, "veth17", 2, abroad=True), device(18, "veth18", 2, abroad=True)
    there = {(5, 2): device(2, "eth0@5", 17, abroad=True)}
    beside = {(6, 2): device(2, "eth0@6", 18, abroad=True)}
    told = pairs({(1, 17): first, (1, 18): second} | there | beside)
    assert (told["veth17"], told["eth0@6"], len(told)) == ("eth0@5", "veth18", 4)


def test_where_two_fit_none_is_told() -> None:
    here = {(1, 2): device(2, "a", 2, abroad=True)}
    others = {(n, 2): device(2, f"a@{n}", 2, abroad=True) for n in (5, 6)}
    assert pairs(here | others) == {}


def test_an_index_that_is_its_own_in_two_namespaces() -> None:
    told = pairs({(n, 2): device(2, f"a@{n}", 2, abroad=True) for n in (5, 6)})
    assert told == {"a@5": "a@6", "a@6": "a@5"}
