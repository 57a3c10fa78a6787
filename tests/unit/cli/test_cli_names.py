"""Choosing by the name of a type or kind; help and completion have all of them."""

from __future__ import annotations

import json

import pytest

from bpflens.abi import since
from bpflens.attach.kinds import KINDS
from tests.unit.cli.conftest import Cli


def ids(text: str) -> list[int]:
    return [item["id"] for item in json.loads(text)["items"]]


def test_maps_are_chosen_by_type(cli: Cli) -> None:
    assert ids(cli("map", "list", "--type", "percpu_array", "--json").out) == [9]
    assert ids(cli("map", "list", "--type", "array", "--json").out) == [10]
    assert ids(cli("map", "list", "--type", "rhash", "--json").out) == []


def test_type_and_condition_must_both_hold(cli: Cli) -> None:
    words = ["--type", "hash", "--where", "id > 5", "--json"]
    assert ids(cli("map", "list", *words).out) == []


def test_a_type_of_tomorrow_may_be_asked_for(cli: Cli) -> None:
    done = cli("map", "list", "--type", "unknown_99", "--json")
    assert (done.status, ids(done.out)) == (0, [])


def test_a_type_that_is_none_is_refused_with_those_that_are(cli: Cli) -> None:
    done = cli("map", "list", "--type", "rhush")
    assert done.status == 2
    assert "rhash" in done.err


@pytest.mark.parametrize(
    ("noun", "names"),
    [
        ("prog", since.prog_types()),
        ("map", since.map_types()),
        ("link", since.link_types() | since.attach_types()),
        ("attach", {kind.name: kind.since for kind in KINDS} | since.attach_types()),
    ],
)
def test_help_has_every_name_and_the_linux_that_first_had_it(
    cli: Cli, noun: str, names: dict[str, str]
) -> None:
    text = cli(noun, "list", "--help").out
    words = text.replace(",", " ").split()
    for name, version in names.items():
        assert name in words, name
        assert not version or f"Linux {version} " in text, name


def test_completion_has_the_names(cli: Cli) -> None:
    pytest.importorskip("shtab")
    script = cli("completion", "bash").out
    for name in ("rhash", "insn_array", "tracing_multi", "trace_fsession_multi", "netfilter"):
        assert name in script, name
