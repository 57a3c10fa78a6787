"""Links in every form, detached and unpinned. On the engine."""

from __future__ import annotations

import io
import json
import sys
from typing import Any, NamedTuple

import pytest

from bpflens import connect
from bpflens.abi.attrs import LinkCreate
from bpflens.abi.enums import AttachType, Cmd, MapType, ProgType
from bpflens.cli.app import run
from bpflens.engine.engine import Engine
from bpflens.port.calls import Calls
from bpflens.present.links import LINKS
from bpflens.snapshot.links import LinkRecord
from bpflens.testing.bench import TRACEPOINT
from bpflens.testing.builders import map, program
from tests.unit.cli.conftest import Cli, Result

PIN = "/sys/fs/bpf/classify"


class Made(NamedTuple):
    """What there is: two links of a process, and one that only its pin keeps."""

    engine: Engine
    calls: Calls
    xdp: int
    traced: int
    sockmap: int


@pytest.fixture
def made() -> Made:
    engine = Engine("6.18", policy="linux")
    task = engine.task(comm="classd")
    calls = Calls(task.doors().bpf)
    device = task.netns.add("eth7").index
    linked = program(calls, "r0 = 2; exit", ProgType.XDP, name="drop_it")
    xdp = calls.link_create(
        LinkCreate(prog_fd=linked, target_fd=device, attach_type=AttachType.XDP)
    )
    traced = calls.raw_tracepoint_open(program(calls, type=ProgType.RAW_TRACEPOINT), TRACEPOINT)
    verdict = program(calls, "r0 = 1; exit", ProgType.SK_MSG)
    sockets, hook = map(calls, MapType.SOCKMAP), AttachType.SK_MSG_VERDICT
    sockmap = calls.link_create(LinkCreate(prog_fd=verdict, target_fd=sockets, attach_type=hook))
    calls.obj_pin(sockmap, PIN)
    calls.close(sockmap)
    return Made(engine, calls, xdp, traced, sockmap)


@pytest.fixture
def cli(made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs one command as another process of that engine."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    doors = made.engine.task(comm="bpflens").doors()
    monkeypatch.setattr(connect, "doors", lambda on="linux": doors)

    def call(*words: str) -> Result:
        return Result(run(list(words)), *capsys.readouterr())

    return call


def items(done: Result) -> list[dict[str, Any]]:
    assert done.status == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out)["items"]
    return found


def test_the_columns_are_those_of_the_record() -> None:
    keys = [column.key for column in LINKS.columns]
    assert set(keys) == set(LinkRecord._fields) - {"missing"}
    assert len(set(keys)) == len(keys)
    assert set(LINKS.parts) <= set(keys)


def test_a_list_names_programs_and_targets(cli: Cli) -> None:
    lines = [line.split() for line in cli("link", "list").out.splitlines()]
    assert lines[0] == ["ID", "TYPE", "PROG", "NAME", "TARGET", "HOOK", "PINNED"]
    assert lines[1] == ["1", "xdp", "1", "drop_it", "eth7", "drv", "-"]
    assert lines[2] == ["2", "raw_tracepoint", "2", "-", TRACEPOINT, "-", "-"]
    assert lines[3] == ["3", "sockmap", "3", "-", "map", "1", "sk_msg_verdict", PIN]


def test_a_document_has_of_each_link_what_its_type_has(cli: Cli) -> None:
    common = ["id", "type", "prog_id", "prog_name", "prog_type", "prog_tag", "kind", "target",
              "attach_type", "flags", "pinned"]  # fmt: skip
    own = [["ifindex"], ["cookie", "tp_name"], ["map_id"]]
    found = items(cli("link", "list", "--json"))
    assert [list(item) for item in found] == [[*common, *keys, "missing"] for keys in own]
    assert [item["kind"] for item in found] == ["xdp", "raw_tracepoint", "sockmap"]


@pytest.mark.parametrize(
    ("selector", "ids"),
    [("2", [2]), ("id:3", [3]), ("prog:1", [1]), (f"pin:{PIN}", [3]), ("type:sockmap", [3])],
)
def test_links_are_chosen(cli: Cli, selector: str, ids: list[int]) -> None:
    assert [item["id"] for item in items(cli("link", "show", selector, "--json"))] == ids


@pytest.mark.parametrize(
    ("selector", "status", "words"),
    [
        ("9", 3, "there is no link with ID 9"),
        ("prog:9", 3, "no link matches prog:9"),
        ("type:iter", 3, "no link matches type:iter"),
        ("type:tcpx", 2, "there is no type of link 'tcpx'"),
        ("name:x", 2, "is no selector"),
    ],
)
def test_what_is_not_there_says_so(cli: Cli, selector: str, status: int, words: str) -> None:
    done = cli("link", "show", selector)
    assert done.status == status
    assert words in done.err


def test_a_link_that_is_shown_has_a_line_a_fact(cli: Cli) -> None:
    lines = cli("link", "show", "2").out.splitlines()
    facts = dict(line.split(None, 1) for line in lines)
    assert (facts["tp_name"], facts["cookie"]) == (TRACEPOINT, "0")
    assert "ifindex" not in facts


def test_who_may_not_list_links_is_told_what_is_needed(
    cli: Cli, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors = made.engine.task(uid=1000).doors()
    monkeypatch.setattr(connect, "doors", lambda on="linux": doors)
    done = cli("link", "list")
    assert (done.status, done.out) == (4, "")
    assert "links cannot be listed" in done.err
    assert "bpflens doctor" in done.err


# --- detach


def test_a_dry_run_says_what_would_stop_and_who_holds_the_rest(cli: Cli) -> None:
    done = cli("link", "detach", "1", "--dry-run")
    assert done.status == 0
    assert done.out.splitlines()[0] == "xdp link 1: program 1 drop_it at eth7 (drv)"
    assert "is held by pid 1 (classd) fd" in done.out
    assert "nothing was changed" in done.err
    assert items(cli("link", "show", "1", "--json"))[0]["target"] == "eth7"


def test_a_link_is_detached(cli: Cli, made: Made) -> None:
    done = cli("link", "detach", "1", "--yes")
    assert (done.status, done.err) == (0, "")
    assert "detached" in done.out
    (item,) = items(cli("link", "show", "1", "--json"))
    assert (item["target"], item["ifindex"]) == (None, 0)
    again = cli("link", "detach", "1", "--yes")
    assert again.status == 1
    assert "attached nowhere" in again.err


def test_nobody_is_asked_where_nobody_can_answer(cli: Cli) -> None:
    done = cli("link", "detach", "1")
    assert done.status == 2
    assert "--yes" in done.err
    assert items(cli("link", "show", "1", "--json"))[0]["ifindex"]


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("\n", 1), ("no\n", 1), ("", 1)])
def test_at_a_terminal_a_person_is_asked(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    done = cli("link", "detach", "type:xdp")
    assert done.status == status
    assert "detach? [y/N]" in done.err
    assert "program 1 drop_it at eth7" in done.err
    assert bool(items(cli("link", "show", "1", "--json"))[0]["ifindex"]) is bool(status)


@pytest.mark.parametrize("option", ["--yes", "--dry-run"])
def test_a_link_that_cannot_be_detached_says_who_holds_it(cli: Cli, option: str) -> None:
    done = cli("link", "detach", "2", option)
    assert done.status == 5
    assert "links of type raw_tracepoint cannot be detached" in done.err
    assert "held by pid 1 (classd) fd" in done.err


def test_several_links_are_not_detached_at_once(cli: Cli, made: Made) -> None:
    made.calls.raw_tracepoint_open(made.calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 2), TRACEPOINT)
    done = cli("link", "detach", "prog:2", "--yes")
    assert done.status == 2
    assert "choose one of the IDs 2, 4" in done.err


# --- unpin


def test_a_pin_says_what_it_keeps(cli: Cli) -> None:
    done = cli("unpin", PIN, "--dry-run")
    assert done.out.splitlines() == [
        f"{PIN}: a pin of sockmap link 3: program 3 at map 1 (sk_msg_verdict)",
        "nothing else holds the link: it goes with the pin",
        "program 3 is held by pid 1 (classd) fd 7, link 3",
    ]


def test_a_pin_is_taken_away(cli: Cli) -> None:
    document = json.loads(cli("unpin", PIN, "--yes", "--json").out)
    assert (document["object"], document["id"], document["done"]) == ("link", 3, True)
    assert cli("link", "show", "3").status == 3
    assert cli("unpin", PIN, "--yes").status == 3


def test_pins_of_programs_and_maps_are_taken_away_too(cli: Cli, made: Made) -> None:
    for name, fd in {"program": program(made.calls, name="kept"), "map": map(made.calls)}.items():
        made.calls.obj_pin(fd, f"/sys/fs/bpf/{name}")
        done = cli("unpin", f"/sys/fs/bpf/{name}", "--yes")
        assert done.status == 0, done.err
        assert f"was a pin of {name}" in done.out
        assert f"the {name} is also held by pid 1 (classd) fd {fd}" in done.out
