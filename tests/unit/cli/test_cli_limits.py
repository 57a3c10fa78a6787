"""Each limit, lowered: what it then keeps from being read is told, and nothing rests on it."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpflens import limits
from bpflens.abi.enums import Cmd, MapType
from bpflens.attach import pins
from bpflens.attach.places import Places
from bpflens.btf import types as t
from bpflens.btf.build import BtfBuilder
from bpflens.cli.app import run
from bpflens.errors import Limited
from bpflens.insn.asm import assemble_insns
from bpflens.model.parts import Missing, Reason
from bpflens.model.pins import Pins
from bpflens.model.system import System
from bpflens.snapshot.machine import ARCH
from tests.unit.cli.conftest import Cli, Result
from tests.unit.objects import Function, elf
from tests.unit.scripted import Kernel
from tests.unit.scripted_code import code_kernel
from tests.unit.scripted_objects import prog, table, u32, u64

LOOP = "a: r0 += 1\nif r0 < 10 goto a\nexit"
"""A program of the file that the tests match."""


def types() -> bytes:
    """A value that has to be read part by part, as it has a float and parts without a byte."""
    made = BtfBuilder()
    number = made.add_int("int", 4, t.Int.SIGNED)
    made.add_float("float", 4)
    nothing = made.add_struct("nothing", 0)
    empty = made.add_array(nothing, 3)
    inner = made.add_struct("inner", 4, [("f", number + 1, 0)])
    made.add_struct("odd", 8, [("in", inner, 0), ("n", number, 32), ("e", empty, 64)])
    return made.build()


@pytest.fixture
def kernel() -> Kernel:
    """A program with code and lines, and one with a loop; maps; what is pinned and what is not."""
    made = code_kernel()
    looping = prog(2, b"looping", xlated_prog_insns=encoded(LOOP))
    made.objects += [
        looping,
        table(5, elements={u32(n): u64(n * n) for n in range(4)}, name=b"squares"),
        table(6, MapType.PROG_ARRAY, {u32(1): u32(2)}, value_size=4, max_entries=3, name=b"jump"),
    ]
    made.host.pins["/sys/fs/bpf/jump"] = made.objects[-1]
    made.host.files["/proc/self/status"] = b"Uid:\t0\t0\nCapEff:\t000001ffffffffff\n"
    made.host.files[ARCH] = b"x86_64\n"
    return made


def encoded(text: str) -> bytes:
    from bpflens.insn import encode

    return encode(assemble_insns(text))


def whole(found: Result) -> Any:
    """The document of a look that nothing cut short."""
    told = json.loads(found.out)
    assert (found.status, told.get("complete", True)) == (0, True), found.out[-500:] + found.err
    return told


def cut(found: Result) -> list[str]:
    """The errors of a look that a limit cut short."""
    told = json.loads(found.out)
    assert (found.status, told["complete"]) == (1, False), found.out[-500:] + found.err
    errors = [error["error"] for error in told["errors"]]
    assert errors
    return errors


KERNEL_READS = {
    "GROWTHS": (0, "prog list"),
    "ARRAY_BYTES": (1, "prog show 1"),
    "SPARE_STEPS": (-1000, "map dump 5"),
    "SOURCE_BYTES": (1, "prog dump 1"),
    "LOOP_BLOCKS": (0, "prog dump 2 --graph json"),
}
"""Limit → what it is lowered to, and a command that meets it."""


@pytest.mark.parametrize("name", KERNEL_READS)
def test_a_read_that_is_cut_short_is_told(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    value, words = KERNEL_READS[name]
    before = whole(cli(*words.split(), "--json"))
    monkeypatch.setattr(limits.TABLE[name], "value", value)
    found = cli(*words.split(), "--json")
    assert any(str(limits.TABLE[name]) in error for error in cut(found))
    assert len(json.loads(found.out).get("items", ())) <= len(before.get("items", ()))
    text = cli(*words.split(" --")[0].split())
    assert "dump 2" in words or (text.status, str(limits.TABLE[name]) in text.err) == (1, True)


def test_a_bucket_that_does_not_fit_is_told(
    cli: Cli, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.refused[Cmd.MAP_LOOKUP_BATCH] = errno.ENOSPC
    monkeypatch.setattr(limits.BUCKET_BYTES, "value", 1)
    assert any(str(limits.BUCKET_BYTES) in each for each in cut(cli("map", "dump", "5", "--json")))


@pytest.mark.parametrize(
    ("name", "value"),
    [("VALUE_DEPTH", 0), ("VALUE_PARTS", 2), ("VALUE_BYTES", 4), ("EMPTY_ELEMENTS", 2)],
)
def test_a_value_that_is_too_large_to_be_read_by_its_type_is_told(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: int
) -> None:
    path = tmp_path / "types"
    path.write_bytes(types())
    typed = ["--btf", str(path), "--value-as", "struct odd"]
    words = ["map", "dump", "5", "--json", *typed]
    assert whole(cli(*words))["items"][0]["formatted"]
    monkeypatch.setattr(limits.TABLE[name], "value", value)
    found = cli(*words)
    assert len(cut(found)) == 4
    item = json.loads(found.out)["items"][0]
    assert item["formatted"] is None
    assert item["missing"]["formatted"].startswith("limited: ")
    assert cli("map", "lookup", "5", "1", *typed).status == 1
    assert str(limits.TABLE[name]) in cli("map", "get", "5", "1", *typed).err


# --- searches


@pytest.fixture
def demo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs one command on the demo scene."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(*words: str) -> Result:
        status = run(["--on", "engine:demo", *words])
        return Result(status, *capsys.readouterr())

    return call


@pytest.mark.parametrize(("name", "value"), [("SLOTS", 0), ("SLOT_SECONDS", -1)])
def test_slots_that_were_not_read_are_told(
    demo: Cli, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    looks = ("attach list", "why prog name:xdp_pick_backend", "orphans", "prog list --parts all")
    for words in looks:
        whole(demo(*words.split(), "--json"))
    monkeypatch.setattr(limits.TABLE[name], "value", value)
    for words in looks:
        found = demo(*words.split(), "--json")
        assert any(each.startswith("limited: not all slots were read") for each in cut(found))
    assert "limited: not all slots" in demo("why", "prog", "name:xdp_pick_backend").out
    assert cut(demo("--json"))


@pytest.mark.parametrize("name", ["CHAINS", "CHAIN_STEPS", "WAYS"])
def test_a_search_that_is_cut_short_is_told(
    demo: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    words = ("why", "prog", "name:xdp_pick_backend", "--json")
    assert whole(demo(*words))["items"][0]["complete"]
    monkeypatch.setattr(limits.TABLE[name], "value", 0)
    found = demo(*words)
    assert any(str(limits.TABLE[name]) in error for error in cut(found))
    (item,) = json.loads(found.out)["items"]
    assert not item["complete"]
    text = demo(*words[:-1])
    assert str(limits.TABLE[name]) in text.out
    assert "nobody can free it" not in text.out
    assert "nothing that can be seen" not in text.out
    if name == "WAYS":
        return
    paths = ("graph", "--from", "pid:balancerd", "--to", "prog:xdp_pick_backend", "--all")
    assert any(str(limits.TABLE[name]) in error for error in cut(demo(*paths, "--json")))


@pytest.mark.parametrize("name", ["CHAINS", "CHAIN_STEPS"])
def test_no_orphan_is_certain_where_a_search_was_cut_short(
    demo: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    whole(demo("orphans", "--json"))
    monkeypatch.setattr(limits.TABLE[name], "value", 0)
    found = demo("orphans", "--json")
    assert any(str(limits.TABLE[name]) in error for error in cut(found))
    held = [x for x in json.loads(found.out)["items"] if x["verdict"] in ("leaked", "pinned")]
    assert held
    assert not any(item["certain"] for item in held)


def test_programs_that_are_too_long_to_be_compared_are_told(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "looping.o"
    path.write_bytes(elf(Function("xdp", "looping", assemble_insns(LOOP))))
    words = ("prog", "match", str(path), "--json")
    assert whole(cli(*words))["items"][0]["insns_same"] == 3
    monkeypatch.setattr(limits.PAIRS, "value", 0)
    found = cli(*words)
    told = json.loads(found.out)
    assert [(error["kind"], error["id"]) for error in told["errors"]] == [("program", 2)]
    assert (found.status, told["items"], told["complete"]) == (1, [], False)


# --- files: refused


def nested() -> bytes:
    """A chain of types, each of which needs the next."""
    made = BtfBuilder()
    inner = made.add_int("int", 4)
    for name in ("first", "second", "third"):
        inner = made.add_struct(name, 4, [("inner", made.add_const(inner), 0)])
    return made.build()


@pytest.mark.parametrize(
    ("name", "value"),
    [("BTF_SECTION_BYTES", 8), ("BTF_NAME_BYTES", 2), ("BTF_DEPTH", 0), ("BTF_NEEDS", 0),
     ("FILE_BYTES", 100)],
)  # fmt: skip
def test_types_beyond_a_limit_are_refused(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: int
) -> None:
    path = tmp_path / "types"
    path.write_bytes(nested())
    assert cli("btf", "dump", f"file:{path}").status == 0
    monkeypatch.setattr(limits.TABLE[name], "value", value)
    found = cli("btf", "dump", f"file:{path}")
    assert found.status == 1
    assert found.err.startswith("bpflens: ")


@pytest.mark.parametrize(("name", "value"), [("ELF_NAME_BYTES", 2), ("OBJECT_INSNS", 2)])
def test_an_object_file_beyond_a_limit_is_refused(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: int
) -> None:
    path = tmp_path / "looping.o"
    path.write_bytes(elf(Function("xdp", "looping", assemble_insns(LOOP))))
    monkeypatch.setattr(limits.TABLE[name], "value", value)
    found = cli("prog", "match", str(path))
    assert (found.status, str(limits.TABLE[name]) in found.err) == (1, True)


def test_a_field_in_too_many_anonymous_types_is_refused(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = BtfBuilder()
    inner = made.add_int("int", 4)
    for _ in range(3):
        inner = made.add_struct("", 4, [("" if _ else "x", inner, 0)])
    made.add_struct("deep", 8, [("", inner, 0), ("y", 1, 32)])
    path = tmp_path / "types"
    path.write_bytes(made.build())
    words = ["map", "set", "5", "1", "value.x=3", "--dry-run", "--btf", str(path)]
    words += ["--value-as", "struct deep"]
    assert cli(*words).status == 0
    monkeypatch.setattr(limits.NESTED_TYPES, "value", 1)
    found = cli(*words)
    assert (found.status, str(limits.NESTED_TYPES) in found.err) == (1, True)


@pytest.mark.parametrize(
    ("limit", "value"),
    [("RECORDING_BYTES", 1000), ("RECORDING_LINE_BYTES", 100), ("RECORDING_PARTS", 3)],
)
def test_a_recording_beyond_a_limit_is_refused(
    limit: str,
    value: int,
    recording: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(limits.TABLE[limit], "value", value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["bpflens"])
        from bpflens.cli import main

        assert main(["--on", recording, "prog", "list"]) == 1
    assert capsys.readouterr().err.startswith("bpflens: ")


# --- the walk of pins


@pytest.fixture
def cut_walk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Ends the walk of pins early from now on, as a limit does."""

    def cut_now() -> None:
        find = System.pins

        def less(system: System) -> Pins:
            found = find(system)
            found.errors.append(("/sys/fs/bpf/deep", Limited(str(limits.PINS))))
            return found

        monkeypatch.setattr(System, "pins", less)

    return cut_now


def test_pins_that_were_not_reached_are_no_empty_list(
    cli: Cli, cut_walk: Callable[[], None]
) -> None:
    assert whole(cli("map", "show", "5", "--json"))["items"][0]["pinned"] == []
    cut_walk()
    reason = f"limited: /sys/fs/bpf/deep: {limits.PINS}"
    for words in ("map list", "map show 5", "prog list", "map show 5 --parts all"):
        found = cli(*words.split(), "--json")
        assert cut(found)[0] == f"limited: {limits.PINS}"
        items = json.loads(found.out)["items"]
        item = next(each for each in items if each["name"] in ("squares", "looping"))
        assert (item["pinned"], item["missing"]["pinned"]) == (None, reason)
    # What was found is found; there may be more.
    (item,) = json.loads(cli("map", "show", "6", "--json").out)["items"]
    assert (item["pinned"], item["missing"]["pinned"]) == (["/sys/fs/bpf/jump"], reason)


def test_what_rests_on_pins_is_uncertain_where_they_were_not_reached(
    cli: Cli, cut_walk: Callable[[], None]
) -> None:
    cut_walk()
    for words in ("why map 5", "orphans", "overview"):
        found = cli(*words.replace("overview", "").split(), "--json")
        assert f"limited: {limits.PINS}" in cut(found)
    (item,) = json.loads(cli("--json").out)["items"]
    assert item["missing"]["pinned"].startswith("there may be more: ")


def test_pins_elsewhere_that_were_not_reached_are_told(
    demo: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = pins.read

    def less(places: Places) -> pins.Pins:
        found = read(places)
        reason = Missing(Reason.LIMITED, str(limits.PINS))
        found.unseen.append(("pins below /run/bpf (mount namespace 4026532199)", reason))
        return found

    looks = ("why map name:limits", "orphans", "prog list --parts all", "map show --parts all",
             "link show", "graph", "graph --if-gone pid:balancerd")  # fmt: skip
    for words in looks:
        whole(demo(*words.split(), "--json"))
    monkeypatch.setattr(pins, "read", less)
    for words in looks:
        assert f"limited: {limits.PINS}" in cut(demo(*words.split(), "--json"))
    (item,) = json.loads(demo("why", "map", "name:limits", "--json").out)["items"]
    assert any(str(limits.PINS) in each["what"] for each in item["unseen"])
    orphans = json.loads(demo("orphans", "--json").out)["items"]
    held = [each for each in orphans if each["verdict"] in ("leaked", "pinned", "unused")]
    assert held
    assert not any(each["certain"] for each in held)
    assert (
        "not seen: pins below /run/bpf"
        in demo("unpin", "/sys/fs/bpf/balancer/jumps", "--dry-run").out
    )
    checks = json.loads(demo("doctor", "--json").out)["items"]
    assert next(each for each in checks if each["check"] == "pins")["ok"] is False
