"""The house itself: exports, layers of start-up, sizes of files, documents that are true."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bpflens
from bpflens.cli.app import COMMANDS, bind_sort, parser
from bpflens.present.columns import NOUNS
from bpflens.present.documents import encode
from bpflens.rawtext import decoded
from tests.terminal import on_terminal

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECORDING = "examples/busy.cassette.gz"

LONGEST = 400
LONG_FOR_A_REASON = {
    "abi/attrs.py": "generated",
    "abi/infos.py": "generated",
    "testing/conformance/info.py": "one subject: every rule of one command",
}
"""Files of more than 400 lines, and why."""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python in the repository."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_exported_name_is_there_and_no_other_has_a_home() -> None:
    for name in bpflens.__all__:
        assert getattr(bpflens, name) is not None
    assert set(bpflens._HOMES) | {"__version__"} == set(bpflens.__all__)
    with pytest.raises(AttributeError):
        bpflens.nothing_of_that_name  # noqa: B018


def test_the_version_needs_next_to_nothing() -> None:
    bare = python("-c", "import sys; print(*sys.modules)").stdout.split()
    code = "import sys; from bpflens.cli import main; main(['--version']); print(*sys.modules)"
    version, modules = python("-c", code).stdout.splitlines()
    assert version == f"bpflens {bpflens.__version__}"
    extra = set(modules.split()) - set(bare)
    assert extra <= {"bpflens", "bpflens.cli", "__future__"}, extra


def test_a_list_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bpflens.cli import main; "
        f"main(['--on', '{RECORDING}', 'prog', 'list', '--json']); "
        "print(*sys.modules, file=sys.stderr)"
    )
    modules = set(python("-c", code).stderr.split())
    heavy = {"dataclasses", "inspect", "logging", "pathlib", "subprocess", "asyncio", "socket"}
    assert not modules & heavy


WRITING = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_TMPFILE"}
CHANGING = {"replace", "rename", "renames", "link", "symlink", "mkfifo", "mknod", "mkdir",
            "makedirs", "truncate", "ftruncate", "sendfile", "copy_file_range"}  # fmt: skip
WRITERS = {"tempfile", "shutil", "gzip", "bz2", "lzma", "zipfile", "tarfile", "fileinput"}
"""Modules that can open for writing, and what is called of them that does not."""
HARMLESS = {("shutil", "which"), ("gzip", "GzipFile"), ("gzip", "BadGzipFile"),
            ("gzip", "compress")}  # fmt: skip


def writes(path: Path) -> list[str]:
    """Where a module opens a file for writing, or makes one, other than /dev/null."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    named = [node for node in nodes if isinstance(node, ast.Attribute)]
    words = [ast.unparse(node) for node in named]
    found = [word for word in words if _of_writers(word)]
    flags = set(re.findall(r"\bO_[A-Z]+", path.read_text()))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    return found + [ast.unparse(call) for call in calls if _makes_a_file(call, flags)]


def _of_writers(word: str) -> bool:
    module, _, name = word.partition(".")
    return module in WRITERS and (module, name) not in HARMLESS


def _makes_a_file(call: ast.Call, known: set[str]) -> bool:
    """`known`: the flags that the module names, for a call that names none itself."""
    called = ast.unparse(call.func)
    given = {word.arg: word.value for word in call.keywords}
    if called == "os.open":
        flags = set(re.findall(r"\bO_[A-Z]+", ast.unparse(call.args[1]))) or known
        null = ast.unparse(call.args[0]) == "os.devnull"
        return not null and (not flags or bool(flags & WRITING))
    if called in ("open", "io.open", "io.FileIO", "os.fdopen", "gzip.GzipFile"):
        mode = given.get("mode") or (call.args[1] if len(call.args) > 1 else None)
        reads = mode is None or (isinstance(mode, ast.Constant) and mode.value in ("r", "rb"))
        return not reads and "closefd" not in given  # that is of an fd, which is open
    module, _, name = called.rpartition(".")
    return name in ("write_text", "write_bytes", "touch") or (module == "os" and name in CHANGING)


def test_one_module_writes_every_file(tmp_path: Path) -> None:
    # the tests' own scaffolding (namespaces, cgroups, uid_map) is no part of what looks
    looking = [path for path in SOURCES if "testing" not in path.relative_to(ROOT / "src").parts]
    places = {path.stem: writes(path) for path in looking}
    assert places.pop("privatefile")
    assert {stem: found for stem, found in places.items() if found} == {}
    bad = tmp_path / "bad.py"
    for line in ("open(p, 'w')", "open(p, mode)", "os.open(p, how)", "os.rename(a, b)",
                 "os.open(p, os.O_RDONLY | os.O_CREAT)", "p.write_text('')",
                 "gzip.open(p)", "tempfile.mkstemp()"):  # fmt: skip
        bad.write_text(line)
        assert writes(bad), line


def test_no_file_is_long_without_a_reason() -> None:
    long = {
        str(path.relative_to(ROOT / "src" / "bpflens")): lines
        for path in SOURCES
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert {name: lines for name, lines in long.items() if name not in LONG_FOR_A_REASON} == {}


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_readme_names_only_commands_and_options_that_exist() -> None:
    top = parser()
    for line in re.findall(r"^\$ (?:sudo )?bpflens ?(.*)$", (ROOT / "README.md").read_text(), re.M):
        words = shlex.split(line, comments=True)
        ends = [at for at, word in enumerate(words) if word in ("|", ">")]
        arguments = words[: ends[0]] if ends else words
        assert top.parse_args(bind_sort(arguments)) is not None, line


def test_the_picture_in_the_readme_is_what_a_terminal_shows() -> None:
    text = (ROOT / "README.md").read_text()
    (picture,) = re.findall(r"```console\n(.*?)```", text[: text.index("\n## ")], re.S)
    for each in picture.split("$ bpflens ")[1:]:
        words, _, told = each.partition("\n")
        shown = on_terminal("--on", str(ROOT / RECORDING), *words.split(), NO_COLOR="1")
        assert shown == told, words


def test_the_python_of_the_readme_runs_on_the_recording(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    blocks = [block for block in blocks if "def test_" not in block]
    assert len(blocks) == 2
    for block in blocks:
        on = f"on={str(ROOT / RECORDING)!r}"
        code = block.replace(".look()", f".look({on})").replace(".open()", f".open({on})")
        exec(code, {})
    assert "xdp_balance" in capsys.readouterr().out


def test_csv_is_undone_as_its_page_says() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/documents.md").read_text(), re.S)
    made: dict[str, Any] = {}
    exec(block, made)
    cells = ("'=1", "''=1", "'", "''", "'a'", "", "=1", "-2")
    assert [*map(made["text"], cells)] == ["=1", "'=1", *cells[2:]]


def test_the_json_of_its_page_is_what_the_rule_gives() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/documents.md").read_text(), re.S)
    told = {
        "name": decoded(b"lb\xff"),
        "pinned": ["/sys/fs/bpf/a", decoded(b"/sys/fs/bpf/\xff")],
        "value": {decoded(b"n\xff"): 1, decoded(b"n\xfe"): 2},
    }
    assert json.loads(encode(told)) == json.loads(block)


LOSSY = {
    "port/mountinfo.py": "types of file systems, which are compared",
    "port/spell.py": "the trace, which is for people",
    "rawtext.py": "what is shown of text",
    "snapshot/access.py": "sysctls, which the kernel writes",
}
"""Files in which text may lose its bytes, and why."""


def test_no_text_from_outside_loses_its_bytes() -> None:
    lossy = re.compile(r"""decode\([^)]*["'](replace|ignore|backslashreplace)["']""")
    found = {
        str(path.relative_to(ROOT / "src" / "bpflens"))
        for path in SOURCES
        if lossy.search(path.read_text())
    }
    assert {name for name in found if not name.startswith(("engine/", "testing/"))} == set(LOSSY)


def test_the_python_of_the_engine_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs/engine.md").read_text(), re.S):
        exec(block, {})
    assert capsys.readouterr().out == "[]\n"


def test_the_test_in_the_readme_passes(tmp_path: Path) -> None:
    (block,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
        if "def test_" in block
    ]
    # Handles that are left to be closed by themselves warn; the README is about something else.
    (tmp_path / "test_readme.py").write_text(block)
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null",
                  str(tmp_path / "test_readme.py"))  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_every_column_is_in_the_help() -> None:
    for noun in ("prog", "map"):
        text = python("-m", "bpflens", noun, "list", "--help").stdout
        for column in NOUNS[f"{noun}s" if noun == "map" else "programs"].columns:
            assert column.key in text


def test_every_command_has_a_module_and_a_line_of_help() -> None:
    text = python("-m", "bpflens", "--help").stdout
    for name, words in COMMANDS.items():
        assert name in text
        assert words.split(":")[0].split(",")[0] in " ".join(text.split())


def test_the_changelog_knows_the_version_or_says_unreleased() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {bpflens.__version__}" in text or "## Unreleased" in text


def test_make_alone_prints_its_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("run", "test", "check", "bench"):
        assert f"make {target}" in done.stdout
