"""A dozen programs that clang compiles, loaded by the same bytes on Linux and on the engine."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("elftools", reason="reads ELF with pyelftools: the extra `testing`")

from bpflens.abi.infos import MapInfo, ProgInfo
from bpflens.errors import FormatError
from bpflens.port.calls import FUNC_INFO, LINE_INFO, MAP_IDS, Calls
from bpflens.testing import elf, objects
from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.builders import u32

SOURCES = sorted((Path(__file__).parents[1] / "data" / "progs").glob("*.bpf.c"))
VMLINUX = "/sys/kernel/btf/vmlinux"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every program, compiled."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is missing; run: apt-get install clang")
    folder = tmp_path_factory.mktemp("progs")
    options = ["-target", "bpf", "-O2", "-g", "-Wall", "-Werror", "-nostdinc"]
    for source in SOURCES:
        output = folder / source.name.replace(".bpf.c", ".o")
        subprocess.run([clang, *options, "-c", source, "-o", output], check=True)
    return folder


@pytest.fixture(scope="module")
def linux() -> Iterator[Bench]:
    from bpflens.testing.on_linux import LinuxBench

    try:
        made = LinuxBench()
    except NotOffered as reason:
        pytest.skip(str(reason))
    yield made
    made.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[Bench]:
    """An engine with the types of this machine's kernel, if it tells them."""
    pytest.importorskip("bpflens.engine.engine", exc_type=ImportError)
    from bpflens.testing.on_engine import EngineBench

    vmlinux = Path(VMLINUX).read_bytes() if os.path.exists(VMLINUX) else b""
    made = EngineBench(vmlinux=vmlinux)
    yield made
    made.close()


def read(compiled: Path, name: str) -> elf.Object:
    return elf.read(compiled / f"{name}.o")


def facts(bench: Bench, found: elf.Object) -> dict[str, Any]:
    """Load the object; what the kernel tells that must be the same on every kernel of a release.

    Places in the code are not: Linux rewrites accesses to the context and inlines helpers.
    """
    calls = bench.calls
    loaded = objects.load(calls, found)
    names = {calls.info(fd, MapInfo).id: name for name, fd in loaded.maps.items()}
    told: dict[str, Any] = {
        name: _program(calls, fd, names) for name, fd in loaded.programs.items()
    }
    told |= {f"map {name}": _map(calls, fd) for name, fd in loaded.maps.items()}
    bench.clean()
    return told


def _program(calls: Calls, fd: int, maps: dict[int, str]) -> dict[str, Any]:
    told = calls.info(fd, ProgInfo)
    funcs = struct.iter_unpack("=2I", calls.prog_array(fd, FUNC_INFO, told))
    lines = struct.iter_unpack("=4I", calls.prog_array(fd, LINE_INFO, told))
    used = struct.iter_unpack("=I", calls.prog_array(fd, MAP_IDS, told))
    return {
        "tag": told.tag.hex(),
        "name": told.name,
        "type": told.type,
        "gpl": told.gpl_compatible & 1,
        "maps": [maps[id] for (id,) in used],
        "functions": [type for _, type in funcs],
        "lines": {(file, text, line) for _, file, text, line in lines},
        "tags": told.nr_prog_tags,
        "has_btf": bool(told.btf_id),
    }


def _map(calls: Calls, fd: int) -> tuple[Any, ...]:
    told = calls.info(fd, MapInfo)
    sizes = (told.type, told.key_size, told.value_size, told.max_entries, told.map_flags)
    return (*sizes, told.name, bool(told.btf_id), told.btf_key_type_id, told.btf_value_type_id)


NAMES = [source.name.removesuffix(".bpf.c") for source in SOURCES]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kernel", ["linux", "engine"])
def test_loads(request: pytest.FixtureRequest, kernel: str, name: str, compiled: Path) -> None:
    bench: Bench = request.getfixturevalue(kernel)
    try:
        told = facts(bench, read(compiled, name))
    except NotOffered as missing:
        pytest.skip(str(missing))
    assert all(fact["has_btf"] for key, fact in told.items() if not key.startswith("map "))


@pytest.mark.parametrize("name", NAMES)
def test_both_kernels_tell_the_same(linux: Bench, engine: Bench, name: str, compiled: Path) -> None:
    if linux.name.removeprefix("linux ") != engine.name.removeprefix("engine "):
        pytest.skip(f"the engine follows another release than {linux.name}")
    found = read(compiled, name)
    try:
        assert facts(engine, found) == facts(linux, found)
    except NotOffered as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("kernel", ["linux", "engine"])
def test_global_data(request: pytest.FixtureRequest, kernel: str, compiled: Path) -> None:
    bench: Bench = request.getfixturevalue(kernel)
    loaded = objects.load(bench.calls, read(compiled, "globals"))
    sizes = {name: bench.calls.info(fd, MapInfo).value_size for name, fd in loaded.maps.items()}
    data = bench.calls.map_lookup(loaded.maps[".data"], u32(0), sizes[".data"])
    constants = bench.calls.map_lookup(loaded.maps[".rodata"], u32(0), sizes[".rodata"])
    unset = bench.calls.map_lookup(loaded.maps[".bss"], u32(0), sizes[".bss"])
    assert (7).to_bytes(8, "little") in data
    assert b"hello" in constants
    assert unset == bytes(sizes[".bss"])
    bench.clean()


@pytest.mark.parametrize("kernel", ["linux", "engine"])
def test_slots_that_are_filled(request: pytest.FixtureRequest, kernel: str, compiled: Path) -> None:
    bench: Bench = request.getfixturevalue(kernel)
    loaded = objects.load(bench.calls, read(compiled, "tailcalls"))
    stages = loaded.maps["stages"]
    for slot, name in ((0, "stage_one"), (2, "stage_two")):
        id = bench.calls.info(loaded.programs[name], ProgInfo).id
        assert bench.calls.map_lookup(stages, u32(slot), 4) == u32(id)
    loaded = objects.load(bench.calls, read(compiled, "nested"))
    for slot, name in ((0, "first"), (2, "second")):
        id = bench.calls.info(loaded.maps[name], MapInfo).id
        assert bench.calls.map_lookup(loaded.maps["outer"], u32(slot), 4) == u32(id)
    bench.clean()


def test_functions_come_behind_the_programs_that_call_them(compiled: Path) -> None:
    programs = read(compiled, "functions").programs
    assert [len(programs[name].funcs) for name in ("both", "one")] == [4, 2]
    assert programs["one"].funcs[0][0] == 0


def test_what_is_no_object() -> None:
    with pytest.raises(FormatError):
        elf.parse(b"\x7fELF and no more")


def compile_text(compiled: Path, text: str, *options: str) -> Path:
    """An object from a line of C."""
    source = compiled / "text.c"
    source.write_text(text)
    command = ["clang", "-target", "bpf", "-O2", *options, "-c", str(source)]
    subprocess.run([*command, "-o", str(source.with_suffix(".text.o"))], check=True)
    return source.with_suffix(".text.o")


PROGRAM = '__attribute__((section("{}"), used)) int f(struct s {{ int a; }} *s) {{ return {}; }}'


@pytest.mark.parametrize(
    ("text", "options", "what"),
    [
        (PROGRAM.format("xdp", 0), [], "no BTF"),
        (PROGRAM.format("xdp", "__builtin_preserve_access_index(s->a)"), ["-g"], "CO-RE"),
    ],
    ids=["without_btf", "co_re"],
)
def test_objects_that_are_not_understood(
    compiled: Path, text: str, options: list[str], what: str
) -> None:
    with pytest.raises(FormatError, match=what):
        elf.read(compile_text(compiled, text, *options))


def test_sections_that_are_not_known(engine: Bench, compiled: Path) -> None:
    found = elf.read(compile_text(compiled, PROGRAM.format("elsewhere", 0), "-g"))
    with pytest.raises(FormatError, match="'elsewhere' is not known"):
        objects.load(engine.calls, found)
    assert engine.files.fds == [], "what was loaded before it failed is closed"
    engine.clean()
