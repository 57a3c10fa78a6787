"""`why`, `graph` and `orphans`, on the demo scene and on a recording of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpflens.cli.app import run
from bpflens.snapshot.graph import KINDS
from tests.unit.cli.conftest import Result

Demo = Callable[..., Result]


@pytest.fixture
def demo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Demo:
    """Runs one command on the demo scene, or elsewhere."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(*words: str, on: str = "engine:demo") -> Result:
        status = run(["--on", on, *words])
        return Result(status, *capsys.readouterr())

    return call


def items(found: Result) -> Any:
    """The items of a JSON document."""
    assert found.status == 0, found.err
    return json.loads(found.out)["items"]


def test_a_program_that_only_a_slot_keeps(demo: Demo) -> None:
    (found,) = items(demo("why", "prog", "name:xdp_pick_backend", "--json"))
    assert {chain[-1]["source"] for chain in found["chains"]} == {"map:3"}
    assert {chain[-1]["label"] for chain in found["chains"]} == {"[1]"}
    told = [[edge["do"] for edge in way] for way in found["ways_to_free"]]
    assert ["delete [1] of map 3 jumps"] in told
    assert ["unpin /sys/fs/bpf/balancer/jumps", "pid 2 (balancerd) closes fd 6"] in [
        sorted(way, reverse=True) for way in told
    ]


def test_a_program_that_only_a_socket_keeps(demo: Demo) -> None:
    found = demo("why", "prog", "name:only_port_80")
    assert "pid 6 (webapp) fd" in found.out
    assert "socket tcp 127.0.0.1:8080" in found.out


def test_a_map_that_is_pinned_elsewhere_only(demo: Demo) -> None:
    found = demo("why", "map", "name:limits")
    assert "/run/bpf/limits@" in found.out
    assert "unpin" in found.out


def test_why_of_what_is_not_there(demo: Demo) -> None:
    assert demo("why", "prog", "999").status == 3
    assert demo("why", "link", "nonsense").status == 2
    assert demo("why", "map", "3", "--csv").status == 2


def test_show_tells_attachments_and_holders(demo: Demo) -> None:
    (found,) = items(demo("prog", "show", "name:xdp_balance", "--json"))
    (attachment,) = found["attachments"]
    assert attachment["target"] == "eth0"
    assert {each["how"] for each in found["holders"]} == {"fd", "pin", "link"}
    assert found["unseen"] == []
    (listed,) = items(demo("prog", "list", "--where", 'name == "xdp_balance"', "--json"))
    assert "holders" not in listed
    named = items(demo("prog", "list", "--columns", "id,holders", "--limit", "1", "--json"))
    assert named[0]["holders"]


def test_the_tree_names_every_object(demo: Demo) -> None:
    document = json.loads(demo("graph", "--json").out)
    tree = demo("graph").out
    for node in document["nodes"]:
        if node["kind"] in ("program", "map", "link"):
            assert f"{node['kind']} {node['id']}" in tree
    keys = {node["key"] for node in document["nodes"]}
    assert len(keys) == len(document["nodes"])
    for edge in document["edges"]:
        assert {edge["source"], edge["target"]} <= keys
        assert edge["kind"] in KINDS


def test_one_node_and_what_is_around_it(demo: Demo) -> None:
    found = demo("graph", "prog:xdp_balance", "--depth", "1").out
    assert "device eth0 drv" in found
    assert "uses map 3 jumps (prog_array)" in found
    assert "--depth" in found


@pytest.mark.parametrize("words", ["prog:nobody", "prog:999", "nonsense", "prog:xdp_limit"])
def test_a_node_that_is_none_or_several(demo: Demo, words: str) -> None:
    assert demo("graph", words).status in (2, 3)


def test_paths(demo: Demo) -> None:
    found = demo("graph", "--from", "pid:balancerd", "--to", "prog:xdp_pick_backend")
    assert found.out.splitlines() == [
        "pid 2 (balancerd) fd 6 -> map 3 jumps [1] -> program 2 xdp_pick_backend"
    ]
    every = items(demo("graph", "--from", "pid:2", "--to", "prog:2", "--all", "--json"))
    assert len(every) > 1
    assert demo("graph", "--from", "prog:2", "--to", "pid:2").status == 3
    assert demo("graph", "--from", "prog:2").status == 2


def test_what_would_go(demo: Demo) -> None:
    keys = [each["key"] for each in items(demo("graph", "--if-gone", "pid:webapp", "--json"))]
    assert "prog:8" in keys
    keys = [each["key"] for each in items(demo("graph", "--if-gone", "map:3-prog:2", "--json"))]
    assert keys == ["prog:2"]
    both = ("--if-gone", "pid:balancerd", "--if-gone", "pin:/sys/fs/bpf/balancer/jumps")
    assert "program 2" in demo("graph", *both).out
    assert "stay" in demo("graph", "--if-gone", "pin:/sys/fs/bpf/balancer/jumps").out


def test_functions_of_programs(demo: Demo) -> None:
    found = json.loads(demo("graph", "--subprograms", "--json").out)
    plain = json.loads(demo("graph", "--json").out)
    extra = [node for node in found["nodes"] if node not in plain["nodes"]]
    assert {node["kind"] for node in extra} <= {"subprogram"}
    assert {edge["kind"] for edge in found["edges"]} - {"calls"} <= {
        edge["kind"] for edge in plain["edges"]
    } | {"part"}


def test_drawings(demo: Demo) -> None:
    found = demo("graph", "--format", "dot").out
    assert found.startswith("digraph")
    assert '"map:3" -> "prog:2"' in found
    if shutil.which("dot"):
        assert "</svg>" in demo("graph", "prog:1", "--format", "svg").out
    assert demo("graph", "--format", "dot", "--json").status == 2
    assert demo("graph", "--csv").status == 2


def test_orphans(demo: Demo) -> None:
    found = {(each["kind"], each["name"]): each for each in items(demo("orphans", "--json"))}
    assert found["program", "xdp_old_filter"]["verdict"] == "pinned"
    assert found["map", "limits"]["verdict"] == "pinned"
    assert found["program", "xdp_limit"]["verdict"] == "copies"
    held = found["program", "xdp_pick_backend"]  # a tail call leads there
    assert held["verdict"] == "unowned"
    assert {"map 3 jumps [1]", "pid 2 (balancerd) fd 6"} <= set(held["holders"])
    held = found["program", "only_port_80"]
    assert held["verdict"] == "unowned"
    assert held["holders"] == ["socket tcp 127.0.0.1:8080", "pid 6 (webapp) fd 4"]
    assert ("program", "xdp_balance") not in found
    assert all(each["certain"] for each in found.values())


COMMANDS = (
    "attach list",
    "attach list --json",
    "prog show",
    "map show --json",
    "link show",
    "why prog 2",
    "why map 7 --json",
    "why link 1",
    "graph",
    "graph --json",
    "graph --if-gone pid:8",
    "orphans",
    "overview",
)


def test_a_recording_answers_the_same(demo: Demo, tmp_path: Path) -> None:
    path = str(tmp_path / "machine.cassette.gz")
    assert demo("record", path).status == 0
    for words in COMMANDS:
        there, here = demo(*words.split()), demo(*words.split(), on=path)
        assert here == there, words
