"""Every value that bpflens and bpftool both tell of an object is the same."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bpflens.abi.attrs import MapCreate
from bpflens.abi.enums import MapFlag, MapType
from bpflens.abi.infos import MapInfo
from bpflens.model.system import System
from bpflens.testing.builders import lpm, program, u32, u64
from tests.kernel import busy
from tests.kernel.conftest import Ran

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or bool(busy.missing()),
    reason=f"needs root and {', '.join(busy.missing()) or 'nothing else'}",
)

Item = dict[str, Any]


def same_time(told: str, seconds: int) -> bool:
    """Whether an RFC 3339 time is this second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") == told


def flags(number: int) -> list[str]:
    """Flags of a map as bpflens tells them."""
    return MapFlag(number).labels()


PROGRAM_KEYS: dict[str, Callable[[Item, Any], bool]] = {
    "id": lambda ours, value: ours["id"] == value,
    "type": lambda ours, value: ours["type"] == value,
    "name": lambda ours, value: (
        value in (ours["full_name"], ours["name"])
        and (ours["full_name"] is None or ours["full_name"] == value)
    ),
    "tag": lambda ours, value: ours["tag"] == value,
    "gpl_compatible": lambda ours, value: ours["gpl_compatible"] is value,
    "loaded_at": lambda ours, value: same_time(ours["loaded_at"], value),
    "uid": lambda ours, value: ours["created_by_uid"] == value,
    "bytes_xlated": lambda ours, value: ours["xlated_bytes"] == value,
    "jited": lambda ours, value: bool(ours["jited_bytes"]) is value,
    "bytes_jited": lambda ours, value: ours["jited_bytes"] == value,
    "bytes_memlock": lambda ours, value: ours["memlock_bytes"] == value,
    "map_ids": lambda ours, value: ours["map_ids"] == value,
    "btf_id": lambda ours, value: ours["btf_id"] == value,
    "run_time_ns": lambda ours, value: ours["run_time_ns"] >= value,
    "run_cnt": lambda ours, value: ours["run_cnt"] >= value,
    "recursion_misses": lambda ours, value: ours["recursion_misses"] >= value,
    "pinned": lambda ours, value: ours["pinned"] == sorted(value),
}
"""bpftool's key → whether our item says the same. Counters grow between the two looks."""

MAP_KEYS: dict[str, Callable[[Item, Any], bool]] = {
    "id": lambda ours, value: ours["id"] == value,
    "type": lambda ours, value: ours["type"] == value,
    "name": lambda ours, value: ours["name"] == value,
    "flags": lambda ours, value: ours["flags"] == flags(value),
    "bytes_key": lambda ours, value: ours["key_size"] == value,
    "bytes_value": lambda ours, value: ours["value_size"] == value,
    "max_entries": lambda ours, value: ours["max_entries"] == value,
    "bytes_memlock": lambda ours, value: ours["memlock_bytes"] == value,
    "frozen": lambda ours, value: ours["frozen"] is bool(value),
    "btf_id": lambda ours, value: ours["btf_id"] == value,
    "owner_prog_type": lambda ours, value: ours["owner_prog_type"] == value,
    "pinned": lambda ours, value: ours["pinned"] == sorted(value),
}
NOT_OURS = {"owner_jited", "pids", "metadata", "orphaned"}
"""Keys of bpftool that our records do not have. Orphaned (7.6) is a program whose device is gone:
its info is refused, and ours is an error instead of a record."""


@pytest.fixture(scope="module")
def loaded() -> Iterator[list[int]]:
    """The IDs of the programs of real tools."""
    with busy.tools() as ids:
        yield ids


@pytest.fixture
def from_bpftool(bpffs: Path, tmp_path: Path) -> None:
    """A program that `bpftool prog load` loaded and pinned, with a map in it."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("needs clang")
    source = tmp_path / "count.bpf.c"
    source.write_text(
        "struct { int (*type)[6]; int *key; long *value; int (*max_entries)[1]; } hits "
        '__attribute__((section(".maps"), used));\n'
        '__attribute__((section("socket"), used)) int count_every_packet_that_comes(void *skb)\n'
        "{ int zero = 0; long *n = ((void *(*)(void *, void *))1)(&hits, &zero);"
        " if (n) *n += 1; return 0; }\n"
        'char _license[] __attribute__((section("license"), used)) = "GPL";\n'
    )
    compiled = tmp_path / "count.bpf.o"
    subprocess.run([clang, "-O2", "-g", "-target", "bpf", "-c", source, "-o", compiled], check=True)
    subprocess.run(["bpftool", "prog", "load", compiled, bpffs / "count"], check=True)


def compared(
    ours: list[Item], theirs: list[Item], keys: dict[str, Callable[[Item, Any], bool]]
) -> tuple[int, list[str]]:
    """(values compared, those that differ)."""
    by_id = {item["id"]: item for item in ours}
    count = 0
    wrong = []
    for item in theirs:
        for key, value in item.items():
            if key in NOT_OURS:
                continue
            count += 1
            if not keys[key](by_id[item["id"]], value):
                wrong.append(f"{item['id']} {key}: bpftool {value!r}, ours {by_id[item['id']]}")
    return count, wrong


@pytest.mark.usefixtures("from_bpftool")
def test_every_value_of_every_program_is_equal(loaded: list[int], run: Callable[..., Ran]) -> None:
    theirs = [
        item
        for item in busy.bpftool("-f", "prog", "show")
        if item["id"] in loaded or "count" in item.get("name", "")
    ]
    ours = json.loads(run("prog", "list", "--json").stdout)
    assert ours["schema"] == "bpflens/1"
    assert ours["kind"] == "programs"
    assert len(theirs) > 5
    count, wrong = compared(ours["items"], theirs, PROGRAM_KEYS)
    assert wrong == []
    assert count >= 11 * len(theirs)


@pytest.mark.usefixtures("from_bpftool")
def test_every_value_of_every_map_is_equal(loaded: list[int], run: Callable[..., Ran]) -> None:
    programs = [
        item
        for item in busy.bpftool("prog", "show")
        if item["id"] in loaded or "count" in item.get("name", "")
    ]
    used = {id for item in programs for id in item.get("map_ids", [])}
    # One by one: in a list, bpftool 7.1 shows a map without BTF with the btf_id of the map before
    # it, because it does not clear the buffer that the kernel leaves as it was.
    theirs = [busy.bpftool("-f", "map", "show", "id", str(id)) for id in sorted(used)]
    ours = json.loads(run("map", "list", "--json").stdout)
    assert len(theirs) == len(used) > 5
    count, wrong = compared(ours["items"], theirs, MAP_KEYS)
    assert wrong == []
    assert count >= 8 * len(theirs)


def test_a_name_that_the_kernel_cut_is_told_whole(
    from_bpftool: None, run: Callable[..., Ran]
) -> None:
    done = run("prog", "show", "name:count_every_packet_that_comes", "--json")
    (item,) = json.loads(done.stdout)["items"]
    assert item["name"] == "count_every_pac"
    assert item["full_name"] == "count_every_packet_that_comes"


def bytes_of(words: list[str]) -> str:
    """bpftool's ["0x01", …] as hex."""
    return bytes(int(word, 16) for word in words).hex()


def bpftool_dump(id: int) -> dict[str, Any]:
    """bpftool's dump as key → value; slots for which it reports an error hold nothing."""
    found: dict[str, Any] = {}
    for item in busy.bpftool("map", "dump", "id", str(id)):
        if "values" in item:
            found[bytes_of(item["key"])] = [bytes_of(each["value"]) for each in item["values"]]
        elif isinstance(item["value"], list):
            found[bytes_of(item["key"])] = bytes_of(item["value"])
    return found


def our_dump(run: Callable[..., Ran], id: int) -> dict[str, Any]:
    """Our dump in the same shape."""
    document = json.loads(run("map", "dump", str(id), "--json").stdout)
    return {
        item["key"]: [each["value"] for each in item["values"]]
        if "values" in item
        else item["value"]
        for item in document["items"]
    }


def made(system: System, type: MapType, **attr: Any) -> int:
    """A map of a type with the attributes that most tests want."""
    return system.calls.map_create(
        MapCreate(**{"map_type": type, "key_size": 4, "value_size": 4, "max_entries": 8} | attr)
    )


def test_hash_array_and_per_cpu_dumps_are_equal(
    system: System, held: Callable[[int], int], run: Callable[..., Ran]
) -> None:
    for type in (MapType.HASH, MapType.ARRAY, MapType.PERCPU_HASH, MapType.PERCPU_ARRAY,
                 MapType.LRU_HASH, MapType.LRU_PERCPU_HASH):  # fmt: skip
        fd = held(made(system, type, value_size=12))
        per_cpu = "PERCPU" in type.name
        for key in range(5):
            slot = struct.pack("=III", key, 7, 9)
            value = slot.ljust(16, b"\0") * system.cpus if per_cpu else slot
            system.calls.map_update(fd, u32(key), value)
        id = system.calls.info(fd, MapInfo).id
        assert our_dump(run, id) == bpftool_dump(id), type
        assert len(our_dump(run, id)) >= 5


def test_maps_that_name_programs_maps_and_devices_dump_equal(
    system: System, held: Callable[[int], int], run: Callable[..., Ran]
) -> None:
    prog = held(program(system.calls))
    jumps = held(made(system, MapType.PROG_ARRAY))
    system.calls.map_update(jumps, u32(3), u32(prog))
    inner = held(made(system, MapType.ARRAY))
    outer = held(made(system, MapType.ARRAY_OF_MAPS, inner_map_fd=inner))
    system.calls.map_update(outer, u32(2), u32(inner))
    devices = held(made(system, MapType.DEVMAP))
    system.calls.map_update(devices, u32(1), u32(1))
    for fd in (jumps, outer, devices):
        id = system.calls.info(fd, MapInfo).id
        assert len(our_dump(run, id)) == 1
        assert our_dump(run, id) == bpftool_dump(id)


def test_a_trie_dumps_equal(
    system: System, held: Callable[[int], int], run: Callable[..., Ran]
) -> None:
    fd = held(made(system, MapType.LPM_TRIE, key_size=8, value_size=8,
                   map_flags=MapFlag.NO_PREALLOC))  # fmt: skip
    for at, bits in enumerate((8, 16, 24, 32)):
        system.calls.map_update(fd, lpm(bits, bytes([10, 1, 2, 3])), u64(at))
    id = system.calls.info(fd, MapInfo).id
    assert len(our_dump(run, id)) == 4
    assert our_dump(run, id) == bpftool_dump(id)


def test_a_queue_shows_what_bpftool_peeks_at(
    system: System, held: Callable[[int], int], run: Callable[..., Ran]
) -> None:
    fd = held(made(system, MapType.QUEUE, key_size=0))
    id = system.calls.info(fd, MapInfo).id
    assert our_dump(run, id) == bpftool_dump(id) == {}
    system.calls.map_update(fd, b"", u32(5))
    system.calls.map_update(fd, b"", u32(6))
    peeked = busy.bpftool("map", "peek", "id", str(id))
    done = run("map", "dump", str(id), "--json")
    document = json.loads(done.stdout)
    assert [item["value"] for item in document["items"]] == [bytes_of(peeked["value"])]
    assert document["complete"] is False
    assert "no other" in document["why"]
    assert done.status == 1
