"""Recordings that are damaged: what `test_recordings_fuzz` looks at."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

Path = tuple[Any, ...]
Make = Callable[[Any], Any]

COMMANDS = (
    "", "doctor", "orphans", "attach list --json", "btf list", "graph --json", "graph --format dot",
    "link list --json", "prog list --parts all", "prog list --csv", "prog list --where id>12",
    "map list --parts all --json", "why prog 12", "why map 3", "prog show 12", "prog dump 12",
    "prog dump 12 --graph text", "prog explain 12", "map dump 5", "map dump 8 --json",
    "map lookup 5 1", "btf dump prog:12",
)  # fmt: skip
"""Of every kind; the numbers are those of examples/busy.cassette.gz."""

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1 << 31, 1 << 63, 1 << 64, 1.5, float("nan"), "", "x", "ff", "00" * 33,
    "zz", [], {}, [[]], [[0, "ff"]], [1, 2], ["ff", 0], "net:[x]", "net:[]", "\ud800", "9" * 5000,
)  # fmt: skip
NUMBERS = (0, -1, 1, (1 << 31) - 1, (1 << 32) - 1, (1 << 64) - 1)
DIGITS = (b"9" * 12, b"-1", b"0x7g", b"4294967296", b"18446744073709551616", b"", b"x", b"1 2",
          b"9" * 5000)  # fmt: skip
PIECES = (b"", b"9" * 30, b"\n", b" ", b"\xff", b":", b"]", b"\\134", b"-1")


def damaged(chance: random.Random, lines: list[Any]) -> bytes:
    """A file made of the lines of a recording: values of any depth changed, lines in another order
    or left out, bytes changed; some packed, and that damaged."""
    lines = list(lines)
    how = chance.random()
    if how < 0.75:
        for _ in range(chance.choice([1, 1, 3, 10, 50])):
            at = chance.randrange(len(lines)) if chance.random() < 0.98 else 0
            lines[at] = _changed(chance, lines[at])
    elif how < 0.8:
        chance.shuffle(lines)
    elif how < 0.85:
        lines = [lines[0], *chance.sample(lines[1:], len(lines) // 2)]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    if how > 0.85:
        data = _bytes(chance, data)
    if chance.random() < 0.3:
        data = gzip.compress(data, 1, mtime=0)
        if chance.random() < 0.5:
            data = _bits(chance, data)
    return data


def _changed(chance: random.Random, line: Any) -> Any:
    places = list(_places(line))
    deep = [place for place in places if len(place) > 2] or places
    return _put(line, chance.choice(deep if chance.random() < 0.8 else places), _maker(chance))


def _places(node: Any, at: Path = ()) -> Iterator[Path]:
    yield at
    if isinstance(node, dict):
        for key in node:
            yield from _places(node[key], (*at, key))
    elif isinstance(node, list):
        for index in range(min(len(node), 40)):
            yield from _places(node[index], (*at, index))


def _put(node: Any, at: Path, make: Make) -> Any:
    if not at:
        return make(node)
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[at[0]] = _put(copy[at[0]], at[1:], make)
    return copy


def _maker(chance: random.Random) -> Make:
    def make(value: Any) -> Any:
        if isinstance(value, str) and chance.random() < 0.8:
            try:
                raw = bytes.fromhex(value)
            except ValueError:
                text = value.encode("utf-8", "surrogatepass")
                return _text(chance, text).decode("utf-8", "surrogateescape")
            if raw.isascii() and chance.random() < 0.6:
                return (_digits if chance.random() < 0.5 else _text)(chance, raw).hex()
            return _hex(chance, bytearray(raw))
        if type(value) is int and chance.random() < 0.6:
            return chance.choice([*NUMBERS, value ^ (1 << chance.randrange(40)), value + 1])
        if isinstance(value, list) and value and chance.random() < 0.6:
            at = chance.randrange(len(value))
            return chance.choice([value[:at], value + value, value[:at] + value[at + 1 :]])
        return chance.choice(VALUES)

    return make


def _digits(chance: random.Random, text: bytes) -> bytes:
    """Another number in place of one of those in a text."""
    found = list(re.finditer(rb"[0-9]+", text))
    if not found:
        return text
    place = chance.choice(found)
    return text[: place.start()] + chance.choice(DIGITS) + text[place.end() :]


def _text(chance: random.Random, text: bytes) -> bytes:
    data = bytearray(text)
    for _ in range(chance.choice([1, 2])):
        at = chance.randrange(len(data) + 1)
        data[at : at + chance.choice([0, 1, 3])] = chance.choice(PIECES)
    return bytes(data)


def _hex(chance: random.Random, data: bytearray) -> str:
    for _ in range(chance.choice([1, 1, 2, 8]) if data else 0):
        data[chance.randrange(len(data))] = chance.choice([0, 255, 127, 128, chance.randrange(256)])
    how = chance.random()
    if how < 0.15:
        del data[chance.randrange(len(data) + 1) :]
    elif how < 0.25:
        data += chance.randbytes(chance.choice([1, 8, 40]))
    elif how < 0.4 and len(data) >= 8:
        at = chance.randrange(len(data) - 3)
        data[at : at + 4] = chance.choice([b"\xff" * 4, b"\xff\xff\xff\x7f", bytes(4)])
    return data.hex()


def _bytes(chance: random.Random, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(chance.choice([1, 5, 50])):
        if not data:
            break
        at, how = chance.randrange(len(data)), chance.random()
        if how < 0.5:
            data[at] = chance.randrange(256)
        elif how < 0.7:
            del data[at : at + chance.choice([1, 10, 1000])]
        elif how < 0.95 or not at:
            data[at:at] = bytes(chance.choices(b'{}[],":0\n\xff', k=chance.choice([1, 5])))
        else:
            del data[at:]
    return bytes(data)


def _bits(chance: random.Random, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(chance.choice([1, 3])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data[: chance.randrange(len(data))] if chance.random() < 0.3 else data)
