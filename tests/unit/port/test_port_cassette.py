"""Recordings: what was answered is answered again, to whoever asks the same."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpflens import limits
from bpflens.abi.attrs import ProgQuery
from bpflens.abi.enums import AttachType, Cmd, MapType
from bpflens.abi.infos import ProgInfo
from bpflens.errors import BpflensError, CassetteMiss, NotFound, Unsupported
from bpflens.model.parts import Part
from bpflens.model.system import System
from bpflens.port.calls import Calls
from bpflens.port.cassette import Recorder, changes, request
from bpflens.port.memory import Memory
from bpflens.port.replay import Replay
from bpflens.snapshot.elements import Describer
from bpflens.snapshot.overview import overview
from bpflens.snapshot.take import Look
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import Object, Prog, Table, prog, table, u32

QUICK = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def everything(system: System) -> list[object]:
    """All that the tool can see of a kernel, failures included, as one list of plain values."""
    seen: list[object] = []
    look = Look(system, ~Part(0))
    for ask in (lambda: list(look.programs()), lambda: list(look.maps()), lambda: overview(system)):
        try:
            seen.append(ask())
        except (BpflensError, OSError) as error:
            seen.append((type(error).__name__, getattr(error, "errno", None)))
    seen.append(look.errors)
    describer = Describer(system)
    for id in range(1, 8):
        try:
            with system.map(id) as found:
                walk = found.items()
                seen += [list(describer.records(walk)), walk.complete, walk.why]
        except (BpflensError, OSError) as error:
            seen.append((type(error).__name__, getattr(error, "errno", None)))
    system.settle()
    return seen


def recorded(kernel: Kernel, path: Path) -> list[object]:
    recorder = Recorder(kernel.doors)
    seen = everything(System(recorder.doors))
    recorder.save(str(path), {"kernel": "scripted"})
    return seen


@st.composite
def some_program(draw: st.DrawFn) -> Prog:
    made = prog(
        draw(st.integers(1, 6)),
        draw(st.sampled_from([b"", b"lb", b"fifteen_letters"])),
        draw(st.sampled_from([ProgInfo.__size__, 104, 200])),
        map_ids=u32(*draw(st.lists(st.integers(1, 6), max_size=3))),
        xlated_prog_insns=bytes(8 * draw(st.integers(0, 600))),
    )
    if draw(st.booleans()):
        made.hidden.add("xlated_prog_insns")
    return made


maps = st.builds(
    table,
    st.integers(1, 6),
    st.sampled_from([MapType.HASH, MapType.ARRAY, MapType.PROG_ARRAY, MapType.RINGBUF]),
    st.dictionaries(st.integers(0, 15).map(u32), st.binary(min_size=8, max_size=8), max_size=6),
)
failures = st.dictionaries(
    st.sampled_from([Cmd.PROG_GET_NEXT_ID, Cmd.MAP_GET_FD_BY_ID, Cmd.OBJ_GET_INFO_BY_FD,
                     Cmd.MAP_LOOKUP_ELEM, Cmd.BTF_GET_NEXT_ID]),
    st.sampled_from([errno.EPERM, errno.EINVAL, errno.ENOENT, errno.EIO]),
    max_size=2,
)  # fmt: skip


@QUICK
@given(
    st.lists(st.one_of(some_program(), maps), max_size=6, unique_by=lambda o: (o.noun, o.id)),
    failures,
)
def test_a_replay_is_the_kernel_that_was_recorded(
    tmp_path: Path, objects: list[Object], refused: dict[Cmd, int]
) -> None:
    kernel = Kernel(*objects)
    kernel.refused = refused
    path = tmp_path / "any.jsonl"
    seen = recorded(kernel, path)
    assert everything(System(Replay(str(path)).doors)) == seen
    assert kernel.fds == {}


@pytest.fixture
def kernel() -> Kernel:
    made = Kernel(
        prog(1, b"one", map_ids=u32(5)), prog(2, b"two"), table(5, elements={u32(1): b"12345678"})
    )
    made.host.pins["/sys/fs/bpf/one"] = made.objects[0]
    return made


def test_a_compressed_recording_is_the_same_and_smaller(kernel: Kernel, tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    recorder = Recorder(kernel.doors)
    seen = everything(System(recorder.doors))
    recorder.save(str(plain), {})
    recorder.save(str(packed), {})
    assert packed.read_bytes()[:2] == b"\x1f\x8b"
    assert packed.stat().st_size < plain.stat().st_size
    assert everything(System(Replay(str(packed)).doors)) == seen
    # what is written first does not depend on when
    again = tmp_path / "b.jsonl.gz"
    recorder.save(str(again), {})
    assert again.read_bytes() == packed.read_bytes()


def test_a_request_is_the_same_wherever_its_buffers_lie_and_whatever_its_fds_are_called() -> None:
    def asked(fd: int, fds: dict[int, str]) -> str:
        mem, key, value = Memory(), bytearray(u32(1)), bytearray(8)
        keep.extend((key, value))
        pointers = b"".join(mem.pin(b).to_bytes(8, "little") for b in (key, value))
        attr = bytearray(u32(fd, 0) + pointers + bytes(8))
        return request(Cmd.MAP_LOOKUP_ELEM, mem.pin(attr), 32, mem, fds).key

    keep: list[bytearray] = []  # so that no two of the buffers can have one address
    assert asked(3, {3: "map 5"}) == asked(77, {77: "map 5", 3: "map 6"})
    assert asked(3, {3: "map 5"}) != asked(3, {3: "map 6"})
    assert asked(3, {}) != asked(4, {})


def test_the_index_of_a_device_is_no_fd() -> None:
    def asked(type: AttachType, number: int, fds: dict[int, str]) -> str:
        mem = Memory()
        attr = bytearray(ProgQuery(target_fd=number, attach_type=type).encode())
        return request(Cmd.PROG_QUERY, mem.pin(attr), len(attr), mem, fds).key

    tcx, cgroup = AttachType.TCX_INGRESS, AttachType.CGROUP_DEVICE
    assert asked(tcx, 3, {3: "path /proc"}) == asked(tcx, 3, {}) != asked(tcx, 4, {4: "path /proc"})
    assert asked(cgroup, 3, {3: "path /a"}) == asked(cgroup, 4, {4: "path /a"})


def test_a_request_with_other_content_or_another_size_is_another_one() -> None:
    def asked(key: bytes, size: int = 24, cmd: Cmd = Cmd.MAP_GET_NEXT_KEY) -> str:
        mem, buffer = Memory(), bytearray(key)
        attr = bytearray(u32(3, 0) + mem.pin(buffer).to_bytes(8, "little") + bytes(16))
        return request(cmd, mem.pin(attr), size, mem, {}).key

    keys = [asked(u32(1)), asked(u32(2)), asked(u32(1), 16), asked(u32(1) + b"\0")]
    keys.append(asked(u32(1), cmd=Cmd.MAP_DELETE_ELEM))
    assert len(set(keys)) == 5


def test_fds_of_a_replay_may_differ_from_those_of_the_recording(
    kernel: Kernel, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    recorded(kernel, path)
    system = System(Replay(str(path)).doors)
    # opened the other way round, and both at once
    with system.map(5) as map, system.program(2) as two, system.program(1) as one:
        assert (one.name, two.name, map.id) == ("one", "two", 5)
        assert len({one.fd, two.fd, map.fd}) == 3
        assert [element.values for element in map.items()] == [(b"12345678",)]


def test_an_id_that_the_recording_does_not_hold_was_not_there(
    kernel: Kernel, tmp_path: Path
) -> None:
    path = tmp_path / "c.jsonl"
    recorded(kernel, path)
    system = System(Replay(str(path)).doors)
    for open_it in (system.program, system.map):
        with pytest.raises(NotFound):
            open_it(4711)
    with pytest.raises(NotFound):
        system.pinned("/sys/fs/bpf/other")
    with pytest.raises(OSError, match="does not hold it"):
        system.host.read("/proc/none")


def test_another_question_that_was_not_asked_is_a_miss(kernel: Kernel, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    recorder = Recorder(kernel.doors)
    with System(recorder.doors).map(5) as map:
        map.basic()
    recorder.save(str(path), {})
    with System(Replay(str(path)).doors).map(5) as map:
        with pytest.raises(CassetteMiss, match=r"MAP_LOOKUP_ELEM.*key=01000000"):
            map.lookup(u32(1))
        assert CassetteMiss.exit_code == 1


def test_answers_to_one_question_come_in_the_order_of_the_recording(tmp_path: Path) -> None:
    counted = prog(1)
    kernel = Kernel(counted)
    recorder = Recorder(kernel.doors)
    path = tmp_path / "c.jsonl"

    def counts(system: System, change: bool) -> list[int]:
        seen = []
        with system.program(1) as program:
            for count in (4, 4, 4, 9, 4):
                counted.info.run_cnt = count if change else 0
                seen.append(program.basic(fresh=True).run_cnt)
        return seen

    assert counts(System(recorder.doors), True) == [4, 4, 4, 9, 4]
    recorder.save(str(path), {})
    replayed = System(Replay(str(path)).doors)
    assert counts(replayed, False) == [4, 4, 4, 9, 4]
    # and then the last one stays
    assert counts(replayed, False) == [4, 4, 4, 4, 4]


def test_a_failure_is_replayed_with_its_errno(kernel: Kernel, tmp_path: Path) -> None:
    kernel.closed_objects[2] = errno.EPERM
    kernel.host.files["/proc/sys/kernel/bpf_stats_enabled"] = errno.EACCES
    path = tmp_path / "c.jsonl"
    recorded(kernel, path)
    replay = Replay(str(path)).doors
    with pytest.raises(OSError, match="not permitted") as caught:
        Calls(replay.bpf).fd_by_id(Cmd.PROG_GET_FD_BY_ID, 2)
    assert caught.value.errno == errno.EPERM
    with pytest.raises(PermissionError):
        replay.host.read("/proc/sys/kernel/bpf_stats_enabled")


def test_closing_what_is_not_open_fails_as_it_does_on_linux(kernel: Kernel, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    recorded(kernel, path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Replay(str(path)).doors.bpf.close(3)


def test_a_recording_says_in_words_what_was_asked(kernel: Kernel, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    recorded(kernel, path)
    head, *rest = [json.loads(line) for line in path.read_text().splitlines()]
    assert head == {"format": "bpflens-cassette/1", "kernel": "scripted"}
    words = [entry["ask"] for entry in rest]
    assert "bpf(PROG_GET_FD_BY_ID, {prog_id=1}, 4)" in words
    assert len({entry["key"] for entry in rest}) == len(rest)


def test_a_recording_that_cannot_be_written_whole_does_not_replace_a_good_one(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text("good")

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        Recorder(kernel.doors).save(str(path), {})
    assert caught.value.filename == str(path)
    assert path.read_text() == "good"
    assert list(tmp_path.iterdir()) == [path]


def test_a_call_that_was_interrupted_is_not_kept(kernel: Kernel, tmp_path: Path) -> None:
    def interrupt(cmd: Cmd) -> None:
        raise KeyboardInterrupt

    kernel.before = interrupt
    recorder = Recorder(kernel.doors)
    with pytest.raises(KeyboardInterrupt):
        Calls(recorder.doors.bpf).fd_by_id(Cmd.PROG_GET_FD_BY_ID, 2)
    path = tmp_path / "c.jsonl"
    recorder.save(str(path), {})
    assert path.read_text().count("\n") == 1
    Replay(str(path))


def test_more_than_a_recording_holds_is_refused_before_it_is_written(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.jsonl"
    recorder = Recorder(kernel.doors)
    everything(System(recorder.doors))
    monkeypatch.setattr(limits.RECORDING_BYTES, "value", 1000)
    with pytest.raises(Unsupported, match="more than a recording holds"):
        recorder.save(str(path), {})
    assert not path.exists()


def test_only_words_that_changed_are_kept() -> None:
    before = bytes(range(32))
    after = bytearray(before)
    after[9] = after[17] = 0xFF
    assert changes(before, after) == [(8, after[8:24].hex())]
    assert changes(before, bytearray(before)) == []
    assert changes(b"abc", bytearray(b"abd")) == [(0, b"abd".hex())]


@given(st.binary(max_size=6000), st.data())
def test_changes_make_the_new_bytes_of_the_old(before: bytes, data: st.DataObject) -> None:
    after = bytearray(before)
    if before:
        for at in data.draw(st.lists(st.integers(0, len(before) - 1), max_size=5)):
            after[at] ^= data.draw(st.integers(0, 255))
    rebuilt = bytearray(before)
    for offset, content in changes(before, after):
        piece = bytes.fromhex(content)
        rebuilt[offset : offset + len(piece)] = piece
    assert rebuilt == after


def test_a_value_of_an_element_is_no_address(tmp_path: Path) -> None:
    """Values are the machine's own bytes: whatever they are, they come back the same."""
    values = {u32(n): bytes([n]) * 8 for n in range(4)}
    kernel = Kernel(table(5, MapType.ARRAY, values, max_entries=4))
    assert isinstance(kernel.objects[0], Table)
    path = tmp_path / "c.jsonl"
    recorded(kernel, path)
    with System(Replay(str(path)).doors).map(5) as map:
        assert {e.key: e.values[0] for e in map.items()} == values
