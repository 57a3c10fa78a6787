"""Typed calls: what an errno means, arrays that grow, and what the kernel hides."""

from __future__ import annotations

import errno

import pytest

from bpflens.abi.attrs import MapFreeze
from bpflens.abi.enums import Cmd
from bpflens.abi.infos import BtfInfo, MapInfo, ProgInfo
from bpflens.abi.record import tells
from bpflens.errors import (
    ENOTSUPP,
    BpflensError,
    Denied,
    NotFound,
    SyscallError,
    Unsupported,
)
from bpflens.port.calls import (
    FUNC_INFO,
    JITED_KSYMS,
    LINE_INFO,
    MAP_IDS,
    XLATED,
    CallDenied,
    Calls,
    Restricted,
)
from bpflens.port.faults import Fault, FaultyBpf
from bpflens.port.memory import Memory
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import Types, prog, table, u32


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [
        (errno.EPERM, Denied, 4),
        (errno.EACCES, Denied, 4),
        (errno.ENOENT, NotFound, 3),
        (errno.ENOSYS, Unsupported, 5),
        (errno.EOPNOTSUPP, Unsupported, 5),
        (ENOTSUPP, Unsupported, 5),
        (errno.EINVAL, SyscallError, 1),
        (errno.EFAULT, SyscallError, 1),
        (errno.ENOMEM, SyscallError, 1),
        (errno.EBADF, SyscallError, 1),
    ],
)
def test_an_errno_becomes_one_error_with_one_exit_status(
    code: int, kind: type[BpflensError], exit_code: int
) -> None:
    kernel = Kernel(prog(1))
    kernel.refused[Cmd.PROG_GET_FD_BY_ID] = code
    with pytest.raises(kind) as caught:
        Calls(kernel).fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1)
    error = caught.value
    assert isinstance(error, SyscallError)
    assert error.errno == code
    assert error.exit_code == exit_code
    assert isinstance(error.__cause__, OSError)
    assert str(error).startswith("bpf(PROG_GET_FD_BY_ID): ")


def test_the_errno_that_libc_does_not_know_has_words() -> None:
    kernel = Kernel()
    kernel.refused[Cmd.MAP_FREEZE] = ENOTSUPP
    with pytest.raises(Unsupported, match="ENOTSUPP"):
        Calls(kernel).map_freeze(3)


@pytest.mark.parametrize(
    "cmd",
    [Cmd.PROG_GET_NEXT_ID, Cmd.MAP_GET_NEXT_ID, Cmd.BTF_GET_NEXT_ID, Cmd.LINK_GET_NEXT_ID],
)
def test_the_end_of_a_walk_is_none_and_any_other_failure_is_an_error(cmd: Cmd) -> None:
    kernel = Kernel()
    assert Calls(kernel).next_id(cmd, 0) is None
    kernel.refused[cmd] = errno.EPERM
    with pytest.raises(CallDenied):
        Calls(kernel).next_id(cmd, 0)


def test_ids_and_fds_are_asked_for_by_their_own_numbers() -> None:
    calls = Calls(Kernel(prog(7), prog(300), table(5)))
    assert calls.next_id(Cmd.PROG_GET_NEXT_ID, 7) == 300
    assert calls.next_id(Cmd.MAP_GET_NEXT_ID, 0) == 5
    fd = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, 5, flags=8)
    assert calls.info(fd, MapInfo).id == 5
    # the shared buffer holds nothing of the call before
    other = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 300)
    assert calls.info(other, ProgInfo).id == 300


def test_an_info_of_an_older_kernel_tells_how_far_it_goes() -> None:
    calls = Calls(Kernel(prog(1, b"old", told=104)))
    told = calls.info(calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1), ProgInfo)
    assert told.__told__ == 104
    assert tells(told, "name")
    assert not tells(told, "btf_id")


def test_a_short_info_is_not_filled_up_from_the_longer_one_before_it() -> None:
    young, old = prog(1), prog(2, told=80)
    young.info.run_cnt = old.info.run_cnt = 99
    calls = Calls(Kernel(young, old))
    assert calls.info(calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1), ProgInfo).run_cnt == 99
    assert calls.info(calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 2), ProgInfo).run_cnt == 0


def test_an_array_is_fetched_whole() -> None:
    lines = bytes(range(48))
    calls = Calls(Kernel(prog(1, map_ids=u32(4, 9), line_info=lines)))
    fd = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1)
    told = calls.info(fd, ProgInfo)
    assert calls.prog_array(fd, MAP_IDS, told) == u32(4, 9)
    assert calls.prog_array(fd, LINE_INFO, told) == lines
    assert calls.prog_array(fd, XLATED, told) == bytes(16)


def test_an_array_that_is_empty_costs_no_call() -> None:
    kernel = Kernel(prog(1))
    calls = Calls(kernel)
    fd = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1)
    told = calls.info(fd, ProgInfo)
    kernel.log.clear()
    assert calls.prog_array(fd, MAP_IDS, told) == b""
    assert kernel.log == []


@pytest.mark.parametrize("growths", [1, 3])
def test_an_array_that_grows_between_two_calls_is_read_until_it_fits(growths: int) -> None:
    found = prog(1, map_ids=u32(1))
    kernel = Kernel(found)
    calls = Calls(kernel)
    fd = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1)
    told = calls.info(fd, ProgInfo)
    left = iter(range(growths))

    def bind_another(cmd: Cmd) -> None:
        if cmd is Cmd.OBJ_GET_INFO_BY_FD and next(left, None) is not None:
            found.arrays["map_ids"] += u32(len(found.arrays["map_ids"]))

    kernel.before = bind_another
    assert calls.prog_array(fd, MAP_IDS, told) == found.arrays["map_ids"]
    assert len(found.arrays["map_ids"]) == 4 * (1 + growths)


def test_an_array_that_shrinks_is_cut_to_what_is_there() -> None:
    found = prog(1, map_ids=u32(1, 2, 3))
    calls = Calls(Kernel(found))
    fd = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1)
    told = calls.info(fd, ProgInfo)
    found.arrays["map_ids"] = u32(2)
    assert calls.prog_array(fd, MAP_IDS, told) == u32(2)


def test_a_pointer_that_comes_back_as_null_means_that_the_content_is_hidden() -> None:
    found = prog(1, jited_ksyms=bytes(16))
    found.hidden = {"xlated_prog_insns", "jited_ksyms"}
    calls = Calls(Kernel(found))
    fd = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1)
    told = calls.info(fd, ProgInfo)
    for array in (XLATED, JITED_KSYMS):
        with pytest.raises(Restricted) as caught:
            calls.prog_array(fd, array, told)
        assert caught.value.needs == "CAP_SYSLOG"
        assert caught.value.exit_code == 4
    # what is not hidden is not taken along
    found.hidden = {"jited_ksyms"}
    assert calls.prog_array(fd, XLATED, told) == bytes(16)


def test_records_are_asked_for_by_their_size() -> None:
    """The kernel answers EINVAL to func_info without the size of a record."""
    calls = Calls(Kernel(prog(1, func_info=bytes(8), jited_line_info=bytes(8))))
    fd = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1)
    assert calls.prog_array(fd, FUNC_INFO, calls.info(fd, ProgInfo)) == bytes(8)


def test_btf_that_grew_since_is_read_whole() -> None:
    types = Types(3, b"\x9f\xeb" * 8)
    kernel = Kernel(types)
    calls = Calls(kernel)
    fd = calls.fd_by_id(Cmd.BTF_GET_FD_BY_ID, 3)
    told = calls.info(fd, BtfInfo)
    assert told.btf_size == 16

    def grow(cmd: Cmd) -> None:
        types.data = b"\x9f\xeb" * 20
        if len(kernel.log) > 4:
            kernel.before = None

    kernel.log.clear()
    assert calls.btf_data(fd) == b"\x9f\xeb" * 8
    kernel.before = grow
    assert calls.btf_data(fd) == b"\x9f\xeb" * 20


def test_what_the_kernel_wrote_into_the_attr_is_there_also_after_a_failure() -> None:
    hash = table(1, elements={u32(n): bytes(8) for n in range(3)})
    hash.batch = True
    calls = Calls(Kernel(hash))
    fd = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, 1)
    keys, values = bytearray(16), bytearray(32)
    # the last batch comes with ENOENT, and with elements
    found, _, end = calls.map_lookup_batch(fd, None, keys, values, 4)
    assert (found, end) == (3, True)
    assert bytes(keys[:12]) == u32(0, 1, 2)


def test_an_element_is_looked_up_into_a_buffer_of_its_size() -> None:
    calls = Calls(Kernel(table(1, elements={u32(1): b"12345678"})))
    fd = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, 1)
    assert calls.map_lookup(fd, u32(1), 8) == b"12345678"
    with pytest.raises(SyscallError) as caught:
        calls.map_lookup(fd, u32(1), 4)
    assert caught.value.errno == errno.EFAULT


def test_keys_follow_each_other_to_the_end() -> None:
    calls = Calls(Kernel(table(1, elements={u32(5): bytes(8), u32(6): bytes(8)})))
    fd = calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, 1)
    assert calls.map_next_key(fd, None, 4) == u32(5)
    assert calls.map_next_key(fd, u32(5), 4) == u32(6)
    assert calls.map_next_key(fd, u32(6), 4) is None


def test_a_fault_strikes_the_call_that_it_names_and_no_other() -> None:
    faulty = FaultyBpf(Kernel(prog(1)), [Fault(Cmd.PROG_GET_FD_BY_ID, errno.EMFILE, nth=2)])
    calls = Calls(faulty)
    fd = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1)
    with pytest.raises(SyscallError) as caught:
        calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1)
    assert caught.value.errno == errno.EMFILE
    calls.close(calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1))
    calls.close(fd)
    assert faulty.calls == {Cmd.PROG_GET_FD_BY_ID: 3}


def test_a_fault_without_a_number_strikes_each_time() -> None:
    kernel = Kernel(prog(1))
    faulty = FaultyBpf(kernel, [Fault(Cmd.PROG_GET_NEXT_ID, errno.EINTR)])
    for _ in range(3):
        with pytest.raises(SyscallError):
            Calls(faulty).next_id(Cmd.PROG_GET_NEXT_ID, 0)
    assert kernel.log == []


def test_a_buffer_that_was_not_pinned_is_no_memory_of_the_call() -> None:
    """An attr is copied anew for each call; addresses of the last one are worth nothing."""
    kernel = Kernel(table(1))
    calls = Calls(kernel)
    attr = MapFreeze(map_fd=1)
    with pytest.raises(SyscallError):
        calls.call(Cmd.MAP_FREEZE, attr, Memory())
    assert attr == MapFreeze(map_fd=1)
