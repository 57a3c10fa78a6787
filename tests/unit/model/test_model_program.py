"""Programs: the parts that were asked for, and no call for any other."""

from __future__ import annotations

import errno
from itertools import chain, combinations

import pytest

from bpflens.abi.enums import Cmd
from bpflens.abi.infos import ProgInfo
from bpflens.btf.build import BtfBuilder
from bpflens.model.parts import Missing, Part, Reason
from bpflens.model.program import Jited
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import Prog, Types, prog, table, u32, u64

LONG = b"fifteen_letters"
FULL = "fifteen_letters_and_then_some"


def types(name: str = FULL) -> tuple[bytes, int]:
    """BTF of one function, and its id."""
    builder = BtfBuilder()
    proto = builder.add_func_proto(builder.add_int("int", 4))
    func = builder.add_func(name, proto)
    return builder.build(), func


def whole() -> Prog:
    """A program that has something in every part."""
    _, func = types()
    made = prog(
        1,
        LONG,
        map_ids=u32(5, 6),
        jited_prog_insns=b"\x90" * 32,
        jited_ksyms=u64(0xFFFF_FFFF_C000_0000, 0xFFFF_FFFF_C000_0010),
        jited_func_lens=u32(16, 16),
        func_info=u32(0, func),
        line_info=bytes(32),
        jited_line_info=u64(1, 2),
        prog_tags=b"\xaa" * 8 + b"\xbb" * 8,
    )
    made.info.btf_id = 7
    return made


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(whole(), table(5), table(6), Types(7, types()[0]))


CALLS: dict[Part, dict[str, int]] = {
    # the cut name takes func_info, and the BTF object once: open, size, data
    Part.BASIC: {"OBJ_GET_INFO_BY_FD": 3, "BTF_GET_FD_BY_ID": 1},
    Part.MAPS: {"OBJ_GET_INFO_BY_FD": 1},
    Part.MEMORY: {},
    Part.INSNS: {"OBJ_GET_INFO_BY_FD": 1},
    Part.JITED: {"OBJ_GET_INFO_BY_FD": 3},
    Part.DEBUG: {"OBJ_GET_INFO_BY_FD": 4},
    Part.STATS: {},
}
"""Part → the calls that it costs beside the one that tells the basic facts."""

COMBINATIONS = [
    Part(sum(part.value for part in chosen))
    for chosen in chain.from_iterable(combinations(CALLS, n) for n in range(len(CALLS) + 1))
]


@pytest.mark.parametrize("parts", COMBINATIONS, ids=lambda p: str(p.name).lower())
def test_each_part_costs_its_own_calls_and_no_other(kernel: Kernel, parts: Part) -> None:
    expected = {"OBJ_GET_INFO_BY_FD": 1}
    for part in parts:
        for name, count in CALLS[part].items():
            expected[name] = expected.get(name, 0) + count
    files: list[int] = []
    fdinfo = kernel.host.fdinfo
    kernel.host.fdinfo = lambda fd: (files.append(fd), fdinfo(fd))[1]  # type: ignore[func-returns-value, method-assign]
    with kernel.system().program(1) as program:
        kernel.log.clear()
        found = program.info(parts)
    assert kernel.counts() == expected
    assert len(files) == (Part.MEMORY in parts)
    asked = {
        "full_name": Part.BASIC, "map_ids": Part.MAPS, "memlock": Part.MEMORY,
        "xlated": Part.INSNS, "jited": Part.JITED, "debug": Part.DEBUG,
    }  # fmt: skip
    for name, part in asked.items():
        value = getattr(found, name)
        if part in parts:
            assert not isinstance(value, Missing)
        else:
            assert value == Missing(Reason.NOT_ASKED, f"part {str(part.name).lower()}")


def test_every_part_holds_what_the_kernel_has(kernel: Kernel) -> None:
    with kernel.system().program(1) as program:
        found = program.info(~Part(0))
    assert found.full_name == FULL
    assert found.map_ids == [5, 6]
    assert found.memlock == 4096
    assert found.xlated == bytes(16)
    assert found.jited == Jited(
        b"\x90" * 32, [0xFFFF_FFFF_C000_0000, 0xFFFF_FFFF_C000_0010], [16, 16]
    )
    assert not isinstance(found.debug, Missing)
    assert found.debug.prog_tags == ["aa" * 8, "bb" * 8]
    assert found.debug.jited_line_info == u64(1, 2)


def test_a_part_that_is_hidden_does_not_fail_the_others(kernel: Kernel) -> None:
    found = kernel.objects[0]
    assert isinstance(found, Prog)
    found.hidden = {"xlated_prog_insns", "jited_prog_insns"}
    with kernel.system().program(1) as program:
        parts = program.info(Part.MAPS | Part.INSNS | Part.JITED)
    assert parts.map_ids == [5, 6]
    for hidden in (parts.xlated, parts.jited):
        assert isinstance(hidden, Missing)
        assert hidden.reason is Reason.RESTRICTED
        assert "CAP_SYSLOG" in hidden.detail


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EPERM, Reason.DENIED),
        (errno.ENOENT, Reason.GONE),
        (errno.EINVAL, Reason.FAILED),
        (errno.EOPNOTSUPP, Reason.UNSUPPORTED),
    ],
)
def test_a_part_that_fails_says_how(kernel: Kernel, code: int, reason: Reason) -> None:
    with kernel.system().program(1) as program:
        program.basic()
        kernel.refused[Cmd.OBJ_GET_INFO_BY_FD] = code
        parts = program.info(Part.MAPS | Part.MEMORY)
    assert isinstance(parts.map_ids, Missing)
    assert parts.map_ids.reason is reason
    assert parts.memlock == 4096


def test_a_short_name_is_the_whole_name_and_costs_nothing(kernel: Kernel) -> None:
    kernel.objects.append(prog(2, b"fourteen_chars"))
    with kernel.system().program(2) as program:
        kernel.log.clear()
        assert program.full_name() == "fourteen_chars"
        assert kernel.counts() == {"OBJ_GET_INFO_BY_FD": 1}


def without_name(kernel: Kernel) -> Missing:
    with kernel.system().program(1) as program:
        name = program.full_name()
    assert isinstance(name, Missing)
    return name


def test_a_cut_name_without_btf_is_known_to_have_no_rest(kernel: Kernel) -> None:
    kernel.objects[0].info.btf_id = 0  # type: ignore[union-attr]
    assert without_name(kernel).reason is Reason.NONE


def test_a_cut_name_on_a_kernel_without_btf_of_programs_is_unsupported(kernel: Kernel) -> None:
    kernel.objects[0].told = ProgInfo.__layout__["name"].end
    assert without_name(kernel).reason is Reason.UNSUPPORTED


def test_a_cut_name_whose_btf_is_gone_or_refused_says_so(kernel: Kernel) -> None:
    kernel.refused[Cmd.BTF_GET_FD_BY_ID] = errno.ENOENT
    assert without_name(kernel).reason is Reason.GONE
    kernel.refused[Cmd.BTF_GET_FD_BY_ID] = errno.EPERM
    assert without_name(kernel).reason is Reason.DENIED


@pytest.mark.parametrize("data", [b"", b"\x9f\xeb", b"\0" * 24, types()[0][:-3]])
def test_a_cut_name_whose_btf_is_damaged_says_so(kernel: Kernel, data: bytes) -> None:
    kernel.objects = [whole(), Types(7, data)]
    assert without_name(kernel).reason is Reason.FAILED
    assert kernel.fds == {}


@pytest.mark.parametrize("func", [0, 1, 4711])
def test_a_cut_name_whose_record_points_at_no_function_says_so(kernel: Kernel, func: int) -> None:
    found = kernel.objects[0]
    assert isinstance(found, Prog)
    found.arrays["func_info"] = u32(0, func)
    assert without_name(kernel).reason is Reason.FAILED


def test_the_btf_of_many_programs_is_read_once(kernel: Kernel) -> None:
    kernel.objects += [whole(), whole()]
    kernel.objects[-1].info.id, kernel.objects[-2].info.id = 2, 3  # type: ignore[union-attr]
    system = kernel.system()
    for program in system.programs():
        with program:
            assert program.full_name() == FULL
    assert kernel.counts()["BTF_GET_FD_BY_ID"] == 1
    assert kernel.fds == {}


def test_memory_that_fdinfo_does_not_tell_is_unsupported(kernel: Kernel) -> None:
    kernel.objects[0].fdinfo = b"prog_type:\t1\n"
    with kernel.system().program(1) as program:
        assert isinstance(found := program.memlock(), Missing)
        assert found.reason is Reason.UNSUPPORTED


def test_bytes_of_a_name_that_are_no_text_do_not_get_in_the_way() -> None:
    with Kernel(prog(1, b"\xff\xfex")).system().program(1) as program:
        assert program.name == "\udcff\udcfex"
