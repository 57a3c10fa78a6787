"""Whatever bytes come in, a value or a FormatError goes out, within a second.

With pytest this is a small number of inputs; `python -m tests.fuzz` runs as many as one likes.
"""

from __future__ import annotations

import json
import random
import struct
from binascii import crc32
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpflens.btf import Btf, cache
from bpflens.btf import types as t
from bpflens.btf.build import BtfBuilder, copy
from bpflens.btf.declare import declare
from bpflens.btf.edit import assign
from bpflens.btf.ext import func_infos, line_infos, parse_ext
from bpflens.btf.render import render
from bpflens.btf.specialfields import special_fields
from bpflens.btf.spell import spell
from bpflens.btf.value import to_json, to_text
from bpflens.errors import FormatError, UsageError
from bpflens.model.typed import ByType

MAX_ASKED = 40
"""Types of one input that are asked about."""

BYTES = bytes(range(1, 97)) + b"text\0" + bytes(200)
"""What stands for a value's bytes."""

PATHS = ("", "a", "a.b", "[0]", "[1].a", "b[2]", "a[0].b", "[3][1]")


# What has to hold


def allowed(ask: Callable[..., object], *arguments: object) -> None:
    """Asks; a FormatError that tells a place is as good an answer as a value."""
    refused = None
    try:
        ask(*arguments)
    except FormatError as error:
        refused = error
    except UsageError:
        pass
    assert refused is None or refused.offset >= 0


def check_types(btf: Btf) -> None:
    """Everything that can be asked of a BTF and of each of its types."""
    for type_id in range(min(len(btf) + 1, MAX_ASKED)):
        for ask in (btf.__getitem__, btf.type_name, btf.kind, btf.strip, btf.sizeof, btf.alignof):
            allowed(ask, type_id)
        allowed(spell, btf, type_id, "name")
        allowed(declare, btf, [type_id])
        allowed(copy, btf, [type_id], True)
        allowed(show, btf, type_id)
        allowed(read, btf, type_id)
        allowed(special_fields, btf, type_id)
        for path in PATHS:
            allowed(assign, btf, type_id, BYTES, path, "1")
    allowed(btf.find, "a", t.Struct)
    allowed(btf.find_all, "ab")
    allowed(declare, btf)
    allowed(lambda: Btf.parse(copy(btf, btf.ids())))


def show(btf: Btf, type_id: int) -> None:
    """Reads a value of a type, and prints it in both ways."""
    value = render(btf, type_id, BYTES)
    json.dumps(to_json(value))
    to_text(value)


def read(btf: Btf, type_id: int) -> None:
    """Reads a value of a type as elements of maps are read."""
    ByType(btf, type_id).read(BYTES)


def check_btf(data: bytes) -> None:
    """A `.BTF`, alone and as the continuation of another."""
    with suppress(FormatError):
        check_types(Btf.parse(data))
    with suppress(FormatError):
        check_types(Btf.parse(data, BASE))


def check_ext(data: bytes) -> None:
    """A `.BTF.ext`, and the arrays of a loaded program."""
    allowed(parse_ext, data, BASE)
    for size in (8, 16, 20):
        allowed(func_infos, data, size, BASE)
        allowed(line_infos, data, size, BASE)


def check_cache(data: bytes) -> None:
    """A cache file, as it is and with its header put right."""
    words = data[cache._HEADER.size :]
    head = cache._HEADER.pack(cache._MAGIC, crc32(words), len(words) // 8)
    for content in (data, head + words):
        index = cache._decode(content)
        if index is not None:
            check_types(Btf(BASE_DATA, index=index))


CHECKS = (check_btf, check_ext, check_cache)


# Inputs that get further than random bytes


def random_types(chance: random.Random) -> bytes:
    """BTF whose types refer to each other at random, damaged."""
    builder = BtfBuilder("little" if chance.random() < 0.8 else "big")
    count = chance.randrange(1, 12)
    for _ in range(count):
        builder.add(_random_type(chance, count))
    return damaged(chance, builder.build())


def _random_type(chance: random.Random, count: int) -> t.Type:
    def to() -> int:
        return chance.randrange(count + 1) if chance.random() < 0.98 else chance.getrandbits(32)

    def name() -> str:
        return chance.choice(["", "a", "b", "ab", "char", "int", "__be16", "in6_addr", "a b;"])

    def size() -> int:
        return chance.choice([0, 1, 2, 3, 4, 8, 16, 24, chance.getrandbits(32)])

    def number(bits: int) -> int:
        return chance.choice([0, 1, 5, chance.getrandbits(bits)])

    kind = chance.choice(t.KINDS[1:])
    entries = range(chance.choice([0, 1, 2, 3, 5]))
    if issubclass(kind, t.Composite):
        at = [(chance.choice([0, 8, 32, 64, 3, number(24)]), chance.choice([0, 0, 1, 3, number(8)]))
              for _ in entries]  # fmt: skip
        return kind(0, name(), size(), tuple(t.Member(name(), to(), *place) for place in at))
    if issubclass(kind, t.AnyEnum):
        values = tuple((name(), number(64) - number(32)) for _ in entries)
        return kind(0, name(), size(), chance.random() < 0.5, values)
    if issubclass(kind, (t.Func, t.Var)):
        return kind(0, name(), to(), chance.randrange(3))
    if issubclass(kind, (t.Ptr, t.Reference)):
        return kind(0, to())
    if issubclass(kind, (t.Typedef, t.TypeTag)):
        return kind(0, name(), to())
    if kind is t.Int:
        return t.Int(0, name(), size(), number(8), number(4), number(8))
    if kind is t.Array:
        return t.Array(0, to(), to(), chance.choice([0, 1, 2, 7, number(32)]))
    if kind is t.FuncProto:
        return t.FuncProto(0, to(), tuple(t.Param(name(), to()) for _ in entries))
    if kind is t.DataSec:
        places = tuple(t.SectionVar(to(), number(8), size()) for _ in entries)
        return t.DataSec(0, name(), size(), places)
    if kind is t.Float:
        return t.Float(0, name(), size())
    if kind is t.Fwd:
        return t.Fwd(0, name(), chance.random() < 0.5)
    return t.DeclTag(0, name(), to(), chance.randrange(-1, 4))


def random_ext(chance: random.Random) -> bytes:
    """A `.BTF.ext` of three subsections with a few records each, damaged."""
    parts = []
    for size in (2, 4, 4):
        count = chance.randrange(4)
        words = [4 * size, chance.randrange(20), count] if count else []
        words += [chance.choice([0, 8, 16, chance.randrange(30)]) for _ in range(size * count)]
        parts.append(struct.pack(f"<{len(words)}I", *words))
    places: list[int] = []
    for part in parts:
        places += [sum(places[1::2]), len(part)]
    whole = struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, *places) + b"".join(parts)
    return damaged(chance, whole)


def random_index(chance: random.Random) -> bytes:
    """A cache file whose arrays are not quite those of the BTF, damaged."""
    positions, names = BASE.index
    arrays = (positions.tolist(), names.tolist())
    for words in arrays:
        for _ in range(chance.randrange(4)):
            far = chance.choice([chance.randrange(200), chance.getrandbits(32)])
            words[chance.randrange(len(words))] = far
    packed = (memoryview(struct.pack(f"={len(w)}I", *w)).cast("I") for w in arrays)
    return damaged(chance, cache._encode((next(packed), next(packed))))


def damaged(chance: random.Random, data: bytes) -> bytes:
    """The data with some bytes changed, or with its end gone."""
    changed = bytearray(data)
    for _ in range(chance.choice([0, 0, 1, 1, 2, 8])):
        if changed:
            values = [0, 1, 0xFF, 0x80, chance.getrandbits(8)]
            changed[chance.randrange(len(changed))] = chance.choice(values)
    if chance.random() < 0.05:
        del changed[chance.randrange(len(changed) + 1) :]
    return bytes(changed)


def _base() -> bytes:
    """Real types to refer to: what the extension and the cache file belong to."""
    builder = BtfBuilder()
    number = builder.add_int("int", 4, t.Int.SIGNED)
    pair = builder.add_struct("a", 8, [("a", number, 0), ("b", number, 32, 3)])
    builder.add_array(pair, 4)
    builder.add_enum("e", [("ab", 1), ("b", 2)])
    builder.add_func("a", builder.add_func_proto(number, [("a", builder.add_ptr(pair))]))
    builder.string("0:1:2")
    return builder.build()


BASE_DATA = _base()
BASE = Btf.parse(BASE_DATA)


# The small run


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_damaged_types_give_values_or_format_errors(chance: random.Random) -> None:
    check_btf(random_types(chance))


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_damaged_extensions_give_values_or_format_errors(chance: random.Random) -> None:
    check_ext(random_ext(chance))


@settings(max_examples=50, deadline=None)
@given(st.randoms(use_true_random=False))
def test_damaged_cache_files_give_values_or_format_errors(chance: random.Random) -> None:
    check_cache(random_index(chance))


@pytest.mark.parametrize("number", range(len(CHECKS)))
@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_give_values_or_format_errors(number: int, data: bytes) -> None:
    CHECKS[number](data)
