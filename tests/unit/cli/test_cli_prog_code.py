"""`prog dump`, `prog explain` and `prog match` as a person meets them."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from bpflens.insn import encode
from bpflens.insn.asm import assemble_insns
from bpflens.insn.tag import tag
from bpflens.snapshot.machine import ARCH
from tests.unit.cli.conftest import Cli
from tests.unit.objects import Function, elf
from tests.unit.scripted import Kernel
from tests.unit.scripted_code import code_kernel
from tests.unit.scripted_objects import Prog, prog


@pytest.fixture
def kernel() -> Kernel:
    made = code_kernel()
    made.host.files["/proc/self/status"] = b"Uid:\t0\t0\nCapEff:\t000001ffffffffff\n"
    made.host.files[ARCH] = b"x86_64\n"
    return made


def test_every_form_has_the_same_instructions(cli: Cli) -> None:
    text = cli("prog", "dump", "1", "--no-source").out.splitlines()
    shown = [line.partition(": ")[2] for line in text if line.startswith(" ")]
    document = json.loads(cli("prog", "dump", "name:main", "--json").out)
    assert document["kind"] == "instructions"
    assert document["program"] == {"id": 1, "type": "xdp", "name": "main", "tag": "01" * 8}
    assert [item["text"] for item in document["items"]] == shown
    lines = cli("prog", "dump", "1", "--jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == document["items"]
    sheet = list(csv.DictReader(io.StringIO(cli("prog", "dump", "1", "--csv").out)))
    assert [row["text"] for row in sheet] == shown


def test_an_item_has_what_applies_to_it_alone(cli: Cli) -> None:
    first, second, *_ = json.loads(cli("prog", "dump", "1", "--json").out)["items"]
    assert first["map"] == {"id": 7, "type": "hash", "name": "flows"}
    assert (first["file"], first["line"], first["column"]) == ("a.c", 3, 7)
    assert "call" not in first
    assert second == {
        "at": 2,
        "text": "(85) call __htab_map_lookup_elem#4096",
        "opcodes": "8500000000100000",
        "function": "main",
        "call": {
            "kind": "helper",
            "name": "bpf_map_lookup_elem",
            "symbol": "__htab_map_lookup_elem",
        },
        "missing": {},
    }


def test_columns_conditions_and_limits_are_those_of_any_list(cli: Cli) -> None:
    ran = cli("prog", "dump", "1", "--columns", "at,call", "--where", "call", "--limit", "2")
    assert ran.out.splitlines() == [
        "AT  CALL",
        " 2  helper bpf_map_lookup_elem",
        " 6  subprogram sub_of_it",
    ]
    assert "  // " not in cli("prog", "dump", "1", "--where", "'exit' in text").out


def test_without_capstone_machine_code_is_bytes_and_a_reason(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "capstone", None)
    ran = cli("prog", "dump", "1", "--jited")
    assert ran.status == 5
    assert ran.out.splitlines()[0] == "main:"
    assert ran.out.splitlines()[-1] == "   0:\tc3"
    assert "bpflens[jit]" in ran.err
    ran = cli("prog", "dump", "1", "--jited", "--json")
    assert (ran.status, ran.out) == (5, "")


def test_machine_code_in_every_form(cli: Cli) -> None:
    pytest.importorskip("capstone")
    ran = cli("prog", "dump", "1", "--jited", "--notes")
    assert ran.status == 0
    assert "// __htab_map_lookup_elem" in ran.out
    (first, *_) = json.loads(cli("prog", "dump", "1", "--jited", "--json").out)["items"]
    assert (first["at"], first["call"]) == (0, "__htab_map_lookup_elem")
    assert first["address"] == str(0xFFFFFFFFC0000100)


def test_the_graph_in_every_form(cli: Cli) -> None:
    assert cli("prog", "dump", "1", "--graph", "text").out.startswith("main:\n  0-3 -> ")
    assert cli("prog", "dump", "1", "--graph", "dot", "--notes").out.startswith("digraph")
    graph = json.loads(cli("prog", "dump", "1", "--graph", "json").out)
    assert graph["functions"] == [{"at": 0, "name": "main"}, {"at": 10, "name": "sub_of_it"}]
    assert graph["program"]["id"] == 1
    assert json.loads(cli("prog", "dump", "1", "--graph", "text", "--json").out) == graph


@pytest.mark.parametrize(
    "words",
    [
        ("--graph", "dot", "--json"),
        ("--graph", "text", "--csv"),
        ("--graph", "text", "--columns", "at"),
        ("--graph", "png"),
        ("--graph", "dot", "--jited"),
        ("--columns", "nonsense"),
        ("--where", "nonsense > 1"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli("prog", "dump", "1", *words)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err


def test_a_drawing_takes_graphviz(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("dot"):
        assert "<svg" in cli("prog", "dump", "1", "--graph", "svg").out
    monkeypatch.setenv("PATH", "")
    ran = cli("prog", "dump", "1", "--graph", "svg")
    assert (ran.status, ran.out) == (5, "")
    assert "graphviz" in ran.err


def test_one_program_is_dumped_not_several(cli: Cli, kernel: Kernel) -> None:
    kernel.objects.append(prog(2, b"main"))
    ran = cli("prog", "dump", "name:main")
    assert ran.status == 2
    assert "1, 2" in ran.err
    assert cli("prog", "explain", "name:nobody").status == 3


def test_what_is_hidden_is_denied_with_what_it_takes(cli: Cli, kernel: Kernel) -> None:
    made = kernel.objects[0]
    assert isinstance(made, Prog)
    made.hidden = {"xlated_prog_insns"}
    for verb in ("dump", "explain"):
        ran = cli("prog", verb, "1")
        assert (ran.status, ran.out) == (4, "")
        assert "CAP_SYSLOG" in ran.err or "hides" in ran.err


def test_an_explanation_in_every_form(cli: Cli) -> None:
    text = cli("prog", "explain", "1").out
    assert "calls helpers\n  bpf_map_lookup_elem  at 2: (85) call" in text
    items = json.loads(cli("prog", "explain", "1", "--json").out)["items"]
    assert items[0]["at"] == [2]
    assert items[0]["instructions"] == ["(85) call __htab_map_lookup_elem#4096"]
    ran = cli("prog", "explain", "1", "--where", "about == 'return'", "--columns", "name,what")
    assert ran.out.splitlines() == ["NAME  WHAT", "2     passes"]


INSNS = assemble_insns("r0 = 2\nexit")


def test_a_program_is_found_by_its_tag_of_either_hash(
    cli: Cli, kernel: Kernel, tmp_path: Path
) -> None:
    path = tmp_path / "x.o"
    path.write_bytes(
        elf(Function("xdp", "main", INSNS), Function("xdp", "idle", assemble_insns("exit")))
    )
    made = kernel.objects[0]
    assert isinstance(made, Prog)
    for kind in ("sha1", "sha256"):
        made.info.tag = tag(encode(INSNS), kind)
        ran = cli("prog", "match", str(path), "--json")
        (item,) = json.loads(ran.out)["items"]
        assert (item["id"], item["program"], item["by"]) == (1, "main", ["tag"])
        assert "idle" in ran.err
        assert ran.status == 0
    made.info.tag = bytes(8)
    ran = cli("prog", "match", str(path))
    assert ran.status == 3  # of the same name, but nothing else tells that it is the same


@pytest.mark.parametrize(
    ("content", "status"), [(None, 3), (b"#!/bin/sh", 1), (elf(machine=62), 1), (elf(), 3)]
)
def test_a_file_without_programs_says_so(
    cli: Cli, tmp_path: Path, content: bytes | None, status: int
) -> None:
    path = tmp_path / "x.o"
    if content is not None:
        path.write_bytes(content)
    ran = cli("prog", "match", str(path))
    assert (ran.status, ran.out) == (status, "")
    assert str(path) in ran.err


@pytest.mark.parametrize(("path", "said"), [("/dev/zero", "no ELF"), ("/", "Is a directory")])
def test_what_is_no_file_or_has_no_end_is_no_object(cli: Cli, path: str, said: str) -> None:
    ran = cli("prog", "match", path)
    assert (ran.status, ran.out) == (1, "")
    assert said in ran.err
    assert "Errno" not in ran.err


def test_an_object_that_may_not_be_read_is_denied(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str, mode: str) -> NoReturn:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("bpflens.cli.typefile.open", refused, raising=False)
    ran = cli("prog", "match", "x.o")
    assert (ran.status, ran.out) == (4, "")
    assert "needs read permission on the file" in ran.err
