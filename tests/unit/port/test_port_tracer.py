"""Traces: lines that a person who knows strace can read."""

from __future__ import annotations

import errno

import pytest

from bpflens.abi.attrs import MapCreate, MapElem, ObjPath
from bpflens.abi.enums import Cmd, MapFlag, MapType
from bpflens.abi.infos import ProgInfo
from bpflens.errors import ENOTSUPP
from bpflens.model.system import System
from bpflens.port import spell
from bpflens.port.calls import MAP_IDS, Calls
from bpflens.port.memory import Memory
from bpflens.port.tracer import traced
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import fail, prog, table, u32


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def kernel() -> Kernel:
    found = Kernel(
        prog(7, b"xdp_lb", map_ids=u32(5)),
        table(5, elements={u32(1): b"12345678"}, name=b"flows"),
    )
    found.host.pins["/sys/fs/bpf/lb"] = found.objects[0]
    return found


def spelled(cmd: Cmd, attr: MapCreate | MapElem | ObjPath, mem: Memory | None = None) -> str:
    mem = mem or Memory()
    buffer = bytearray(attr.encode())
    return spell.call(cmd, mem.pin(buffer), len(buffer), mem)


def test_a_walk_is_told_call_by_call(kernel: Kernel, lines: list[str]) -> None:
    system = System(traced(kernel.doors, lines.append))
    for program in system.programs():
        program.close()
    assert lines == [
        "bpf(PROG_GET_NEXT_ID, {next_id=7}, 8) = 0",
        "bpf(PROG_GET_FD_BY_ID, {prog_id=7}, 4) = 3",
        "close(3) = 0",
        "bpf(PROG_GET_NEXT_ID, {start_id=7}, 8) = -1 ENOENT",
    ]


def test_an_element_is_told_with_its_bytes(kernel: Kernel, lines: list[str]) -> None:
    calls = Calls(traced(kernel.doors, lines.append).bpf)
    fd = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, 5, MapFlag.RDONLY)
    calls.map_lookup(fd, u32(1), 8)
    calls.map_next_key(fd, None, 4)
    assert lines == [
        "bpf(MAP_GET_FD_BY_ID, {map_id=5, open_flags=8}, 12) = 3",
        "bpf(MAP_LOOKUP_ELEM, {map_fd=3, key=01000000, value=3132333435363738}, 32) = 0",
        "bpf(MAP_GET_NEXT_KEY, {map_fd=3, next_key=01000000}, 24) = 0",
    ]


def test_a_path_is_told_as_text(kernel: Kernel, lines: list[str]) -> None:
    calls = Calls(traced(kernel.doors, lines.append).bpf)
    calls.obj_get("/sys/fs/bpf/lb", MapFlag.RDONLY)
    assert lines == ['bpf(OBJ_GET, {pathname="/sys/fs/bpf/lb", file_flags=8}, 20) = 3']


def test_a_long_buffer_is_told_by_its_beginning_and_its_size(
    kernel: Kernel, lines: list[str]
) -> None:
    calls = Calls(traced(kernel.doors, lines.append).bpf)
    fd = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 7)
    calls.prog_array(fd, MAP_IDS, calls.info(fd, ProgInfo))
    start = f"{u32(1, 7).hex()}{'07' * 8}"
    assert lines[1] == (
        f"bpf(OBJ_GET_INFO_BY_FD, {{bpf_fd=3, info_len=232, info={start}...[512]}}, 16) = 0"
    )
    assert lines[2].endswith(f"info={start}...[232]}}, 16) = 0")


def test_numbers_that_have_names_are_told_by_name() -> None:
    attr = MapCreate(
        map_type=MapType.LRU_HASH, key_size=4, value_size=8, max_entries=16,
        map_flags=MapFlag.RDONLY | MapFlag.NO_PREALLOC, map_name=b"conns",
    )  # fmt: skip
    assert spelled(Cmd.MAP_CREATE, attr) == (
        "bpf(MAP_CREATE, {map_type=LRU_HASH, key_size=4, value_size=8, max_entries=16, "
        'map_flags=NO_PREALLOC|RDONLY, map_name="conns"}, 92)'
    )


def test_an_address_that_is_not_pinned_is_told_as_a_number() -> None:
    attr = MapElem(map_fd=3, key=0xDEAD0000)
    assert (
        spelled(Cmd.MAP_LOOKUP_ELEM, attr) == "bpf(MAP_LOOKUP_ELEM, {map_fd=3, key=0xdead0000}, 32)"
    )


def test_an_attr_that_cannot_be_read_is_told_by_its_address() -> None:
    assert spell.call(1, 0x10, 32, Memory()) == "bpf(MAP_LOOKUP_ELEM, 0x10, 32)"


def test_a_command_that_nobody_knows_is_told_by_number_and_bytes() -> None:
    mem, buffer = Memory(), bytearray(b"\1\2")
    assert spell.call(99, mem.pin(buffer), 2, mem) == "bpf(UNKNOWN_99, {0102}, 2)"


def test_errnos_are_told_by_name_where_they_have_one() -> None:
    assert spell.error(errno.EPERM) == "-1 EPERM"
    assert spell.error(ENOTSUPP) == "-1 ENOTSUPP"
    assert spell.error(4000) == "-1 4000"


def test_host_files_are_told_by_size_and_failure(kernel: Kernel, lines: list[str]) -> None:
    kernel.host.files["/proc/hidden"] = errno.EACCES
    host = traced(kernel.doors, lines.append).host
    host.read("/proc/sys/kernel/osrelease")
    host.listdir("/sys/fs/bpf")
    for ask in (lambda: host.read("/proc/hidden"), lambda: host.readlink("/x")):
        with pytest.raises(OSError, match=r"denied|No such"):
            ask()
    with kernel.system().program(7) as program:
        host.fdinfo(program.fd)
    assert lines == [
        'read("/proc/sys/kernel/osrelease") = 16 bytes',
        'listdir("/sys/fs/bpf") = 1 names',
        'read("/proc/hidden") = -1 EACCES',
        'readlink("/x") = -1 ENOENT',
        f"fdinfo(3) = {len(kernel_fdinfo())} bytes",
    ]


def kernel_fdinfo() -> bytes:
    return b"pos:\t0\nflags:\t02000002\nmemlock:\t4096\nprog_id:\t7\n"


def test_every_call_has_a_line_also_one_that_fails(kernel: Kernel, lines: list[str]) -> None:
    doors = traced(kernel.doors, lines.append)
    with pytest.raises(OSError, match="Bad file"):
        doors.bpf.close(99)
    assert doors.net.dump(0, b"1234") == []

    def refuse(protocol: int, request: bytes) -> list[bytes]:
        raise fail(errno.EPERM)

    kernel.host.dump = refuse  # type: ignore[method-assign]
    with pytest.raises(OSError, match="not permitted"):
        doors.net.dump(0, b"1234")
    assert lines == [
        "close(99) = -1 EBADF",
        "netlink(0, [4]) = 0 messages",
        "netlink(0, [4]) = -1 EPERM",
    ]


def test_a_trace_changes_no_answer(kernel: Kernel, lines: list[str]) -> None:
    plain, through = kernel.system(), System(traced(kernel.doors, lines.append))
    with plain.map(5) as one, through.map(5) as other:
        assert one.basic() == other.basic()
        assert list(one.items()) == list(other.items())
