"""The command line as a process of its own: pipes, terminals, locales, and what it imports."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bpflens import __version__
from tests.terminal import BPFLENS, UNWANTED, on_terminal


def start(
    *words: str, shell: str = "", python: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run bpflens to its end; `shell` is what follows it in a command of the shell."""
    command = [sys.executable, *python, "-m", "bpflens", *words]
    env = {k: v for k, v in os.environ.items() if k not in UNWANTED}
    if shell:
        quoted = " ".join(f"'{word}'" for word in command)
        command = ["bash", "-c", f"set -o pipefail; {quoted} {shell}"]
    return subprocess.run(
        command, capture_output=True, text=True, env=env | {"LANG": "C.UTF-8"} | environment,
        check=False,
    )  # fmt: skip


bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def test_a_recording_is_a_whole_machine(recording: str) -> None:
    found = start("--on", recording, "prog", "list", "--json")
    assert (found.returncode, found.stderr) == (0, "")
    assert [item["id"] for item in json.loads(found.stdout)["items"]] == [1, 2, 3]
    again = start("--on", recording, "prog", "list", "--json")
    assert again.stdout == found.stdout


@bash
@pytest.mark.parametrize("words", ["prog list", "map dump 5 --jsonl", "prog show --help", "", "-V"])
def test_a_reader_that_goes_away_is_no_error_to_talk_about(recording: str, words: str) -> None:
    found = start("--on", recording, *words.split(), shell="| head -1")
    assert found.stderr == ""
    assert found.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "words", ["prog list", "map dump 5 --json", "doctor", "--help", "prog list --help", "-V"]
)
def test_a_pipe_that_nobody_reads_ends_it_in_silence(recording: str, words: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        [*BPFLENS, "--on", recording, *words.split()],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if k not in UNWANTED},
    ) as run:
        os.close(writer)
        _, err = run.communicate()
    assert err == b""
    assert run.returncode == 141


@bash
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("words", ["prog list", "--help", "-V"])
def test_a_disk_that_is_full_is_one_line(recording: str, words: str) -> None:
    found = start("--on", recording, *words.split(), shell="> /dev/full")
    assert found.returncode == 1
    assert found.stderr == "bpflens: [Errno 28] No space left on device\n"


@bash
@pytest.mark.parametrize("words", ["prog list", "prog list --json", "doctor", "prog show 4711"])
def test_a_standard_output_that_is_closed_is_no_crash(recording: str, words: str) -> None:
    found = start("--on", recording, *words.split(), shell=">&-")
    assert "Traceback" not in found.stderr
    found = start("--on", recording, *words.split(), shell="2>&-")
    assert found.returncode in (0, 3)


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "xx_YY.nonsense"])
def test_every_locale_gets_text_that_it_can_read(recording: str, locale: str) -> None:
    for words in ("map list --columns id,pinned", ""):
        found = start("--on", recording, *words.split(), LANG=locale, PYTHONUTF8="0")
        assert (found.returncode, found.stderr) == (0, "")
        assert "\x1b" not in found.stdout
        if locale in ("C", "POSIX"):
            assert found.stdout.isascii()


def test_a_pipe_gets_plain_text_without_limit_of_width(recording: str) -> None:
    found = start("--on", recording, "prog", "list", COLUMNS="40", TERM="xterm")
    assert "\x1b" not in found.stdout
    assert all(title in found.stdout.splitlines()[0] for title in ("ID", "TAG", "LOADED", "MAPS"))


@pytest.mark.parametrize("columns", [40, 60, 80, 132])
@pytest.mark.parametrize("words", ["prog list", "map list"])
def test_a_terminal_gets_lines_that_fit(recording: str, words: str, columns: int) -> None:
    shown = on_terminal("--on", recording, *words.split(), columns=columns)
    plain = re.sub("\x1b\\[[0-9]*m", "", shown)
    assert "xdp_lb" in plain or "flows" in plain
    assert max(map(len, plain.splitlines())) <= columns


def test_csv_on_a_terminal_has_nothing_that_it_obeys(recording: str) -> None:
    words = ("--on", recording, "map", "list", "--columns", "id,pinned", "--csv")
    assert r"/sys/fs/bpf/\x1b[2Jflows" in on_terminal(*words)
    assert "/sys/fs/bpf/\x1b[2Jflows" in start(*words).stdout


def test_what_did_not_fit_is_said_below_the_table(recording: str) -> None:
    shown = on_terminal("--on", recording, "prog", "list", columns=60, both=True).splitlines()
    assert shown[0].startswith("\x1b[1mID")
    assert shown[-1].startswith("not shown here for want of room: ")
    assert "loaded_at" in shown[-1]


@pytest.mark.parametrize("columns", [60, 80, 132])
def test_the_overview_is_as_wide_as_the_terminal(columns: int) -> None:
    shown = on_terminal("--on", "engine:demo", columns=columns)
    assert max(map(len, shown.splitlines())) <= columns
    joined = shown.replace(",\n          ", ", ")
    assert joined == start("--on", "engine:demo").stdout


@pytest.mark.parametrize("told", ["", "0", "wide", "\u00b2"])
def test_a_terminal_that_tells_no_width_gets_whole_lines(recording: str, told: str) -> None:
    shown = on_terminal("--on", recording, "prog", "list", columns=0, COLUMNS=told)
    assert shown.splitlines()[0].split()[-1] == "MAPS\x1b[0m"
    assert "LOADED" in shown


def test_a_terminal_gets_a_bold_header_unless_it_wants_no_colour(recording: str) -> None:
    words = ("--on", recording, "prog", "list")
    assert on_terminal(*words).startswith("\x1b[1m")
    assert "\x1b" not in on_terminal(*words, NO_COLOR="1")
    assert "\x1b" not in on_terminal(*words, TERM="dumb")
    assert on_terminal(*words, NO_COLOR="").startswith("\x1b[1m")


MODULES = "import sys; before = set(sys.modules); {}; print(*(set(sys.modules) - before))"


def imported(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", MODULES.format(statement)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_told_before_anything_is_imported(option: str) -> None:
    found = imported(f"from bpflens.cli import main; main(['{option}'])")
    assert not found & {"argparse", "enum", "typing", "re", "json"}
    assert not any(name.startswith("bpflens.") and name != "bpflens.cli" for name in found)
    assert start(option).stdout == f"bpflens {__version__}\n"


HEAVY = {"dataclasses", "pathlib", "subprocess", "logging", "asyncio", "socket", "inspect"}


def test_a_list_imports_nothing_that_it_does_not_need(recording: str) -> None:
    for words in (["prog", "list"], ["prog", "list", "--json"], ["map", "list", "--csv"]):
        found = imported(f"from bpflens.cli import main; main(['--on', {recording!r}, *{words}])")
        assert not found & (HEAVY | {"ctypes.util", "unittest", "shtab"})
        other = {"prog": "map", "map": "prog"}[words[0]]
        assert f"bpflens.cli.{other}" not in found


def test_the_doors_of_linux_open_without_sockets() -> None:
    # makes the doors only: nothing is asked of the kernel
    found = imported("from bpflens import connect; connect.doors('linux')")
    assert "bpflens.linux.syscall" in found
    assert not found & HEAVY


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_one_that_the_shell_takes(shell: str) -> None:
    pytest.importorskip("shtab")
    found = start("completion", shell)
    assert (found.returncode, found.stderr) == (0, "")
    for word in ("prog", "map", "doctor", "lookup"):
        assert word in found.stdout
    judge = shutil.which(shell)
    if judge is None:
        return
    checked = subprocess.run(
        [judge, "-n"], input=found.stdout, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_help_names_the_statuses() -> None:
    found = start("--help", COLUMNS="60")
    assert "exit status: 0 ok, 1 failed or incomplete, 2 usage" in found.stdout


def test_it_runs_with_every_warning_an_error(recording: str, tmp_path: Path) -> None:
    again = tmp_path / "again"
    for words in ("prog show", f"record {again}"):
        found = start("--on", recording, *words.split(), python=("-X", "dev", "-W", "error"))
        assert found.returncode == 0
        assert all(line.startswith("recorded in ") for line in found.stderr.splitlines())
    assert again.exists()
