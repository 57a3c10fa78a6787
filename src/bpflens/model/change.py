"""Changes to the elements of a map: planned on a copy, shown before they happen, then made.

The kernel has no compare-and-set for map elements: a change that expects something of the present
value reads, checks and writes, and another writer can come between. BPF_F_LOCK, where the value has
a spin lock, keeps each single read and write whole, not the two together.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bpflens.abi.enums import MapType
from bpflens.abi.mapfacts import Value, Walk
from bpflens.errors import (
    BpflensError,
    Denied,
    NotFound,
    Refused,
    SyscallError,
    Unsupported,
    UsageError,
)
from bpflens.model.elements import Element, element, find
from bpflens.model.parts import attempt
from bpflens.model.typed import Reading

if TYPE_CHECKING:
    from bpflens.btf.specialfields import SpecialField
    from bpflens.model.map import Map

T = TypeVar("T")

ANY, NOEXIST, EXIST, LOCK = 0, 1, 2, 4
"""Flags of MAP_UPDATE_ELEM: BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK."""
_SPIN_LOCK, _RES_SPIN_LOCK = "bpf_spin_lock", "bpf_res_spin_lock"
"""Of these, user space can take the first."""


class Assignment(NamedTuple):
    """A field (`packets`, `slots[3].x`; empty: the whole value) and what it becomes, as text."""

    path: str
    text: str


class Change(NamedTuple):
    """What an element is, and what it becomes: a value, or one for each CPU; None: no element."""

    key: bytes
    before: tuple[bytes, ...] | None
    after: tuple[bytes, ...] | None


def present(map: Map, key: bytes) -> Element | None:
    """The element with this key, read under its spin lock where it has one; None: there is none."""
    try:
        return _under_lock(map, lambda flags: find(map, key, flags))
    except NotFound:
        return None


def check(values: Iterable[bytes], expected: Iterable[Assignment], reading: Reading) -> None:
    """Raises Refused where a field of any of the values is not what was expected."""
    for data in values:
        for path, text in expected:
            if reading.assign(data, path, text) != data:
                raise Refused(f"value{_dotted(path)} is not {text}: nothing was changed")


def assigned(
    values: tuple[bytes, ...],
    changes: Iterable[Assignment],
    assign: Callable[[bytes, str, str], bytes],
    cpu: int | None = None,
) -> tuple[bytes, ...]:
    """The values with fields changed; `cpu`: in that CPU's value alone. Raises UsageError."""
    changed = list(values)
    for at, data in enumerate(values):
        if cpu is None or cpu == at:
            for path, text in changes:
                data = assign(data, path, text)
            changed[at] = data
    return tuple(changed)


def store(map: Map, change: Change, flags: int) -> None:
    """Write what an element becomes. Raises Refused, Denied, NotFound, Unsupported."""
    assert change.after is not None
    data = change.after[0]
    if map.facts.per_cpu:
        room = map.basic().value_size + 7 & ~7
        data = b"".join(value.ljust(room, b"\0") for value in change.after)

    def write(lock: int) -> None:
        map.system.calls.map_update(map.fd, change.key, data, flags | lock)

    _try(map, change.key, lambda: _under_lock(map, write))


def remove(map: Map, key: bytes) -> None:
    """Remove an element. Raises Refused, Denied, NotFound, Unsupported."""
    _try(map, key, lambda: map.system.calls.map_delete(map.fd, key), deletes=True)


def take(map: Map, key: bytes) -> Element:
    """Take an element out: of a queue or stack the next, of a hash the one with this key.

    Raises Refused, Denied, NotFound, Unsupported.
    """
    calls = map.system.calls
    data = _try(map, key, lambda: calls.map_lookup_and_delete(map.fd, key, map.value_room))
    return element(map, key, data)


def check_special_fields(map: Map, before: tuple[bytes, ...], after: tuple[bytes, ...]) -> None:
    """Raises Refused where a change is of what only the kernel writes, as a timer."""
    for path, kind, at, size in _special_fields(map):
        for old, new in zip(before, after, strict=True):
            if old[at : at + size] != new[at : at + size]:
                what = f"value{_dotted(path)} is a {kind}, which only the kernel writes"
                raise Refused(f"{what}: nothing was changed")


def lost_with(map: Map) -> list[str]:
    """What goes when an element is stored anew, which all but arrays do: its timers and the like.

    A value with a spin lock is changed in place (htab_map_update_elem() with BPF_F_LOCK).
    """
    kinds = [field.kind for field in _special_fields(map)]
    if map.facts.walk is Walk.INDEX or _SPIN_LOCK in kinds:
        return []
    return [*dict.fromkeys(kind for kind in kinds if kind != _RES_SPIN_LOCK)]


def _special_fields(map: Map) -> list[SpecialField]:
    """Those of a map's values: by the types that the kernel knows, however a person reads them.

    Raises FormatError.
    """
    from bpflens.btf import Btf
    from bpflens.btf.specialfields import special_fields  # imports BTF, for changes alone
    from bpflens.model.typed import type_ids

    ids = type_ids(map)
    if ids is None or not ids.btf or not ids.value:  # types of the kernel itself: struct_ops
        return []
    btf = map.system.btf(ids.btf)
    return special_fields(btf, ids.value) if isinstance(btf, Btf) else []


def _under_lock(map: Map, call: Callable[[int], T]) -> T:
    """`call` with the flag that takes the value's spin lock, where it has one."""
    if not any(field.kind == _SPIN_LOCK for field in _special_fields(map)):
        return call(0)
    try:
        return call(LOCK)
    except SyscallError as error:
        # Of a lock in a struct inside, Linux knows since 64e8ee814819 (6.11).
        if error.errno != errno.EINVAL:
            raise
        return call(0)


def holds_fds(map: Map) -> bool:
    """Whether values are written as fds: no flags are allowed then, at least in an array."""
    return map.facts.value in (Value.PROG_ID, Value.MAP_ID)


def _try(map: Map, key: bytes, call: Callable[[], T], deletes: bool = False) -> T:
    try:
        return call()
    except SyscallError as error:
        raise refusal(map, key, error, deletes) from error


_ALIKE = {
    # bpf_prog_map_compatible(), bpf_map_meta_equal()
    Value.PROG_ID: "its programs are alike in type, attach type and how they were compiled",
    Value.MAP_ID: "its maps are alike in type, key and value size, and flags",
}


def would_refuse(map: Map) -> None:
    """Raises Refused where it is known beforehand that no change can be made."""
    frozen = _frozen(map)
    if frozen is not None:
        raise frozen


def _frozen(map: Map) -> Refused | None:
    accounts = attempt(type(map).accounts, map)
    if getattr(accounts, "frozen", None) is not True:
        return None
    return Refused(f"map {map.id} is frozen: user space may no longer write to it")


def refusal(map: Map, key: bytes, error: SyscallError, deletes: bool) -> BpflensError:
    """The kernel's refusal in words; what an errno means depends on the type of map."""
    told, kind = map.basic(), map.type.label
    which = f"map {told.id}"
    match error.errno:
        case errno.EPERM:
            return _frozen(map) or Denied(
                f"{which} cannot be written to: {error.strerror}", "write permission"
            )
        case errno.ENOENT:
            return NotFound(f"{which} is empty") if not key else absent(map, key)
        case errno.EEXIST:
            return Refused(f"{which} has an element with key {key.hex()} already")
        case errno.E2BIG | errno.EINVAL if _past_the_end(map, key):
            return absent(map, key)
        case errno.E2BIG | errno.ENOSPC:
            return Refused(f"{which} is full: it holds its {told.max_entries} elements")
        case errno.EINVAL if deletes and map.facts.walk is Walk.INDEX:
            return Unsupported(f"elements of {kind} maps cannot be deleted, only overwritten")
        case errno.EINVAL if map.type is MapType.LPM_TRIE and _prefix(key) > 8 * len(key) - 32:
            return Refused(f"{which} has prefixes of 0 to {8 * len(key) - 32} bits")
        case errno.EINVAL if holds_fds(map) and not deletes:
            return Refused(f"{which} does not take this one: {_ALIKE[map.facts.value]}")
        case errno.EINVAL | errno.EOPNOTSUPP | 524:
            return Unsupported(f"{kind} maps do not allow this: {error}")
        case errno.EBUSY:
            return Refused(f"{which} is busy: {error}")
    return error


def absent(map: Map, key: bytes, remedy: str = "") -> NotFound:
    """Why there is no element with this key, in words; `remedy`: what could be done."""
    if _past_the_end(map, key):
        return NotFound(f"map {map.id} has slots 0 to {map.basic().max_entries - 1}")
    return NotFound(f"map {map.id} has no element with key {key.hex()}{remedy}")


def _past_the_end(map: Map, key: bytes) -> bool:
    if map.facts.walk is not Walk.INDEX or len(key) != 4:
        return False
    return int.from_bytes(key, sys.byteorder) >= map.basic().max_entries


def _prefix(key: bytes) -> int:
    """How many bits of an LPM trie's key count: `struct bpf_lpm_trie_key_hdr` is before them."""
    return int.from_bytes(key[:4], sys.byteorder)


_ASSIGNMENT = re.compile(r"value(?:\.([^=]*)|(\[[^=]*))?=(.*)", re.DOTALL)


def assignment(text: str) -> Assignment | None:
    """`value.packets=3` or `value=3`, read; None where it is no such thing. Raises UsageError."""
    match = _ASSIGNMENT.fullmatch(text)
    if match is None:
        return None
    if match[1] == "":
        raise UsageError(f"{text!r} names no field behind the dot")
    return Assignment(match[1] or match[2] or "", match[3])


def _dotted(path: str) -> str:
    return f".{path}" if path and not path.startswith("[") else path
