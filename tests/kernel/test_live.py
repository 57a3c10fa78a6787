"""The live kernel, from the command line: what a user would try first, and what could go wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpflens import connect
from bpflens.abi.attrs import MapCreate
from bpflens.abi.enums import Cmd, MapType
from bpflens.abi.infos import MapInfo, ProgInfo
from bpflens.connect import doors
from bpflens.linux.syscall import LinuxBpf
from bpflens.model.parts import Part
from bpflens.model.system import System
from bpflens.port.calls import Calls
from bpflens.port.faults import Fault, FaultyBpf
from bpflens.snapshot.records import MapRecord, ProgramRecord
from bpflens.snapshot.take import LIST_PARTS, Look
from bpflens.testing.builders import program, u32
from tests.kernel.conftest import NOBODY, Ran, open_fds

Hold = Callable[[int], int]
Run = Callable[..., Ran]

LISTINGS = 1000
LOADERS = 8


def id_of_program(system: System, fd: int) -> int:
    return system.calls.info(fd, ProgInfo).id


def id_of_map(system: System, fd: int) -> int:
    return system.calls.info(fd, MapInfo).id


def small_map(name: bytes = b"") -> MapCreate:
    return MapCreate(map_type=MapType.HASH, key_size=4, value_size=4, max_entries=4, map_name=name)


# --- as a user would


def test_a_program_is_found_by_id_name_tag_and_pin(
    system: System, held: Hold, run: Run, bpffs: Path
) -> None:
    fd = held(program(system.calls, name="bpfl_by_name"))
    id = id_of_program(system, fd)
    tag = system.calls.info(fd, ProgInfo).tag.hex()
    system.calls.obj_pin(fd, str(bpffs / "here"))
    for selector in (str(id), f"id:{id}", "name:bpfl_by_name", f"pin:{bpffs}/here", f"tag:{tag}"):
        done = run("prog", "show", selector, "--json")
        items = json.loads(done.stdout)["items"]
        assert done.status == 0, done.stderr
        (item,) = [item for item in items if item["id"] == id]
        assert item["pinned"] == [str(bpffs / "here")]


def test_a_map_is_found_by_its_program(system: System, held: Hold, run: Run) -> None:
    map_fd = held(system.calls.map_create(small_map()))
    prog_fd = held(program(system.calls, "r1 = map_fd m; r0 = 0; exit", m=map_fd))
    done = run("map", "show", f"prog:{id_of_program(system, prog_fd)}", "--json")
    assert [item["id"] for item in json.loads(done.stdout)["items"]] == [id_of_map(system, map_fd)]


def test_what_is_not_there_ends_with_3_and_what_makes_no_sense_with_2(run: Run) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    missing = run("prog", "show", "999999")
    assert (missing.status, missing.stdout) == (3, "")
    assert missing.stderr == "bpflens: there is no program with ID 999999\n"
    wrong = run("prog", "show", "id:abc")
    assert (wrong.status, wrong.stdout) == (2, "")
    assert "'abc' is no ID" in wrong.stderr


def test_one_element_is_looked_up_by_number_and_by_bytes(
    system: System, held: Hold, run: Run
) -> None:
    fd = held(system.calls.map_create(small_map()))
    system.calls.map_update(fd, u32(258), u32(7))
    id = str(id_of_map(system, fd))
    for key in ("258", "0x102", "hex:02010000", "hex:02 01 00 00"):
        done = run("map", "lookup", id, key, "--json")
        assert json.loads(done.stdout)["items"] == [
            {"key": "02010000", "value": "07000000", "missing": {}}
        ]
    assert run("map", "lookup", id, "1").status == 3
    assert run("map", "lookup", id, "hex:01").status == 2


def test_a_slot_shows_the_program_that_it_names(system: System, held: Hold, run: Run) -> None:
    prog_fd = held(program(system.calls, name="bpfl_slot"))
    attr = MapCreate(map_type=MapType.PROG_ARRAY, key_size=4, value_size=4, max_entries=4)
    fd = held(system.calls.map_create(attr))
    system.calls.map_update(fd, u32(2), u32(prog_fd))
    done = run("map", "dump", str(id_of_map(system, fd)), "--json")
    (item,) = json.loads(done.stdout)["items"]
    assert item["program"]["id"] == id_of_program(system, prog_fd)
    assert item["program"]["name"] == "bpfl_slot"


def test_a_map_whose_elements_cannot_be_read_says_why(system: System, held: Hold, run: Run) -> None:
    attr = MapCreate(map_type=MapType.RINGBUF, max_entries=4096)
    fd = held(system.calls.map_create(attr))
    done = run("map", "dump", str(id_of_map(system, fd)))
    assert done.status == 5
    assert "the elements of ringbuf maps cannot be read: a ring buffer has" in done.stderr


def test_an_escape_sequence_in_a_pin_does_not_reach_the_terminal(
    system: System, held: Hold, run: Run, bpffs: Path
) -> None:
    fd = held(program(system.calls, name="bpfl_escape"))
    path = bpffs / "\x1b[31mred\x07\u202e"
    system.calls.obj_pin(fd, str(path))
    # CSV that goes to no terminal is for programs, and says what JSON says (docs/documents.md).
    for form in ([], ["--json"], ["--jsonl"]):
        done = run("prog", "show", "name:bpfl_escape", *form)
        assert done.status == 0
        assert "red" in done.stdout
        assert not set("\x1b\x07\u202e") & set(done.stdout)
    traced = run("prog", "show", f"pin:{path}", "--trace")
    assert not set("\x1b\x07\u202e") & set(traced.stdout + traced.stderr)


# --- another user


def test_another_user_is_told_what_is_missing_and_what_to_do(run: Run) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    for command in ([], ["prog", "list"], ["map", "list"], ["prog", "show", "1"]):
        done = run(*command, uid=NOBODY)
        assert done.status == 4
        assert done.stdout == ""
        assert "CAP_SYS_ADMIN" in done.stderr
        assert "sudo" in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 3


def test_doctor_is_right_for_another_user_and_for_root(run: Run) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    root = {item["check"]: item for item in json.loads(run("doctor", "--json").stdout)["items"]}
    done = run("doctor", "--json", uid=NOBODY)
    nobody = {item["check"]: item for item in json.loads(done.stdout)["items"]}
    assert done.status == 0
    assert f"uid {NOBODY}" in nobody["caller"]["found"]
    for check in ("list programs", "list maps", "list links", "list BTF objects"):
        assert root[check]["ok"] is True
        assert nobody[check]["ok"] is False
        assert "CAP_SYS_ADMIN" in nobody[check]["remedy"]
    assert nobody["instructions and machine code"]["ok"] is False
    assert nobody["memory and frozen state"]["ok"] is True


# --- no more than was asked


def test_no_part_costs_a_call_that_nobody_asked_for(system: System, held: Hold) -> None:
    map_fd = held(system.calls.map_create(small_map()))
    fd = held(program(system.calls, "r1 = map_fd m; r0 = 0; exit", m=map_fd))

    def calls_for(parts: Part) -> Counter[int]:
        live = doors()
        counting = FaultyBpf(live.bpf, [])
        with System(live._replace(bpf=counting)) as counted:
            with counted.program(id_of_program(system, fd)) as opened:
                opened.info(parts)
            return counting.calls

    base = Counter({Cmd.PROG_GET_FD_BY_ID: 1, Cmd.OBJ_GET_INFO_BY_FD: 1})
    assert calls_for(Part.BASIC) == base
    assert calls_for(Part.STATS) == base
    assert calls_for(Part.BASIC | Part.MEMORY) == base
    assert calls_for(Part.MAPS) == base + Counter({Cmd.OBJ_GET_INFO_BY_FD: 1})
    assert calls_for(Part.INSNS) == base + Counter({Cmd.OBJ_GET_INFO_BY_FD: 1})
    assert calls_for(Part.JITED) == base + Counter({Cmd.OBJ_GET_INFO_BY_FD: 3})


def test_a_program_that_the_kernel_refuses_to_open_does_not_end_the_list(
    system: System, held: Hold
) -> None:
    ids = [id_of_program(system, held(program(system.calls))) for _ in range(3)]
    live = doors()
    faulty = FaultyBpf(live.bpf, [Fault(Cmd.PROG_GET_FD_BY_ID, errno.EPERM, nth=1)])
    with System(live._replace(bpf=faulty)) as broken:
        look = Look(broken, LIST_PARTS)
        seen = {record.id for record in look.programs()}
    assert len(look.errors) == 1
    assert len(seen & set(ids)) >= 2


# --- a busy machine


def load_and_unload() -> None:
    """What each of the loaders does, as fast as it can."""
    calls = Calls(LinuxBpf())
    while True:
        map_fd = calls.map_create(small_map(b"bpfl_churn"))
        prog_fd = program(calls, "r1 = map_fd m; r0 = 0; exit", name="bpfl_churn", m=map_fd)
        calls.close(prog_fd)
        calls.close(map_fd)


@contextmanager
def loaders(count: int) -> Iterator[None]:
    """Processes that load and unload programs and maps until the block ends."""
    children = []
    try:
        for _ in range(count):
            child = os.fork()
            if child == 0:
                try:
                    load_and_unload()
                finally:
                    os._exit(1)
            children.append(child)
        yield
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_a_thousand_lists_while_objects_come_and_go(system: System, held: Hold) -> None:
    programs = {id_of_program(system, held(program(system.calls))) for _ in range(10)}
    maps = {id_of_map(system, held(system.calls.map_create(small_map()))) for _ in range(10)}
    list(Look(system).programs())  # what is opened once (proc files) is open now
    list(Look(system).maps())
    system.settle()
    before = open_fds()
    with loaders(LOADERS):
        for turn in range(LISTINGS):
            look = Look(system)
            records: Iterable[ProgramRecord | MapRecord]
            records, stable = (look.programs(), programs) if turn % 2 else (look.maps(), maps)
            seen = [record.id for record in records]
            assert stable <= set(seen)
            assert seen == sorted(set(seen))
            assert look.errors == []
    system.settle()
    after = {line for line in open_fds() if "/fdinfo/" not in line}
    assert after == {line for line in before if "/fdinfo/" not in line}


def test_a_look_leaves_no_fd_open(system: System, held: Hold) -> None:
    held(program(system.calls))
    before = open_fds()
    for _ in range(3):
        connect.look()
    assert open_fds() == before


def test_a_hash_that_is_written_all_the_while_is_walked_to_an_end(
    system: System, held: Hold
) -> None:
    attr = MapCreate(map_type=MapType.HASH, key_size=4, value_size=4, max_entries=4096)
    fd = held(system.calls.map_create(attr))
    stable = [u32(n) for n in range(512)]
    for key in stable:
        system.calls.map_update(fd, key, key)
    writer = os.fork()
    if writer == 0:
        try:
            calls = Calls(LinuxBpf())
            while True:
                for n in range(10_000, 11_000):
                    calls.map_update(fd, u32(n), u32(n))
                for n in range(10_000, 11_000):
                    calls.map_delete(fd, u32(n))
        finally:
            os._exit(1)
    try:
        for faults in ([], [Fault(Cmd.MAP_LOOKUP_BATCH, errno.EINVAL)]):  # batch, then by key
            live = doors()
            with System(live._replace(bpf=FaultyBpf(live.bpf, faults))) as looking:
                for _ in range(20):
                    with looking.map(id_of_map(system, fd)) as opened:
                        walk = opened.items()
                        keys = [element.key for element in walk]
                        assert len(keys) == len(set(keys))
                        if walk.complete:
                            assert set(stable) <= set(keys)
                        else:
                            assert walk.why
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)


# --- a recording


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users can read; pytest's are closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


def test_a_recording_gives_the_same_bytes_to_a_user_without_privilege(
    system: System, held: Hold, run: Run, bpffs: Path, public: Path
) -> None:
    map_fd = held(system.calls.map_create(small_map(b"bpfl_rec")))
    system.calls.map_update(map_fd, u32(1), u32(2))
    prog_fd = held(program(system.calls, "r1 = map_fd m; r0 = 0; exit", m=map_fd, name="bpfl_rec"))
    system.calls.obj_pin(prog_fd, str(bpffs / "rec"))
    prog, map = id_of_program(system, prog_fd), id_of_map(system, map_fd)
    tape = public / "machine.cassette.gz"
    commands = (
        ["prog", "show", str(prog), "--json"],
        ["prog", "show", str(prog), "--json", "--parts", "all"],
        ["prog", "show", f"pin:{bpffs}/rec"],
        ["map", "show", str(map), "--csv"],
        ["map", "show", f"prog:{prog}", "--jsonl"],
        ["map", "dump", str(map), "--json"],
        ["map", "lookup", str(map), "1"],
        ["prog", "show", "999999"],
    )
    for command in commands:
        live = run(*command, "--record", str(tape))
        tape.chmod(0o644)
        assert run("--on", str(tape), *command, uid=NOBODY) == live
    assert run("record", str(tape)).status in (0, 1)
    tape.chmod(0o644)
    for command in commands:
        if command[1] == "show":  # who holds it is another process each time: the one that looks
            command = [*command, "--parts", "basic,maps,memory,insns,debug"]
        if command[1] != "lookup":  # a sweep walks maps; it looks up no single key
            assert run("--on", str(tape), *command, uid=NOBODY) == run(*command)
