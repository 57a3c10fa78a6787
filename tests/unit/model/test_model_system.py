"""Walking IDs, opening what they name, and the handles over it."""

from __future__ import annotations

import errno
import gc
from itertools import islice

import pytest

from bpflens.abi.attrs import NextId
from bpflens.abi.enums import Cmd, MapType
from bpflens.errors import BpflensError, Denied, FormatError, NotFound, SyscallError
from bpflens.model.map import Map
from bpflens.model.program import Program
from bpflens.model.system import BTF, LINK, MAP, PROGRAM
from bpflens.port.faults import Fault, FaultyBpf
from bpflens.port.memory import Memory
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import Link, Types, prog, table


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(prog(3), prog(9), prog(4000), table(5), table(6), Link(2), Types(7, b""))


def test_every_object_is_walked_once_and_in_order(kernel: Kernel) -> None:
    system = kernel.system()
    assert list(system.ids(PROGRAM)) == [3, 9, 4000]
    assert list(system.ids(MAP)) == [5, 6]
    assert list(system.ids(LINK)) == [2]
    assert list(system.ids(BTF)) == [7]


def test_nothing_at_all_is_an_empty_walk() -> None:
    assert list(Kernel().system().ids(PROGRAM)) == []


def test_an_object_that_vanishes_before_it_is_opened_is_left_out(kernel: Kernel) -> None:
    def unload(cmd: Cmd) -> None:
        if cmd is Cmd.PROG_GET_FD_BY_ID:
            kernel.objects = [o for o in kernel.objects if o.id != 9]

    kernel.before = unload
    seen = []
    for program in kernel.system().programs():
        with program:
            seen.append(program.id)
    assert seen == [3, 4000]
    assert kernel.fds == {}


def test_a_link_that_is_just_being_made_is_not_there_yet(kernel: Kernel) -> None:
    system = kernel.system(FaultyBpf(kernel, [Fault(Cmd.LINK_GET_FD_BY_ID, errno.EAGAIN)]))
    with pytest.raises(NotFound, match="being made"):
        system.link(2)


def test_a_walk_goes_on_where_the_id_that_it_stands_on_is_gone(kernel: Kernel) -> None:
    seen = []
    for id in kernel.system().ids(PROGRAM):
        seen.append(id)
        kernel.objects = [o for o in kernel.objects if o.id != id]
    assert seen == [3, 9, 4000]


def test_an_object_that_comes_behind_the_walk_does_not_make_it_repeat(kernel: Kernel) -> None:
    seen = []
    for id in kernel.system().ids(PROGRAM):
        seen.append(id)
        if id == 9:
            kernel.objects += [prog(1), prog(10)]
    assert seen == [3, 9, 10, 4000]


class Backwards(Kernel):
    """A kernel whose IDs go 5, 3, 5, 3 … for ever."""

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        asked = NextId.decode(mem.read(attr, size))
        mem.write(attr + 4, b"\3\0\0\0" if asked.start_id == 5 else b"\5\0\0\0")
        return 0


def test_a_kernel_that_goes_backwards_is_an_error_and_no_endless_walk() -> None:
    with pytest.raises(BpflensError, match="went back from 5 to 3"):
        list(islice(Backwards().system().ids(PROGRAM), 100))


def test_the_last_id_of_all_ends_the_walk() -> None:
    kernel = Kernel(prog(0x7FFF_FFFE))
    assert list(kernel.system().ids(PROGRAM)) == [0x7FFF_FFFE]


def test_a_list_that_is_refused_says_what_would_grant_it(kernel: Kernel) -> None:
    kernel.refused[Cmd.PROG_GET_NEXT_ID] = errno.EPERM
    with pytest.raises(Denied, match="programs cannot be listed") as caught:
        list(kernel.system().programs())
    assert caught.value.needs == "CAP_SYS_ADMIN"
    assert "PROG_GET_NEXT_ID" in str(caught.value)


def test_an_object_that_is_refused_says_which(kernel: Kernel) -> None:
    kernel.closed_objects = {5: errno.EPERM, 9: errno.EACCES}
    with pytest.raises(Denied, match="map 5 cannot be opened") as caught:
        kernel.system().map(5)
    assert caught.value.needs == "CAP_SYS_ADMIN"
    with pytest.raises(Denied, match="program 9 cannot be opened"):
        kernel.system().program(9)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOMEM])
def test_another_failure_is_not_taken_for_a_vanished_object(kernel: Kernel, code: int) -> None:
    kernel.closed_objects[9] = code
    programs = kernel.system().programs()
    next(programs).close()
    with pytest.raises(SyscallError) as caught:
        next(programs)
    assert caught.value.errno == code


def test_what_is_not_there_is_not_found(kernel: Kernel) -> None:
    system = kernel.system()
    with pytest.raises(NotFound, match="there is no program with ID 5"):
        system.program(5)
    with pytest.raises(NotFound, match="there is no map with ID 9"):
        system.map(9)


def test_a_handle_owns_its_fd_and_gives_it_back_once(kernel: Kernel) -> None:
    program = kernel.system().program(3)
    assert list(kernel.fds) == [program.fd]
    assert repr(program) == f"<Program fd {program.fd}>"
    program.close()
    assert kernel.fds == {}
    # the number may belong to someone else by now: a second close must not take it away
    other = kernel.system().map(5)
    assert other.fd == program.fd
    program.close()
    assert list(kernel.fds) == [other.fd]
    other.close()
    assert program.closed
    assert repr(program) == "<Program closed>"


def test_a_handle_closes_with_its_block_also_on_an_error(kernel: Kernel) -> None:
    with pytest.raises(KeyError), kernel.system().program(3):
        raise KeyError
    assert kernel.fds == {}


def test_a_handle_that_is_dropped_warns_and_closes(kernel: Kernel) -> None:
    held = [kernel.system().program(3)]
    with pytest.warns(ResourceWarning, match="unclosed <Program fd 3>"):
        held.clear()
    assert kernel.fds == {}


def test_a_handle_that_was_closed_is_dropped_in_silence(kernel: Kernel) -> None:
    program = kernel.system().program(3)
    program.close()
    del program
    gc.collect()


def test_what_bpf_tells_is_asked_once(kernel: Kernel) -> None:
    with kernel.system().program(3) as program, kernel.system().map(5) as map:
        kernel.log.clear()
        assert (program.id, program.tag, program.name, program.id) == (3, "03" * 8, "", 3)
        assert (map.id, map.type.label, map.id) == (5, "hash", 5)
        assert kernel.counts() == {"OBJ_GET_INFO_BY_FD": 2}


def test_counters_can_be_asked_anew(kernel: Kernel) -> None:
    found = kernel.objects[0]
    with kernel.system().program(3) as program:
        assert program.basic().run_cnt == 0
        found.info.run_cnt = 5  # type: ignore[union-attr]
        assert program.basic().run_cnt == 0
        assert program.basic(fresh=True).run_cnt == 5
        assert program.basic().run_cnt == 5


def test_a_pin_opens_what_it_holds(kernel: Kernel) -> None:
    kernel.host.pins = {"/sys/fs/bpf/p": kernel.objects[0], "/sys/fs/bpf/m": kernel.objects[3]}
    system = kernel.system()
    with system.pinned("/sys/fs/bpf/p") as one, system.pinned("/sys/fs/bpf/m") as other:
        assert isinstance(one, Program)
        assert isinstance(other, Map)
        assert (one.id, other.id) == (3, 5)


def test_a_pin_of_another_kind_is_given_back(kernel: Kernel) -> None:
    kernel.host.pins["/sys/fs/bpf/t"] = Types(7, b"")
    with pytest.raises(NotFound, match="holds a btf"):
        kernel.system().pinned("/sys/fs/bpf/t")
    assert kernel.fds == {}


def test_a_pin_that_cannot_be_opened_says_why(kernel: Kernel) -> None:
    kernel.host.pins["/sys/fs/bpf/x"] = errno.EACCES
    with pytest.raises(Denied, match="/sys/fs/bpf/x cannot be opened") as caught:
        kernel.system().pinned("/sys/fs/bpf/x")
    assert caught.value.needs == "read permission on the file"
    with pytest.raises(NotFound, match="nothing is pinned at /sys/fs/bpf/y"):
        kernel.system().pinned("/sys/fs/bpf/y")


def test_no_fd_stays_open_where_a_pin_cannot_be_identified(kernel: Kernel) -> None:
    kernel.host.pins["/sys/fs/bpf/p"] = kernel.objects[0]

    def no_proc(fd: int) -> bytes:
        raise FileNotFoundError(errno.ENOENT, "no /proc")

    kernel.host.fdinfo = no_proc  # type: ignore[method-assign]
    with pytest.raises(FileNotFoundError):
        kernel.system().pinned("/sys/fs/bpf/p")
    assert kernel.fds == {}


@pytest.mark.parametrize(
    ("text", "cpus"), [(b"0\n", 1), (b"0-3\n", 4), (b"0-1,4-7\n", 6), (b"0,2,4", 3)]
)
def test_possible_cpus_are_counted_with_their_holes(text: bytes, cpus: int) -> None:
    kernel = Kernel()
    kernel.host.files["/sys/devices/system/cpu/possible"] = text
    assert kernel.system().cpus == cpus


def test_a_list_of_cpus_that_is_none_is_a_format_error() -> None:
    kernel = Kernel()
    for text in (b"", b"x", b"0-", b"-1-x"):
        kernel.host.files["/sys/devices/system/cpu/possible"] = text + b","
        with pytest.raises(FormatError, match="no list of CPUs"):
            assert kernel.system().cpus


def test_the_boot_is_where_the_two_clocks_meet() -> None:
    system = Kernel().system()
    assert system.boot_time() == system.boot_time() == 1_700_000_000 * 10**9


def test_a_prog_array_is_opened_once_a_look_and_closed_at_its_end() -> None:
    kernel = Kernel(table(5, MapType.PROG_ARRAY), table(6))
    with kernel.system() as system:
        for _ in range(3):
            for found in system.maps():
                with found:
                    assert found.id in (5, 6)
        assert kernel.counts()["MAP_GET_FD_BY_ID"] == 1 + 3
        assert [each.id for each in kernel.fds.values()] == [5]
        system.settle()
        assert not kernel.fds
        with system.map(5) as found, system.map(5) as same:
            assert (found.type, same.type) == (MapType.PROG_ARRAY, MapType.PROG_ARRAY)
    assert not kernel.fds


def test_a_prog_array_that_is_to_be_written_is_opened_anew() -> None:
    kernel = Kernel(table(5, MapType.PROG_ARRAY))
    with kernel.system() as system:
        with system.map(5) as found:
            assert found.id == 5
        with system.map(5, write=True) as found:
            assert found.id == 5
        assert kernel.counts()["MAP_GET_FD_BY_ID"] == 2
    assert not kernel.fds
