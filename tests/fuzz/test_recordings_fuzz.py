"""Whatever recording comes in: each command gives a value or says that it is damaged."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import zlib
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bpflens import limits
from bpflens.cli import _main, main
from bpflens.port.recording import MAX_HEAD, load
from tests.fuzz.recordings import COMMANDS, damaged

EXAMPLE = Path(__file__).parents[2] / "examples" / "busy.cassette.gz"
MEMORY = 256 << 20
SECONDS = 5
SOME, MANY = 60, 10_000
HEAD = b'{"format": "bpflens-cassette/1"}\n'


@cache
def lines() -> list[Any]:
    """Those of recordings that are sound: a busy machine's, and the engine's with its bulk rows."""
    whole = [json.loads(line) for line in gzip.decompress(EXAMPLE.read_bytes()).splitlines()]
    keys = {line.get("key") for line in whole}
    with tempfile.NamedTemporaryFile() as file, redirect_stderr(io.StringIO()):
        main(["--on", "engine:demo", "record", file.name])
        rows = [json.loads(line) for line in Path(file.name).read_bytes().splitlines()]
    bulk = ("bulk files", "bulk cgroups", "bulk tasks")
    return whole + [row for row in rows[1:] if row["key"] in bulk and row["key"] not in keys]


def random_recording(chance: random.Random) -> bytes:
    """One that is damaged."""
    return damaged(chance, lines())


def check(data: bytes, few: int = 3) -> None:
    """What commands of several kinds say of a file; `_main` lets every unforeseen error out."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for words in random.Random(zlib.crc32(data)).sample(COMMANDS, few):
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                status = _main(["--on", file.name, *words.split()])
            assert status in range(6), (words, status)
            assert status == 0 or err.getvalue() or out.getvalue(), words


def _run(seed: int, count: int) -> str:
    """What a process says that checks so many files in that much memory."""
    child = f"from tests.fuzz.test_recordings_fuzz import limited; limited({seed}, {count})"
    done = subprocess.run(
        [sys.executable, "-c", child], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def limited(seed: int, count: int) -> None:
    """In a process of its own: each file within its memory and time."""
    lines()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    chance = random.Random(seed)
    slowest = 0.0
    for number in range(count):
        data = random_recording(chance)
        start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        try:
            check(data)
        except BaseException:
            print(f"file {number} of seed {seed}", file=sys.stderr)
            raise
        took = resource.getrusage(resource.RUSAGE_SELF).ru_utime - start
        slowest = max(slowest, took)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"seed {seed}: {count} files, at most {slowest:.2f} s for three commands, {peak} MB")
    assert slowest < 3 * SECONDS


def test_a_damaged_recording_gives_a_value_or_says_so() -> None:
    _run(9, SOME)


@pytest.mark.soak
def test_thousands_of_damaged_recordings_give_values_or_say_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = int(os.environ.get("BPFLENS_SEED") or random.getrandbits(32))
    told = [_run(seed + part, MANY // 20) for part in range(20)]
    with capsys.disabled():
        print("", *told, sep="\n")


def _packed(*pieces: tuple[bytes, int]) -> bytes:
    with io.BytesIO() as whole:
        with gzip.GzipFile(fileobj=whole, mode="wb", compresslevel=1, mtime=0) as packed:
            for piece, times in pieces:
                for _ in range(times):
                    packed.write(piece)
        return whole.getvalue()


MB = 1 << 20
ANSWERS = b'{"key":"clock","ask":"","answers":['
LONG = [
    piece
    for number in range(20)
    for piece in (
        (b'{"key":"read %d","ask":"","answers":[{"value":"' % number, 1),
        (b"0" * MB, 30),
        (b'"}]}\n', 1),
    )
]
BOMBS: dict[str, tuple[list[tuple[bytes, int]], str]] = {
    "line ends": ([(b"\n" * MB, 128)], "line 1: "),
    "line ends after the head": ([(HEAD, 1), (b"\n" * MB, 128)], "line 2: "),
    "a first line without end": ([(b" " * MB, 64)], f"line 1: it has more than {MAX_HEAD} bytes"),
    "a line without end": (
        [(HEAD, 1), (b"a" * MB, 128)],
        f"line 2: {limits.RECORDING_LINE_BYTES}",
    ),
    "lists in a line": (
        [(HEAD + ANSWERS, 1), (b"[]," * (1 << 16), 100)],
        f"line 2: {limits.RECORDING_PARTS}",
    ),
    "depth": ([(HEAD, 1), (b"[" * (MB // 2), 1)], "line 2: maximum recursion depth"),
    "objects in a line": (
        [(HEAD + ANSWERS, 1), (b'{"":0},' * (1 << 15), 10), (b"0]}\n", 1)],
        "line 2: one of its answers",
    ),
    "long lines": ([(HEAD, 1), *LONG], f"line 19: {limits.RECORDING_BYTES}"),
}


@pytest.mark.parametrize(
    "bomb", [pytest.param(name, marks=[pytest.mark.soak][: name == "long lines"]) for name in BOMBS]
)
def test_a_small_file_that_unpacks_to_a_large_one_takes_little_memory(
    bomb: str, tmp_path: Path
) -> None:
    pieces, says = BOMBS[bomb]
    path = tmp_path / "bomb.gz"
    path.write_bytes(_packed(*pieces))
    words = f"ulimit -v {MEMORY >> 10}; exec {sys.executable} -m bpflens --on {path} prog list"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "damaged" in done.stderr
    assert says in done.stderr


@pytest.mark.parametrize("kilobytes", [600_000, 120_000])
def test_files_are_read_in_the_memory_that_they_need(kilobytes: int, tmp_path: Path) -> None:
    found = tmp_path / "found.o"
    found.write_bytes(b"\x7fELF" + bytes(1 << 20))
    for words, status in ((f"--on {EXAMPLE} prog list", 0), (f"btf dump file:{found}", 1)):
        command = f"ulimit -v {kilobytes}; exec {sys.executable} -m bpflens {words}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert "memory" not in done.stderr
        assert "Traceback" not in done.stderr


def test_the_example_is_sound() -> None:
    assert len(load(str(EXAMPLE))) == len(gzip.decompress(EXAMPLE.read_bytes()).splitlines()) - 1


def test_every_command_that_looks_is_tried() -> None:
    tried = {re.split(r"\s", words)[0] for words in COMMANDS}
    assert tried >= {"doctor", "orphans", "attach", "btf", "graph", "link", "prog", "map", "why"}
