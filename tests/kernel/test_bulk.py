"""The bulk door beside the plain calls: the same values, nothing left behind, never an error."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpflens.abi.attrs import ProgLoad, ProgTestRun
from bpflens.abi.enums import AttachType, Cmd, MapType, ProgType
from bpflens.abi.infos import ProgInfo
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Func, Int
from bpflens.connect import doors
from bpflens.errors import BpflensError
from bpflens.linux.bulk import NAME, LinuxBulk
from bpflens.model import bulk
from bpflens.model.parts import Missing, Part
from bpflens.model.program import ProgramParts
from bpflens.model.system import LINK, PROGRAM, System
from bpflens.port.faults import Fault, FaultyBpf
from bpflens.port.memory import Memory
from bpflens.port.tracer import traced
from bpflens.snapshot import take as taking
from bpflens.snapshot.take import LIST_PARTS, Look
from bpflens.testing.builders import code, load, program
from bpflens.testing.builders import map as new_map
from tests.kernel import busy
from tests.kernel.conftest import open_fds
from tests.kernel.test_live import LOADERS, id_of_program, loaders

Hold = Callable[[int], int]

LOOKS, FEWEST, SECONDS = 100, 3, 30.0
"""Looks at a busy machine: fewer where they take long. In an emulated guest, loading an iterator
beside those who load all the time takes 10 s."""

COUNTERS = ("run_time_ns", "run_cnt", "recursion_misses")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the instructions for this kernel are kept: they are made once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(autouse=True)
def folder(system: System, made: Path, tmp_path: Path) -> str:
    """A copy of that for the test; skips where this kernel reads nothing in bulk."""
    LinuxBulk._known.clear()
    system.index_dir = str(made)
    try:
        bulk.programs(system, 0, LIST_PARTS)
    except (BpflensError, OSError) as error:
        pytest.skip(f"no bulk reads here: {error}")
    system.index_dir = str(shutil.copytree(made, tmp_path / "kept"))
    return system.index_dir


def in_bulk(system: System, parts: Part = LIST_PARTS) -> dict[int, ProgramParts]:
    """What is told of each program for which the plain calls need not be asked."""
    return {id: told for id, told in bulk.programs(system, 0, parts) if told is not None}


def assert_same(system: System, ids: set[int], counters: bool = True) -> None:
    """Each of these programs is told in bulk as by the plain calls, field by field."""
    rows = in_bulk(system)
    assert ids <= set(rows)
    for id in ids:
        with system.program(id) as opened:
            plain = opened.info(LIST_PARTS)
        names = [n for n in ProgInfo.__layout__ if counters or n not in COUNTERS]
        for name in names:
            told, expected = getattr(rows[id].basic, name), getattr(plain.basic, name)
            assert (id, name, told) == (id, name, expected)
        assert rows[id].basic.__told__ == plain.basic.__told__
        assert rows[id][1:] == plain[1:]


def with_functions(system: System, held: Hold, count: int = 1) -> int:
    """A program with BTF and subprograms."""
    made = BtfBuilder()
    number = made.add_int("int", 4, Int.SIGNED)
    proto = made.add_func_proto(number)
    calls = "; ".join(f"call f{n}" for n in range(count))
    bodies = "; ".join(f"f{n}: r0 = {n}; exit" for n in range(count))
    funcs = [(0, made.add_func("main", proto, linkage=Func.STATIC))]
    for n in range(count):
        funcs.append((count + 2 + 2 * n, made.add_func(f"f{n}", proto, linkage=Func.STATIC)))
    btf = held(system.calls.btf_load(made.build()))
    text = f"{calls}; r0 = 0; exit; {bodies}"
    return held(program(system.calls, text, name="bpfl_funcs", btf=btf, funcs=funcs))


# --- the same values


def test_programs_of_many_types_are_told_alike(system: System, held: Hold) -> None:
    maps = [held(new_map(system.calls, type)) for type in (MapType.HASH, MapType.ARRAY)]
    text = "r1 = map_fd a; r1 = map_fd b; r1 = map_fd a; r0 = 0; exit"
    fds = [
        held(program(system.calls, text, type, name="bpfl_bulk", a=maps[0], b=maps[1]))
        for type in (
            ProgType.SOCKET_FILTER,
            ProgType.KPROBE,
            ProgType.SCHED_CLS,
            ProgType.TRACEPOINT,
            ProgType.XDP,
            ProgType.PERF_EVENT,
            ProgType.CGROUP_SKB,
            ProgType.RAW_TRACEPOINT,
        )
    ]
    fds.append(held(program(system.calls, license="Proprietary")))
    fds.append(held(program(system.calls, name="")))
    fds.append(with_functions(system, held))
    fds.append(with_functions(system, held, 30))
    assert_same(system, {id_of_program(system, fd) for fd in fds})


def test_a_program_that_traces_tells_what_it_attaches_to(system: System, held: Hold) -> None:
    types = system.kernel_types()
    assert not isinstance(types, Missing)
    target = types.find("bpf_iter_bpf_map", Func)
    assert target is not None
    attr = ProgLoad(
        prog_type=ProgType.TRACING,
        expected_attach_type=AttachType.TRACE_ITER,
        attach_btf_id=target.id,
    )
    id = id_of_program(system, held(load(system.calls, attr, code("r0 = 0; exit"))))
    assert in_bulk(system)[id].basic.attach_btf_id == target.id
    assert_same(system, {id})


def test_runs_are_summed_over_cpus(system: System, held: Hold) -> None:
    fd = held(program(system.calls, name="bpfl_runs"))
    counting = held(system.calls.enable_stats())
    before = os.sched_getaffinity(0)
    try:
        for turn, cpu in enumerate(sorted(before), 1):
            os.sched_setaffinity(0, {cpu})
            mem = Memory()
            packet = mem.pin(bytearray(64))
            for _ in range(turn):
                system.calls.call(
                    Cmd.PROG_TEST_RUN,
                    ProgTestRun(prog_fd=fd, data_in=packet, data_size_in=64, repeat=3),
                    mem,
                )
    finally:
        os.sched_setaffinity(0, before)
    assert counting > 0
    id = id_of_program(system, fd)
    told = in_bulk(system)[id].basic
    assert told.run_cnt == 3 * sum(range(1, len(before) + 1))
    assert told.run_time_ns > 0
    assert_same(system, {id})


def test_parts_that_nobody_asked_for_are_not_there(system: System, held: Hold) -> None:
    fd = held(new_map(system.calls))
    id = id_of_program(system, held(program(system.calls, "r1 = map_fd m; r0 = 0; exit", m=fd)))
    for parts in (Part.BASIC, Part.MAPS, Part.MEMORY, Part.STATS, Part.BASIC | Part.MAPS):
        with system.program(id) as opened:
            assert in_bulk(system, parts)[id] == opened.info(parts)


def test_what_a_row_cannot_hold_is_left_to_the_plain_calls(system: System, held: Hold) -> None:
    many = [held(new_map(system.calls)) for _ in range(49)]
    text = "".join(f"r1 = map_fd m{n}; " for n in range(49)) + "r0 = 0; exit"
    symbols = {f"m{n}": fd for n, fd in enumerate(many)}
    fds = [
        held(program(system.calls, code(text, **symbols))),
        with_functions(system, held, 40),
        held(program(system.calls, name="bpfl_name_of_15")),
    ]
    told = dict(bulk.programs(system, 0, LIST_PARTS))
    assert [told[id_of_program(system, fd)] for fd in fds] == [None, None, None]
    found = dict(bulk.programs(system, 0, Part.MEMORY))
    assert found[id_of_program(system, fds[0])] is not None  # its maps were not asked for


def test_real_tools_are_told_alike(system: System) -> None:
    if missing := busy.missing():
        pytest.skip(f"not installed: {', '.join(missing)}")
    with busy.tools() as ids:
        again = {id for id, told in bulk.programs(system, 0, LIST_PARTS) if told is None}
        assert_same(system, set(ids) - again, counters=False)


def test_a_list_is_the_same_with_and_without(
    system: System, held: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        held(program(system.calls, name=("bpfl_n", "bpfl_name_of_15")[n % 2]))
    whole = {record.id: record for record in Look(system).programs()}
    monkeypatch.setattr(taking, "BULK_AFTER", 5)
    lines: list[str] = []
    with System(traced(doors(), lines.append)) as watched:
        watched.index_dir = system.index_dir
        look = Look(watched)
        fast = {record.id: record for record in look.programs()}
    assert look.errors == []
    mine = {id for id, record in whole.items() if record.name.startswith("bpfl_n")}
    assert len(mine) >= 20
    assert {id: whole[id] for id in mine} == {id: fast[id] for id in mine if id in fast}
    assert any(line.startswith("bulk(programs, after=") for line in lines)
    assert any("PROG_LOAD" in line and NAME in line for line in lines)


# --- nothing is left, nothing is missed


def test_nothing_of_ours_is_there_before_or_after(system: System, folder: str) -> None:
    def named() -> list[bytes]:
        found = []
        for id in system.ids(PROGRAM):
            try:
                with system.program(id) as opened:
                    found.append(opened.basic().name)
            except BpflensError:
                continue
        return [name for name in found if name == NAME.encode()]

    before, links = open_fds(), set(system.ids(LINK))
    rows = list(bulk.programs(system, 0, LIST_PARTS))
    assert NAME not in [told.basic.name.decode() for _, told in rows if told]
    for cmd in (Cmd.LINK_CREATE, Cmd.ITER_CREATE, Cmd.OBJ_GET_INFO_BY_FD):
        with refusing(folder, Fault(cmd, errno.EINVAL)) as broken, pytest.raises(BpflensError):
            bulk.programs(broken, 0, LIST_PARTS)
    assert open_fds() == before
    assert named() == []
    assert not set(system.ids(LINK)) - links


@contextmanager
def refusing(folder: str | None, *faults: Fault) -> Iterator[System]:
    """A system whose kernel refuses."""
    live = doors()
    with System(live._replace(bpf=FaultyBpf(live.bpf, faults))) as broken:
        broken.index_dir = folder
        yield broken


@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL, errno.EACCES, errno.ENOENT])
@pytest.mark.parametrize("cmd", [Cmd.PROG_LOAD, Cmd.LINK_CREATE, Cmd.ITER_CREATE])
def test_a_kernel_that_refuses_is_asked_plainly(
    system: System,
    held: Hold,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    cmd: Cmd,
    code: int,
) -> None:
    mine = {id_of_program(system, held(program(system.calls))) for _ in range(10)}
    monkeypatch.setattr(taking, "BULK_AFTER", 5)
    with refusing(folder, Fault(cmd, code)) as broken:
        look = Look(broken)
        seen = [record.id for record in look.programs()]
    assert look.errors == []
    assert seen == sorted(set(seen))
    assert mine <= set(seen)


def test_a_small_machine_has_nothing_loaded(system: System, folder: str) -> None:
    with refusing(folder) as counted:
        programs = list(Look(counted).programs())
        if len(programs) > taking.BULK_AFTER:
            pytest.skip("this machine is not small")
        port = counted.doors.bpf
        assert isinstance(port, FaultyBpf)
        assert not {Cmd.PROG_LOAD, Cmd.LINK_CREATE, Cmd.ITER_CREATE} & set(port.calls)


def test_lists_while_objects_come_and_go(
    system: System, held: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "BULK_AFTER", 5)
    stable = {id_of_program(system, held(program(system.calls))) for _ in range(20)}
    list(Look(system).programs())
    before = {line for line in open_fds() if "/fdinfo/" not in line}
    end = time.monotonic() + SECONDS
    with loaders(LOADERS):
        for turn in range(LOOKS):
            if turn >= FEWEST and time.monotonic() > end:
                break
            look = Look(system)
            seen = [record.id for record in look.programs()]
            assert stable <= set(seen)
            assert seen == sorted(set(seen))
            assert look.errors == []
    assert {line for line in open_fds() if "/fdinfo/" not in line} == before


# --- what is kept


def kept_file(folder: str) -> Path:
    (found,) = Path(folder).glob("*.iterators")
    return found


def fresh(folder: str) -> System:
    """As the next process would begin."""
    LinuxBulk._known.clear()
    system = System(doors())
    system.index_dir = folder
    return system


@pytest.mark.parametrize("spoil", ["cut", "flip", "empty", "text", "link", "open to all"])
def test_a_file_that_is_damaged_or_not_ours_is_made_anew(
    system: System, held: Hold, folder: str, spoil: str, tmp_path: Path
) -> None:
    id = id_of_program(system, held(program(system.calls)))
    path = kept_file(folder)
    good = path.read_bytes()
    if spoil == "cut":
        path.write_bytes(good[: len(good) // 2])
    elif spoil == "flip":
        path.write_bytes(good[:200] + bytes([good[200] ^ 1]) + good[201:])
    elif spoil == "empty":
        path.write_bytes(b"")
    elif spoil == "text":
        path.write_bytes(b"\xff" * 100_000)
    elif spoil == "link":
        other = tmp_path / "elsewhere"
        other.write_bytes(good)
        path.unlink()
        path.symlink_to(other)
    else:
        path.chmod(0o666)
    with fresh(folder) as again:
        assert id in in_bulk(again)
    assert path.read_bytes() == good
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept_file(folder) == path


def test_without_a_folder_nothing_is_read_in_bulk(system: System) -> None:
    with System(doors()) as bare, pytest.raises(BpflensError):
        bulk.programs(bare, 0, LIST_PARTS)
