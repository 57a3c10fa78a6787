"""Elements of LPM tries."""

from __future__ import annotations

import errno

from bpflens.abi.enums import MapType as T
from bpflens.port.calls import Calls
from bpflens.testing.builders import lpm, map, u64
from bpflens.testing.conformance.hashes import EXIST, NOEXIST, keys
from bpflens.testing.conformance.suite import cases, fails, same

TEN = lpm(8, bytes([10, 0, 0, 0]))
TEN_ONE = lpm(16, bytes([10, 1, 0, 0]))
HOST = lpm(32, bytes([10, 1, 2, 3]))


def trie(calls: Calls, *prefixes: bytes) -> int:
    """A trie with room for 8 in which each prefix has its place as its value."""
    fd = map(calls, T.LPM_TRIE, max_entries=8)
    for number, prefix in enumerate(prefixes):
        calls.map_update(fd, prefix, u64(number))
    return fd


@cases(
    host=(HOST, 2), beside=(lpm(32, bytes([10, 1, 2, 4])), 1),
    far=(lpm(32, bytes([10, 9, 9, 9])), 0),
    shorter=(lpm(12, bytes([10, 1, 0, 0])), 0), same=(TEN, 0),
)  # fmt: skip
def check_longest_prefix(calls: Calls, key: bytes, value: int) -> None:
    """A lookup finds the longest prefix that covers the key."""
    same(calls.map_lookup(trie(calls, TEN, TEN_ONE, HOST), key, 8), u64(value))


def check_no_prefix(calls: Calls) -> None:
    """A key that no prefix covers is ENOENT; with the prefix of length 0 none is."""
    fd = trie(calls, TEN)
    other = lpm(32, bytes([11, 0, 0, 0]))
    fails(errno.ENOENT, calls.map_lookup, fd, other, 8)
    calls.map_update(fd, lpm(0, bytes(4)), u64(9))
    same(calls.map_lookup(fd, other, 8), u64(9))


def check_prefix_too_long(calls: Calls) -> None:
    """A prefix longer than the key is ENOENT to look up, EINVAL to store and delete."""
    fd = trie(calls)
    key = lpm(33, bytes(4))
    fails(errno.ENOENT, calls.map_lookup, fd, key, 8)
    fails(errno.EINVAL, calls.map_update, fd, key, u64(0))
    fails(errno.EINVAL, calls.map_delete, fd, key)


def check_full(calls: Calls) -> None:
    """A full trie is ENOSPC, unless the key is there."""
    fd = trie(calls, *(lpm(32, bytes([10, 0, 0, n])) for n in range(8)))
    fails(errno.ENOSPC, calls.map_update, fd, TEN, u64(0))
    calls.map_update(fd, lpm(32, bytes([10, 0, 0, 3])), u64(99))
    calls.map_delete(fd, lpm(32, bytes([10, 0, 0, 3])))
    calls.map_update(fd, TEN, u64(0))


def check_flags(calls: Calls) -> None:
    """NOEXIST refuses what is there (EEXIST), EXIST what is not (ENOENT), others are EINVAL."""
    fd = trie(calls, TEN)
    fails(errno.EEXIST, calls.map_update, fd, TEN, u64(0), NOEXIST)
    fails(errno.ENOENT, calls.map_update, fd, HOST, u64(0), EXIST)
    calls.map_update(fd, TEN, u64(5), EXIST)
    calls.map_update(fd, HOST, u64(6), NOEXIST)
    for flags in (3, 8):
        fails(errno.EINVAL, calls.map_update, fd, TEN, u64(0), flags)


def check_delete(calls: Calls) -> None:
    """A prefix is deleted by exactly its key; those below it stay."""
    fd = trie(calls, TEN, TEN_ONE, HOST)
    fails(errno.ENOENT, calls.map_delete, fd, lpm(12, bytes([10, 1, 0, 0])))
    calls.map_delete(fd, TEN_ONE)
    fails(errno.ENOENT, calls.map_delete, fd, TEN_ONE)
    same(calls.map_lookup(fd, HOST, 8), u64(2))
    same(calls.map_lookup(fd, lpm(24, bytes([10, 1, 9, 0])), 8), u64(0))


def check_bits_beyond_the_prefix(calls: Calls) -> None:
    """Bits of a key behind its prefix do not tell two keys apart, and are shown as stored."""
    fd = trie(calls, lpm(8, bytes([10, 7, 7, 7])))
    calls.map_update(fd, TEN, u64(1))
    same(keys(calls, fd, 8), [TEN])


def check_order(calls: Calls) -> None:
    """A walk gives what is below a prefix before the prefix, and the smaller side first."""
    low, high = lpm(16, bytes([10, 0, 0, 0])), lpm(16, bytes([10, 200, 0, 0]))
    fd = trie(calls, TEN, high, low, HOST)
    same(keys(calls, fd, 8), [low, HOST, high, TEN])


def check_branches_are_not_elements(calls: Calls) -> None:
    """Where two prefixes part there is a node, which neither a walk nor a lookup shows."""
    left, right = lpm(32, bytes([10, 0, 0, 1])), lpm(32, bytes([10, 0, 0, 2]))
    fd = trie(calls, left, right)
    same(keys(calls, fd, 8), [left, right])
    fails(errno.ENOENT, calls.map_lookup, fd, lpm(30, bytes([10, 0, 0, 0])), 8)


def check_walk_restarts(calls: Calls) -> None:
    """The key after one that is not there is the first one."""
    fd = trie(calls, TEN, HOST)
    same(calls.map_next_key(fd, TEN_ONE, 8), HOST)
    same(calls.map_next_key(fd, TEN, 8), None)
    same(calls.map_next_key(trie(calls), None, 8), None)


@cases(one=5, odd=7, ipv6=20, large=260)
def check_sizes(calls: Calls, key_size: int) -> None:
    """Addresses may have 1 to 256 bytes."""
    fd = map(calls, T.LPM_TRIE, key_size=key_size)
    size = key_size - 4
    calls.map_update(fd, lpm(8 * size, b"\xaa" * size), u64(1))
    calls.map_update(fd, lpm(4, b"\xaf" + bytes(size - 1)), u64(2))
    same(calls.map_lookup(fd, lpm(8 * size, b"\xaa" * size), 8), u64(1))
    same(calls.map_lookup(fd, lpm(8 * size, b"\xab" * size), 8), u64(2))
