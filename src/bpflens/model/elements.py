"""The elements of a map: by key, and walked, by each map type's own rule.

A walk over a map that others write to has to be bounded. MAP_GET_NEXT_KEY starts over when the
key it is given is gone, so a busy hash can be walked for ever (cilium/ebpf#9). Here a key that
came before is not given again, the number of steps has a limit, and the walk says at the end
whether it saw everything that was there all the while.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from bpflens import limits
from bpflens.abi.mapfacts import Batch, Value, Walk
from bpflens.errors import CassetteMiss, Denied, NotFound, SyscallError, Unsupported
from bpflens.port.calls import CallDenied, CallNotFound, CallUnsupported

if TYPE_CHECKING:
    from bpflens.model.map import Map

BATCH_BYTES = 4 << 20
"""Room for keys and values of one batch: a call copies for about a millisecond."""
INSN_DELETED = 0xFFFFFFFF
"""Where an instruction is that the verifier took out (kernel/bpf/bpf_insn_array.c)."""
_LOOK_EVERY = 256
"""Slots after which it is looked whether the time is over."""


class Element(NamedTuple):
    """One element. `values` has one value, or one for each possible CPU."""

    key: bytes
    values: tuple[bytes, ...]
    prog_id: int | None = None
    """The program in a prog_array slot, or the one that a devmap or cpumap slot runs."""
    map_id: int | None = None
    """The inner map."""
    ifindex: int | None = None
    """The device of a devmap slot, in the network namespace of who stored it."""
    queue_size: int | None = None
    """Packets that a cpumap slot queues."""
    cookie: int | None = None
    """The socket, by its cookie."""
    orig_off: int | None = None
    """The instruction that a slot of an insn_array stands for, in the program that was loaded."""
    xlated_off: int | None = None
    """The same in the program as the kernel runs it; `INSN_DELETED`: it is not in it any more."""
    jitted_off: int | None = None
    """Bytes into the machine code."""


def element(map: Map, key: bytes, value: bytes) -> Element:
    """The element that a lookup's bytes mean for this type of map."""
    facts = map.facts
    size = map.basic().value_size
    if facts.per_cpu:
        slot = size + 7 & ~7
        return Element(key, tuple(value[at : at + size] for at in range(0, len(value), slot)))
    plain = Element(key, (value,))
    if facts.value is Value.BYTES or len(value) < 4:
        return plain
    word: int = struct.unpack_from("=I", value)[0]
    second: int | None = struct.unpack_from("=4xI", value)[0] if len(value) >= 8 else None
    match facts.value:
        case Value.PROG_ID:
            return plain._replace(prog_id=word)
        case Value.MAP_ID:
            return plain._replace(map_id=word)
        case Value.DEVICE:
            return plain._replace(ifindex=word, prog_id=second or None)
        case Value.CPU:
            return plain._replace(queue_size=word, prog_id=second or None)
        case Value.COOKIE if len(value) >= 8:
            return plain._replace(cookie=struct.unpack_from("=Q", value)[0])
        case Value.INSN if len(value) >= 12:
            orig, xlated, jitted = struct.unpack_from("=3I", value)
            return plain._replace(orig_off=orig, xlated_off=xlated, jitted_off=jitted)
    return plain


def find(map: Map, key: bytes, flags: int = 0) -> Element:
    """The element with this key. Raises NotFound, UsageError for a key of another size.

    A recording may hold a walk over a map and no lookup of this key: then the walk answers.
    """
    try:
        return map.lookup(key, flags)
    except CassetteMiss:
        for found in map.items():
            if found.key == key:
                return found
        raise NotFound(f"map {map.id} has no element with key {key.hex()}") from None


class ElementWalk:
    """A walk over the elements of one map; iterate it once, then ask `complete`."""

    def __init__(self, map: Map, limit: int | None = None, seconds: float | None = None) -> None:
        self.map = map
        self.limit = limit
        self.seconds = seconds
        self.seen = 0
        """Elements given so far."""
        self.complete = False
        """Whether every element that was there all the while has been given."""
        self.why = "no more was asked for"
        """Why it is not complete."""
        self.limited = True
        """Whether it has not ended, or only because the caller wanted no more."""
        self._stopped = False
        clock = map.system.host.clock
        self._deadline = None if seconds is None else clock().boottime + seconds * 1e9

    def __iter__(self) -> Iterator[Element]:
        facts, told = self.map.facts, self.map.basic()
        plain = facts.value is Value.BYTES and not facts.per_cpu
        if facts.unreadable:
            raise Unsupported(
                f"the elements of {self.map.type.label} maps cannot be read: {facts.unreadable}"
            )
        try:
            for key, value in self._pairs():
                if self.limit is not None and self.seen >= self.limit:
                    self.why = f"limited to {self.limit} elements"
                    return
                self.seen += 1
                yield Element(key, (value,)) if plain else element(self.map, key, value)
                if self._late():
                    self._stop(self._over)
                    return
        except CallDenied as error:
            raise Denied(f"map {told.id} cannot be read: {error}", "CAP_SYS_ADMIN") from error
        if not self._stopped:
            self.complete, self.limited, self.why = True, False, ""

    def _stop(self, why: str) -> None:
        self._stopped, self.limited, self.why = True, False, why

    @property
    def _over(self) -> str:
        return f"the time allowed for it, {self.seconds} seconds, was over"

    def _late(self) -> bool:
        if self._deadline is None:
            return False
        return self.map.system.host.clock().boottime > self._deadline

    def _pairs(self) -> Iterator[tuple[bytes, bytes]]:
        facts = self.map.facts
        if facts.walk is Walk.PEEK:
            yield from self._peek()
            return
        if facts.batch is not Batch.NONE:
            try:
                yield from self._batches()
                return
            except CallUnsupported:
                pass  # an older kernel: this type has no batch yet
            except SyscallError as error:
                if error.errno != errno.EINVAL or self.seen:
                    raise
        yield from self._indices() if facts.walk is Walk.INDEX else self._keys()

    def _peek(self) -> Iterator[tuple[bytes, bytes]]:
        try:
            value = self._value(b"")
        except CallNotFound:
            return
        self._stop(f"a {self.map.type.label} shows the element that is next, and no other")
        yield b"", value

    def _indices(self) -> Iterator[tuple[bytes, bytes]]:
        for index in range(self.map.basic().max_entries):
            # of empty slots nothing is given, after which it would be looked
            if index % _LOOK_EVERY == _LOOK_EVERY - 1 and self._late():
                self._stop(self._over)
                return
            key = struct.pack("=I", index)
            try:
                yield key, self._value(key)
            except CallNotFound:
                continue  # a slot for a reference, with none in it

    def _keys(self) -> Iterator[tuple[bytes, bytes]]:
        told = self.map.basic()
        calls = self.map.system.calls
        given: set[bytes] = set()
        key: bytes | None = None
        for _ in range(4 * told.max_entries + limits.SPARE_STEPS.value):
            key = calls.map_next_key(self.map.fd, key, told.key_size)
            if key is None:
                return
            if key in given:
                continue
            try:
                value = self._value(key)
            except CallNotFound:
                continue  # deleted since: the next key is the first again
            given.add(key)
            yield key, value
        self._stop(str(limits.SPARE_STEPS))

    def _batches(self) -> Iterator[tuple[bytes, bytes]]:
        facts, told = self.map.facts, self.map.basic()
        calls = self.map.system.calls
        key_size, room = told.key_size, self.map.value_room
        count = max(1, min(BATCH_BYTES // max(1, key_size + room), told.max_entries))
        resized = facts.batch is Batch.RESIZED
        # An LPM trie looks its last key up again, and starts over where that is gone.
        restarts = resized or (facts.batch is Batch.KEYS and facts.walk is Walk.KEYS)
        given: set[bytes] | None = set() if restarts else None
        cursor: bytes | None = None
        before = 0
        for _ in range(4 * (told.max_entries // count) + limits.SPARE_STEPS.value):
            keys, values = bytearray(count * key_size), bytearray(count * room)
            try:
                found, cursor, end = calls.map_lookup_batch(
                    self.map.fd, cursor, keys, values, count
                )
            except SyscallError as error:
                if error.errno == errno.EAGAIN and resized:
                    cursor = None
                    continue
                larger = 2 * count * (key_size + room)
                if error.errno != errno.ENOSPC:
                    raise
                if larger > limits.BUCKET_BYTES.value:
                    self._stop(str(limits.BUCKET_BYTES))
                    return
                count *= 2
                continue
            for at in range(found):
                key = bytes(keys[at * key_size : (at + 1) * key_size])
                if given is not None:
                    if key in given:
                        continue
                    given.add(key)
                yield key, bytes(values[at * room : (at + 1) * room])
            if end and resized and given and len(given) > before:
                before, cursor = len(given), None  # until a pass finds none that is new
            elif end:
                return
        self._stop(str(limits.SPARE_STEPS))

    def _value(self, key: bytes) -> bytes:
        try:
            return self.map.system.calls.map_lookup(self.map.fd, key, self.map.value_room)
        except SyscallError as error:
            if error.errno == errno.ENOSPC and self.map.facts.value is Value.COOKIE:
                raise Unsupported(
                    f"map {self.map.id} was made with {self.map.basic().value_size}-byte values: "
                    "sockets can be read back (as cookies) from 8-byte values only"
                ) from error
            raise
