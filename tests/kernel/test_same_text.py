"""The same programs and maps on the engine and on the live kernel: every command says the same."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("elftools", reason="reads ELF with pyelftools: the extra `testing`")

from bpflens import connect
from bpflens.abi.infos import MapInfo, ProgInfo
from bpflens.cli.app import run
from bpflens.engine.engine import Engine
from bpflens.model.system import System
from bpflens.port.calls import XLATED, Calls
from bpflens.port.doors import Doors
from bpflens.testing import elf, objects
from bpflens.testing.bench import NotOffered

SOURCES = sorted((Path(__file__).parents[1] / "data" / "progs").glob("*.bpf.c"))
VMLINUX = Path("/sys/kernel/btf/vmlinux")
FIRST_IDS = range(70_000_000, 80_000_000, 1_000_000)
"""Of the engine's objects of each kind: numbers that stand for nothing else in a text."""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang"),
    pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel tells no types"),
    pytest.mark.skipif(not os.uname().release.startswith("6.18."),
                       reason="the engine follows Linux 6.18"),
]  # fmt: skip

OF_MAPS = (
    ("dump",), ("dump", "--raw", "--json"), ("dump", "--csv"), ("get", "0"), ("lookup", "9"),
    ("set", "0", "value=1", "--dry-run"), ("set", "0", "value=1"), ("set", "0", "hex:01"),
    ("set", "1", "value.nothing=1"), ("set", "99999", "value=1"), ("set", "2", "7", "--create"),
    ("set", "0", "prog:1"), ("push", "1"), ("pop",), ("delete", "0"), ("delete", "3"),
    ("dump", "--json", "--sort", "key"),  # each hash has an order of its own
)  # fmt: skip
OF_PROGRAMS = (("dump", "--notes", "--linum"), ("dump", "--json"), ("explain",))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name.split(".")[0])
def test_every_command_says_the_same(
    source: Path,
    system: System,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    built = tmp_path / "built.o"
    options = ["-target", "bpf", "-O2", "-g", "-nostdinc"]
    subprocess.run(["clang", *options, "-c", source, "-o", built], check=True)
    engine = Engine(policy="linux", cpus=system.cpus, vmlinux=VMLINUX.read_bytes())
    for first, ids in zip(FIRST_IDS, engine.ids.values(), strict=False):
        ids.last = first
    told = []
    for doors in (engine.task().doors(), system.doors):
        monkeypatch.setattr(connect, "doors", lambda on="linux", doors=doors: doors)
        try:
            told.append(dict(_story(doors, elf.read(built), capsys)))
        except NotOffered as missing:
            pytest.skip(str(missing))
    ours, kernels = told
    assert ours.keys() == kernels.keys()
    # Accesses to the context, and helpers that Linux inlines: docs/engine.md, "Rewriting".
    rewritten = {name for kind, name, *_ in kernels if kind == "code"
                 if ours[kind, name] != kernels[kind, name]}  # fmt: skip
    for command, said in kernels.items():
        if command[0] in ("map", "btf") or command[1] not in rewritten:
            assert ours[command] == said, command


def _story(
    doors: Doors, found: elf.Object, capsys: pytest.CaptureFixture[str]
) -> Iterator[tuple[tuple[str, ...], object]]:
    """Each command, and what came of it, with names in place of IDs."""
    calls = Calls(doors.bpf)
    loaded = objects.load(calls, found)
    try:
        maps = {name: calls.info(fd, MapInfo).id for name, fd in loaded.maps.items()}
        programs = {name: calls.info(fd, ProgInfo) for name, fd in loaded.programs.items()}
        names = {id: f"<{name}>" for name, id in maps.items()}
        names |= {told.id: f"<{name}>" for name, told in programs.items()}

        def said(*words: str) -> list[str]:
            status = run([*words])
            out, err = capsys.readouterr()
            return [str(status), *_named(out + err, names).splitlines()]

        for name, told in programs.items():
            fd = loaded.programs[name]
            yield ("code", name), _named(calls.prog_array(fd, XLATED, told).hex(), names)
            for verb, *options in OF_PROGRAMS:
                yield ("prog", name, verb, *options), said("prog", verb, str(told.id), *options)
        for form in ("raw", "c"):
            btf = f"prog:{next(iter(programs.values())).id}"
            yield ("btf", form), said("btf", "dump", btf, "--format", form)
        for name, id in maps.items():
            for at, (verb, *words) in enumerate(OF_MAPS):
                yield ("map", name, str(at), verb, *words), said("map", verb, str(id), *words)
    finally:
        objects.unload(calls, loaded)


def _named(text: str, names: dict[int, str]) -> str:
    """The text with names in place of IDs, and without what the engine has none of: the distance
    to a helper's code, and the symbol of a subprogram's (docs/engine.md, "A JIT").
    """
    for id, name in names.items():
        text = text.replace(struct.pack("=I", id).hex(), name)
        text = re.sub(rf"\b{id}\b", name, text)
    text = re.sub(r"(call \w+)#-?\d+|(call pc[+-]\d+)#\w+", r"\1\2", text)
    return re.sub(r"85000000[0-9a-f]{8}", "85000000", text)
