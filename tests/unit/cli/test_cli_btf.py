"""`bpflens btf`: which objects there are, and their types as C, JSON and bpftool's listing."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from bpflens.btf import types as t
from bpflens.btf.build import BtfBuilder
from bpflens.btf.parse import Btf
from bpflens.model.btfobject import VMLINUX
from tests.unit.cli.conftest import Cli
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import Types, prog, table, u32


def kernels() -> BtfBuilder:
    """What the kernel has."""
    made = BtfBuilder()
    number = made.add_int("int", 4, t.Int.SIGNED)
    made.add_struct("task", 4, [("pid", number, 0)])
    return made


def modules(base: Btf) -> bytes:
    """What a module has beside it: a struct with a struct of the kernel's in it."""
    made = BtfBuilder(base=base)
    task = base.find("task", t.Struct)
    assert task
    made.add_struct("driver", 8, [("owner", task.id, 0), ("state", 1, 32)])
    return made.build()


def programs() -> bytes:
    """What a program has: a key, a value, and what nobody refers to."""
    made = BtfBuilder()
    number = made.add_int("unsigned int", 4)
    made.add_struct("flow", 4, [("mark", number, 0)])
    made.add_struct("other", 4, [("x", number, 0)])
    return made.build()


@pytest.fixture
def kernel(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    data = kernels().build()
    kernel.host.files[VMLINUX] = data
    typed = table(20, elements={u32(1): u32(2)}, value_size=4, name=b"flows")
    typed.info.btf_id, typed.info.btf_key_type_id, typed.info.btf_value_type_id = 3, 1, 2
    using = prog(21, b"counter")
    using.info.btf_id = 3
    kernel.objects += [
        Types(1, data, name=b"vmlinux"),
        Types(2, modules(Btf.parse(data)), name=b"e1000"),
        Types(3, programs()),
        typed,
        using,
    ]
    return kernel


def test_a_list_says_what_they_are_and_who_uses_them(cli: Cli) -> None:
    done = cli("btf", "list", "--json")
    assert done.status == 0
    kernels_own, module, programs_own = json.loads(done.out)["items"]
    assert (kernels_own["name"], kernels_own["kernel"]) == ("vmlinux", True)
    assert (module["name"], module["kernel"], module["program_ids"]) == ("e1000", True, [])
    assert (programs_own["name"], programs_own["kernel"]) == (None, False)
    assert (programs_own["program_ids"], programs_own["map_ids"]) == ([21], [20])


def test_who_uses_them_is_not_asked_for_where_nobody_wants_it(cli: Cli, kernel: Kernel) -> None:
    done = cli("btf", "list", "--parts", "basic", "--columns", "id,name", "--csv")
    assert done.out == "id,name\n1,vmlinux\n2,e1000\n3,\n"
    assert kernel.counts()["PROG_GET_NEXT_ID"] == kernel.counts()["MAP_GET_NEXT_ID"] == 0


def test_an_object_of_a_kernel_that_tells_no_names_says_so(cli: Cli, kernel: Kernel) -> None:
    kernel.objects = [Types(3, programs(), told=16)]
    (item,) = json.loads(cli("btf", "show", "3", "--json").out)["items"]
    assert item["name"] is None
    assert item["missing"]["name"].startswith("unsupported")


@pytest.mark.parametrize("selector", ["vmlinux", "1", "id:1"])
def test_the_kernels_types_by_name_and_by_id(cli: Cli, selector: str) -> None:
    assert cli("btf", "dump", selector).out == "struct task {\n\tint pid;\n};\n"


def test_a_modules_types_come_with_what_they_need_of_the_kernels(cli: Cli) -> None:
    assert cli("btf", "dump", "e1000").out == (
        "struct task {\n\tint pid;\n};\n\nstruct driver {\n\tstruct task owner;\n\tint state;\n};\n"
    )
    assert cli("btf", "dump", "e1000", "--format", "raw").out == (
        "[3] STRUCT 'driver' size=8 vlen=2\n"
        "\t'owner' type_id=2 bits_offset=0\n"
        "\t'state' type_id=1 bits_offset=32\n"
    )


def test_a_program_has_all_of_its_types_and_a_map_those_of_key_and_value(cli: Cli) -> None:
    assert "struct other" in cli("btf", "dump", "prog:21").out
    assert cli("btf", "dump", "map:20").out == "struct flow {\n\tunsigned int mark;\n};\n"
    items = json.loads(cli("btf", "dump", "map:20", "--json").out)["items"]
    assert [item["name"] for item in items] == ["unsigned int", "flow"]


def test_one_type_comes_with_what_it_needs(cli: Cli) -> None:
    done = cli("btf", "dump", "prog:21", "--type", "struct flow", "--format", "json")
    assert [item["id"] for item in json.loads(done.out)["items"]] == [1, 2]
    done = cli("btf", "dump", "prog:21", "--type", "union flow")
    assert (done.status, done.out) == (3, "")
    assert "no type 'union flow'" in done.err


def test_a_file_of_raw_btf_and_one_that_continues_the_kernels(cli: Cli, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.write_bytes(kernels().build())
    part.write_bytes(modules(kernels_own := Btf.parse(whole.read_bytes())))
    assert len(kernels_own) == 3
    assert "struct task" in cli("btf", "dump", f"file:{whole}").out
    for base in ("vmlinux", str(whole)):
        assert "struct driver" in cli("btf", "dump", f"file:{part}", "--base", base).out


def elf(data: bytes, wide: bool = True, order: str = "<") -> bytes:
    """An ELF file with a section `.BTF`, of either class and byte order."""
    names = b"\0.BTF\0.shstrtab\0"
    head = 64 if wide else 52
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    size = 64 if wide else 40
    at = head + len(data) + len(names)

    def header(name: int, kind: int, offset: int, length: int) -> bytes:
        if wide:
            return struct.pack(order + "2I4Q2I2Q", name, kind, 0, 0, offset, length, 0, 0, 1, 0)
        return struct.pack(order + "10I", name, kind, 0, 0, offset, length, 0, 0, 1, 0)

    word = "Q" if wide else "I"
    start = struct.pack(
        order + "2HI3" + word + "I6H", 1, 247, 1, 0, 0, at, 0, head, 0, 0, size, 3, 2
    )
    sections = header(0, 0, 0, 0) + header(1, 1, head, len(data))
    sections += header(6, 3, head + len(data), len(names))
    return ident + start + data + names + sections


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_section_of_an_elf_object(cli: Cli, tmp_path: Path, wide: bool, order: str) -> None:
    path = tmp_path / "prog.o"
    path.write_bytes(elf(programs(), wide, order))
    assert "struct flow" in cli("btf", "dump", f"file:{path}").out


def test_an_elf_file_that_is_cut_anywhere_is_one_error(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prog.o"
    whole = elf(programs())
    for end in range(4, len(whole), 7):
        path.write_bytes(whole[:end])
        done = cli("btf", "dump", f"file:{path}")
        assert (done.status, done.out) == (1, ""), end


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("99",), 3, "no BTF object with ID 99"),
        (("nosuch",), 3, "no BTF object is called nosuch"),
        (("prog:1",), 3, "program 1 has no BTF"),
        (("map:5",), 3, "map 5 has no BTF"),
        (("prog:x",), 2, "'x' is no ID"),
        (("file:/nowhere",), 3, "there is no file /nowhere"),
        (("file:/dev/zero",), 1, "wrong magic number"),
        (("file:/",), 1, "/ cannot be read: Is a directory"),
        (("prog:21", "--type", ""), 3, "no type ''"),
        (("prog:21", "--type", "unsigned int"), 0, "a word of C: there is nothing to declare"),
        (("vmlinux", "--base", "x"), 2, "--base is for file:PATH"),
        (("vmlinux", "--csv"), 2, "types are no table"),
    ],
)
def test_what_is_not_there_is_said(
    cli: Cli, words: tuple[str, ...], status: int, said: str
) -> None:
    done = cli("btf", "dump", *words)
    assert (done.status, done.out) == (status, "")
    assert said in done.err


def test_an_index_of_the_kernels_types_is_kept_for_the_next_time(cli: Cli, tmp_path: Path) -> None:
    first = cli("btf", "dump", "vmlinux")
    (kept,) = (tmp_path / "cache" / "bpflens").iterdir()
    assert kept.suffix == ".btfindex"
    assert cli("btf", "dump", "vmlinux") == first


def test_a_module_cannot_be_read_without_the_kernels(cli: Cli, kernel: Kernel) -> None:
    del kernel.host.files[VMLINUX]
    done = cli("btf", "dump", "e1000")
    assert (done.status, done.out) == (3, "")
    assert "No such file" in done.err
