"""Readers give what `render` gives, whatever the type and the bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bpflens.btf import Btf
from bpflens.btf import types as t
from bpflens.btf.build import BtfBuilder
from bpflens.btf.render import render
from bpflens.errors import FormatError
from bpflens.model.decoders import Plain
from bpflens.model.reader import compile
from bpflens.model.typed import ByType, plain

VMLINUX = Path("/sys/kernel/btf/vmlinux")


def shown(value: Plain) -> Plain:
    """A value with the words that stand beside its numbers."""
    words = getattr(value, "words", None)
    if isinstance(value, dict):
        return words, {name: shown(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shown(part) for part in value]
    return words, type(value), value


def compare(btf: Btf, type_id: int, data: bytes) -> bool:
    """Whether the type has a reader; what it gives is then equal."""
    reader = compile(btf, type_id)
    if reader is None:
        return False
    assert shown(reader.read(b"\xff" * 3 + data, 3)) == shown(plain(render(btf, type_id, data)))
    assert reader.size == btf.sizeof(type_id)
    return True


def test_every_struct_of_this_kernel_reads_as_it_is_rendered() -> None:
    if not VMLINUX.exists():
        pytest.skip(f"this kernel has no {VMLINUX}")
    btf = Btf.parse(VMLINUX.read_bytes())
    random.seed(4)
    read = 0
    kinds = (t.Struct, t.Union, t.Enum, t.Int)
    chosen = [id for id in btf.ids() if btf.kind(id) in kinds]
    for id in random.sample(chosen, 1500):
        size = btf.sizeof(id)
        if size > 20_000:
            continue
        for data in (bytes(size), random.randbytes(size), b"text\0".ljust(size, b"A")[:size]):
            try:
                read += compare(btf, id, data)
            except FormatError:
                continue  # what `render` refuses is refused
    assert read > 3000


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_bit_fields_signs_and_words(byteorder: str) -> None:
    made = BtfBuilder(byteorder)  # type: ignore[arg-type]
    s32, u32 = made.add_int("int", 4, t.Int.SIGNED), made.add_int("unsigned int", 4)
    flag = made.add_int("_Bool", 1, t.Int.BOOL)
    char = made.add_int("char", 1, t.Int.CHAR)
    state = made.add_enum("state", [("OFF", 0), ("ON", 1), ("ALSO", 1)], signed=True)
    old = made.add_enum("old", [("LESS", 0xFFFFFFFE), ("NONE", 0)], 1)
    be32 = made.add_typedef("__be32", u32)
    address = made.add_struct("in_addr", 4, [("s_addr", be32, 0)])
    inner = made.add_struct("", 8, [("a", u32, 0), ("b", be32, 32)])
    whole = made.add_struct(
        "whole",
        48,
        [
            ("x", s32, 0, 3), ("y", u32, 3, 7), ("on", flag, 10, 1), ("s", state, 11, 2),
            ("", inner, 32), ("where", address, 96), ("text", made.add_array(char, 8, u32), 128),
            ("flag", flag, 192), ("letter", char, 200), ("old", old, 208),
            ("few", old, 216, 3), ("state", state, 224),
            ("next", made.add_ptr(0), 256), ("two", made.add_array(inner, 1, u32), 320),
        ],
    )  # fmt: skip
    btf = Btf.parse(made.build())
    random.seed(5)
    for data in (bytes(48), b"\xff" * 48, *(random.randbytes(48) for _ in range(200))):
        assert compare(btf, whole, data)


def test_what_is_unusual_and_what_is_too_short_is_left_to_render() -> None:
    made = BtfBuilder()
    u32 = made.add_int("unsigned int", 4)
    open_end = made.add_struct("open", 4, [("n", u32, 0), ("v", made.add_array(u32, 0, u32), 32)])
    real = made.add_float("double", 8)
    many = made.add_array(made.add_struct("one", 4, [("x", u32, 0)]), 20_000, u32)
    pair = made.add_struct("pair", 8, [("a", u32, 0), ("b", u32, 32)])
    btf = Btf.parse(made.build())
    assert [compile(btf, id) for id in (open_end, real, many)] == [None] * 3
    assert ByType(btf, open_end).read(bytes(12)) == {"n": 0, "v": [0, 0]}
    assert ByType(btf, real).read(bytes(8)) == 0.0
    with pytest.raises(FormatError):
        ByType(btf, pair).read(bytes(7))


@pytest.mark.parametrize("bits", [0, 3])
def test_a_member_past_the_end_of_its_struct_is_left_to_render(bits: int) -> None:
    made = BtfBuilder()
    u32 = made.add_int("unsigned int", 4)
    inner = made.add_struct("", 4, [("a", u32, 32, bits)])
    outer = made.add_struct("outer", 4, [("", inner, 0)])
    btf = Btf.parse(made.build())
    assert [compile(btf, id) for id in (inner, outer)] == [None] * 2
    assert ByType(btf, outer).read(bytes(4) + b"\5\0\0\0") == {"a": 5}
    with pytest.raises(FormatError):
        ByType(btf, outer).read(bytes(4))
