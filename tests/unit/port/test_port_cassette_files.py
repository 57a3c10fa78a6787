"""Files that claim to be recordings: whatever is in them, the answer is a kernel or one error."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bpflens.abi.rows import FileKind, FileRow
from bpflens.errors import BpflensError, FormatError
from bpflens.model.system import System
from bpflens.port import recording
from bpflens.port.cassette import Recorder
from bpflens.port.doors import BulkPort, Doors
from bpflens.port.replay import Replay
from bpflens.snapshot.take import take
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import prog, table, u32

QUICK = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HEAD = {"format": "bpflens-cassette/1"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def good() -> list[dict[str, Any]]:
    """The lines of a recording that is sound."""
    recorder = Recorder(Kernel(prog(1, map_ids=u32(5)), table(5)).doors)
    take(System(recorder.doors))
    return [HEAD, *({"key": k, "ask": "", "answers": a} for k, a in recorder._answers.items())]


GOOD = good()


def written(path: Path, entries: list[Any]) -> str:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return str(path)


@QUICK
@example(b"")
@example(b"\n")
@example(b"\x1f\x8b")
@example(b"\xff\xfe[\0]\0")
@example(b"9" * 5000)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused_in_one_way(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(FormatError):
        Replay(str(path))


@QUICK
@given(st.data())
def test_a_compressed_file_that_is_damaged_is_refused_in_the_same_way(
    path: Path, data: st.DataObject
) -> None:
    packed = bytearray(gzip.compress(b"\n".join(json.dumps(e).encode() for e in GOOD), mtime=0))
    at = data.draw(st.integers(2, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(packed)
    with suppress(FormatError):  # a flag or the time in the header may well be another
        Replay(str(path))


@pytest.mark.parametrize("share", [0.1, 0.45, 0.99])
def test_a_file_that_is_cut_short_is_refused(path: Path, share: float) -> None:
    whole = "".join(json.dumps(entry) + "\n" for entry in GOOD).encode()
    for data in (whole, gzip.compress(whole)):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(FormatError):
            Replay(str(path))


@pytest.mark.parametrize("depth", [10, 100_000])
def test_json_of_any_depth_is_refused(path: Path, depth: int) -> None:
    path.write_text(json.dumps(HEAD) + "\n" + "[" * depth)
    with pytest.raises(FormatError):
        Replay(str(path))


def test_an_empty_file_says_that_it_is_empty(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="is empty"):
        Replay(str(path))


@pytest.mark.parametrize("head", [{"format": "bpflens-cassette/2"}, {"format": None}])
def test_a_recording_of_another_format_says_so(path: Path, head: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="another format"):
        Replay(written(path, [head]))


@pytest.mark.parametrize("head", [{}, [], 1, None, "text", {"fmt": 1}])
def test_json_that_is_no_recording_is_refused(path: Path, head: object) -> None:
    with pytest.raises(FormatError, match="no recording of bpflens"):
        Replay(written(path, [head]))


@pytest.mark.parametrize(
    "entry", [1, None, [], {}, {"key": "a"}, {"key": [], "answers": []}, {"answers": []}]
)
def test_the_offset_says_which_line_is_none(path: Path, entry: object) -> None:
    name = written(path, [HEAD, entry])
    with pytest.raises(FormatError) as caught:
        Replay(name)
    assert caught.value.offset == len(json.dumps(HEAD)) + 1
    assert isinstance(caught.value, ValueError)


def test_a_file_that_is_not_there_is_no_damaged_one(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Replay(str(path))


junk = st.one_of(
    st.none(),
    st.integers(-9, 1 << 70),
    st.text(max_size=4),
    st.lists(st.integers(-9, 1 << 40), max_size=3),
    st.just({}),
    st.lists(st.lists(st.lists(st.one_of(st.integers(-9, 99), st.just("00")), max_size=2))),
)


@QUICK
@given(st.data())
def test_a_damaged_answer_is_an_error_that_the_command_line_knows(
    path: Path, data: st.DataObject
) -> None:
    lines = json.loads(json.dumps(GOOD))
    for entry in lines[1:]:
        if not data.draw(st.booleans()):
            continue
        if data.draw(st.integers(0, 4)) == 0:
            entry["answers"] = data.draw(junk)
        elif entry["answers"]:
            answer = entry["answers"][0]
            field = data.draw(st.sampled_from(["value", "errno", "out", "fd", "times"]))
            answer[field] = data.draw(junk)
            if data.draw(st.booleans()):
                answer.pop("value", None)
    with suppress(BpflensError, OSError):
        take(System(Replay(written(path, lines)).doors))


DAMAGED: dict[str, Any] = {
    "no object": 5,
    "a key that is no text": {"key": 1, "ask": "x", "answers": []},
    "no words": {"key": "clock", "answers": []},
    "no answers": {"key": "clock", "ask": "clock"},
    "an answer that is none": {"key": "clock", "ask": "clock", "answers": [5]},
    "an answer without end": {"key": "clock", "ask": "clock", "answers": [{}]},
    "an answer with two": {"key": "k", "ask": "", "answers": [{"value": 0, "errno": 1}]},
    "an errno that there is not": {"key": "k", "ask": "", "answers": [{"errno": 1 << 70}]},
    "an errno that is no number": {"key": "k", "ask": "", "answers": [{"errno": "2"}]},
    "an errno that is a truth": {"key": "k", "ask": "", "answers": [{"errno": True}]},
    "an fd of nothing": {"key": "k", "ask": "", "answers": [{"fd": 3}]},
    "no times": {"key": "k", "ask": "", "answers": [{"value": 0, "times": 0}]},
    "a refusal that is no text": {"key": "k", "ask": "", "answers": [{"refused": None}]},
    "written nowhere": {"key": "k", "ask": "", "answers": [{"value": 0, "out": 3}]},
    "written before": {"key": "k", "ask": "", "answers": [{"value": 0, "out": [[[-1, "00"]]]}]},
    "a request again": GOOD[1],
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_line_that_is_no_answer_is_told_by_its_number(path: Path, what: str) -> None:
    lines = [*GOOD[:3], DAMAGED[what], *GOOD[3:]]
    with pytest.raises(
        FormatError, match=r"file is damaged: line 4: it|file is damaged: line 4: on"
    ):
        Replay(written(path, lines))


def changed(key: str, value: Any) -> list[dict[str, Any]]:
    """The recording with another answer to one request."""
    rest = [line for line in GOOD if line.get("key") != key]
    return [*rest, {"key": key, "ask": key, "answers": [{"value": value}]}]


ANSWERS: dict[str, tuple[str, Any, Callable[[Doors], object]]] = {
    "a link to no namespace": (
        "readlink /proc/7/ns/net", "net:[x]", lambda d: d.host.readlink("/proc/7/ns/net")
    ),
    "a thread that is no number": (
        "listdir /proc/7/task", [["x", True]], lambda d: d.host.listdir("/proc/7/task")
    ),
    "names that are no list": ("listdir /a", 5, lambda d: d.host.listdir("/a")),
    "no hex": ("read /a", "zz", lambda d: d.host.read("/a")),
    "half a row": ("bulk files", ["00" * 33, 1], lambda d: bulk(d).files(d.bpf, None)),
    "a socket without its row": (
        "bulk files",
        [FileRow(kind=FileKind.SOCKET).encode().hex(), 1],
        lambda d: bulk(d).files(d.bpf, None),
    ),
    "half a task": ("bulk tasks", ["00" * 13, 1], lambda d: bulk(d).tasks(d.bpf, None)),
}  # fmt: skip


def bulk(doors: Doors) -> BulkPort:
    assert doors.bulk is not None
    return doors.bulk


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_that_is_none_is_told_by_its_line(path: Path, what: str) -> None:
    key, value, ask = ANSWERS[what]
    lines = changed(key, value)
    with pytest.raises(FormatError, match=rf"file is damaged: line {len(lines)}: its answer is no"):
        ask(Replay(written(path, lines)).doors)


def test_what_is_large_is_kept_packed_and_comes_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = changed("read /large", "ab" * 1000)
    written(path, lines)
    whole = Replay(str(path)).doors.host.read("/large")
    monkeypatch.setattr(recording, "PLAIN", 0)
    assert Replay(str(path)).doors.host.read("/large") == whole == b"\xab" * 1000


def test_a_recording_can_come_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = gzip.compress("".join(json.dumps(line) + "\n" for line in GOOD).encode())
    with ThreadPoolExecutor() as other:
        other.submit(pipe.write_bytes, data)
        assert take(System(Replay(str(pipe)).doors)).programs
