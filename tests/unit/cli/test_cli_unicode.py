"""Names that are not UTF-8: in every document of every command, and given back to each."""

from __future__ import annotations

import argparse
import csv
import io
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from bpflens import connect
from bpflens.cli.app import parser, run
from bpflens.engine.tasks import Task
from bpflens.insn.asm import assemble_insns
from bpflens.present import documents
from bpflens.present.columns import ATTACHMENTS, MAPS, PROGRAMS, Noun
from bpflens.present.graph import ORPHANS
from bpflens.present.links import LINKS
from bpflens.rawtext import decoded, shown
from tests.unit.cli.hostile import LONG, PINS, scene
from tests.unit.objects import Function, elf
from tests.unit.present.test_present_unicode import undone
from tests.unit.strict import replaced, strict


class Result(NamedTuple):
    status: int
    out: bytes
    err: str


Hostile = Callable[..., Result]


@pytest.fixture(scope="module")
def machine() -> Task:
    """The scene, which no command here changes."""
    return scene()


@pytest.fixture
def hostile(
    machine: Task, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Hostile:
    """Runs one command on the scene. What a person is told has no control character."""
    monkeypatch.setattr(connect, "doors", lambda on: machine.doors())
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(*words: str) -> Result:
        status = run([*words])
        out, err = capsysbinary.readouterr()
        assert not re.search(r"[^\n -~\ufffd]", err.decode())
        return Result(status, out, err.decode())

    return call


def every(noun: Noun) -> tuple[str, ...]:
    return "--columns", ",".join(column.key for column in noun.columns)


KEY = "hex:01000000"
TEXT = ("--value-as", "text")
TWO = f"{PINS}/two\udcff"

DOCUMENTS: dict[str, list[tuple[str, ...]]] = {
    "overview": [()],
    "prog list": [(), every(PROGRAMS)],
    "prog show": [("--parts", "all"), ("name:twin\udcff",)],
    "prog dump": [("1",), ("1", "--graph", "json")],
    "prog explain": [("1",)],
    "prog match": [("FILE",)],
    "map list": [(), every(MAPS)],
    "map show": [(), ("name:map\udcfe",)],
    "map dump": [("1",), ("1", "--raw"), ("2", *TEXT), ("3",), ("4", "--recurse"),
                 ("1", "--columns", "value.m\udce9,value.kind\udcff")],
    "map lookup": [("1", KEY), ("2", KEY, *TEXT), ("4", KEY)],
    "map set": [("1", KEY, "value.m\udce9=7", "--dry-run"),
                ("2", KEY, "value=\udcff", *TEXT, "--dry-run")],
    "map delete": [("1", KEY, "--dry-run")],
    "attach list": [(), every(ATTACHMENTS)],
    "link list": [(), every(LINKS)],
    "link show": [()],
    "link detach": [("1", "--dry-run")],
    "why": [("prog", "1"), ("prog", "2"), ("map", "1"), ("link", "1")],
    "orphans": [(), every(ORPHANS)],
    "graph": [(), ("--subprograms",), (f"pin:{TWO}",), ("--if-gone", f"pin:{PINS}/lone\udcff"),
              ("--from", f"pin:{TWO}", "--to", "prog:2")],
    "btf dump": [("prog:1",), ("map:1",), ("map:1", "--type", "val\udcff")],
    "unpin": [(TWO, "--dry-run")],
}  # fmt: skip
"""Commands, and what they are asked: each of these documents has hostile names."""

WITHOUT = {
    "btf list": "the kernel's names are its own", "btf show": "the same", "doctor": "the same",
    "map get": "a value alone, with nothing beside it", "map push": "no queue in the scene",
    "map pop": "no queue in the scene", "record": "a recording", "completion": "a script",
}  # fmt: skip
"""The other commands, and why there is nothing to see."""

ASKED = [(command, words) for command, each in DOCUMENTS.items() for words in each]


@pytest.fixture(scope="module")
def object_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An object file with the program of the scene that is loaded twice."""
    path: Path = tmp_path_factory.mktemp("objects") / "x.o"
    path.write_bytes(elf(Function("xdp\udcff", "twin\udcff", assemble_insns("r0 = 2\nexit"))))
    return str(path)


def _commands(inner: argparse.ArgumentParser, words: str = "") -> Iterator[str]:
    verbs = [a for a in inner._actions if isinstance(a, argparse._SubParsersAction)]
    for name, below in verbs[0].choices.items() if verbs else ():
        yield from _commands(below, f"{words} {name}".strip())
    if not verbs:
        yield words


def test_every_command_is_tried() -> None:
    assert set(_commands(parser())) == {*DOCUMENTS, *WITHOUT}


@pytest.mark.parametrize(("command", "words"), ASKED)
@pytest.mark.parametrize("form", ["--json", "--jsonl"])
def test_every_document_is_valid_and_has_the_bytes(
    hostile: Hostile, object_file: str, command: str, words: tuple[str, ...], form: str
) -> None:
    given = [object_file if word == "FILE" else word for word in words]
    found = hostile(*command.split(), *given, form)
    if found.status == 2:
        assert form == "--jsonl"
        assert "is text, dot, json or svg" in found.err
        return
    assert found.status == 0, found.err
    lines = [found.out] if form == "--json" else found.out.splitlines()
    assert lines
    told = [data for line in lines for data in replaced(strict(line))]
    # What --raw, jumps and types of the kernel's have is numbers.
    assert told or {"--raw", "4"} & set(words)
    assert all(any(byte >= 0x80 for byte in data) for data in told)


@pytest.mark.parametrize(("command", "words"), ASKED)
def test_csv_says_what_json_says(
    hostile: Hostile, object_file: str, command: str, words: tuple[str, ...]
) -> None:
    given = [object_file if word == "FILE" else word for word in words]
    found = hostile(*command.split(), *given, "--csv")
    if found.status == 2 or command in ("map set", "map delete", "link detach", "unpin"):
        return
    assert found.status == 0, found.err
    header, *rows = csv.reader(io.StringIO(found.out.decode(), newline=""), strict=True)
    assert rows
    items = strict(hostile(*command.split(), *given, "--json").out).get("items", [])
    for row, item in zip(rows, items, strict=bool(items)):
        for key, cell in zip(header, row, strict=True):
            value: Any = item.get(key)
            if isinstance(value, str) and key not in ("key", "value"):
                assert undone(cell) == value
            elif isinstance(value, int) and not isinstance(value, bool):
                assert cell == str(value)


def test_a_document_is_utf8_whatever_the_locale(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [hostile("prog", "list", form).out for form in ("--csv", "--json")]
    drawn = hostile("graph", "--format", "dot").out
    monkeypatch.setenv("LC_ALL", "C")
    assert [hostile("prog", "list", form).out for form in ("--csv", "--json")] == told
    assert hostile("graph", "--format", "dot").out == drawn
    assert "\ufffd".encode() in told[0]


def test_a_cell_that_begins_a_formula_is_defused(hostile: Hostile) -> None:
    out = hostile("map", "dump", "2", *TEXT, "--csv").out.decode()
    values = {row[1] for row in csv.reader(io.StringIO(out, newline=""))}
    assert values == {"value", "'-x\ufffd", 'a\r\n",\ufffd'}
    assert b"-3" in hostile("map", "dump", "1", "--csv").out.splitlines()[1].split(b",")


@pytest.mark.parametrize("form", ["text", "dot"])
@pytest.mark.parametrize("words", [("graph", "--format"), ("prog", "dump", "1", "--graph")])
def test_what_is_drawn_is_utf8_without_controls(
    hostile: Hostile, words: tuple[str, ...], form: str
) -> None:
    found = hostile(*words, form)
    assert found.status == 0
    assert not re.search(r"[^\n -~]", found.out.decode())


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
@pytest.mark.parametrize("words", [("graph", "--format"), ("prog", "dump", "1", "--graph")])
def test_a_drawing_is_xml(hostile: Hostile, words: tuple[str, ...]) -> None:
    found = hostile(*words, "svg")
    assert found.status == 0, found.err
    drawn = "".join(ElementTree.fromstring(found.out.decode()).itertext())
    assert "twin" in drawn or "sub" in drawn


@pytest.mark.parametrize("command", [c for c in DOCUMENTS if c != "prog match"])
def test_a_person_gets_escapes(hostile: Hostile, command: str) -> None:
    for words in DOCUMENTS[command]:
        found = hostile(*command.split(), *words)
        assert found.status == 0, found.err
        assert not re.search(r"[^\n\t -~]", found.out.decode())
        hostile(*command.split(), *words, "--trace")


def test_declarations_are_c(hostile: Hostile) -> None:
    found = hostile("btf", "dump", "map:1")
    assert found.status == 0
    assert re.search(r"struct val_ \{\n\tin_ m_;\n\tin_ m____2;", found.out.decode()) or (
        b"struct val_" in found.out
    )
    assert found.out.isascii()


# --- as others read it

JQ = ["jq", "-c", "."]
PERL = ["perl", "-MJSON::PP", "-ne", """
    our $json //= JSON::PP->new->ascii->canonical->allow_nonref;
    print $json->encode(JSON::PP->new->utf8->allow_nonref->decode($_)), "\\n";
"""]  # fmt: skip
GO = """
package main

import (
    "bufio"
    "encoding/json"
    "os"
)

func main() {
    lines := bufio.NewScanner(os.Stdin)
    lines.Buffer(nil, 1<<30)
    for lines.Scan() {
        var value interface{}
        if err := json.Unmarshal(lines.Bytes(), &value); err != nil {
            panic(err)
        }
        json.NewEncoder(os.Stdout).Encode(value)
    }
}
"""


def go(folder: Path) -> list[str]:
    """A program that reads with Go's encoding/json."""
    (folder / "main.go").write_text(GO)
    env = os.environ | {"GOCACHE": str(folder / "cache"), "GO111MODULE": "off"}
    subprocess.run(["go", "build", "-o", "main", "main.go"], cwd=folder, env=env, check=True)
    return [str(folder / "main")]


def written(hostile: Hostile, object_file: str) -> list[bytes]:
    """Every document of the scene, and some of names and values that a scene cannot have."""
    found = []
    for command, words in ASKED:
        given = [object_file if word == "FILE" else word for word in words]
        found.append(hostile(*command.split(), *given, "--json").out.replace(b"\n", b""))
    dice = random.Random(9)
    for _ in range(500):
        names = [decoded(dice.randbytes(dice.randrange(12))) for _ in range(6)]
        value = {names[0]: names[1], names[2]: [names[3], {names[4]: names[5]}], "n": 1}
        found.append(documents.encode(value).encode())
    text = "\0\x7f\x80\u2028\ud7ff\ue000\ufffe\uffff\U0001f980\U0010ffff\\ud800"
    return [*found, documents.encode([text, text.encode().decode("latin-1")]).encode()]


def read(command: list[str], lines: list[bytes]) -> None:
    """Another reader reads what Python reads."""
    done = subprocess.run(command, input=b"\n".join(lines), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    for line, told in zip(lines, done.stdout.splitlines(), strict=True):
        assert strict(told) == strict(line)


READERS = ["jq", "perl", *["go"] * (shutil.which("go") is not None)]
"""What reads them. Go's compiler takes 450 MB, which no one has to install for it."""


@pytest.mark.parametrize("reader", READERS)
def test_another_reader_takes_every_document(
    hostile: Hostile, object_file: str, tmp_path: Path, reader: str
) -> None:
    """jq and encoding/json put U+FFFD for a lone surrogate, and JSON::PP refuses it."""
    if shutil.which(reader) is None:
        pytest.skip(f"{reader} is not installed")
    command = {"jq": JQ, "perl": PERL}.get(reader) or go(tmp_path)
    lines = written(hostile, object_file)
    done = subprocess.run(command, input=b"\n".join(lines), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    for line, told in zip(lines, done.stdout.splitlines(), strict=True):
        assert strict(told) == strict(line)


# --- names given back


def ids(found: Result) -> list[int]:
    assert found.status == 0, found.err
    return [item["id"] for item in strict(found.out)["items"]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("prog", "show", "name:twin\udcff"), [2]),
        (("prog", "show", "name:twin\ufffd"), [2, 3]),
        (("prog", "show", f"name:{LONG}"), [1]),
        (("prog", "show", f"name:{shown(LONG)}"), [1]),
        (("prog", "show", f"pin:{TWO}"), [2]),
        (("prog", "show", f"pin:{shown(PINS)}/prog\ufffd"), [1]),
        (("map", "show", "name:map\udcfe"), [2]),
        (("map", "show", "name:map\ufffd"), [1, 2]),
        (("map", "show", f"pin:{shown(PINS)}/=map\ufffd"), [2]),
        (("link", "show", f"pin:{shown(PINS)}/link\ufffd"), [1]),
        (("prog", "list", "--where", 'name == "twin\ufffd"'), [2, 3]),
        (("prog", "list", "--where", 'name == "twin\udcfe"'), [3]),
        (("prog", "list", "--where", f'"{shown(TWO)}" in pinned'), [2, 4]),
        (("link", "list", "--where", 'target == "e\ufffd0"'), [1]),
    ],
)
def test_a_name_finds_what_it_names(
    hostile: Hostile, words: tuple[str, ...], expected: list[int]
) -> None:
    assert ids(hostile(*words, "--json")) == expected


@pytest.mark.parametrize("name", [b"e\xff0", b"e\xfe0@b\xff"])
def test_a_device_is_found_by_its_bytes_and_as_shown(hostile: Hostile, name: bytes) -> None:
    for given in (decoded(name), name.decode(errors="replace")):
        document = strict(hostile("graph", f"device:{given}", "--json").out)
        told = [node["name_hex"] for node in document["nodes"] if node["kind"] == "device"]
        assert told == [name.hex()]
        where = f'kind == "xdp" and target == "{given}"'
        (item,) = strict(hostile("attach", "list", "--where", where, "--json").out)["items"]
        assert item["target_hex"] == name.hex()


@pytest.mark.parametrize(
    "node", [b"cgroup:/w\xff.slice", b"pid:load\xff", b"map:jump\xff", b"netns:b\xff"]
)
def test_a_node_of_the_graph_is_found(hostile: Hostile, node: bytes) -> None:
    told = [hostile("graph", given) for given in (decoded(node), node.decode(errors="replace"))]
    assert told[0].status == 0, told[0].err
    assert told[0] == told[1]


def test_what_is_shown_alike_is_told(hostile: Hostile) -> None:
    found = hostile("prog", "show", f"pin:{shown(TWO)}")
    assert found.status == 2
    assert "names 2 pins" in found.err
    assert r"two\xfe" in found.err
    found = hostile("prog", "dump", "name:twin\ufffd")
    assert found.status == 2
    assert "names 2 programs: choose one of the IDs 2, 3" in found.err
    assert hostile("graph", f"pin:{shown(TWO)}").status == 2
    found = hostile("map", "get", "1", KEY, "value.m\ufffd")
    assert found.status == 2
    assert "give the bytes of one of" in found.err


def test_a_field_and_a_type_are_found(hostile: Hostile) -> None:
    assert hostile("map", "get", "1", KEY, "value.m\udce9").out == b"-3\n"
    assert hostile("map", "get", "1", KEY, "value.kind\ufffd", "--json").out == b'"ON\\ufffd"\n'
    for name in ("val\udcff", "struct val\ufffd"):
        assert b"struct val_ {" in hostile("btf", "dump", "map:1", "--type", name).out
    found = hostile("map", "set", "1", KEY, "value.kind\ufffd=0", "--dry-run")
    assert found.status == 0, found.err


def test_bytes_that_are_given_are_stored(hostile: Hostile) -> None:
    changed = hostile("map", "set", "2", KEY, "value=\udcff\udcfe", *TEXT, "--dry-run", "--json")
    assert strict(changed.out)["after"]["value"] == "fffe000000000000"
    assert hostile("map", "lookup", "2", "\udcff", "--key-as", "text", *TEXT).status == 3
