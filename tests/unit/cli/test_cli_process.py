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
from bpflens.cli import app, dump, main
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
@pytest.mark.parametrize(
    "words", ["", "prog list", "map dump 5 --json", "doctor", "prog show 4711", "--help",
              "prog list --help", "--version", "-V", "map set 5 1 value=7"],
)  # fmt: skip
@pytest.mark.parametrize("how", [">&-", ">&- <&-", "1</dev/null"])
def test_a_standard_output_that_is_closed_is_an_error(recording: str, words: str, how: str) -> None:
    found = start("--on", recording, *words.split(), shell=how)
    if words in ("--version", "-V"):
        found = start(words, shell=how)
    assert (found.returncode, found.stderr) == (1, "bpflens: standard output is closed\n")


@bash
def test_what_writes_to_a_file_needs_no_standard_output(recording: str, tmp_path: Path) -> None:
    path = tmp_path / "again"
    found = start("--on", recording, "record", str(path), shell="<&- >&-")
    assert found.returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600
    found = start("--on", recording, "record", "-", shell=">&-")
    assert found.returncode == 1
    assert "Bad file descriptor" in found.stderr


@bash
@pytest.mark.parametrize(
    ("words", "status"),
    [("prog list", 0), ("prog show 4711", 3), ("--nonsense", 2), ("map list --columns x", 2)],
)
@pytest.mark.parametrize("how", ["2>&-", "<&- 2>&-"])
def test_a_standard_error_that_is_closed_loses_no_status(
    recording: str, words: str, status: int, how: str
) -> None:
    whole = start("--on", recording, *words.split())
    found = start("--on", recording, *words.split(), shell=how)
    assert (found.returncode, found.stdout) == (status, whole.stdout)


@bash
def test_a_standard_input_that_is_closed_changes_nothing(recording: str) -> None:
    whole = start("--on", recording, "prog", "list", "--json")
    found = start("--on", recording, "prog", "list", "--json", shell="<&-")
    assert (found.returncode, found.stdout, found.stderr) == (0, whole.stdout, "")


LIVE = ("", "prog list", "map list", "attach list", "link list", "btf list", "doctor", "orphans",
        "graph", "why prog 1", "prog show 1", "unpin /none", "record {}/new",
        "map dump 1")  # fmt: skip


@bash
@pytest.mark.parametrize("files", [5, 7, 8, 10])
def test_too_few_files_are_one_clear_line(tmp_path: Path, files: int) -> None:
    for words in LIVE:
        command = f"ulimit -n {files}; exec {sys.executable} -m bpflens {words.format(tmp_path)}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert re.fullmatch(
            rf"bpflens: too few files can be open at once: {files} \(ulimit -n\), .*\n", done.stderr
        )
    assert list(tmp_path.iterdir()) == []


@bash
@pytest.mark.parametrize("files", [5, 6, 8, 12])
def test_a_recording_is_looked_at_with_few_files(recording: str, files: int) -> None:
    for words in ("prog list", "--version", "--help", "map dump 5"):
        command = f"ulimit -n {files}; exec {sys.executable} -m bpflens --on {recording} {words}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), words


@bash
def test_a_low_limit_that_is_ours_to_raise_is_raised() -> None:
    command = f"ulimit -Sn 6; exec {sys.executable} -m bpflens doctor"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "too few files" not in done.stderr


def test_memory_that_runs_out_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, says in (
        (MemoryError(), "there is not enough memory"),
        (ImportError("no room"), "a part of bpflens cannot be loaded: no room"),
    ):

        def fail(words: list[str], error: Exception = error) -> int:
            raise error

        monkeypatch.setattr(app, "run", fail)
        assert main(["prog", "list"]) == 1
        assert capsys.readouterr() == ("", f"bpflens: {says}\n")


@bash
def test_a_recording_is_written_to_standard_output(recording: str) -> None:
    for place in ("-", "/dev/stdout", "/dev/fd/1"):
        found = start("--on", recording, "record", place, shell="| tee /dev/null")
        lines = [json.loads(line) for line in found.stdout.splitlines()]
        assert lines[0]["format"] == "bpflens-cassette/1"
        assert (found.returncode, found.stderr) == (0, "")
    found = start("--on", "examples/busy.cassette.gz", "record", "-", shell="| head -c 1")
    assert (found.returncode, found.stdout, found.stderr) == (141, "{", "")


def test_two_things_do_not_go_to_standard_output(recording: str) -> None:
    found = start("--on", recording, "--record", "-", "prog", "list")
    assert (found.returncode, found.stdout) == (2, "")
    assert "'record -'" in found.stderr


@bash
def test_a_recording_goes_through_a_process_substitution(recording: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    found = start("--on", recording, "prog", "list", "--record", shell=f">(cat > {copy}); wait $!")
    assert found.returncode == 0
    assert start("--on", str(copy), "prog", "list").stdout == found.stdout


def test_a_drawing_that_takes_too_long_is_given_up(
    recording: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    dot = tmp_path / "dot"
    dot.write_text("#!/bin/sh\nexec sleep 60\n")
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(dump, "SECONDS", 0.2)
    assert main(["--on", recording, "graph", "--format", "svg"]) == 5
    assert "graphviz has not drawn this in 0.2 s" in capsys.readouterr().err


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
