"""Random steps that make maps, and what goes into maps like them."""

from __future__ import annotations

from bpflens.abi.attrs import MapCreate, MapFreeze, ProgBindMap
from bpflens.abi.enums import Cmd, MapType
from tests.twin.choices import SURROUNDINGS, Choices, Thing
from tests.twin.steps import Buffer, Ids, Named, Step

T = MapType
FD_MAPS = {
    T.PROG_ARRAY: "prog",
    T.ARRAY_OF_MAPS: "map",
    T.HASH_OF_MAPS: "map",
    T.PERF_EVENT_ARRAY: "",
    T.CGROUP_ARRAY: "",
}
PER_CPU = (T.PERCPU_HASH, T.PERCPU_ARRAY, T.LRU_PERCPU_HASH, T.PERCPU_CGROUP_STORAGE)
HASHES = (T.HASH, T.PERCPU_HASH, T.LRU_HASH, T.LRU_PERCPU_HASH, T.HASH_OF_MAPS)
SHAPES: dict[int, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    # key sizes, value sizes, max_entries, flags that work
    T.HASH: ((4, 1, 5, 8, 12, 13, 16, 24, 25), (4, 1, 8, 5), (4, 3, 1, 8), (64, 65, 64 | 128)),
    T.ARRAY: ((4,), (4, 8, 5, 1), (4, 1, 3), (0, 1024, 4096, 128, 256)),
    T.PROG_ARRAY: ((4,), (4,), (3, 1), (0,)),
    T.PERF_EVENT_ARRAY: ((4,), (4,), (2, 4), (0, 2048)),
    T.PERCPU_HASH: ((4, 8, 5), (4, 5, 8, 16), (4, 3), (64, 65)),
    T.PERCPU_ARRAY: ((4,), (4, 5, 8), (3, 1), (0,)),
    T.STACK_TRACE: ((4,), (8, 32, 1016), (3, 8), (0, 32)),
    T.CGROUP_ARRAY: ((4,), (4,), (2,), (0,)),
    T.LRU_HASH: ((4, 8, 5), (4, 5, 8), (64, 100), (64, 66)),
    T.LRU_PERCPU_HASH: ((4, 8), (4, 5), (64, 101), (64, 66)),
    T.LPM_TRIE: ((5, 6, 8), (1, 4, 8), (6, 2), (1, 129)),
    T.ARRAY_OF_MAPS: ((4,), (4,), (3,), (0,)),
    T.HASH_OF_MAPS: ((4, 8, 5), (4,), (3, 4), (64, 65)),
    T.DEVMAP: ((4,), (4, 8), (3,), (0,)),
    T.SOCKMAP: ((4,), (4, 8), (3,), (0,)),
    T.CPUMAP: ((4,), (4, 8), (4, 1), (0,)),
    T.XSKMAP: ((4,), (4,), (2,), (0,)),
    T.SOCKHASH: ((4, 8, 5), (4, 8), (3,), (0,)),
    T.CGROUP_STORAGE: ((8, 16), (4, 8), (0,), (0,)),
    T.REUSEPORT_SOCKARRAY: ((4,), (4, 8), (3,), (0,)),
    T.PERCPU_CGROUP_STORAGE: ((8, 16), (4, 8), (0,), (0,)),
    T.QUEUE: ((0,), (4, 5, 8), (3, 1), (0,)),
    T.STACK: ((0,), (4, 5, 8), (3, 1), (0,)),
    T.SK_STORAGE: ((4,), (4, 8), (0,), (1,)),
    T.DEVMAP_HASH: ((4,), (4, 8), (3, 8), (0,)),
    T.STRUCT_OPS: ((4,), (8,), (1,), (0,)),
    T.RINGBUF: ((0,), (0,), (4096, 8192), (0,)),
    T.INODE_STORAGE: ((4,), (4, 8), (0,), (1,)),
    T.TASK_STORAGE: ((4,), (4, 8), (0,), (1,)),
    T.BLOOM_FILTER: ((0,), (4, 8, 5), (8, 100), (64,)),
    T.USER_RINGBUF: ((0,), (0,), (4096,), (0,)),
    T.CGRP_STORAGE: ((4,), (4,), (0,), (1,)),
    T.ARENA: ((0,), (0,), (1, 10), (1024,)),
}
INTERESTING = (0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 255, 256, 512, 4096, 32768, 0x7FFFFFFF, 0xFFFFFFFF)


class Maps(Choices):
    """Writes steps about whole maps."""

    def map_create(self) -> Step:
        type = self.random.choice(list(SHAPES))
        if self.rarely(0.4):
            type = self.random.choice((*HASHES, T.ARRAY, T.LPM_TRIE, T.PROG_ARRAY, T.QUEUE))
        keys, values, sizes, flags = SHAPES[type]
        attr = MapCreate(
            map_type=type,
            key_size=self.pick(*keys),
            value_size=self.pick(*values),
            max_entries=self.pick(*sizes),
            map_flags=self.pick(*flags),
            map_name=self.random.choice((b"", b"a_map.1", b"x" * 15, b"Z")),
        )
        if self.rarely(0.1):
            attr.map_flags |= self.pick(8, 16, 4, 128, 256)
        names: list[Named] = []
        if type in (T.ARRAY_OF_MAPS, T.HASH_OF_MAPS) or self.rarely(0.02):
            names.append(Named(20, "fd", self.fd("map", T.ARRAY, T.HASH, T.QUEUE)[0]))
        if type in (T.SK_STORAGE, T.INODE_STORAGE, T.TASK_STORAGE, T.CGRP_STORAGE) or (
            self.rarely(0.08)
        ):
            names.append(Named(48, "fd", self.fd("btf")[0]))
            attr.btf_key_type_id = self.pick(1, 1, 1, 2, 5, 0)
            attr.btf_value_type_id = self.pick(1, 2, 2, 3, 4, 6, 7, 99)
        if type == T.BLOOM_FILTER:
            attr.map_extra = self.pick(0, 3, 5, 15, 16)
        raw = attr.encode()
        if self.rarely(0.2):
            raw = self.bend(raw, attr)
        step = self.step(Cmd.MAP_CREATE, raw, names=names, makes="map")
        if 0 <= step.size < 20:
            attr.map_flags = 0  # cut off
        self.made("map", attr)
        return step

    def bend(self, raw: bytes, attr: MapCreate) -> bytes:
        """Make one or two fields of MAP_CREATE wrong."""
        data = bytearray(raw)
        for _ in range(self.pick(1, 1, 2)):
            field = self.pick(0, 4, 8, 12, 16, 16, 24, 44, 56, 60, 64, 72, 76, 80, 88)
            value = self.pick(*INTERESTING)
            if field == 16:
                value = attr.map_flags ^ 1 << self.random.randrange(20)
            if field in (8, 12) and value > 1 << 20 and attr.map_type not in (T.ARENA, T.RINGBUF):
                value = self.pick(0, 1, 4, 8, 4096)  # memory of the machine is not ours to fill
            if field == 12 and attr.map_type in (T.LRU_HASH, T.LRU_PERCPU_HASH):
                value = self.pick(0, 64, 101)
            if field == 44:
                value = self.pick(1, 2, 99)
            data[field : field + 4] = value.to_bytes(4, "little")
        if self.rarely(0.2):
            at = 28 + self.random.randrange(16)
            data[at] = self.pick(0, 32, 45, 65, 127, 200)
        attr.__fill__(type(attr).__struct__.unpack(bytes(data)), len(data))
        return bytes(data)

    def freeze(self) -> Step:
        names = [Named(0, "fd", self.fd("map")[0])]
        return self.step(Cmd.MAP_FREEZE, MapFreeze(), names=names)

    def bind(self) -> Step:
        names = [Named(0, "fd", self.fd("prog")[0]), Named(4, "fd", self.fd("map")[0])]
        return self.step(Cmd.PROG_BIND_MAP, ProgBindMap(flags=self.pick(0, 0, 0, 1)), names=names)

    def shape(self, thing: Thing | None) -> MapCreate:
        if thing and isinstance(thing.attr, MapCreate):
            return thing.attr
        return MapCreate(map_type=T.HASH, key_size=4, value_size=4, max_entries=4)

    def room(self, attr: MapCreate) -> int:
        """Bytes of a value at the door."""
        if attr.map_type in PER_CPU:
            return min(-(-attr.value_size // 8) * 8 * self.cpus, 1 << 16)
        return 4 if attr.map_type in FD_MAPS else min(attr.value_size, 1 << 16)

    def key(self, attr: MapCreate) -> bytes:
        size = min(attr.key_size, 600)
        if attr.map_type == T.LPM_TRIE and size >= 5:
            length = self.pick(0, 1, 4, 7, 8, 9, 12, 8 * (size - 4), 8 * (size - 4), 33, 8 * size)
            data = bytes(self.pick(0, 128, 192, 64, 255) for _ in range(size - 4))
            return length.to_bytes(4, "little") + data
        if attr.map_type in HASHES or attr.map_type == T.SOCKHASH:
            return (bytes([self.pick(1, 2, 3, 4, 5, 6, 7)]) * size)[:size]
        if size == 4:
            return self.pick(0, 0, 1, 1, 2, 3, 4, 5, 0xFFFFFFFF).to_bytes(4, "little")
        return bytes([self.pick(0, 1)]) * size

    def value(self, attr: MapCreate) -> Buffer:
        """A value to store; for maps of objects, an fd."""
        size = self.room(attr)
        buffer = Buffer(self.noise(size))
        type = attr.map_type
        if type == T.PROG_ARRAY:
            buffer.names.append(Named(0, "fd", self.fd("prog")[0]))
        elif type in (T.ARRAY_OF_MAPS, T.HASH_OF_MAPS):
            buffer.names.append(Named(0, "fd", self.fd("map", T.ARRAY, T.HASH, T.QUEUE)[0]))
        elif type in FD_MAPS or type in (T.XSKMAP, T.REUSEPORT_SOCKARRAY, T.SOCKMAP, T.SOCKHASH):
            buffer = Buffer(bytes(size))
            if size >= 4:
                buffer.names.append(Named(0, "fd", self.pick(*SURROUNDINGS, 10**6)))
        elif type in (T.DEVMAP, T.DEVMAP_HASH, T.CPUMAP):
            first = self.pick(0, 1, 1, 2, 99, 20000)
            buffer = Buffer(first.to_bytes(4, "little") + bytes(max(size - 4, 0)))
            if size == 8 and self.rarely(0.4):
                buffer.names.append(Named(4, "fd", self.fd("prog")[0]))
        return buffer

    def value_ids(self, attr: MapCreate, buffer: int) -> list[Ids]:
        kind = FD_MAPS.get(MapType(attr.map_type), "")
        if kind:
            return [Ids(buffer, 0, kind)]
        if attr.map_type in (T.DEVMAP, T.DEVMAP_HASH, T.CPUMAP) and attr.value_size == 8:
            return [Ids(buffer, 4, "prog")]
        return []

    def name_owner(self, attr: MapCreate, key: Buffer) -> None:
        """The key of a storage is the fd of what the value hangs at."""
        if attr.map_type in (T.SK_STORAGE, T.INODE_STORAGE, T.TASK_STORAGE, T.CGRP_STORAGE):
            key.names.append(Named(0, "fd", self.pick(*SURROUNDINGS, 10**6)))
