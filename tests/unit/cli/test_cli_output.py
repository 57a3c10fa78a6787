"""What the commands show, in every form."""

from __future__ import annotations

import csv
import errno
import io
import json
from pathlib import Path

import pytest

from bpflens.cli.options import count, part_names, parts_of
from bpflens.errors import UsageError
from bpflens.model.parts import Part
from bpflens.present.columns import MAPS, PROGRAMS
from tests.unit.cli.conftest import Cli
from tests.unit.scripted import Kernel


@pytest.mark.parametrize("option", ["--json", "--csv", "--jsonl", "--trace"])
def test_an_option_may_stand_before_or_after_the_command(cli: Cli, option: str) -> None:
    words = ("prog", "list", "--columns", "id,name")
    first = cli(option, *words)
    assert first == cli(*words, option)
    assert first == cli("prog", "list", option, "--columns", "id,name")
    assert first != cli(*words)


PROGRAM_KEYS = """
    id type name full_name tag gpl_compatible loaded_at created_by_uid xlated_bytes jited_bytes
    memlock_bytes map_ids btf_id verified_insns run_time_ns run_cnt recursion_misses pinned missing
"""
MAP_KEYS = """
    id type name key_size value_size max_entries flags memlock_bytes frozen btf_id owner_prog_type
    pinned missing
"""


@pytest.mark.parametrize(("command", "keys"), [("prog", PROGRAM_KEYS), ("map", MAP_KEYS)])
def test_a_document_holds_the_keys_that_were_agreed(cli: Cli, command: str, keys: str) -> None:
    document = json.loads(cli(command, "list", "--json").out)
    assert list(document) == ["schema", "kind", "items", "errors", "complete"]
    assert all(list(item) == keys.split() for item in document["items"])


@pytest.mark.parametrize("command", ["prog", "map"])
def test_all_forms_hold_the_same_objects(cli: Cli, command: str) -> None:
    items = json.loads(cli(command, "list", "--json").out)["items"]
    assert [json.loads(line) for line in cli(command, "list", "--jsonl").out.splitlines()] == items
    rows = list(csv.DictReader(io.StringIO(cli(command, "list", "--csv").out)))
    assert [row["id"] for row in rows] == [str(item["id"]) for item in items]
    assert [line.split()[0] for line in cli(command, "list").out.splitlines()[1:]] == [
        str(item["id"]) for item in items
    ]


def ids(cli: Cli, *words: str) -> list[int]:
    return [item["id"] for item in json.loads(cli(*words, "--json").out)["items"]]


def test_records_are_chosen_and_ordered(cli: Cli) -> None:
    assert ids(cli, "prog", "list", "--where", "name == 'twin'") == [2, 3]
    assert ids(cli, "prog", "list", "--where", "5 in map_ids") == [1]
    assert ids(cli, "prog", "list", "--sort", "-id") == [3, 2, 1]
    assert ids(cli, "prog", "list", "--sort=-name,id", "--limit", "2") == [1, 2]
    assert ids(cli, "prog", "show", "name:twin") == [2, 3]
    assert ids(cli, "map", "show", "prog:1") == [5, 6]
    assert ids(cli, "map", "list", "--where", "pinned") == [5]


def test_a_part_that_a_column_needs_is_read_with_it_and_no_other(cli: Cli, kernel: Kernel) -> None:
    cli("prog", "list", "--parts", "basic")
    assert kernel.counts()["OBJ_GET_INFO_BY_FD"] == 3
    cli("prog", "list", "--parts", "basic", "--columns", "id,map_ids")
    assert kernel.counts()["OBJ_GET_INFO_BY_FD"] == 4
    cli("prog", "list", "--parts", "basic", "--where", "xlated == '00'")
    assert kernel.counts()["OBJ_GET_INFO_BY_FD"] == 6
    cli("prog", "list", "--parts", "memory")
    assert kernel.counts()["OBJ_GET_INFO_BY_FD"] == 3
    assert "OBJ_GET" not in kernel.counts()


def test_code_is_in_a_document_that_asked_for_it(cli: Cli) -> None:
    (item,) = json.loads(cli("prog", "show", "1", "--parts", "all", "--json").out)["items"]
    assert item["xlated"] == "00" * 16
    assert "xlated" not in json.loads(cli("prog", "show", "1", "--json").out)["items"][0]


def test_an_element_names_the_object_that_it_holds(cli: Cli) -> None:
    document = json.loads(cli("map", "dump", "6", "--json").out)
    assert document["map"] == {"id": 6, "type": "prog_array", "name": "jump"}
    (item,) = document["items"]
    assert item["program"]["name"] == "twin"
    assert "2 twin" in cli("map", "dump", "6").out
    found = cli("map", "dump", "9")
    assert "0:0100000000000000 1:0200000000000000" in found.out


@pytest.mark.parametrize("form", ["", "--json", "--jsonl"])
@pytest.mark.parametrize("words", ["map list --columns id,pinned", "map show 5", "map list", ""])
def test_an_escape_sequence_in_a_path_does_not_reach_the_terminal(
    cli: Cli, words: str, form: str
) -> None:
    found = cli(*words.split(), *form.split())
    assert "\x1b" not in found.out + found.err
    if "pinned" in words and form != "--json":
        assert "[2Jflows" in found.out


def test_a_trace_goes_to_stderr_and_leaves_the_data_as_it_is(cli: Cli) -> None:
    plain, traced = (
        cli("prog", "show", "1", "--json"),
        cli("prog", "show", "1", "--json", "--trace"),
    )
    assert traced.out == plain.out
    assert "bpf(PROG_GET_FD_BY_ID, {prog_id=1}, 4) = 3" in traced.err.splitlines()
    assert "\x1b" not in traced.err


def test_a_recording_is_kept_also_of_a_command_that_failed(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    assert cli("prog", "show", "4711", "--record", str(path)).status == 3
    assert "prog_id=4711" in path.read_text()


def test_a_recording_holds_what_the_other_commands_ask(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "kept.gz"
    found = cli("record", str(path))
    assert (found.status, found.out) == (0, "")
    assert f"--on {path}" in found.err


def test_a_recording_says_whose_elements_it_leaves_out(cli: Cli, tmp_path: Path) -> None:
    path = str(tmp_path / "kept")
    assert "not in it" not in cli("record", path).err
    assert "not in it: the elements of " in cli("record", path, "--elements", "1").err
    assert "not in it" not in cli("record", path, "--elements", "0").err


def test_one_map_that_is_refused_does_not_end_a_recording(
    cli: Cli, kernel: Kernel, tmp_path: Path
) -> None:
    kernel.closed_objects[5] = errno.EPERM
    path = tmp_path / "kept"
    assert cli("record", str(path)).status == 1
    assert "map_fd" in path.read_text()


def test_a_recording_that_cannot_be_written_ends_with_1(cli: Cli, tmp_path: Path) -> None:
    found = cli("prog", "list", "--record", str(tmp_path / "none" / "file"))
    assert found.status == 1
    assert "No such file or directory" in found.err


@pytest.mark.parametrize("noun", [PROGRAMS, MAPS], ids=["prog", "map"])
@pytest.mark.parametrize("verb", ["list", "show"])
def test_the_help_of_a_verb_lists_every_column(cli: Cli, noun: object, verb: str) -> None:
    command = "prog" if noun is PROGRAMS else "map"
    found = cli(command, verb, "--help")
    assert found.status == 0
    for column in (PROGRAMS if noun is PROGRAMS else MAPS).columns:
        assert f"  {column.key} " in found.out
        assert column.help in found.out
        assert not column.since or f"(Linux {column.since})" in found.out


@pytest.mark.parametrize("words", ["", "prog", "map", "doctor", "record", "completion",
                                   "map dump", "map lookup"])  # fmt: skip
def test_every_command_has_help(cli: Cli, words: str) -> None:
    found = cli(*words.split(), "--help")
    assert (found.status, found.err) == (0, "")
    assert found.out.startswith("usage: bpflens")


def test_parts_are_named_as_the_help_says() -> None:
    assert parts_of(None, Part.MAPS) is Part.MAPS
    assert parts_of(" Maps, jited ,", Part.BASIC) == Part.MAPS | Part.JITED
    assert parts_of("all", Part.BASIC) == ~Part(0)
    assert parts_of("", Part.BASIC) == Part(0)
    assert part_names().startswith("basic,maps,memory,insns,jited,debug,stats")
    assert part_names(Part.MAPS | Part.JITED) == "maps,jited"
    with pytest.raises(UsageError, match="there is no part 'code'; there are: basic,"):
        parts_of("code", Part.BASIC)


@pytest.mark.parametrize("text", ["-1", "x", "", "1.5", "1" * 5000])
def test_a_count_is_a_number_of_things(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        count(text)
