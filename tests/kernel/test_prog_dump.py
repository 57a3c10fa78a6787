"""`bpflens prog dump`, `explain` and `match` on programs of real tools, beside bpftool and LLVM."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from bpflens.insn import decode, encode
from bpflens.model.program import Program
from bpflens.model.system import System
from bpflens.present.code import graph
from bpflens.snapshot import machine
from bpflens.snapshot.code import Code
from bpflens.snapshot.explain import statements
from bpflens.snapshot.names import Names
from tests.kernel.conftest import NOBODY, Ran
from tests.kernel.test_xlated_text import (
    BPFTRACE,
    LIBBPF_TOOLS,
    OBJECTS,
    bpftool,
    held_programs,
    holding,
    in_old_words,
    pinned,
)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("bpftool") is None, reason="needs bpftool"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)"),
]

Run = Callable[..., Ran]
SOURCES = Path(__file__).parent.parent / "data" / "insn"
NEEDED = 10
"""How many of libbpf-tools must load for the comparison to mean something."""


def compiled(name: str, folder: Path, cpu: str = "v3") -> Path:
    """An object of one of our own sources; skips where it cannot be built."""
    if shutil.which("clang") is None:
        pytest.skip("needs clang")
    built = folder / f"{name}.{cpu}.o"
    done = subprocess.run(
        ["clang", "-target", "bpf", f"-mcpu={cpu}", "-g", "-O2", "-c", SOURCES / f"{name}.c",
         "-o", built, "-I", f"/usr/include/{os.uname().machine}-linux-gnu"],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"clang: {done.stderr[-300:]}")
    return built


@pytest.fixture(scope="module")
def crowd() -> Iterator[list[int]]:
    """The programs of libbpf-tools, bpftrace and xdp-tools, all loaded at once."""
    tools = [tool for tool in LIBBPF_TOOLS if shutil.which(tool)]
    commands = [f"exec {tool} {LIBBPF_TOOLS[tool]}" for tool in tools]
    if shutil.which("bpftrace"):
        commands += [f"exec bpftrace -e {shlex.quote(script)}" for script in BPFTRACE]
    with ExitStack() as stack:
        ids: list[int] = []
        loaded = 0
        for command in commands:
            held = held_programs(stack.enter_context(holding(command))[0])
            loaded += bool(held)
            ids += held
        if loaded < NEEDED:
            pytest.skip(f"only {loaded} of the tools load here")
        for path in OBJECTS:
            with suppress(pytest.skip.Exception):
                ids += stack.enter_context(pinned(path))
        yield sorted(set(ids))


def compare(run: Run, system: System, id: int, option: str) -> tuple[int, int]:
    """How many lines are bpftool's, and how many it is too old for; fails at any other."""
    with system.program(id) as program:
        insns = decode(program.xlated())
    ran = run("prog", "dump", str(id), *([f"--{option}"] if option else []))
    assert (ran.status, ran.stderr) == (0, "")
    mine, theirs = ran.stdout.splitlines(), bpftool(id, *option.split())
    assert len(mine) == len(theirs), f"program {id}"
    equal = younger = 0
    for left, right in zip(mine, theirs, strict=True):
        if left == right:
            equal += 1
            continue
        number = re.match(r" *(\d+): ", left)
        assert number is not None, (left, right)
        assert right == in_old_words(number[0], insns[int(number[1])]), left
        younger += 1
    return equal, younger


def items_of(ran: Ran) -> Any:
    assert ran.status == 0, ran.stderr
    return json.loads(ran.stdout)["items"]


def check_json(run: Run, id: int) -> int:
    """Our document has what bpftool's has, under our names."""
    (told,) = bpftool(id, "linum", json=True)
    theirs, mine = json.loads(told), items_of(run("prog", "dump", str(id), "--json"))
    for left, right in zip(mine, theirs, strict=True):
        if left["text"] != right["disasm"]:
            (insn, *_) = decode(bytes.fromhex(left["opcodes"]))
            assert right["disasm"] == in_old_words("", insn)
        assert left.get("prototype") == right.get("proto")
        # bpftool's json_writer.c writes a backslash as a line end
        source = left.get("source")
        assert (source and source.replace("\\", "\n")) == (right.get("src", "").rstrip() or source)
        assert (left.get("line") or None) == right.get("line_num")
    return len(mine)


def test_every_program_reads_as_bpftool_has_it(
    run: Run, system: System, crowd: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Text with source lines, with opcodes, with line numbers; JSON; the bytes both ways."""
    figures = []
    for option in ("", "opcodes", "linum"):
        counts = [compare(run, system, id, option) for id in crowd]
        equal, younger = (sum(column) for column in zip(*counts, strict=True))
        figures.append(f"{option or 'plain'} {equal} lines equal, {younger} younger")
    items = sum(check_json(run, id) for id in crowd)
    slots = 0
    for id in crowd:
        with system.program(id) as program:
            data = program.xlated()
        assert encode(decode(data)) == data
        slots += len(data) // 8
    with capsys.disabled():
        print(f"\n  {len(crowd)} programs: {'; '.join(figures)}; {items} JSON items; "
              f"{slots} slots both ways", end=" ")  # fmt: skip


def codes(system: System, ids: list[int]) -> Iterator[tuple[Program, Code]]:
    """Each program with its code; the symbols are read once for all."""
    names = Names(system)
    for id in ids:
        with system.program(id) as program:
            yield program, Code(program, names)


def test_every_program_is_explained_and_drawn(system: System, crowd: list[int]) -> None:
    """Whatever is loaded gets a text, and each statement rests on instructions of the listing."""
    for program, code in codes(system, crowd):
        records = list(code.records())
        texts = {record.at: record.text for record in records}
        maps = set(program.map_ids())
        told = list(statements(code))
        for item in told:
            assert [texts[at] for at in item.at] == item.instructions
            assert item.at or item.about in ("map", "function")
            assert item.about != "map" or item.number in maps
        assert {item.number for item in told if item.about == "map"} == maps
        assert any(item.about == "return" for item in told)
        drawn = "\n".join(graph(code, "dot", records, notes=True))
        assert all(f"{record.at}: " in drawn for record in records)


def test_machine_code_has_every_byte_and_every_source_line(
    system: System, crowd: list[int]
) -> None:
    pytest.importorskip("capstone")
    disassemble = machine.disassembler(machine.architecture(system))
    named = lines = 0
    for program, code in codes(system, crowd):
        jited, debug = program.jited(), program.debug()
        items = list(machine.records(program, code, disassemble))
        assert b"".join(bytes.fromhex(item.opcodes) for item in items) == jited.code
        starts = {item.address for item in items}
        assert set(memoryview(debug.jited_line_info).cast("Q")) <= starts
        assert set(jited.ksyms) <= starts
        lines += sum(item.line is not None for item in items)
        named += sum(item.call is not None for item in items)
    assert lines
    assert named


def in_plain_words(text: str, end: int | None = None) -> str:
    """An instruction of x86-64 without how numbers, and shifts by one, are spelled.

    `end` is where it ends: a jump of llvm-mc's leads from there.
    """
    name, _, operands = text.split("#")[0].strip().replace("\t", " ").partition(" ")
    if name == "lock":
        more, _, operands = operands.strip().partition(" ")
        name = f"lock {more}"
    operands = operands.replace(" ", "")
    if name in ("shlq", "shrq", "sarq"):
        operands = operands.removeprefix("$1,")
    if end is not None and re.fullmatch(r"-?\d+", operands):
        operands = str(int(operands) + end)
    mask = (1 << (64 if name == "movabsq" else 32)) - 1
    number = r"-?\b(?:0x[0-9a-f]+|\d+)\b"
    return f"{name} {re.sub(number, lambda found: str(int(found[0], 0) & mask), operands)}"


def test_machine_code_is_disassembled_as_llvm_does(system: System, crowd: list[int]) -> None:
    pytest.importorskip("capstone")
    if shutil.which("llvm-mc") is None or machine.architecture(system) != "x86-64":
        pytest.skip("needs llvm-mc (llvm), on x86-64")
    disassemble = machine.disassembler("x86-64")
    compared = 0
    for program, code in codes(system, crowd):
        items = list(machine.records(program, code, disassemble))
        told = "\n".join(re.sub("..", r"0x\g<0> ", item.opcodes) for item in items)
        done = subprocess.run(["llvm-mc", "--disassemble", "--triple=x86_64"],
                              input=told, capture_output=True, text=True, check=True)  # fmt: skip
        theirs = re.findall(r"^\t(?!\.)(.+)$", done.stdout.replace("lock\n", "lock "), re.MULTILINE)
        for item, their in zip(items, theirs, strict=True):
            end = item.address + len(item.opcodes) // 2
            assert in_plain_words(item.text) == in_plain_words(their, end), (code.name, item.at)
            compared += 1
    assert compared > 1000


@pytest.fixture
def everything(tmp_path: Path) -> Iterator[tuple[Path, dict[str, int]]]:
    """The object of everything.c, and its programs by name while they are loaded."""
    built = compiled("everything", tmp_path)
    with pinned(built) as ids:
        told = json.loads(
            subprocess.run(
                ["bpftool", "-j", "prog", "show"], capture_output=True, check=True
            ).stdout
        )
        yield built, {each["name"]: each["id"] for each in told if each["id"] in ids}


def test_notes_name_maps_variables_and_functions(
    run: Run, everything: tuple[Path, dict[str, int]]
) -> None:
    out = run("prog", "dump", str(everything[1]["classify"]), "--notes", "--no-source").stdout
    assert re.search(r"map\[id:\d+\]\[0\]\+0  // map \d+ everythi\.bss \(array\): seen\n", out)
    assert re.search(r"map\[id:\d+\]  // map \d+ next \(prog_array\)\n", out)
    assert re.search(r"call bpf_rcu_read_lock#\d+  // kfunc bpf_rcu_read_lock\n", out)
    assert re.search(r"call pc\+\d+#bpf_prog_\w+_account  // subprogram account at \d+\n", out)
    assert re.search(r"= subprog\[\+\d+\]  // callback visit at \d+\n", out)
    assert re.search(r"goto pc\+\d+  // to \d+\n", out)
    assert "; " not in out.replace("  // ", "")


def test_a_program_is_explained_by_its_instructions(
    run: Run, everything: tuple[Path, dict[str, int]]
) -> None:
    told = items_of(run("prog", "explain", str(everything[1]["classify"]), "--json"))
    said = {(item["about"], item.get("name"), item["what"]) for item in told}
    assert {
        ("helper", "bpf_redirect", "called"),
        ("helper", "bpf_map_lookup_elem", "called"),
        ("kfunc", "bpf_rcu_read_lock", "called"),
        ("subprogram", "account", "called"),
        ("map", "flows (hash)", "looked up"),
        ("map", "flows (hash)", "value written"),
        ("map", "next (prog_array)", "tail-called through"),
        ("map", "totals (percpu_array)", "value written"),
        ("map", "events (ringbuf)", "output to"),
        ("effect", "bpf_redirect", "redirects packets"),
        ("effect", "bpf_skb_store_bytes", "writes to packets"),
    } <= said
    functions = [item["name"] for item in told if item["about"] == "function"]
    assert set(functions) == {"classify", "account", "visit", "step"}
    dropped = items_of(run("prog", "explain", str(everything[1]["drop_some"]), "--json"))
    returns = {item["number"]: item["what"] for item in dropped if item["about"] == "return"}
    assert returns == {0: "aborts", 1: "drops", 2: "passes"}


@pytest.mark.parametrize("cpu", ["v1", "v2", "v3"])
def test_a_compiled_object_is_matched_by_tag(run: Run, tmp_path: Path, cpu: str) -> None:
    """Also with functions that are linked behind their callers, and with kernel functions."""
    built = compiled("everything", tmp_path, cpu)
    with pinned(built) as ids:
        found = {item["id"]: item for item in items_of(run("prog", "match", str(built), "--json"))}
    for id in ids:
        assert found[id]["by"][:2] == ["tag", "BTF"], found[id]
        assert found[id]["lines_same"] == found[id]["lines"] > 0


def test_an_object_that_is_adapted_to_the_kernel_is_matched_without_its_tag(
    run: Run, tmp_path: Path
) -> None:
    built = compiled("core", tmp_path)
    with pinned(built) as (id,):
        (found,) = [
            item
            for item in items_of(run("prog", "match", str(built), "--json"))
            if item["id"] == id
        ]
        assert found["by"] == ["BTF", "instructions"]
        # What CO-RE adapted is compared up to that.
        assert found["insns_same"] == found["insns"] > 30
        # The same name with other content is no match.
        source = (SOURCES / "core.c").read_text()
        other = tmp_path / "other.c"
        other.write_text(source.replace("int last;", "int last, more[4];").replace(
            "parents++;", "{ for (int i = 0; i < 4; i++) more[i] ^= parents * i * 7; }"
        ))  # fmt: skip
        subprocess.run(
            ["clang", "-target", "bpf", "-g", "-O2", "-c", other, "-o", tmp_path / "other.o",
             "-I", f"/usr/include/{os.uname().machine}-linux-gnu"],
            check=True,
        )  # fmt: skip
        ran = run("prog", "match", str(tmp_path / "other.o"), "--json")
        assert id not in {item["id"] for item in json.loads(ran.stdout)["items"]}


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.stem)
def test_objects_of_xdp_tools_are_matched_by_tag(run: Run, path: Path) -> None:
    with pinned(path) as ids:
        found = {item["id"]: item for item in items_of(run("prog", "match", str(path), "--json"))}
        for id in ids:
            assert found[id]["by"][0] == "tag", found[id]
        assert {id for id, item in found.items() if "tag" in item["by"]} >= set(ids)


def test_a_recording_is_dumped_explained_and_matched(
    run: Run, tmp_path: Path, everything: tuple[Path, dict[str, int]]
) -> None:
    """The same bytes from the recording, for a user without any privilege."""
    built, ids = everything
    tape = tmp_path / "tape.gz"
    assert run("record", str(tape)).status in (0, 1)
    id = str(ids["classify"])
    for command in (
        ("dump", id, "--notes", "--linum"),
        ("dump", id, "--json"),
        ("dump", id, "--graph", "text"),
        ("explain", id),
        ("match", str(built), "--where", "name == 'drop_some'"),
    ):
        live = run("prog", *command)
        tape.chmod(0o644)
        tmp_path.chmod(0o755)
        assert run("--on", str(tape), "prog", *command)[:2] == live[:2], command
    # of 5 MB of symbols those that calls lead to
    with gzip.open(tape, "rt") as file:
        lines = [line for line in file if line.startswith('{"key": "read /proc/kallsyms"')]
    assert len(lines) == 1
    assert len(lines[0]) < 100_000


def test_who_may_not_see_instructions_is_told_what_is_needed(
    run: Run, everything: tuple[Path, dict[str, int]]
) -> None:
    for verb in ("dump", "explain"):
        ran = run("prog", verb, str(everything[1]["classify"]), uid=NOBODY)
        assert ran.status == 4
        assert "CAP_" in ran.stderr
        assert ran.stdout == ""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_without_the_right_to_addresses_the_rest_reads_as_bpftool_has_it(
    everything: tuple[Path, dict[str, int]],
) -> None:
    """Without CAP_SYSLOG the kernel hides numbers of helpers and subprograms, and machine code."""
    id = str(everything[1]["drop_some"])
    without = ["setpriv", "--bounding-set=-syslog", "--inh-caps=-syslog"]
    lens = [*without, sys.executable, "-m", "bpflens", "prog"]

    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    theirs = said(*without, "bpftool", "prog", "dump", "xlated", "id", id, "linum")
    assert said(*lens, "dump", id, "--linum") == theirs
    called = json.loads(said(*lens, "explain", str(everything[1]["classify"]), "--json"))["items"]
    assert "bpf_unspec" not in {item.get("name") for item in called}
    if any(item["about"] == "helper" and item.get("name") is None for item in called):
        refused = subprocess.run([*lens, "dump", id, "--jited"], capture_output=True, text=True)
        assert refused.returncode == 4
        assert "CAP_SYSLOG" in refused.stderr
