"""Object files: what is in them, and programs put together as a loader would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens.btf.objectfile import ObjectFile
from bpflens.errors import FormatError
from bpflens.insn import Insn, encode
from bpflens.insn import opcodes as op
from bpflens.insn.asm import assemble_insns
from bpflens.insn.build import R0, R1, call, call_relative, exit_, ld_imm64, mov
from bpflens.insn.tag import tag
from bpflens.model.objectprogram import BpfObject, ObjectProgram
from tests.unit.objects import Function, elf

RETURN = [mov(R0, 0), exit_()]


def program(data: bytes, name: str = "main") -> ObjectProgram:
    (found,) = [each for each in BpfObject(data).programs() if each.name == name]
    return found


def calling(*refers: str) -> Function:
    """A program that calls one symbol after another."""
    insns = [*(call_relative(-1) for _ in refers), *RETURN]
    return Function("xdp", "main", insns, dict(enumerate(refers)))


@pytest.mark.parametrize("order", ["little", "big"])
def test_a_program_is_the_same_in_either_byte_order(order: str) -> None:
    made = Function("xdp", "main", assemble_insns("r1 = 0x1122334455667788\nw0 += r1\nexit"))
    data = elf(made, order=order)  # type: ignore[arg-type]
    assert program(data).insns == list(made.insns)
    assert ObjectFile(data).byteorder == order


def test_called_functions_come_behind_in_the_order_of_their_first_call() -> None:
    """bpf_object__reloc_code(): what a function calls itself comes before its caller's next."""
    second = Function(".text", "second", [call_relative(-1), *RETURN], {0: "third"})
    data = elf(
        calling("second", "first", "second"),
        Function(".text", "first", [mov(R0, 1), exit_()]),
        second,
        Function(".text", "third", [mov(R0, 3), exit_()]),
    )
    linked = assemble_insns("""
        call second
        call first
        call second
        r0 = 0
        exit
    second:
        call third
        r0 = 0
        exit
    third:
        r0 = 3
        exit
    first:
        r0 = 1
        exit
    """)
    found = program(data)
    assert found.insns == linked
    assert not found.adapted
    assert [each.name for each in BpfObject(data).programs()] == ["main"]


def test_a_static_function_is_called_by_the_section_and_a_distance() -> None:
    main = Function("tc", "main", [call_relative(1), *RETURN], {0: ".text"})
    data = elf(
        main,
        Function(".text", "other", RETURN),
        Function(".text", "meant", [mov(R0, 2), exit_()]),
    )
    assert program(data).insns == assemble_insns("call f\nr0 = 0\nexit\nf: r0 = 2\nexit")


def test_a_callback_is_linked_and_marked() -> None:
    main = Function("tc", "main", [*ld_imm64(R1, 8 * len(RETURN)), *RETURN], {0: ".text"})
    data = elf(main, Function(".text", "a", RETURN), Function(".text", "b", [mov(R0, 9), exit_()]))
    first, *_ = found = program(data).insns
    assert (first.src, first.imm) == (op.PSEUDO_FUNC, 3)
    assert found[4:] == [mov(R0, 9), exit_()]


def test_recursion_is_linked_once() -> None:
    loop = Function(".text", "loop", [call_relative(-1), *RETURN], {0: "loop"})
    found = program(elf(calling("loop"), loop))
    assert found.insns == assemble_insns("call f\nr0 = 0\nexit\nf: call f\nr0 = 0\nexit")


def test_maps_and_data_are_neutral_to_the_tag() -> None:
    refers = {0: "counts", 2: "state"}
    main = Function("tc", "main", [*ld_imm64(R1, 0), *ld_imm64(R1, 16), *RETURN], refers)
    data = elf(
        main,
        data={".maps": bytes(32), ".bss": bytes(32)},
        objects={"counts": (".maps", 0), "state": (".bss", 8)},
    )
    found = program(data)
    assert not found.adapted
    submitted = assemble_insns("r1 = map_fd 5\nr1 = map_value 6+24\nr0 = 0\nexit")
    assert tag(encode(found.insns)) == tag(encode(submitted))


def test_what_the_running_kernel_fills_in_is_told() -> None:
    main = Function(
        "tc", "main", [call_relative(-1), call(5), *ld_imm64(R1, 0), *RETURN], {0: "kf", 2: "var"}
    )
    found = program(elf(main, externs=["kf", "var"]))
    assert found.kfuncs == {0: "kf"}
    assert found.adapted == {0, 2, 3}
    assert found.insns[0] == Insn(op.HELPER_CALL, src=op.PSEUDO_KFUNC_CALL)


def test_a_file_of_functions_alone_is_one_program() -> None:
    """prog_is_subprog(): .text holds programs where there is nothing else."""
    assert program(elf(Function(".text", "main", RETURN))).insns == RETURN


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no ELF file"),
        (b"\x7fELF" + bytes(60), "no ELF file"),
        (b"\x7fELF\x01\x01" + bytes(60), "no 64-bit ELF file"),
        (elf(machine=62), "no object file of BPF programs"),
        (elf(kind=2), "no object file of BPF programs"),
        (elf(calling(".text"), Function(".text", "a", [*RETURN, *RETURN]))[:-70], "past the end"),
        (elf(Function("tc", "main", [call_relative(7), *RETURN])), "where no function begins"),
    ],
)
def test_what_is_no_object_says_why(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        list(BpfObject(data).programs())


WHOLE = elf(
    calling("f", "f", "kf"),
    Function(".text", "f", [*ld_imm64(R1, 0), *RETURN], {0: "counts"}),
    data={".maps": bytes(32)},
    objects={"counts": (".maps", 0)},
    externs=["kf"],
)


@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, len(WHOLE)),
)
def test_any_bytes_are_programs_or_a_format_error(
    changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(WHOLE)
    for at, byte in changes:
        data[at] = byte
    for content in (bytes(data), bytes(data[:length])):
        try:
            list(BpfObject(content).programs())
        except FormatError:
            continue


def test_a_call_that_leads_before_its_section_is_told_with_a_place_in_the_file() -> None:
    data = elf(Function("xdp", "main", [call_relative(-9), *RETURN]))
    with pytest.raises(FormatError, match="where no function begins") as caught:
        program(data)
    assert caught.value.offset >= 0
