"""Maps whose keys and values have types, the same on every kernel."""

from __future__ import annotations

import struct
from collections.abc import Callable

from bpflens.abi.enums import MapFlag, MapType
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int, Var
from bpflens.port.calls import Calls
from bpflens.testing import builders
from bpflens.testing.builders import u32, u64

STATS = 64
"""Bytes of `struct stats`."""


class Ids:
    """The types, by id in the BTF that `build` made."""

    def __init__(self) -> None:
        made = BtfBuilder()
        self.s32 = made.add_int("int", 4, Int.SIGNED)
        self.u32 = made.add_int("unsigned int", 4)
        self.u64 = made.add_int("unsigned long long", 8)
        char = made.add_int("char", 1, Int.SIGNED)
        be16 = made.add_typedef("__be16", made.add_int("unsigned short", 2))
        comm = made.add_array(char, 16, self.u32)
        slots = made.add_array(self.u32, 6, self.u32)
        state = made.add_enum("state", [("IDLE", 0), ("BUSY", 1)])
        self.key = made.add_struct("flow", 8, [("pid", self.s32, 0), ("cpu", self.u32, 32)])
        self.stats = made.add_struct(
            "stats",
            STATS,
            [
                ("packets", self.u64, 0),
                ("bytes", self.u64, 64),
                ("comm", comm, 128),
                ("slots", slots, 256),
                ("state", state, 448),
                ("port", be16, 480),
                ("low", be16, 496),
            ],
        )
        lock = made.add_struct("bpf_spin_lock", 4, [("val", self.u32, 0)])
        self.locked = made.add_struct("locked", 8, [("lock", lock, 0), ("count", self.u32, 32)])
        counter = made.add_var("counter", self.u64, Var.GLOBAL)
        last = made.add_var("last", self.stats, Var.GLOBAL)
        self.bss = made.add_datasec(".bss", 8 + STATS, [(counter, 0, 8), (last, 8, STATS)])
        self.data = made.build()


def stats(packets: int, size: int = 0, comm: str = "sh", state: int = 0) -> bytes:
    """The bytes of a `struct stats`."""
    head = u64(packets, size) + comm.encode().ljust(16, b"\0")
    return head + u32(0, 1, 2, 3, 3, 3, state) + struct.pack(">2H", 443, 0)


HUGE = (1 << 60) + 1
"""A number that JavaScript cannot hold."""


def scene(calls: Calls, hold: Callable[[int], int], cpus: int) -> None:
    """Makes the maps; `hold` keeps an fd open as long as they are needed."""
    ids = Ids()
    btf = hold(calls.btf_load(ids.data))

    def make(type: MapType, name: str, key: int, value: int, **sizes: int) -> int:
        return hold(builders.map(calls, type, name=name, btf=(btf, key, value), **sizes))

    flows = make(MapType.HASH, "t_flows", ids.key, ids.stats, key_size=8, value_size=STATS)
    for pid in range(3):
        calls.map_update(flows, u32(pid, 1), stats(7 * pid, HUGE, "sh" if pid else "init", pid & 1))
    percpu = make(MapType.PERCPU_ARRAY, "t_percpu", ids.u32, ids.stats, value_size=STATS,
                  max_entries=1)  # fmt: skip
    calls.map_update(percpu, u32(0), b"".join(stats(cpu + 1) for cpu in range(cpus)))
    bss = make(MapType.ARRAY, "t.bss", 0, ids.bss, value_size=8 + STATS, max_entries=1)
    calls.map_update(bss, u32(0), u64(5) + stats(1))
    frozen = make(MapType.ARRAY, "t_frozen", ids.u32, ids.stats, value_size=STATS, max_entries=2)
    calls.map_update(frozen, u32(0), stats(3))
    calls.map_freeze(frozen)
    locked = make(MapType.ARRAY, "t_locked", ids.u32, ids.locked, value_size=8, max_entries=2)
    calls.map_update(locked, u32(0), u32(0, 4))
    outer = hold(builders.map(calls, MapType.ARRAY_OF_MAPS, name="t_outer", inner=flows))
    calls.map_update(outer, u32(1), u32(flows))
    plain = hold(builders.map(calls, MapType.HASH, name="t_plain", key_size=8, max_entries=2))
    calls.map_update(plain, bytes([10, 0, 0, 1]) + struct.pack(">HH", 443, 0), u64(9))
    hold(builders.map(calls, MapType.QUEUE, name="t_queue", max_entries=2))
    flags = MapFlag.NO_PREALLOC
    hold(builders.map(calls, MapType.LPM_TRIE, name="t_lpm", max_entries=1, flags=flags))
    hold(builders.map(calls, MapType.PROG_ARRAY, name="t_jumps", max_entries=2))
