"""Elements by their types: shown, chosen by, changed by field. On the engine."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bpflens import connect
from bpflens.abi.enums import MapType, ProgType
from bpflens.btf.build import BtfBuilder
from bpflens.cli.app import run
from bpflens.cli.record import sweep
from bpflens.engine.engine import Engine
from bpflens.model.program import Program
from bpflens.model.system import System
from bpflens.port.calls import Calls
from bpflens.port.cassette import Recorder
from bpflens.port.doors import Doors
from bpflens.testing import builders
from tests.typedmaps import HUGE, scene
from tests.unit.cli.conftest import Cli, Result

CPUS = 2


@pytest.fixture
def doors() -> Iterator[Doors]:
    """An engine with the maps of `tests.typedmaps`."""
    doors = Engine("6.18", policy="linux", cpus=CPUS).task().doors()
    calls = Calls(doors.bpf)
    with ExitStack() as stack:

        def hold(fd: int) -> int:
            stack.callback(calls.close, fd)
            return fd

        scene(calls, hold, CPUS)
        yield doors


@pytest.fixture
def cli(doors: Doors, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs one command on that engine, or on the recording that it names."""
    real = connect.doors
    monkeypatch.setattr(connect, "doors", lambda on="linux": doors if on == "linux" else real(on))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(*words: str) -> Result:
        return Result(run(list(words)), *capsys.readouterr())

    return call


def items(done: Result) -> list[dict[str, Any]]:
    assert done.status == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out)["items"]
    return found


def flow(cli: Cli, pid: int) -> Any:
    """What the elements of `t_flows` hold now, by name, with their bytes."""
    found = items(cli("map", "dump", "name:t_flows", "--json"))
    return next(i for i in found if i["formatted"]["key"]["pid"] == pid)


# --- shown


def test_json_has_the_bytes_and_beside_them_what_they_mean(cli: Cli) -> None:
    item = flow(cli, 1)
    assert item["key"] == "0100000001000000"
    assert item["value"].startswith("0700000000000000")
    assert item["formatted"] == {
        "key": {"pid": 1, "cpu": 1},
        "value": {
            "packets": 7,
            "bytes": str(HUGE),
            "comm": "sh",
            "slots": [0, 1, 2, 3, 3, 3],
            "state": "BUSY",
            "port": 47873,
            "low": 0,
        },
    }


def test_a_table_has_a_column_a_field_and_says_what_numbers_mean(cli: Cli) -> None:
    lines = cli("map", "dump", "name:t_flows", "--sort", "key.pid").out.splitlines()
    assert lines[0].split() == [
        "key.pid", "key.cpu", "value.packets", "value.bytes", "value.comm", "value.slots",
        "value.state", "value.port", "value.low",
    ]  # fmt: skip
    assert "47873 (443 in network order)" in lines[1]
    assert "[0, 1, 2, 3, 3, 3]" in lines[1]


def test_a_sheet_has_them_too(cli: Cli) -> None:
    rows = list(csv.DictReader(io.StringIO(cli("map", "dump", "name:t_flows", "--csv").out)))
    assert {(row["key.pid"], row["value.comm"]) for row in rows} == {
        ("0", "init"), ("1", "sh"), ("2", "sh"),
    }  # fmt: skip


def test_raw_is_bytes_as_for_a_map_without_types(cli: Cli) -> None:
    (first, *_) = items(cli("map", "dump", "name:t_flows", "--raw", "--json"))
    assert list(first) == ["key", "value", "missing"]


def test_global_data_is_a_line_a_variable(cli: Cli) -> None:
    lines = dict(line.split(None, 1) for line in cli("map", "dump", "name:t.bss").out.splitlines())
    assert lines["value.counter"] == "5"
    assert lines["value.last.comm"] == "sh"


def test_each_cpu_has_its_value_and_sum_adds_them_up(cli: Cli) -> None:
    (item,) = items(cli("map", "dump", "name:t_percpu", "--sum", "--json"))
    values = item["formatted"]["values"]
    assert [(v["cpu"], v["value"]["packets"]) for v in values] == [(0, 1), (1, 2)]
    total = item["formatted"]["sum"]
    assert (total["packets"], total["slots"], total["comm"]) == (3, [0, 2, 4, 6, 6, 6], "sh")
    assert "value.packets" in cli("map", "dump", "name:t_percpu", "--sum").out
    done = cli("map", "dump", "name:t_percpu", "--where", "value.packets > 1")
    assert done.status == 2
    assert "--sum adds them up" in done.err
    assert items(cli("map", "dump", "name:t_percpu", "--sum", "--where", "value.packets > 2",
                     "--json"))  # fmt: skip


def test_one_element_of_each_cpu(cli: Cli) -> None:
    told = json.loads(cli("map", "get", "name:t_percpu", "0", "--json").out)
    assert [(one["cpu"], one["value"]["packets"]) for one in told] == [(0, 1), (1, 2)]
    assert cli("map", "get", "name:t_percpu", "0").out.startswith("0:{packets=1, ")
    assert cli("map", "get", "name:t_percpu", "0", "value.packets", "--sum").out == "3\n"
    raw = json.loads(cli("map", "get", "name:t_percpu", "0", "--raw", "--json").out)
    assert [one["cpu"] for one in raw] == [0, 1]
    done = cli("map", "get", "name:t_percpu", "0", "value.packets")
    assert (done.status, "--sum adds them up" in done.err) == (2, True)


def test_what_is_expected_of_one_cpu(cli: Cli) -> None:
    change = ("map", "set", "name:t_percpu", "0", "value.packets=9", "--expect", "value.packets=1")
    assert cli(*change).status == 1  # of all CPUs, that is
    assert cli(*change, "--cpu", "1").status == 1
    assert cli(*change, "--cpu", "0").status == 0


def test_what_some_cpus_call_otherwise_has_no_sum(cli: Cli) -> None:
    assert cli("map", "set", "name:t_percpu", "0", "value.comm=other", "--cpu", "1").status == 0
    (item,) = items(cli("map", "dump", "name:t_percpu", "--sum", "--json"))
    assert item["formatted"]["sum"]["comm"] is None
    assert item["formatted"]["sum"]["packets"] == 3


def test_sums_of_what_is_one_value_or_no_number_are_refused(cli: Cli) -> None:
    assert "one value for all CPUs" in cli("map", "dump", "name:t_flows", "--sum").err
    assert cli("map", "dump", "name:t_percpu", "--sum", "--raw").status == 2


def test_a_map_of_maps_with_what_is_inside(cli: Cli) -> None:
    (item,) = items(cli("map", "dump", "name:t_outer", "--recurse", "--json"))
    inner = item["elements"]
    assert inner["complete"] is True
    assert {i["formatted"]["key"]["pid"] for i in inner["items"]} == {0, 1, 2}
    text = cli("map", "dump", "name:t_outer", "--recurse").out
    assert "    key.pid" in text
    (line,) = cli("map", "dump", "name:t_outer", "--recurse", "--jsonl").out.splitlines()
    assert json.loads(line) == item


def test_json_lines_are_a_line_an_element_whatever_its_fields_are_called(cli: Cli) -> None:
    done = cli("map", "dump", "name:t_plain", "--value-as", "key=u8:rest=u8[7]", "--jsonl")
    (line,) = done.out.splitlines()
    assert json.loads(line)["formatted"]["value"] == {"key": 9, "rest": [0] * 7}


# --- chosen


@pytest.mark.parametrize(
    ("condition", "pids"),
    [
        ("value.packets > 6", {1, 2}),
        ("value.packets > 6 and key.pid == 2", {2}),
        ('value.comm == "init"', {0}),
        ('value.state == "BUSY"', {1}),
        ("value.slots[3] == 3", {0, 1, 2}),
        ('value["packets"] == 0', {0}),
        ("7 in [value.packets]", {1}),
    ],
)
def test_conditions_name_fields(cli: Cli, condition: str, pids: set[int]) -> None:
    done = cli("map", "dump", "name:t_flows", "--where", condition, "--json")
    assert {i["formatted"]["key"]["pid"] for i in items(done)} == pids


def test_order_and_columns_name_fields(cli: Cli) -> None:
    done = cli("map", "dump", "name:t_flows", "--sort=-value.packets", "--limit", "2",
               "--columns", "key.pid,value.packets", "--json")  # fmt: skip
    assert [(i["key.pid"], i["value.packets"]) for i in items(done)] == [(2, 14), (1, 7)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--where", "value.nosuch > 1"), "there is no nosuch; there are: packets"),
        (("--where", "value.slots[9] > 1"), "there is no [9]"),
        (("--where", "value.packets.x > 1"), "it has no fields"),
        (("--where", "value.packets >"), "is no condition"),
        (("--where", "value[x] > 1"), "names no part"),
        (("--sort", "value"), "no order"),
        (("--columns", "value..x"), "is no path"),
        (("--raw", "--where", "value.packets > 1"), "tells no types"),
        (("--raw", "--value-as", "u64"), "--raw gives bytes"),
        (("--btf", "/x"), "--btf is for --key-as"),
        (("--value-as", "u64"), "takes 8 bytes, and there are 64"),
        (("--value-as", "u7"), "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_said(cli: Cli, words: tuple[str, ...], said: str) -> None:
    done = cli("map", "dump", "name:t_flows", *words)
    assert done.status in (2, 3)
    assert said in done.err


# --- read as a person asks for it


def test_decoders_for_a_map_without_types(cli: Cli) -> None:
    done = cli("map", "dump", "name:t_plain", "--key-as", "ipv4:port=be16:pad2",
               "--value-as", "u64", "--json")  # fmt: skip
    (item,) = items(done)
    assert item["formatted"] == {"key": {"ipv4": "10.0.0.1", "port": 443}, "value": 9}
    done = cli("map", "lookup", "name:t_plain", "ipv4=10.0.0.1,port=443",
               "--key-as", "ipv4:port=be16:pad2", "--value-as", "u64")  # fmt: skip
    assert done.out.split() == ["key.ipv4", "10.0.0.1", "key.port", "443", "value", "9"]
    for wrong in ("10.0.0.+1", "10.0.0", "10.0.0.256", "10.0.0.1_0"):
        done = cli("map", "get", "name:t_plain", f"ip={wrong}", "--key-as", "ip=ipv4:pad4")
        assert (done.status, done.out) == (2, "")
        assert f"ip is ipv4, and {wrong!r} is none" in done.err


def test_a_type_of_a_file(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "types"
    path.write_bytes(builders.types().data)
    done = cli("map", "dump", "name:t_plain", "--value-as", "struct pair", "--btf", str(path),
               "--json")  # fmt: skip
    assert items(done)[0]["formatted"]["value"] == {"a": 9, "b": 0}
    done = cli("map", "dump", "name:t_plain", "--value-as", "struct nosuch", "--btf", str(path))
    assert done.status == 2
    assert "no type 'struct nosuch'" in done.err


@pytest.mark.parametrize("key", ["pid=1,cpu=1", "hex:0100000001000000", "0x100000001"])
def test_keys_by_field_by_bytes_and_by_number(cli: Cli, key: str) -> None:
    assert cli("map", "get", "name:t_flows", key, "value.packets").out == "7\n"
    assert cli("map", "get", "name:t_flows", key, "value.bytes", "--json").out == f'"{HUGE}"\n'


def test_names_out_of_a_file_cannot_reach_the_terminal(cli: Cli, tmp_path: Path) -> None:
    made = BtfBuilder()
    number = made.add_int("unsigned int", 4)
    made.add_struct("evil", 8, [("\x1b[2J", number, 0), ("b", number, 32)])
    path = tmp_path / "types"
    path.write_bytes(made.build())
    asked = ("--value-as", "struct evil", "--btf", str(path))
    (element,) = items(cli("map", "dump", "name:t_plain", "--json"))
    key = f"hex:{element['key']}"
    for words in (
        ("dump", "name:t_plain", *asked),
        ("lookup", "name:t_plain", key, *asked),
        ("delete", "name:t_plain", key, *asked, "--dry-run"),
    ):
        done = cli("map", *words)
        assert done.status == 0
        assert "\x1b" not in done.out
        assert "\\x1b[2J" in done.out
    for form in ("c", "raw", "json"):
        assert "\x1b" not in cli("btf", "dump", f"file:{path}", "--format", form).out


# --- changed


def test_set_changes_the_field_that_is_named_and_no_other_byte(cli: Cli) -> None:
    before, others = flow(cli, 1), [flow(cli, pid) for pid in (0, 2)]
    done = cli("map", "set", "name:t_flows", "pid=1,cpu=1", "value.slots[1]=9")
    assert (done.status, done.err) == (0, "")
    assert done.out == "value.slots  [0, 1, 2, 3, 3, 3] -> [0, 9, 2, 3, 3, 3]\n"
    after = flow(cli, 1)
    at = 2 * (32 + 4)
    assert after["value"] == before["value"][:at] + "09" + before["value"][at + 2 :]
    assert [flow(cli, pid) for pid in (0, 2)] == others


def test_a_dry_run_shows_the_change_and_does_not_make_it(cli: Cli) -> None:
    before = flow(cli, 1)
    done = cli("map", "set", "name:t_flows", "pid=1,cpu=1", "value.state=IDLE", "--dry-run")
    assert done.out == "value.state  BUSY -> IDLE\n"
    assert "nothing was changed" in done.err
    for words in (("set", "name:t_flows", "pid=7", "value.packets=1", "--create"),
                  ("delete", "name:t_flows", "pid=1,cpu=1"),
                  ("push", "name:t_queue", "4")):  # fmt: skip
        assert cli("map", *words, "--dry-run").status == 0
    assert flow(cli, 1) == before
    assert len(items(cli("map", "dump", "name:t_flows", "--json"))) == 3
    assert cli("map", "pop", "name:t_queue").status == 3


def test_a_change_in_json(cli: Cli) -> None:
    done = cli("map", "set", "name:t_flows", "pid=1,cpu=1", "value.packets=8", "--json")
    told = json.loads(done.out)
    assert (told["kind"], told["done"]) == ("change", True)
    sides = [told[side]["formatted"]["value"]["packets"] for side in ("before", "after")]
    assert sides == [7, 8]


def test_expect_is_checked_before_anything_is_written(cli: Cli) -> None:
    change = ("map", "set", "name:t_flows", "pid=1,cpu=1", "value.packets=8")
    done = cli(*change, "--expect", "value.packets=6")
    assert (done.status, done.out) == (1, "")
    assert "value.packets is not 6: nothing was changed" in done.err
    assert flow(cli, 1)["formatted"]["value"]["packets"] == 7
    done = cli(*change, "--expect", "value.packets=7", "--expect", "value.state=BUSY")
    assert done.status == 0
    assert "no compare-and-set" in done.err
    assert cli("map", "delete", "name:t_flows", "pid=1,cpu=1", "--expect",
               "value.packets=7").status == 1  # fmt: skip
    assert flow(cli, 1)["formatted"]["value"]["packets"] == 8


def test_create_and_replace_say_what_must_be_there(cli: Cli) -> None:
    new = ("map", "set", "name:t_flows", "pid=9")
    assert "--create makes it" in cli(*new, "value.packets=1").err
    assert cli(*new, f"hex:{'00' * 64}", "--replace").status == 3
    assert cli(*new, "value.packets=1", "--create").status == 0
    assert flow(cli, 9)["formatted"]["value"]["bytes"] == 0
    done = cli(*new, "value.packets=2", "--create")
    assert done.status == 1
    assert "already" in done.err
    assert cli("map", "delete", "name:t_flows", "pid=9").status == 0
    assert cli("map", "delete", "name:t_flows", "pid=9").status == 3


def test_global_data_is_set_by_variable_without_a_key(cli: Cli) -> None:
    assert cli("map", "set", "name:t.bss", "value.last.comm=bash").status == 0
    assert cli("map", "get", "name:t.bss", "0", "value.last.comm").out == "bash\n"
    assert cli("map", "get", "name:t.bss", "0", "value.counter").out == "5\n"


def test_what_only_the_kernel_writes_is_not_said_to_be_changed(cli: Cli) -> None:
    for change in (
        ["value.lock.val=1"],
        ["hex:0100000005000000"],
        ["hex:0100000005000000", "--raw"],
        ["value.a=1", "--value-as", "a=u32:b=u32"],
    ):
        done = cli("map", "set", "name:t_locked", "0", *change)
        assert (done.status, done.out) == (1, "")
        assert "value.lock is a bpf_spin_lock, which only the kernel writes" in done.err


def test_a_timer_that_goes_with_the_old_element_is_told(cli: Cli, doors: Doors) -> None:
    calls, made = Calls(doors.bpf), BtfBuilder()
    u32, u64 = made.add_int("unsigned int", 4), made.add_int("unsigned long long", 8)
    timer = made.add_struct("bpf_timer", 16, [("__opaque", made.add_array(u64, 2, u32), 0)])
    timed = made.add_struct("timed", 24, [("n", u64, 0), ("timer", timer, 64)])
    types = calls.btf_load(made.build()), u32, timed
    builders.map(calls, MapType.HASH, name="t_hash", value_size=24, btf=types)
    builders.map(calls, MapType.ARRAY, name="t_array", value_size=24, btf=types)
    lost = "a new element of it, without its bpf_timer"
    assert lost not in cli("map", "set", "name:t_hash", "1", "value.n=1", "--create").err
    assert lost in cli("map", "set", "name:t_hash", "1", "value.n=2").err
    assert lost not in cli("map", "set", "name:t_array", "0", "value.n=2").err
    done = cli("map", "set", "name:t_array", "0", "value.timer.__opaque[0]=1")
    assert (done.status, done.out) == (1, "")


def test_a_value_with_a_spin_lock_is_read_and_written_under_it(cli: Cli) -> None:
    done = cli("map", "set", "name:t_locked", "0", "value.count=5", "--trace")
    assert done.out == "value.count  4 -> 5\n"
    updates = [line for line in done.err.splitlines() if "MAP_UPDATE_ELEM" in line]
    assert len(updates) == 1
    assert "flags=6" in updates[0] or "flags=0x6" in updates[0]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("set", "name:t_frozen", "0", "value.packets=1"), 1, "frozen"),
        (("set", "name:t_frozen", "0", "value.packets=1", "--dry-run"), 1, "frozen"),
        (("set", "name:t_frozen", "5", "value.packets=1", "--create"), 1, "frozen"),
        (("set", "name:t_percpu", "5", "value.packets=1", "--create"), 3, "has slots 0 to 0"),
        (("set", "name:t_lpm", "hex:2100000001000000", "1"), 1, "has prefixes of 0 to 32 bits"),
        (("set", "name:t_plain", "3", "1"), 0, ""),
        (("set", "name:t_percpu", "5", "value.packets=1"), 3, "has slots 0 to 0"),
        (("set", "name:t_percpu", "-", "value.packets=1"), 2, "key -: the value is a number"),
        (("set", "name:t_flows", "pid=1,cpu=1", "7"), 2, "made of parts"),
        (("set", "name:t.bss", "value=7"), 2, "made of parts"),
        (("set", "name:t.bss", "value.=7"), 2, "names no field"),
        (("delete", "name:t_percpu", "0"), 5, "cannot be deleted"),
        (("set", "name:t_plain", "3", "hex:01"), 2, "has 1 bytes; the map's values have 8"),
        (("set", "name:t_plain", "3", "value.x=1", "--create"), 2, "tells no types"),
        (("set", "name:t_plain", "3"), 2, "give a change after the key"),
        (("set", "name:t_flows", "value.packets=3"), 2, "give a key before"),
        (("set", "name:t_flows", "pid=1,cpu=1", "value.packets=-1"), 2, "holds 0 to"),
        (("set", "name:t_flows", "pid=1,cpu=1", "value.packets=x"), 2, "is a number"),
        (("set", "name:t_flows", "pid=1,cpu=1", "value.packets=1", "--cpu", "0"), 2, "--cpu 0"),
        (("set", "name:t_percpu", "0", "value.packets=1", "--cpu", "9"), 2, "--cpu 9"),
        (("set", "name:t_queue", "0", "1"), 2, "map push"),
        (("push", "name:t_flows", "1"), 2, "map set"),
        (("set", "name:t_jumps", "0", "7"), 2, "give prog:12"),
        (("set", "name:t_jumps", "0", "prog:4242"), 3, "no program with ID 4242"),
        (("set", "name:t_flows", "pid=1,cpu=1", "value.packets=1", "--expect", "x"), 2, "like"),
    ],
)
def test_refusals_in_words(cli: Cli, words: tuple[str, ...], status: int, said: str) -> None:
    done = cli("map", *words)
    assert (done.status, said in done.err) == (status, True), done.err


def test_what_was_refused_left_everything_as_it_was(cli: Cli) -> None:
    maps = ("t_flows", "t_frozen", "t_percpu", "t_plain", "t.bss")
    before = [cli("map", "dump", f"name:{name}", "--json").out for name in maps]
    for words in (
        ("t_frozen", "0", "value.packets=1"),
        ("t_frozen", "0", f"hex:{'01' * 64}"),
        ("t_flows", "pid=1,cpu=1", "value.packets=1", "value.nosuch=2"),
        ("t_flows", "pid=1,cpu=1", "value.packets=1", "--expect", "value.packets=1"),
        ("t_flows", "pid=1,cpu=1", "value.packets=1", "--create"),
        ("t_flows", "pid=8", "value.packets=1"),
        ("t_percpu", "1", "value.packets=1"),
        ("t.bss", "value=7"),
        ("t.bss", "value.=7"),
        ("t.bss", "value.last.comm=a text that is too long for it"),
    ):
        assert cli("map", "set", f"name:{words[0]}", *words[1:]).status != 0, words
    assert [cli("map", "dump", f"name:{name}", "--json").out for name in maps] == before


def test_a_full_map_and_a_full_queue(cli: Cli) -> None:
    assert cli("map", "set", "name:t_plain", "3", "1").status == 0
    assert "is full: it holds its 2 elements" in cli("map", "set", "name:t_plain", "4", "1").err
    assert cli("map", "set", "name:t_lpm", "hex:0800000001000000", "1").status == 0
    done = cli("map", "set", "name:t_lpm", "hex:0800000002000000", "1")
    assert (done.status, "is full" in done.err) == (1, True)
    for number in ("1", "2"):
        assert cli("map", "push", "name:t_queue", number, "--value-as", "u32").status == 0
    assert "is full" in cli("map", "push", "name:t_queue", "3").err
    assert cli("map", "push", "name:t_queue", "3", "--replace").status == 0
    taken = [cli("map", "pop", "name:t_queue", "--value-as", "u32", "--json") for _ in range(2)]
    assert [items(done)[0]["formatted"]["value"] for done in taken] == [2, 3]
    done = cli("map", "pop", "name:t_queue")
    assert (done.status, "is empty" in done.err) == (3, True)


def test_a_program_goes_into_a_slot_by_its_id(cli: Cli, doors: Doors) -> None:
    calls = Calls(doors.bpf)
    with Program(System(doors), builders.program(calls)) as program:
        id = program.id
        done = cli("map", "set", "name:t_jumps", "1", f"prog:{id}", "--json")
        assert json.loads(done.out)["after"]["value"] == id.to_bytes(4, "little").hex()
        (item,) = items(cli("map", "dump", "name:t_jumps", "--json"))
        assert (item["key"], item["program"]["id"]) == ("01000000", id)
        other = builders.program(calls, type=ProgType.XDP)
        with Program(System(doors), other) as unlike:
            done = cli("map", "set", "name:t_jumps", "0", f"prog:{unlike.id}")
        assert (done.status, "its programs are alike in type" in done.err) == (1, True)
        assert cli("map", "delete", "name:t_jumps", "1").status == 0
    (plain,) = json.loads(cli("map", "show", "name:t_plain", "--json").out)["items"]
    done = cli("map", "set", "name:t_outer", "0", f"map:{plain['id']}")
    assert (done.status, "its maps are alike in type" in done.err) == (1, True)


# --- recordings


def test_a_recording_answers_the_same_and_cannot_be_changed(
    cli: Cli, doors: Doors, tmp_path: Path
) -> None:
    path = str(tmp_path / "machine.cassette")
    recorder = Recorder(doors)
    sweep(System(recorder.doors), 100)
    recorder.save(path, {"kernel": "engine"})
    for words in (
        ("btf", "list", "--json"),
        ("map", "dump", "name:t_flows", "--json"),
        ("map", "dump", "name:t_flows", "--where", "value.packets > 6"),
        ("map", "dump", "name:t_percpu", "--sum"),
        ("map", "dump", "name:t.bss"),
        ("map", "dump", "name:t_outer", "--recurse"),
        ("map", "lookup", "name:t_flows", "pid=1,cpu=1"),
        ("map", "get", "name:t_locked", "0", "value.count"),
        ("map", "set", "name:t_flows", "pid=1,cpu=1", "value.packets=1", "--dry-run"),
    ):
        assert cli("--on", path, *words) == cli(*words), words
    for change in (
        ("set", "name:t_flows", "pid=1,cpu=1", "value.packets=1"),
        ("delete", "name:t_flows", "pid=1,cpu=1"),
        ("push", "name:t_queue", "1"),
    ):
        done = cli("--on", path, "map", *change)
        assert done.status == 5
        assert "it can be looked at, not changed" in done.err
