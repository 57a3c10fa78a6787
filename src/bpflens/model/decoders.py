"""Decoders: how to read bytes of which no BTF says what they are, as a person asks for it.

`ipv4:u16` reads an address and then a number. A part is `[NAME=]KIND[[COUNT]]`; without a name it
is called by its kind. `text`, `hex` and `pad` take a size (`text16`), the first two else the rest.
A number is in the byte order of the machine, unless it is be16, be32 or be64.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from bpflens.errors import FormatError, UsageError

Plain = Any
"""What JSON can hold."""


class Worded(int):
    """A number that people would rather read in other words; JSON gets the number."""

    words: str

    def __new__(cls, value: int, words: str) -> Worded:
        self = super().__new__(cls, value)
        self.words = words
        return self


class Decoder(NamedTuple):
    """A kind: its bytes (0: any number of them), and both ways between them and what is shown."""

    size: int
    read: Callable[[bytes], Plain]
    write: Callable[[str, int], bytes]


def _integer(size: int, signed: bool, order: str) -> Decoder:
    def read(data: bytes) -> int:
        return int.from_bytes(data, order, signed=signed)  # type: ignore[arg-type]

    def write(text: str, _: int) -> bytes:
        return int(text, 0).to_bytes(size, order, signed=signed)  # type: ignore[arg-type]

    return Decoder(size, read, write)


def _read_ipv4(data: bytes) -> str:
    return ".".join(map(str, data))


def _write_ipv4(text: str, _: int) -> bytes:
    import ipaddress  # see `_read_ipv6`

    return ipaddress.IPv4Address(text).packed


def _read_ipv6(data: bytes) -> str:
    import ipaddress  # 8 ms of start-up, and few values hold such an address

    return str(ipaddress.IPv6Address(data))


def _write_ipv6(text: str, _: int) -> bytes:
    import ipaddress

    return ipaddress.IPv6Address(text).packed


def _read_text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="surrogateescape")


def _write_text(text: str, size: int) -> bytes:
    data = text.encode(errors="surrogateescape")
    if len(data) > size:
        raise OverflowError(text)
    return data.ljust(size, b"\0")


def _write_hex(text: str, size: int) -> bytes:
    data = bytes.fromhex(text.removeprefix("hex:").replace(":", " "))
    if len(data) != size:
        raise ValueError(text)
    return data


def _read_ktime(data: bytes) -> Worded:
    """Nanoseconds of bpf_ktime_get_ns(): of the monotonic clock, which began with the boot."""
    number = int.from_bytes(data, sys.byteorder)
    seconds, rest = divmod(number, 1_000_000_000)
    return Worded(number, f"{seconds}.{rest:09} s since boot")


KINDS: dict[str, Decoder] = {
    **{f"u{8 * size}": _integer(size, False, sys.byteorder) for size in (1, 2, 4, 8)},
    **{f"s{8 * size}": _integer(size, True, sys.byteorder) for size in (1, 2, 4, 8)},
    **{f"be{8 * size}": _integer(size, False, "big") for size in (2, 4, 8)},
    "ipv4": Decoder(4, _read_ipv4, _write_ipv4),
    "ipv6": Decoder(16, _read_ipv6, _write_ipv6),
    "mac": Decoder(6, lambda data: data.hex(":"), _write_hex),
    "ktime": Decoder(8, _read_ktime, _integer(8, False, sys.byteorder).write),
    "comm": Decoder(16, _read_text, _write_text),
    "text": Decoder(0, _read_text, _write_text),
    "hex": Decoder(0, bytes.hex, _write_hex),
    "pad": Decoder(0, bytes.hex, _write_hex),
}

FORMS = f"{', '.join(KINDS)}; several with ':' between them, as ipv4:u16 or ip=ipv4:port=be16"

_PART = re.compile(
    rf"(?:([A-Za-z_]\w*)=)?({'|'.join(sorted(KINDS, key=len, reverse=True))})([0-9]{{0,7}})"
    r"(?:\[([0-9]{1,7})\])?"
)


class Part(NamedTuple):
    """One part of what is read: its name, and where it is."""

    name: str
    kind: str
    decoder: Decoder
    at: int
    size: int
    """Of one element."""
    length: int | None
    """Elements, if it is an array."""

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.at + self.size * (1 if self.length is None else self.length)


class Decoding:
    """Bytes read part by part."""

    def __init__(self, text: str, parts: list[Part], size: int) -> None:
        self.name = text
        self.size = size
        self._parts = parts
        # One part that has no name of its own is the value itself.
        self._alone = parts[0] if len(parts) == 1 and "=" not in text else None

    def read(self, data: bytes) -> Plain:
        """What the bytes say. Raises FormatError where there are too few."""
        if len(data) < self.size:
            raise FormatError(f"{len(data)} bytes are too few for {self.name}", len(data))
        if self._alone:
            return _read(self._alone, data)
        return {part.name: _read(part, data) for part in self._parts if part.name}

    def assign(self, data: bytes, path: str, text: str) -> bytes:
        """The data with one part changed to what the text says. Raises UsageError."""
        name, bracket, rest = path.partition("[")
        part = self._alone if self._alone and not name else self._named(name)
        index = rest.removesuffix("]")
        if (part.length is None) == bool(bracket) or (bracket and not index.isdigit()):
            what = "is no array" if bracket else "is an array: change one element of it, as [0]"
            raise UsageError(f"{name or 'the value'} {what}")
        at = part.at
        if part.length is not None:
            if int(index) >= part.length:
                raise UsageError(f"{name} has {part.length} elements, counted from 0")
            at += int(index) * part.size
        try:
            new = part.decoder.write(text, part.size)
        except (ValueError, OverflowError) as error:
            what = f"{path or 'the value'} is {part.kind}"
            raise UsageError(f"{what}, and {text[:80]!r} is none") from error
        return data[:at] + new + data[at + part.size :]

    def _named(self, name: str) -> Part:
        for part in self._parts:
            if part.name and part.name == name:
                return part
        names = ", ".join(part.name for part in self._parts if part.name)
        raise UsageError(f"there is no {name or 'part without a name'}; there are: {names}")


def _read(part: Part, data: bytes) -> Plain:
    if part.length is None:
        return part.decoder.read(data[part.at : part.end])
    places = range(part.at, part.end, part.size)
    return [part.decoder.read(data[at : at + part.size]) for at in places]


def decoding(text: str, size: int) -> Decoding | None:
    """What a specification says of `size` bytes; None where it is none.

    Raises UsageError where it does not fit the bytes.
    """
    matches = [_PART.fullmatch(word.strip()) for word in text.split(":")]
    parts: list[Part] = []
    at = 0
    for match in matches:
        if match is None:
            return None
        name, kind, width, count = match.groups()
        decoder = KINDS[kind]
        if decoder.size and width:
            return None
        each = decoder.size or (int(width) if width else size - at)
        taken = {part.name for part in parts}
        numbered = (f"{kind}{number}" for number in range(2, len(parts) + 3))
        shown = name or next(n for n in (kind, *numbered) if n not in taken)
        if kind == "pad" and not name:
            shown = ""
        part = Part(shown, kind, decoder, at, max(each, 0), int(count) if count else None)
        parts.append(part)
        at = part.end
    if at != size:
        raise UsageError(f"{text} takes {at} bytes, and there are {size}")
    return Decoding(text, parts, size)
