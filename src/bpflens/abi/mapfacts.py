"""What a caller must know of each map type: one row a type, no `switch` anywhere else.

Model and engine both read this table, so a mistake in it would make them agree and both be
wrong: only the tests on a running kernel judge it.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from bpflens.abi.enums import MapType


class Walk(Enum):
    """How user space gets at the elements."""

    KEYS = "keys"
    """MAP_GET_NEXT_KEY from key to key."""
    INDEX = "index"
    """The same over 0 … max_entries - 1: never restarts; slots of references may be empty."""
    PEEK = "peek"
    """No keys: a lookup shows the one element that is next; the others cannot be seen."""
    NONE = "none"
    """Not at all."""


class Batch(Enum):
    """How MAP_LOOKUP_BATCH walks the type."""

    NONE = "none"
    BUCKETS = "buckets"
    """Whole hash buckets, each once (__htab_map_lookup_and_delete_batch())."""
    KEYS = "keys"
    """From key to key, as MAP_GET_NEXT_KEY does (generic_map_lookup_batch())."""
    RESIZED = "resized"
    """The same over buckets that are moved meanwhile (__rhtab_map_lookup_and_delete_batch()): one
    pass may meet an element twice or never, and loses its place with the key that it stopped at."""


class Value(Enum):
    """What a value that is read means."""

    BYTES = "bytes"
    PROG_ID = "prog_id"
    MAP_ID = "map_id"
    DEVICE = "device"
    """u32 ifindex, and u32 program ID where the value has 8 bytes (struct bpf_devmap_val)."""
    CPU = "cpu"
    """u32 queue size, and u32 program ID where the value has 8 bytes (struct bpf_cpumap_val)."""
    COOKIE = "cookie"
    """u64 socket cookie; a map made with 4-byte values answers ENOSPC (sock_map_lookup_sys())."""
    INSN = "insn"
    """Where an instruction is (struct bpf_insn_array_value): u32 offsets in the program as it was
    loaded, as it was translated, and in the machine code; and padding."""


class MapFacts(NamedTuple):
    """One row. `since` is the first Linux version that has the type."""

    since: str
    walk: Walk = Walk.KEYS
    value: Value = Value.BYTES
    per_cpu: bool = False
    batch: Batch = Batch.NONE
    unreadable: str = ""
    """Why user space cannot read the elements by walking; empty where it can."""


_HELD = "the kernel keeps a reference there that user space cannot read back"
_STORAGE = "its elements belong to {}: there is a lookup for one by fd, but no walk over all"

MAP_FACTS: dict[MapType, MapFacts] = {
    MapType.HASH: MapFacts("3.19", batch=Batch.BUCKETS),
    MapType.ARRAY: MapFacts("3.19", Walk.INDEX, batch=Batch.KEYS),
    MapType.PROG_ARRAY: MapFacts("4.2", Walk.INDEX, Value.PROG_ID),
    MapType.PERF_EVENT_ARRAY: MapFacts("4.3", Walk.NONE, unreadable=_HELD),
    MapType.PERCPU_HASH: MapFacts("4.6", per_cpu=True, batch=Batch.BUCKETS),
    MapType.PERCPU_ARRAY: MapFacts("4.6", Walk.INDEX, per_cpu=True, batch=Batch.KEYS),
    MapType.STACK_TRACE: MapFacts("4.6"),
    MapType.CGROUP_ARRAY: MapFacts("4.8", Walk.NONE, unreadable=_HELD),
    MapType.LRU_HASH: MapFacts("4.10", batch=Batch.BUCKETS),
    MapType.LRU_PERCPU_HASH: MapFacts("4.10", per_cpu=True, batch=Batch.BUCKETS),
    MapType.LPM_TRIE: MapFacts("4.11", batch=Batch.KEYS),
    MapType.ARRAY_OF_MAPS: MapFacts("4.12", Walk.INDEX, Value.MAP_ID, batch=Batch.KEYS),
    MapType.HASH_OF_MAPS: MapFacts("4.12", value=Value.MAP_ID, batch=Batch.BUCKETS),
    MapType.DEVMAP: MapFacts("4.14", Walk.INDEX, Value.DEVICE),
    MapType.SOCKMAP: MapFacts("4.14", Walk.INDEX, Value.COOKIE),
    MapType.CPUMAP: MapFacts("4.15", Walk.INDEX, Value.CPU),
    MapType.XSKMAP: MapFacts("4.18", Walk.NONE, unreadable=_HELD),
    MapType.SOCKHASH: MapFacts("4.18", value=Value.COOKIE),
    MapType.CGROUP_STORAGE: MapFacts("4.19"),
    MapType.REUSEPORT_SOCKARRAY: MapFacts("4.19", Walk.INDEX, Value.COOKIE),
    MapType.PERCPU_CGROUP_STORAGE: MapFacts("4.20", per_cpu=True),
    MapType.QUEUE: MapFacts("4.20", Walk.PEEK),
    MapType.STACK: MapFacts("4.20", Walk.PEEK),
    MapType.SK_STORAGE: MapFacts("5.2", Walk.NONE, unreadable=_STORAGE.format("sockets")),
    MapType.DEVMAP_HASH: MapFacts("5.4", value=Value.DEVICE),
    MapType.STRUCT_OPS: MapFacts("5.6"),
    MapType.RINGBUF: MapFacts(
        "5.8", Walk.NONE, unreadable="a ring buffer has records for one consumer, not elements"
    ),
    MapType.INODE_STORAGE: MapFacts("5.10", Walk.NONE, unreadable=_STORAGE.format("inodes")),
    MapType.TASK_STORAGE: MapFacts("5.11", Walk.NONE, unreadable=_STORAGE.format("tasks")),
    MapType.BLOOM_FILTER: MapFacts(
        "5.16", Walk.NONE, unreadable="a bloom filter can say whether a value is in, not which are"
    ),
    MapType.USER_RINGBUF: MapFacts(
        "6.1", Walk.NONE, unreadable="a ring buffer has records for one consumer, not elements"
    ),
    MapType.CGRP_STORAGE: MapFacts("6.2", Walk.NONE, unreadable=_STORAGE.format("cgroups")),
    MapType.ARENA: MapFacts(
        "6.9", Walk.NONE, unreadable="an arena is memory shared with its owner, not elements"
    ),
    MapType.INSN_ARRAY: MapFacts("6.19", Walk.INDEX, Value.INSN),
    MapType.RHASH: MapFacts("7.2", batch=Batch.RESIZED),
}

_UNKNOWN = MapFacts("?")
"""A type from a newer kernel: tried like a hash, and what the kernel answers is shown."""


def facts(type: int) -> MapFacts:
    """The row of a map type; for one that we do not know, the row that promises least."""
    return MAP_FACTS.get(type, _UNKNOWN)  # type: ignore[call-overload, no-any-return]
