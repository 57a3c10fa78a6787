"""A program's instructions with what belongs to them: names, notes, statements, machine code."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from bpflens.errors import Denied, Unsupported
from bpflens.model.kallsyms import PATH
from bpflens.present.code import explanation, listing, machine_listing, remark
from bpflens.snapshot import machine
from bpflens.snapshot.code import Code
from bpflens.snapshot.explain import statements
from bpflens.snapshot.match import Key, MatchRecord, in_order, surest
from bpflens.snapshot.names import Names
from tests.unit.scripted import Kernel
from tests.unit.scripted_code import BASE, MAIN, code_kernel
from tests.unit.scripted_objects import Prog, Table


@pytest.fixture
def kernel() -> Kernel:
    return code_kernel()


@pytest.fixture
def code(kernel: Kernel) -> Iterator[Code]:
    system = kernel.system()
    with system.program(1) as program:
        yield Code(program, Names(system))


def test_each_instruction_says_what_it_names(code: Code) -> None:
    notes = {record.at: remark(record) for record in code.records() if remark(record)}
    assert notes == {
        0: "map 7 flows (hash)",
        2: "helper bpf_map_lookup_elem",
        3: "to 8",
        4: "map 8 main.bss (array): high",
        6: "subprogram sub_of_it at 10",
        7: "kfunc bpf_kf",
    }
    assert {record.function for record in code.records()} == {"main", "sub_of_it"}


def test_a_listing_is_bpftools_and_shows_no_control_character(code: Code) -> None:
    lines = list(listing(code.records(), opcodes=False, linum=True, notes=True))
    assert lines[:4] == [
        "int main():",
        "; return\t2;\\x1b[2J [file:a.c line_num:3 line_col:7]",
        "   0: (18) r1 = map[id:7]  // map 7 flows (hash)",
        "   2: (85) call __htab_map_lookup_elem#4096  // helper bpf_map_lookup_elem",
    ]
    plain = list(listing(code.records(source=False), opcodes=True, linum=False, notes=False))
    assert plain[:3] == [
        "int main():",
        "   0: (18) r1 = map[id:7]",
        "       18 11 00 00 07 00 00 00 00 00 00 00 00 00 00 00",
    ]


def test_without_symbols_there_are_fewer_names_and_a_reason(kernel: Kernel) -> None:
    kernel.host.files[PATH] = 13
    system = kernel.system()
    with system.program(1) as program:
        code = Code(program, Names(system))
    assert code.missing["symbols"].startswith("unsupported")
    notes = {record.at: remark(record) for record in code.records()}
    assert (notes[2], notes[6]) == ("helper", "subprogram sub_of_it at 10")


def test_instructions_that_are_hidden_are_denied(kernel: Kernel) -> None:
    made = kernel.objects[0]
    assert isinstance(made, Prog)
    system = kernel.system()
    with system.program(1) as program:
        made.hidden = {"xlated_prog_insns"}
        with pytest.raises(Denied, match="hides"):
            Code(program, Names(system))
    made.arrays["xlated_prog_insns"] = b""
    with (
        system.program(1) as program,
        pytest.raises(Denied, match="not shown") as refused,
    ):
        Code(program, Names(system))
    assert "CAP_BPF" in refused.value.needs


def test_a_map_that_is_gone_keeps_its_id(kernel: Kernel) -> None:
    kernel.objects = [each for each in kernel.objects if not isinstance(each, Table)]
    system = kernel.system()
    with system.program(1) as program:
        code = Code(program, Names(system))
    (first, *_) = code.records()
    assert remark(first) == "map 7 (not to be opened)"


def test_statements_rest_on_instructions(code: Code) -> None:
    told = [(s.about, s.name, s.what, s.number, s.at) for s in statements(code)]
    assert told == [
        ("helper", "bpf_map_lookup_elem", "called", 1, [2]),
        ("kfunc", "bpf_kf", "called", None, [7]),
        ("subprogram", "sub_of_it", "called", 10, [6]),
        ("map", "flows (hash)", "looked up", 7, [2]),
        ("map", "main.bss (array)", "named; what is done with it is not told", 8, [4]),
        ("return", "2", "passes", 2, [9]),
        ("function", "main", "instructions 0 to 9 (10), no stack", 0, []),
        ("function", "sub_of_it", "instructions 10 to 11 (2), no stack", 10, []),
    ]
    lines = list(explanation(code, statements(code)))
    assert lines[0] == "program 1 xdp main 0101010101010101: 12 instructions"
    assert "  7 flows (hash)      looked up" in "\n".join(lines)


def test_machine_code_has_lines_symbols_and_functions(kernel: Kernel, code: Code) -> None:
    pytest.importorskip("capstone")
    with kernel.system().program(1) as program:
        records = list(machine.records(program, code, machine.disassembler("x86-64")))
    lines = list(machine_listing(records, opcodes=True, linum=False, notes=True))
    assert lines == [
        "int main():",
        "bpf_prog_0101010101010101_main:",
        "; return\t2;\\x1b[2J",
        "   0:\tcallq 0xffffffff81001040  // __htab_map_lookup_elem",
        f"\te8 {struct.pack('<i', BASE + 0x1000 - MAIN - 5).hex(' ')}",
        "   5:\tretq",
        "\tc3",
        "",
        "int sub_of_it():",
        "bpf_prog_0202020202020202_sub_of_it:",
        "; return\t2;\\x1b[2J",
        "   0:\tretq",
        "\tc3",
    ]


def test_a_call_on_arm64_is_followed_through_its_register() -> None:
    """movn, movk, movk and blr, as emit_a64_mov_i64() writes an address; bl; what is no code."""
    pytest.importorskip("capstone")
    words = (0x92900A0A, 0xF2A0000A, 0xF2C0002A, 0xD63F0140, 0x94000001, 0xFFFFFFFF)
    disassemble = machine.disassembler("arm64")
    pieces = list(disassemble(struct.pack("<6I", *words), 0x1000))
    assert pieces[3].target == 0xFFFF_0001_0000_7FAF
    assert pieces[4].target == 0x1014
    assert pieces[5].text == ".byte 0xffffffff"
    assert b"".join(piece.data for piece in pieces) == struct.pack("<6I", *words)


def test_the_architecture_is_the_kernels_word_or_unsupported(kernel: Kernel) -> None:
    system = kernel.system()
    with pytest.raises(Unsupported, match="--arch"):
        machine.architecture(system)
    kernel.host.files[machine.ARCH] = b"aarch64\n"
    assert machine.architecture(system) == "arm64"
    kernel.host.files[machine.ARCH] = b"s390x\n"
    with pytest.raises(Unsupported, match="s390x"):
        machine.architecture(system)


def test_an_interpreted_program_has_no_machine_code(kernel: Kernel) -> None:
    made = kernel.objects[0]
    assert isinstance(made, Prog)
    made.arrays["jited_prog_insns"] = b""
    with kernel.system().program(1) as program, pytest.raises(Unsupported, match="interpreted"):
        machine.machine_code(program)


def test_what_stands_in_the_same_order_is_counted() -> None:
    def found(left: str, *right: str) -> int | None:
        keys: list[tuple[Key, ...]] = [tuple((key,) for key in each) for each in right]
        return in_order([(letter,) for letter in left], keys)

    assert found("abcabd", *"abcabd") == 6
    assert found("abcabd", *"xaxbxxd") == 3
    assert found("abcabd", *"dcba") == 2
    assert found("", *"abcabd") == 0
    assert found("a" * 3000, *"a" * 3000) is None
    # An instruction that may have been adapted stands for two keys.
    assert found("aBc", "aA", "bB", "cC") == 3
    assert found("AaA", "aA", "aA") == 2


def test_a_program_of_the_file_of_which_less_speaks_is_left_out() -> None:
    def told(program: str, *by: str) -> MatchRecord:
        none = (None, None, None, None)
        return MatchRecord(1, "xdp", "main", "", program, "xdp", [*by], *none, missing={})

    twins = [told("main", "tag", "instructions"), told("copy", "instructions", "tag")]
    assert [*surest(twins)] == twins
    assert [*surest([*twins, told("old", "instructions")])] == twins
    assert [*surest([told("by_tag", "tag"), told("by_btf", "BTF")])] == [
        told("by_tag", "tag"), told("by_btf", "BTF"),
    ]  # fmt: skip
