"""Random BTF: records of every kind that refer to each other, most of them as the kernel wants."""

from __future__ import annotations

import random
import struct

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST = range(1, 11)
RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(11, 20)
KINDS = (
    *(INT, PTR, ARRAY, ARRAY, STRUCT, STRUCT, STRUCT, UNION, ENUM, FWD, TYPEDEF, TYPEDEF),
    *(VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, FUNC_PROTO, VAR, DATASEC, FLOAT),
    *(DECL_TAG, DECL_TAG, TYPE_TAG, ENUM64),
)
NAMES = (
    *("a", "b", "pair", "x.y", ".hidden", "_9", "", "9a", "a-b", "two words", "?sec", "\xe9"),
    *("bpf_spin_lock", "bpf_timer", "bpf_list_head", "bpf_refcount", "bpf_wq", "kptr"),
    *(".data", ".bss", "contains:a:b", "exception_callback:f", "user", "k" * 513),
)
NAMED = (FWD, TYPEDEF, FUNC, VAR, DATASEC, DECL_TAG, TYPE_TAG, INT, FLOAT)
NAMELESS = (PTR, ARRAY, VOLATILE, CONST, RESTRICT, FUNC_PROTO)
ODD = 0.02
"""How often a field is what it should not be."""


class Types:
    """Writes BTF of a few types, of which the first is `int`."""

    def __init__(self, source: random.Random) -> None:
        self.random = source

    def write(self) -> bytes:
        self.kinds = [0]
        self.strings = bytearray(b"\0")
        self.funcs: list[int] = []
        records = [self.record(INT, self.name("int"), 4, tail=struct.pack("<I", 1 << 24 | 32))]
        self.count = self.random.randrange(2, 12)
        for _ in range(self.count):
            records.append(self.any(self.random.choice(KINDS)))
        types = b"".join(records)
        head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types),
                           len(self.strings))  # fmt: skip
        return head + types + bytes(self.strings)

    # --- parts

    def odd(self) -> bool:
        return self.random.random() < ODD

    def name(self, text: str = "") -> int:
        """Where a name is; now and then beyond the strings."""
        if self.odd():
            return self.random.choice((len(self.strings) + 600, 0))
        if not text:
            text = self.random.choice(NAMES[:5] if self.random.random() < 0.9 else NAMES)
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode("latin-1") + b"\0"
        return at

    def type(self, *kinds: int, ahead: bool = False) -> int:
        """A type made before, of these kinds if there is one; now and then any number."""
        if self.odd():
            return self.random.choice((0, 0, len(self.kinds), self.count + 1, 99))
        if ahead and self.random.random() < 0.1:
            return min(len(self.kinds) + self.random.randrange(3), self.count + 1)
        found = [id for id, kind in enumerate(self.kinds) if id and (kind in kinds or not kinds)]
        return self.random.choice(found or [1])

    def record(
        self, kind: int, name: int, size: int, vlen: int = 0, flag: int = 0, tail: bytes = b""
    ) -> bytes:
        self.kinds.append(kind)
        if self.odd():
            vlen += 1
        if self.odd():
            flag ^= 1
        if self.odd():
            size = self.random.choice((0, 1, 2, 3, 4, 8, 16, 1 << 20, 0xFFFFFFFF))
        return struct.pack("<III", name, flag << 31 | kind << 24 | vlen, size) + tail

    def any(self, kind: int) -> bytes:
        """A record of a kind."""
        choice = self.random.choice
        if kind in NAMELESS:
            name = self.name("x") if self.odd() else 0
        else:
            name = 0 if kind not in NAMED and self.random.random() < 0.3 else self.name()
        sized = (INT, PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, CONST, VOLATILE, FLOAT, ENUM64,
                 TYPE_TAG)  # fmt: skip
        if kind == INT:
            size = choice((1, 2, 4, 8, 16, 3))
            bits = choice((8 * size, 8 * size, 8 * size, 1, 7, 129))
            word = choice((0, 1, 2, 4, 0, 3, 8)) << 24 | choice((0, 0, 0, 0, 1, 8)) << 16 | bits
            return self.record(kind, name, size, tail=struct.pack("<I", word))
        if kind == FLOAT:
            return self.record(kind, name, choice((2, 4, 8, 12, 16, 4, 8, 3)))
        if kind in (PTR, TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG):
            return self.record(kind, name, choice((self.type(ahead=True), self.type(*sized), 0)))
        if kind == ARRAY:
            tail = struct.pack(
                "<III", self.type(*sized, ahead=True), self.type(INT), choice((0, 1, 3, 1 << 30))
            )
            return self.record(kind, name, 0, tail=tail)
        if kind in (STRUCT, UNION):
            return self.composite(kind, name, sized)
        if kind in (ENUM, ENUM64):
            count = choice((0, 1, 2))
            step = 1 if kind == ENUM else 2
            tail = b"".join(
                struct.pack(f"<{1 + step}I", self.name("A"), *[choice((0, 5))] * step)
                for _ in range(count)
            )
            return self.record(kind, name, choice((4, 8, 1, 4, 8, 3)), count, choice((0, 1)), tail)
        if kind == FWD:
            return self.record(kind, name, 0, 0, choice((0, 1)))
        if kind == FUNC_PROTO:
            count = choice((0, 1, 2, 3))
            tail = b"".join(
                struct.pack("<II", self.name(choice(("p", "q"))), self.type(*sized, ahead=True))
                for _ in range(count)
            )
            if self.random.random() < 0.1:
                tail += bytes(8)
                count += 1
            return self.record(kind, name, choice((0, self.type(*sized))), count, 0, tail)
        if kind == FUNC:
            return self.record(kind, name, self.type(FUNC_PROTO, ahead=True), choice((0, 1, 1, 2)))
        if kind == VAR:
            tail = struct.pack("<I", choice((0, 1, 1, 2)))
            return self.record(kind, name, self.type(*sized, ahead=True), tail=tail)
        if kind == DATASEC:
            count = choice((1, 2))
            tail = b"".join(
                struct.pack("<III", self.type(VAR, FUNC, ahead=True), 4 * n, choice((4, 4, 8, 0)))
                for n in range(count)
            )
            return self.record(kind, name, choice((8, 8, 16, 4, 0)), count, 0, tail)
        tail = struct.pack("<i", choice((-1, -1, 0, 1, -2)))
        target = self.type(STRUCT, UNION, FUNC, VAR, TYPEDEF, ahead=True)
        return self.record(kind, name, target, 0, 0, tail)

    def composite(self, kind: int, name: int, sized: tuple[int, ...]) -> bytes:
        """A struct or union; with `kflag` an offset has the size of a bit field before it."""
        choice = self.random.choice
        count, flag = choice((0, 1, 2, 3)), choice((0, 0, 1))
        at, tail = 0, b""
        for _ in range(count):
            where = at if kind == STRUCT else 0
            if flag:
                where |= choice((0, 0, 3, 32, 8)) << 24
            tail += struct.pack("<III", self.name(choice(("m", "n", ""))),
                                self.type(*sized, ahead=True), where)  # fmt: skip
            at += choice((32, 32, 64, 8, 0, 3))
        return self.record(kind, name, choice((at + 7 >> 3, 8, 16, 32, 64)), count, flag, tail)
