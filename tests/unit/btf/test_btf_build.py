"""Writing BTF, and copying a part of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.btf.build import BtfBuilder, copy


def test_a_type_can_refer_to_one_that_is_yet_to_come() -> None:
    builder = BtfBuilder()
    pointer = builder.add_ptr(builder.next_id + 1)
    node = builder.add_struct("node", 8, [("next", pointer, 0)])
    assert Btf.parse(builder.build())[pointer] == t.Ptr(pointer, node)


def test_a_name_is_written_once() -> None:
    builder = BtfBuilder()
    builder.add_struct("twin", 0)
    builder.add_union("twin", 0)
    assert builder.build().count(b"twin") == 1


def test_bpftool_reads_what_was_written(tmp_path: Path, tool: Callable[[str], str]) -> None:
    builder = BtfBuilder()
    int_id = builder.add_int("int", 4, t.Int.SIGNED)
    builder.add_struct("pair", 8, [("a", int_id, 0), ("b", int_id, 32, 5)])
    builder.add_enum64("wide", [("TOP", 2**63)])
    path = tmp_path / "types.btf"
    path.write_bytes(builder.build())
    command = [tool("bpftool"), "btf", "dump", "file", str(path), "format", "raw"]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "[2] STRUCT 'pair' size=8 vlen=2" in dump
    assert "'b' type_id=1 bits_offset=32 bitfield_size=5" in dump
    assert "'TOP' val=9223372036854775808ULL" in dump


def _tree() -> Btf:
    """struct outer { struct inner in; const struct far *p; struct inner *q; }, and an odd one."""
    builder = BtfBuilder()
    int_id = builder.add_int("int", 4)
    inner = builder.add_struct("inner", 4, [("x", int_id, 0)])
    far = builder.add_struct("far", 4, [("y", int_id, 0)])
    builder.add_struct("odd", 0)
    pointers = [builder.add_ptr(builder.add_const(far)), builder.add_ptr(inner)]
    outer = builder.add_struct(
        "outer", 24, [("in", inner, 0), ("p", pointers[0], 64), ("q", pointers[1], 128)]
    )
    builder.add_decl_tag("mark", outer, 1)
    builder.add_decl_tag("stray", 4)
    return Btf.parse(builder.build())


def test_a_copy_holds_what_its_roots_need_and_nothing_else() -> None:
    tree = _tree()
    outer = tree.find("outer", t.Struct)
    assert outer is not None
    part = Btf.parse(copy(tree, [outer.id]))
    assert part.find("odd", t.Type) is None
    assert part.find("stray", t.Type) is None
    assert isinstance(part.find("far", t.Type), t.Struct)
    copied = part.find("outer", t.Struct)
    assert copied is not None
    assert [m.name for m in copied.members] == ["in", "p", "q"]
    tag = part.find("mark", t.DeclTag)
    assert tag is not None
    assert (tag.type_id, tag.component) == (copied.id, 1)


def test_a_cut_copy_only_declares_what_is_only_pointed_at() -> None:
    tree = _tree()
    outer = tree.find("outer", t.Struct)
    assert outer is not None
    part = Btf.parse(copy(tree, [outer.id], cut=True))
    assert isinstance(part.find("far", t.Type), t.Fwd)
    assert isinstance(part.find("inner", t.Type), t.Struct)


def test_a_cut_copy_keeps_a_struct_that_is_held_as_const() -> None:
    builder = BtfBuilder()
    held = builder.add_const(builder.add_struct("held", 4))
    outer = builder.add_struct("outer", 4, [("h", held, 0)])
    part = Btf.parse(copy(Btf.parse(builder.build()), [outer], cut=True))
    assert isinstance(part.find("held", t.Type), t.Struct)


@pytest.mark.parametrize("cut", [False, True])
def test_a_copy_of_a_kernel_struct_keeps_its_layout(vmlinux: Btf, cut: bool) -> None:
    whole = vmlinux.find("task_struct", t.Struct)
    assert whole is not None
    part = Btf.parse(copy(vmlinux, [whole.id], cut=cut))
    copied = part.find("task_struct", t.Struct)
    assert copied is not None
    assert part.sizeof(copied.id) == vmlinux.sizeof(whole.id)
    assert part.alignof(copied.id) == vmlinux.alignof(whole.id)
    for ours, theirs in zip(copied.members, whole.members, strict=True):
        assert (ours.name, ours.bit_offset) == (theirs.name, theirs.bit_offset)


def test_a_copy_of_split_btf_stands_alone() -> None:
    base = _tree()
    builder = BtfBuilder(base=base)
    own = builder.add_struct("own", 4, [("in", 2, 0)])
    part = Btf.parse(copy(Btf.parse(builder.build(), base), [own]))
    assert part.find("inner", t.Struct) is not None
    assert part.sizeof(part.find_all("own")[0].id) == 4


def test_every_kind_can_be_copied() -> None:
    builder = BtfBuilder()
    number = builder.add_int("int", 4)
    tagged = builder.add_ptr(builder.add_type_tag("user", builder.add_volatile(number)))
    restricted = builder.add_restrict(tagged)
    proto = builder.add_func_proto(0, [("p", restricted)])
    function = builder.add_func("f", proto)
    section = builder.add_datasec(".bss", 4, [(builder.add_var("v", number), 0, 4)])
    ahead = builder.add_fwd("ahead")
    double = builder.add_float("double", 8)
    whole = Btf.parse(builder.build())
    part = Btf.parse(copy(whole, [function, section, ahead, double]))
    assert [part[id] for id in part.ids()] == [whole[id] for id in whole.ids()]


def test_what_is_no_record_cannot_be_added() -> None:
    with pytest.raises(TypeError, match="Void has no record"):
        BtfBuilder().add(t.Void(0))
