"""Exit statuses, and the words that come with them."""

from __future__ import annotations

import errno
import importlib
import json
from pathlib import Path

import pytest

from bpflens.abi.enums import Cmd
from bpflens.cli import main
from bpflens.cli.app import run
from tests.unit.cli.conftest import Cli
from tests.unit.scripted import Kernel


@pytest.mark.parametrize(
    "words",
    [
        "",
        "prog list",
        "prog show",
        "prog show 1",
        "prog show id:1",
        "prog show name:twin",
        "prog show tag:0101010101010101",
        "prog show pin:/sys/fs/bpf/lb",
        "map list",
        "map show 5",
        "map show name:flows",
        "map show prog:1",
        "map dump 5",
        "map dump name:flows",
        "map dump 5 --limit 2",
        "map dump 5 --seconds 1000",
        "map dump 5 --where value==null --limit 1",
        "map lookup 5 2",
        "map lookup 5 0x2",
        "map lookup 5 hex:02000000",
        "map lookup 7",
        "doctor",
    ],
)
@pytest.mark.parametrize("form", ["", "--json", "--jsonl", "--csv"])
def test_what_works_ends_with_0_and_no_complaint(cli: Cli, words: str, form: str) -> None:
    found = cli(*words.split(), *form.split())
    assert found.status == 0
    assert found.out or form == "--jsonl"
    assert found.err == "" or found.err.startswith("bpflens: not all elements: ")
    if form == "--json":
        assert json.loads(found.out)["schema"] == "bpflens/1"
    if form == "--jsonl":
        assert all(json.loads(line) for line in found.out.splitlines())


def test_a_list_in_which_something_failed_is_shown_and_ends_with_1(
    cli: Cli, kernel: Kernel
) -> None:
    kernel.closed_objects[2] = errno.EPERM
    found = cli("prog", "list")
    assert found.status == 1
    assert found.out.count("\n") == 3
    assert found.err == (
        "bpflens: program 2: program 2 cannot be opened: Operation not permitted "
        "(bpf(PROG_GET_FD_BY_ID))\n"
    )
    found = cli("prog", "list", "--json")
    assert found.status == 1
    document = json.loads(found.out)
    assert document["complete"] is False
    assert [error["id"] for error in document["errors"]] == [2]


def test_a_dump_that_cannot_be_complete_says_so_and_ends_with_1(cli: Cli) -> None:
    found = cli("map", "dump", "7")
    assert found.status == 1
    assert "0900000000000000" in found.out
    assert "not all elements" in found.err
    document = json.loads(cli("map", "dump", "7", "--json").out)
    assert (document["complete"], "next" in document["why"]) == (False, True)


def test_a_limit_is_what_was_asked_for_and_no_failure(cli: Cli) -> None:
    for more in ((), ("--sort", "key"), ("--where", "key != null")):
        found = cli("map", "dump", "5", "--limit", "2", "--json", *more)
        document = json.loads(found.out)
        assert (found.status, len(document["items"])) == (0, 2)
    assert json.loads(cli("map", "dump", "5", "--limit", "2", "--json").out)["complete"] is False
    assert json.loads(cli("map", "dump", "5", "--limit", "4", "--json").out)["complete"] is True


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("prog show 999999", "there is no program with ID 999999"),
        ("map show 1", "there is no map with ID 1"),
        ("prog show name:nobody", "no program matches name:nobody"),
        ("prog show tag:ffffffffffffffff", "no program matches tag:ffff"),
        ("prog show pin:/sys/fs/bpf/none", "nothing is pinned at /sys/fs/bpf/none"),
        ("map show pin:/sys/fs/bpf/lb", "is the pin of a program, not of a map"),
        ("map dump prog:2", "no map matches prog:2"),
        ("map lookup 5 77", "map 5 has no element with key 4d000000"),
    ],
)
def test_what_is_not_there_ends_with_3(cli: Cli, words: str, says: str) -> None:
    found = cli(*words.split())
    assert (found.status, found.out) == (3, "")
    assert says in found.err


@pytest.mark.parametrize("words", ["", "prog list", "map list --json", "prog show name:x"])
def test_what_is_refused_ends_with_4_and_says_what_would_help(
    cli: Cli, kernel: Kernel, words: str
) -> None:
    kernel.host.files["/proc/self/status"] = b"Uid:\t65534\t65534\nCapEff:\t0\n"
    for cmd in (Cmd.PROG_GET_NEXT_ID, Cmd.MAP_GET_NEXT_ID):
        kernel.refused[cmd] = errno.EPERM
    found = cli(*words.split())
    assert found.status == 4
    lines = found.err.splitlines()
    assert "cannot be listed: Operation not permitted" in lines[0]
    assert "CAP_SYS_ADMIN" in lines[1]
    assert "bpflens doctor" in lines[2]
    assert len(lines) == 3


def test_the_doctor_works_where_nothing_else_does(cli: Cli, kernel: Kernel) -> None:
    for cmd in Cmd:
        kernel.refused[cmd] = errno.EPERM
    kernel.host.files.clear()
    found = cli("doctor")
    assert found.status == 0
    assert "list programs: not permitted" in found.out
    assert "Traceback" not in found.err


def test_what_cannot_be_done_ends_with_5(cli: Cli, kernel: Kernel) -> None:
    found = cli("map", "dump", "8")
    assert (found.status, found.out) == (5, "")
    assert "the elements of ringbuf maps cannot be read" in found.err
    kernel.refused[Cmd.PROG_GET_NEXT_ID] = errno.ENOSYS
    assert cli("prog", "list").status == 5


def test_another_failure_of_a_call_ends_with_1(cli: Cli, kernel: Kernel) -> None:
    kernel.refused[Cmd.PROG_GET_NEXT_ID] = errno.EIO
    found = cli("prog", "list")
    assert (found.status, found.out) == (1, "")
    assert found.err == "bpflens: bpf(PROG_GET_NEXT_ID): Input/output error\n"


USAGE = [
    "prog",
    "map",
    "nonsense",
    "prog nonsense",
    "prog list extra",
    "--nonsense",
    "prog show 1 2",
    "prog show id:abc",
    "prog show abc",
    "prog show -1",
    "prog show 4294967296",
    "prog show 99999999999999999999",
    "prog show tag:xyz",
    "prog show name:",
    "prog show prog:1",
    "prog show id:",
    "map show tag:0101010101010101",
    "map dump",
    "map lookup",
    "prog list --json --csv",
    "prog list --limit -1",
    "prog list --limit x",
    "prog list --columns nothing",
    "prog list --sort nothing",
    "prog list --where nothing",
    "prog list --where print(1)",
    "prog list --parts nothing",
    "map dump 5 --seconds x",
    "map dump 5 --seconds nan",
    "map dump 5 --seconds -1",
    "map dump 5 --columns nothing",
    "completion tcsh",
    "record",
    "record a --elements x",
    "record a --record b",
]


@pytest.mark.parametrize("words", USAGE)
def test_what_makes_no_sense_ends_with_2_before_the_kernel_is_asked(
    cli: Cli, kernel: Kernel, words: str
) -> None:
    found = cli(*words.split())
    assert (found.status, found.out) == (2, "")
    assert found.err
    assert kernel.log == []


@pytest.mark.parametrize("words", ["prog show name:twin", "map dump name:twin_map",
                                   "map dump prog:1"])  # fmt: skip
def test_a_selector_that_fails_in_the_middle_leaves_no_fd_open(
    cli: Cli, kernel: Kernel, words: str
) -> None:
    kernel.closed_objects = {3: errno.EPERM, 10: errno.EPERM, 6: errno.EPERM}
    assert cli(*words.split()).status == 4
    kernel.closed_objects.clear()
    kernel.refused[Cmd.OBJ_GET_INFO_BY_FD] = errno.EIO
    assert cli(*words.split()).status == 1


def test_a_selector_that_names_several_maps_says_which(cli: Cli) -> None:
    found = cli("map", "dump", "name:twin_map")
    assert found.status == 2
    assert "names 2 maps: choose one of the IDs 9, 10" in found.err


@pytest.mark.parametrize("words", ["map lookup 5", "map lookup 5 x", "map lookup 5 hex:00",
                                   "map lookup 5 0x100000000", "map lookup 7 1"])  # fmt: skip
def test_a_key_that_does_not_fit_the_map_ends_with_2(cli: Cli, words: str) -> None:
    found = cli(*words.split())
    assert (found.status, found.out) == (2, "")
    assert "Traceback" not in found.err


@pytest.mark.parametrize("limit", ["0", "1", "99999999999999999999999"])
@pytest.mark.parametrize("words", ["prog list", "prog show 1", "prog show name:twin", "map dump 5",
                                   "map show prog:1"])  # fmt: skip
def test_any_limit_is_kept_and_leaves_no_fd_open(cli: Cli, words: str, limit: str) -> None:
    found = cli(*words.split(), "--limit", limit, "--json")
    assert found.status == 0
    assert len(json.loads(found.out)["items"]) <= int(limit)


@pytest.mark.parametrize("seconds", ["inf", "1e300", "0"])
def test_any_number_of_seconds_is_a_time(cli: Cli, seconds: str) -> None:
    assert cli("map", "dump", "5", "--seconds", seconds).status in (0, 1)


@pytest.mark.parametrize("content", [b"", b"no recording", b"\x1f\x8bno gzip", b"{}\n"])
def test_a_file_that_is_no_recording_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert run(["--on", str(path), "prog", "list"]) == 1
    assert str(path) in capsys.readouterr().err


def test_a_kernel_that_nobody_knows_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--on", "no-such-kernel", "prog", "list"]) == 2
    assert "there is no kernel 'no-such-kernel'" in capsys.readouterr().err


def test_a_directory_is_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--on", str(tmp_path), "prog", "list"]) == 1
    assert "Is a directory" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(cli: Cli, kernel: Kernel) -> None:
    def interrupt(cmd: Cmd) -> None:
        raise KeyboardInterrupt

    kernel.before = interrupt
    assert cli("prog", "list") == (130, "", "")


def test_an_interrupt_at_the_first_moment_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupt)
    assert main(["prog", "list"]) == 130
