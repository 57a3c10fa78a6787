"""Types and typed maps of the live kernel: beside bpftool, clang and the engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bpflens import connect
from bpflens.abi.attrs import MapCreate
from bpflens.abi.enums import MapType
from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.cli.app import run as run_here
from bpflens.engine.engine import Engine
from bpflens.model.parts import Missing
from bpflens.model.system import System
from bpflens.port.calls import Calls
from bpflens.port.doors import Doors
from bpflens.testing import builders
from tests.kernel import busy
from tests.kernel.conftest import Ran
from tests.typedmaps import scene

TOOLS = (*busy.TOOLS, *busy.MORE_TOOLS)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or bool(busy.missing(TOOLS)),
    reason=f"needs root and {', '.join(busy.missing(TOOLS)) or 'nothing else'}",
)

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def programs() -> Iterator[list[dict[str, Any]]]:
    """The programs of six real tools, as bpftool tells them."""
    with busy.tools(TOOLS, programs=12) as ids:
        yield [program for program in busy.bpftool("prog", "show") if program["id"] in ids]


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


# --- elements beside bpftool


def plain(value: Any) -> Any:
    """What bpftool formatted, in our shape.

    It has a section as a list of one-entry objects, an anonymous member under "", and bit fields
    as hex strings; ours has numbers above 2^53 as strings.
    """
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)).startswith("."):
            (variables,) = value.values()
            return {name: plain(part) for one in variables for name, part in one.items()}
        flat = value.pop("", None)
        result = {name: plain(part) for name, part in value.items()}
        return result | plain(flat) if isinstance(flat, dict) else result
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-f]+|[0-9]{16,}", value):
        return int(value, 0)
    return value


def hexed(data: Any) -> str:
    return "".join(byte.removeprefix("0x") for byte in data)


def theirs(id: int) -> dict[str, Any] | None:
    """Key → what bpftool formatted; None for what it has no types for."""
    found = busy.bpftool("map", "dump", "id", str(id))
    if not isinstance(found, list) or not all("formatted" in item for item in found):
        return None
    return {hexed(item["key"]): plain(item["formatted"]) for item in found}


def test_typed_elements_of_real_tools_are_what_bpftool_formats(
    programs: list[dict[str, Any]], run: Run
) -> None:
    compared: dict[str, int] = {}
    ids = {id: program["name"] for program in programs for id in program.get("map_ids", ())}
    for id in ids:
        before = theirs(id)
        if not before:
            continue
        ours = json.loads(run("map", "dump", str(id), "--json").stdout)
        after = theirs(id) or {}
        for item in ours["items"]:
            # The tools go on working: what did not change meanwhile has to be equal.
            key = item["key"]
            if key in before and before[key] == after.get(key):
                assert plain(item["formatted"]) == before[key], (ids[id], ours["map"])
                compared[ours["map"]["name"]] = compared.get(ours["map"]["name"], 0) + 1
    owners = {name.split(".")[0] for name in compared}
    assert {"execsnoo", "opensnoo", "runqlat_", "syscount", "softirqs"} <= owners
    assert sum(compared.values()) > 15


def test_bpftraces_maps_have_no_types_and_can_be_read_as_one_says(
    programs: list[dict[str, Any]], run: Run
) -> None:
    maps = {m["id"]: m for m in busy.bpftool("map", "show")}
    used = {id for program in programs for id in program.get("map_ids", ())}
    ids = [id for id in used if id in maps and maps[id].get("name") == "AT_"]
    assert ids
    subprocess.run(["true"], check=True)  # an execve to count
    done = run("map", "dump", str(ids[0]), "--key-as", "comm", "--value-as", "u64", "--sum",
               "--json")  # fmt: skip
    items = json.loads(done.stdout)["items"]
    assert any(item["formatted"]["sum"] > 0 for item in items)
    assert all(item["formatted"]["key"].isprintable() for item in items)


# --- types beside bpftool and clang


def test_types_are_listed_as_bpftool_lists_them(programs: list[dict[str, Any]], run: Run) -> None:
    ids = sorted({program["btf_id"] for program in programs if "btf_id" in program})
    assert len(ids) >= 5
    for id in ids:
        command = ["bpftool", "btf", "dump", "id", str(id), "format", "raw"]
        expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert run("btf", "dump", str(id), "--format", "raw").stdout == expected
        told = busy.bpftool("btf", "dump", "id", str(id), "format", "raw")["types"]
        ours = json.loads(run("btf", "dump", str(id), "--json").stdout)["items"]
        for item in told:
            # bpftool's JSON has values above 2^31 of unsigned enums as negative; its text has not.
            if item["kind"] == "ENUM" and item["encoding"] == "UNSIGNED":
                item["values"] = [v | {"val": v["val"] & 0xFFFFFFFF} for v in item["values"]]
        assert plain(ours) == plain(told)


def test_the_kernels_types_are_listed_as_bpftool_lists_them(run: Run) -> None:
    command = ["bpftool", "btf", "dump", "id", "1", "format", "raw"]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ours = run("btf", "dump", "vmlinux", "--format", "raw").stdout
    assert ours.count("\n") > 100_000
    assert ours == expected


def test_bpftool_lists_the_same_objects_and_users(run: Run) -> None:
    ours = {item["id"]: item for item in json.loads(run("btf", "list", "--json").stdout)["items"]}
    for item in busy.bpftool("btf", "show"):
        if item["id"] not in ours:
            continue  # loaded since
        mine = ours[item["id"]]
        assert mine["size"] == item["size"]
        assert mine["kernel"] is item["kernel"]
        if not item["kernel"]:
            assert set(item.get("prog_ids", ())) <= set(mine["program_ids"])
            assert set(item.get("map_ids", ())) <= set(mine["map_ids"])


def places(btf: Btf, id: int) -> dict[str, tuple[int, int]]:
    """Each named struct or union → its size, and the offsets of its members added up in order."""
    found = btf[id]
    if not isinstance(found, t.Composite) or not found.name:
        return {}
    told = {found.name: (found.size, 0)}
    for member in map(btf.place, found.members):
        if member.name:
            told[f"{found.name}.{member.name}"] = (member.bit_offset, member.bitfield_size)
    return told


def test_types_of_programs_as_c_compile_without_a_warning(
    programs: list[dict[str, Any]], run: Run, system: System, tmp_path: Path
) -> None:
    clang, objcopy = tool("clang"), tool("llvm-objcopy")
    compiled = 0
    for id in sorted({program["btf_id"] for program in programs if "btf_id" in program}):
        source, object_, raw = (tmp_path / f"{id}.{end}" for end in ("c", "o", "btf"))
        text = run("btf", "dump", str(id)).stdout
        tags = re.findall(r"^(?:struct|union) \w+(?= \{)", text, re.MULTILINE)
        # A variable of each, so that the compiler keeps its type.
        source.write_text(text + "".join(f"{tag} v{n};\n" for n, tag in enumerate(tags)))
        command = [clang, "-target", "bpf", "-g", "-Wall", "-Wextra", "-Werror", "-c"]
        done = subprocess.run([*command, str(source), "-o", str(object_)], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[:2000]
        subprocess.run([objcopy, f"--dump-section=.BTF={raw}", str(object_)], check=True)
        again, types = Btf.parse(raw.read_bytes()), system.btf(id)
        assert not isinstance(types, Missing)
        kept = {k: v for one in again.ids() for k, v in places(again, one).items()}
        ours = {k: v for one in types.ids() for k, v in places(types, one).items()}
        assert {k: kept.get(k) for k in ours} == ours
        compiled += bool(tags)
    assert compiled >= 3


# --- the engine and the live kernel


COMMANDS = (
    ("dump", "name:t_flows", "--sort", "key.pid"),
    ("dump", "name:t_flows", "--where", "value.packets > 6", "--sort", "key.pid", "--csv"),
    ("dump", "name:t_percpu"),
    ("dump", "name:t_percpu", "--sum"),
    ("dump", "name:t.bss"),
    ("lookup", "name:t_flows", "pid=1,cpu=1"),
    ("get", "name:t_locked", "0", "value.count"),
    ("set", "name:t_flows", "pid=1,cpu=1", "value.slots[1]=9"),
    ("set", "name:t_flows", "pid=1,cpu=1", "value.packets=1", "--expect", "value.packets=2"),
    ("set", "name:t_flows", "pid=5", "value.packets=1"),
    ("set", "name:t_flows", "pid=5", "value.packets=1", "--create"),
    ("set", "name:t_flows", "pid=5", "value.packets=1", "--create"),
    ("set", "name:t_flows", "pid=6", "value.packets=1", "--create"),
    ("delete", "name:t_flows", "pid=5"),
    ("delete", "name:t_flows", "pid=5"),
    ("set", "name:t_frozen", "0", "value.packets=1"),
    ("set", "name:t_frozen", "0", "hex:" + "01" * 64),
    ("set", "name:t_percpu", "0", "value.packets=9", "--cpu", "1"),
    ("set", "name:t_percpu", "5", "value.packets=9", "--create"),
    ("delete", "name:t_percpu", "0"),
    ("set", "name:t.bss", "value.last.comm=bash"),
    ("set", "name:t_locked", "0", "value.count=77"),
    ("set", "name:t_plain", "3", "1"),
    ("set", "name:t_plain", "4", "1"),
    ("set", "name:t_lpm", "hex:0800000001000000", "1"),
    ("set", "name:t_lpm", "hex:0800000002000000", "1"),
    ("push", "name:t_queue", "1"),
    ("push", "name:t_queue", "2"),
    ("push", "name:t_queue", "3"),
    ("push", "name:t_queue", "3", "--replace"),
    ("pop", "name:t_queue"),
    ("pop", "name:t_queue"),
    ("pop", "name:t_queue"),
    ("delete", "name:t_jumps", "0"),
    ("dump", "name:t_flows", "--sort", "key.pid", "--csv"),
    ("dump", "name:t_frozen"),
    ("dump", "name:t_percpu"),
    ("dump", "name:t.bss"),
    ("dump", "name:t_locked"),
)  # fmt: skip


def test_the_engine_and_the_live_kernel_say_the_same(
    system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine("6.18", policy="linux", cpus=system.cpus).task().doors()
    told = []
    for doors in (engine, system.doors):
        monkeypatch.setattr(connect, "doors", lambda on="linux", doors=doors: doors)
        with ExitStack() as stack:
            told.append([*_story(doors, stack, system.cpus, capsys)])
    assert len(told[0]) == len(COMMANDS)
    for ours, kernels in zip(*told, strict=True):
        assert ours == kernels


def _story(
    doors: Doors, stack: ExitStack, cpus: int, capsys: pytest.CaptureFixture[str]
) -> Iterator[tuple[tuple[str, ...], int, str, str]]:
    calls = Calls(doors.bpf)

    def hold(fd: int) -> int:
        stack.callback(calls.close, fd)
        return fd

    scene(calls, hold, cpus)
    for words in COMMANDS:
        status = run_here(["map", *words])
        out, err = capsys.readouterr()
        yield words, status, out, re.sub(r"\bmap \d+", "map N", err)


def test_a_frozen_map_and_every_refused_change_are_as_before(
    system: System, held: Callable[[int], int], run: Run
) -> None:
    scene(system.calls, held, system.cpus)
    names = ("t_flows", "t_frozen", "t_percpu", "t_plain", "t.bss", "t_locked")
    before = [run("map", "dump", f"name:{name}", "--raw", "--json").stdout for name in names]
    for name, *words in (
        ("t_frozen", "0", "value.packets=1"),
        ("t_frozen", "1", "hex:" + "01" * 64),
        ("t_flows", "pid=1,cpu=1", "value.packets=1", "--create"),
        ("t_flows", "pid=1,cpu=1", "value.packets=1", "--expect", "value.packets=1"),
        ("t_percpu", "7", "value.packets=1", "--create"),
        ("t_locked", "9", "value.count=1", "--create"),
        ("t.bss", "value.counter=-1"),
    ):
        done = run("map", "set", f"name:{name}", *words)
        assert done.status != 0, words
        assert done.stderr.startswith("bpflens: "), words
    assert [run("map", "dump", f"name:{n}", "--raw", "--json").stdout for n in names] == before


def test_global_data_and_maps_of_maps_are_typed(
    system: System, held: Callable[[int], int], run: Run
) -> None:
    scene(system.calls, held, system.cpus)
    (data,) = json.loads(run("map", "dump", "name:t.bss", "--json").stdout)["items"]
    assert data["formatted"]["value"]["counter"] == 5
    assert data["formatted"]["value"]["last"]["comm"] == "sh"
    done = run("map", "dump", "name:t_outer", "--recurse", "--json")
    (slot,) = json.loads(done.stdout)["items"]
    inner = json.loads(run("map", "dump", "name:t_flows", "--json").stdout)["items"]
    assert sorted(slot["elements"]["items"], key=str) == sorted(inner, key=str)
    assert {item["formatted"]["key"]["pid"] for item in inner} == {0, 1, 2}


def test_struct_ops_have_the_type_of_the_kernel(
    system: System, held: Callable[[int], int], run: Run
) -> None:
    kernels = system.kernel_types()
    assert not isinstance(kernels, Missing)
    value = kernels.find("bpf_struct_ops_tcp_congestion_ops", t.Struct)
    if value is None:
        pytest.skip("this kernel has no struct_ops for congestion control")
    attr = MapCreate(
        map_type=MapType.STRUCT_OPS,
        map_name=b"t_ops",
        key_size=4,
        value_size=value.size,
        max_entries=1,
        btf_fd=held(builders.btf(system.calls)),
        btf_vmlinux_value_type_id=value.id,
    )
    held(system.calls.map_create(attr))  # never registered: it has no functions
    (item,) = json.loads(run("map", "dump", "name:t_ops", "--json").stdout)["items"]
    assert item["formatted"]["value"]["common"]["state"] == "BPF_STRUCT_OPS_STATE_INIT"
    assert "ssthresh" in item["formatted"]["value"]["data"]
