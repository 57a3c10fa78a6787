"""Bob Jenkins' lookup3 hash as include/linux/jhash.h has it: it decides the order of hash maps."""

from __future__ import annotations

import struct

_M = 0xFFFFFFFF
INITIAL = 0xDEADBEEF
_THREE = struct.Struct("<3I")


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = (a - c ^ (c << 4 | c >> 28)) & _M
    c = c + b & _M
    b = (b - a ^ (a << 6 | a >> 26)) & _M
    a = a + c & _M
    c = (c - b ^ (b << 8 | b >> 24)) & _M
    b = b + a & _M
    a = (a - c ^ (c << 16 | c >> 16)) & _M
    c = c + b & _M
    b = (b - a ^ (a << 19 | a >> 13)) & _M
    a = a + c & _M
    c = (c - b ^ (b << 4 | b >> 28)) & _M
    b = b + a & _M
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = (c ^ b) - (b << 14 | b >> 18) & _M
    a = (a ^ c) - (c << 11 | c >> 21) & _M
    b = (b ^ a) - (a << 25 | a >> 7) & _M
    c = (c ^ b) - (b << 16 | b >> 16) & _M
    a = (a ^ c) - (c << 4 | c >> 28) & _M
    b = (b ^ a) - (a << 14 | a >> 18) & _M
    return (c ^ b) - (b << 24 | b >> 8) & _M


def jhash(key: bytes, seed: int) -> int:
    """The hash of a key of any length, a multiple of 4 as jhash2() does it.

    The two differ in the start value only: jhash2() adds the length in words, shifted, which is
    the length in bytes.
    """
    length = len(key)
    a = b = c = INITIAL + length + seed & _M
    at = 0
    while length - at > 12:
        x, y, z = _THREE.unpack_from(key, at)
        a, b, c = _mix(a + x & _M, b + y & _M, c + z & _M)
        at += 12
    if at == length:
        return c
    x, y, z = _THREE.unpack(key[at:].ljust(12, b"\0"))
    return _final(a + x & _M, b + y & _M, c + z & _M)


def jhash_1word(word: int, seed: int) -> int:
    """jhash_1word(), which is not jhash() of four bytes: the start value counts 1 << 2."""
    start = INITIAL + seed + (1 << 2) & _M
    return _final(start + word & _M, start, start)
