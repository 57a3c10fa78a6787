"""Random steps: valid, half valid and broken, weighted towards what gets past the first check."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from bpflens.abi.attrs import (
    BtfById,
    BtfLoad,
    EnableStats,
    MapBatch,
    MapById,
    MapCreate,
    MapDeleteElem,
    MapElem,
    MapFreeze,
    MapNextKey,
    NextId,
    ObjInfo,
    ObjPath,
    ProgBindMap,
    ProgById,
    ProgLoad,
    ProgStreamRead,
    TokenCreate,
)
from bpflens.abi.enums import Cmd, MapType
from bpflens.abi.record import Record
from bpflens.btf.build import BtfBuilder
from tests.twin.attachments import Attachments
from tests.twin.choices import SURROUNDINGS, Thing
from tests.twin.debug import Debug
from tests.twin.programs import Programs
from tests.twin.steps import Buffer, Ids, Named, Step
from tests.twin.types import Types

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
KEYLESS = (T.QUEUE, T.STACK, T.BLOOM_FILTER, T.RINGBUF, T.USER_RINGBUF, T.ARENA)
ZERO_SEED = 64
PATH_FD = 1 << 14

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
INFO_SIZE = {"map": 104, "prog": 232, "btf": 32, "link": 64, "other": 32}


class Generator(Attachments, Debug):
    """Writes a story. Whether a step works is not known to it, only hoped."""

    def __init__(self, seed: int, cpus: int) -> None:
        super().__init__(random.Random(seed))
        self.cpus = cpus
        self.pins: list[bytes] = []
        self.programs = Programs(self.random)
        self.types = Types(self.random)
        self.writers: list[tuple[int, Callable[[], Step]]] = [
            (14, self.map_create),
            (22, self.lookup),
            (26, self.update),
            (10, self.delete),
            (12, self.next_key),
            (6, self.pop),
            (2, self.freeze),
            (14, self.batch),
            (9, self.prog_load),
            (3, self.btf_load),
            (2, self.functions_btf),
            (7, self.debug_load),
            (14, self.info),
            (4, self.by_id),
            (3, self.next_id),
            (3, self.pin),
            (3, self.get),
            (2, self.bind),
            (3, self.other),
            (5, self.close),
            (2, self.junk),
            (6, self.attachable),
            (8, self.link_create),
            (1, self.raw_tracepoint),
            (4, self.link_update),
            (2, self.link_detach),
            (1, self.iter_create),
            (7, self.prog_attach),
            (5, self.prog_detach),
            (6, self.prog_query),
            (2, self.task_fd_query),
        ]

    def next(self) -> Step:
        """The next step of the story."""
        self.number += 1
        weights = [weight for weight, _writer in self.writers]
        writer = self.random.choices(self.writers, weights)[0][1]
        return writer()

    # --- maps

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

    def flags(self) -> int:
        return self.pick(0, 0, 0, 0, 0, 1, 2, 2, 3, 4, 5, 8, 1 << 32)

    def element(self, cmd: int, value: Buffer, attr: MapCreate, fd: int, flags: int) -> Step:
        names = [Named(0, "fd", fd)]
        buffers = [Buffer(self.key(attr)), value]
        self.name_owner(attr, buffers[0])
        if attr.key_size:
            self.pointer(names, 8, 0)
        self.pointer(names, 16, 1)
        return self.step(cmd, MapElem(flags=flags), names=names, buffers=buffers)

    def name_owner(self, attr: MapCreate, key: Buffer) -> None:
        """The key of a storage is the fd of what the value hangs at."""
        if attr.map_type in (T.SK_STORAGE, T.INODE_STORAGE, T.TASK_STORAGE, T.CGRP_STORAGE):
            key.names.append(Named(0, "fd", self.pick(*SURROUNDINGS, 10**6)))

    def lookup(self) -> Step:
        fd, thing = self.fd("map")
        attr = self.shape(thing)
        flags = self.pick(0, 0, 0, 0, 0, 0, 4, 1)
        value = Buffer(self.noise(self.room(attr) or 8))
        step = self.element(Cmd.MAP_LOOKUP_ELEM, value, attr, fd, flags)
        step.ids = self.value_ids(attr, 1)
        step.loose = attr.map_type in (T.SOCKMAP, T.SOCKHASH)
        return step

    def update(self) -> Step:
        fd, thing = self.fd("map")
        attr = self.shape(thing)
        return self.element(Cmd.MAP_UPDATE_ELEM, self.value(attr), attr, fd, self.flags())

    def pop(self) -> Step:
        fd, thing = self.fd("map", T.QUEUE, T.STACK, T.HASH, T.PERCPU_HASH, T.STACK_TRACE, T.ARRAY)
        attr = self.shape(thing)
        value = Buffer(self.noise(self.room(attr) or 8))
        return self.element(
            Cmd.MAP_LOOKUP_AND_DELETE_ELEM, value, attr, fd, self.pick(0, 0, 0, 4, 1)
        )

    def delete(self) -> Step:
        fd, thing = self.fd("map")
        attr = self.shape(thing)
        names = [Named(0, "fd", fd)]
        if attr.key_size:
            self.pointer(names, 8, 0)
        buffers = [Buffer(self.key(attr))]
        self.name_owner(attr, buffers[0])
        return self.step(Cmd.MAP_DELETE_ELEM, MapDeleteElem(), names=names, buffers=buffers)

    def next_key(self) -> Step:
        fd, thing = self.fd("map")
        attr = self.shape(thing)
        names = [Named(0, "fd", fd)]
        if not self.rarely(0.3):
            self.pointer(names, 8, 0)
        self.pointer(names, 16, 1)
        buffers = [Buffer(self.key(attr)), Buffer(self.noise(min(attr.key_size or 4, 600)))]
        step = self.step(Cmd.MAP_GET_NEXT_KEY, MapNextKey(), names=names, buffers=buffers)
        step.unordered = self.unordered(attr)
        return step

    def unordered(self, attr: MapCreate) -> bool:
        return attr.map_type in HASHES and not attr.map_flags & ZERO_SEED

    def freeze(self) -> Step:
        names = [Named(0, "fd", self.fd("map")[0])]
        return self.step(Cmd.MAP_FREEZE, MapFreeze(), names=names)

    def batch(self) -> Step:
        batchable = (*HASHES, T.ARRAY, T.PERCPU_ARRAY, T.LPM_TRIE, T.ARRAY_OF_MAPS)
        fd, thing = self.fd("map", *batchable) if not self.rarely(0.1) else self.fd("map")
        attr = self.shape(thing)
        cmd = self.pick(
            Cmd.MAP_LOOKUP_BATCH, Cmd.MAP_LOOKUP_BATCH, Cmd.MAP_LOOKUP_AND_DELETE_BATCH,
            Cmd.MAP_UPDATE_BATCH, Cmd.MAP_UPDATE_BATCH, Cmd.MAP_DELETE_BATCH,
        )  # fmt: skip
        if self.unordered(attr) and cmd == Cmd.MAP_LOOKUP_AND_DELETE_BATCH:
            cmd = Cmd.MAP_LOOKUP_BATCH  # each side would remove something else
        count = self.pick(0, 1, 2, 3, 4, 5, 8)
        keys = b"".join(self.key(attr) for _ in range(count)) or bytes(4)
        room = self.room(attr)
        values = Buffer(b"")
        for at in range(count):
            one = self.value(attr)
            values.data += one.data
            values.names += [Named(at * room + n.offset, n.kind, n.of) for n in one.names]
        if cmd in (Cmd.MAP_LOOKUP_BATCH, Cmd.MAP_LOOKUP_AND_DELETE_BATCH):
            values.names = []
        values.data = values.data or bytes(8)
        if attr.map_type in HASHES:
            cursor = self.pick(0, 0, 1, 2, 4, 200).to_bytes(4, "little")
        else:
            cursor = self.key(attr)
        cursor = cursor.ljust(max(4, min(attr.key_size, 600)), b"\0")
        names = [Named(36, "fd", fd)]
        if self.rarely(0.4):
            self.pointer(names, 0, 0)
        self.pointer(names, 8, 1)
        self.pointer(names, 16, 2)
        self.pointer(names, 24, 3)
        buffers = [Buffer(cursor), Buffer(self.noise(len(cursor))), Buffer(keys), values]
        flags = self.pick(0, 0, 0, 0, 0, 0, 1, 2, 4)
        record = MapBatch(count=count, elem_flags=flags, flags=self.pick(0, 0, 0, 0, 0, 1))
        step = self.step(cmd, record, names=names, buffers=buffers)
        kind = FD_MAPS.get(MapType(attr.map_type), "")
        if kind and cmd != Cmd.MAP_UPDATE_BATCH:
            step.ids = [Ids(3, 0, kind, 4, count)]
        step.unordered = self.unordered(attr)
        return step

    # --- programs and BTF

    def prog_load(self) -> Step:
        maps = [t.step for t in self.things if t.kind == "map"][-4:]
        arrays = [
            t.step
            for t in self.things
            if t.kind == "map" and isinstance(t.attr, MapCreate) and t.attr.map_type == T.ARRAY
        ][-4:]
        program = self.programs.write(maps, arrays)
        attr = ProgLoad(
            prog_type=program.type,
            insn_cnt=len(program.code) // 8,
            prog_name=self.random.choice((b"", b"prog", b"a.b_C9", b"y" * 15)),
            prog_flags=self.pick(0, 0, 0, 0, 1, 2, 8, 128),
            expected_attach_type=program.attach,
        )
        if self.rarely(0.05):
            attr.insn_cnt = self.pick(0, 1, 1_000_001)
        names: list[Named] = []
        self.pointer(names, 8, 0)
        self.pointer(names, 16, 1)
        buffers = [
            Buffer(program.code, program.names),
            Buffer(self.random.choice((b"GPL\0", b"GPL v2\0", b"x\0", b"\0", b"Dual MIT/GPL\0"))),
        ]
        raw = bytearray(attr.encode())
        if self.rarely(0.06):
            field = self.pick(0, 24, 28, 44, 64, 68, 76, 88, 108, 112, 120, 148)
            raw[field : field + 4] = self.pick(1, 2, 3, 16, 31, 64, 0x10000).to_bytes(4, "little")
        step = self.step(Cmd.PROG_LOAD, bytes(raw), names=names, buffers=buffers, makes="prog")
        step.note = program.note
        step.ignore = [(-1, 140, 4)]  # the length of a log in Linux's words
        self.made("prog", attr)
        return step

    def btf_load(self) -> Step:
        data = bytearray(self.types.write() if self.rarely(0.6) else self.few_types())
        if self.rarely(0.2):
            for _ in range(self.pick(1, 1, 2)):
                data[self.random.randrange(len(data))] = self.pick(0, 1, 2, 8, 13, 64, 255)
        if self.rarely(0.1):
            data += bytes(self.pick(1, 4))
        names: list[Named] = []
        self.pointer(names, 0, 0)
        record = BtfLoad(btf_size=len(data))
        if self.rarely(0.05):
            record.btf_size = self.pick(0, 4, 8, 23, 24, 25, 1 << 24, 1 << 25)
        if self.rarely(0.04):
            record.btf_log_level = self.pick(1, 16)
        buffers = [Buffer(bytes(data))]
        step = self.step(Cmd.BTF_LOAD, record, names=names, buffers=buffers, makes="btf")
        step.ignore = [(-1, 28, 4)]  # the length of a log in Linux's words
        self.made("btf", record)
        return step

    def few_types(self) -> bytes:
        """Types that go with maps, by numbers that `map_create` knows."""
        built = BtfBuilder()
        built.add_int("int", 4, 1)
        built.add_int("long", 8, 1)
        built.add_struct("pair", 8, [("a", 1, 0), ("b", 1, 32)])
        built.add_array(1, 2, 1)
        built.add_typedef("number", 1)
        lock = built.add_struct("bpf_spin_lock", 4, [("val", 1, 0)])
        built.add_struct("locked", 8, [("lock", lock, 0), ("n", 1, 32)])
        if self.rarely(0.3):
            built.add_enum("e", [("A", 1), ("B", 2)])
            built.add_ptr(3)
            built.add_func("f", built.add_func_proto(0, [("x", 1)]))
            built.add_var("v", 1)
        return built.build()

    # --- info and ids

    def info(self) -> Step:
        kind = self.random.choice(("map", "map", "prog", "prog", "btf", "link"))
        fd, thing = self.fd(kind)
        size = INFO_SIZE[thing.kind if thing else kind]
        length = size
        if self.rarely(0.3):
            length = self.pick(0, 1, 4, 8, 40, 80, 88, 100, 104, 128, 200, 228, 229, 232, 240, 4097)
        data = bytearray(max(length, 8))
        if self.rarely(0.3):
            data[:size] = self.noise(size)[: len(data)]
            for at in (24, 32, 56, 88, 112, 120, 136, 152, 160, 184):
                data[at : at + 8] = bytes(len(data[at : at + 8]))
            if size == 32:
                data[0:8] = data[16:24] = bytes(8)
            if size == 64:
                data[16:64] = bytes(len(data[16:64]))
            if size == 232 and self.rarely(0.7):
                for at in (132, 144, 148, 168, 172, 176):
                    data[at : at + 4] = bytes(len(data[at : at + 4]))
        info = Buffer(bytes(data))
        buffers = [info]
        step_ignore: list[tuple[int, int, int]] = []
        ids: list[Ids] = []
        if kind == "prog":
            # jited, load time, statistics: see section 10 of the specification
            step_ignore += [(0, 16, 4), (0, 20, 4), (0, 24, 8), (0, 40, 8), (0, 104, 8)]
            step_ignore += [(0, 168, 4), (0, 216, 4)]
            ids += [Ids(0, 4, "prog"), Ids(0, 128, "btf")]
            if len(data) >= 232:
                self.prog_arrays(buffers, data, ids, step_ignore)
        elif kind == "map":
            ids += [Ids(0, 4, "map"), Ids(0, 64, "btf"), Ids(0, 76, "btf")]
            if len(data) >= 104 and self.rarely(0.1):
                data[96:100] = self.pick(32, 31).to_bytes(4, "little")
                info.names.append(Named(88, "ptr", 1))
                buffers.append(Buffer(bytes(32)))
        elif kind == "btf":
            ids.append(Ids(0, 12, "btf"))
            if len(data) >= 32 and self.rarely(0.5):
                data[8:12] = self.pick(4, 100, 4000).to_bytes(4, "little")
                info.names.append(Named(0, "ptr", 1))
                buffers.append(Buffer(bytes(4000)))
        else:
            ids += [Ids(0, 4, "link"), Ids(0, 8, "prog")]
            self.link_info(thing, buffers, data, ids, step_ignore)
        info.data = bytes(data)
        names = [Named(0, "fd", fd)]
        self.pointer(names, 8, 0)
        step = self.step(
            Cmd.OBJ_GET_INFO_BY_FD,
            ObjInfo(info_len=length),
            names=names,
            buffers=buffers,
            ids=ids,
            ignore=step_ignore,
        )
        # a program's info asked through another kind's fd would need that kind's rules
        step.loose = thing is None
        return step

    def prog_arrays(
        self,
        buffers: list[Buffer],
        data: bytearray,
        ids: list[Ids],
        ignore: list[tuple[int, int, int]],
    ) -> None:
        """Ask for map_ids, func_info, line_info or prog_tags too."""
        info = buffers[0]
        if self.rarely(0.4):
            count = self.pick(1, 2, 8)
            data[52:56] = count.to_bytes(4, "little")
            info.names.append(Named(56, "ptr", len(buffers)))
            ids.append(Ids(len(buffers), 0, "map", 4, count))
            buffers.append(Buffer(bytes(4 * count)))
        for at, size in ((132, 8), (172, 16)):  # func_info, line_info
            if self.rarely(0.7):
                continue
            count = self.pick(1, 2, 8)
            data[at : at + 4] = size.to_bytes(4, "little")
            where, pointer = (144, 136) if size == 8 else (148, 152)
            data[where : where + 4] = count.to_bytes(4, "little")
            info.names.append(Named(pointer, "ptr", len(buffers)))
            buffers.append(Buffer(bytes(size * count)))
        if self.rarely(0.3):
            data[180:184] = (1).to_bytes(4, "little")
            info.names.append(Named(184, "ptr", len(buffers)))
            ignore.append((len(buffers), 0, 8))  # of functions that use maps or helpers
            buffers.append(Buffer(bytes(8)))

    def next_id(self) -> Step:
        kinds = {
            "prog": Cmd.PROG_GET_NEXT_ID,
            "map": Cmd.MAP_GET_NEXT_ID,
            "btf": Cmd.BTF_GET_NEXT_ID,
            "link": Cmd.LINK_GET_NEXT_ID,
        }
        kind = self.random.choice(list(kinds))
        # from far above every object: what lives in the rest of the machine is not ours
        start = self.pick(0x7FFFFFFE, 0x7FFFFFFD, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
        step = self.step(kinds[kind], NextId(start_id=start, next_id=self.pick(0, 7)))
        return self.whole(step)

    def whole(self, step: Step) -> Step:
        """The ID is not cut: a shorter one would name something of the rest of the machine."""
        if 0 <= step.size < 4:
            step.size = 4
        return step

    def by_id(self) -> Step:
        kind = self.random.choice(("prog", "map", "btf", "link"))
        thing = self.thing(kind)
        number = thing.step if thing and not self.rarely(0.2) else 10**6
        names = [Named(0, kind, number)]
        record: Record
        if kind == "map":
            record = MapById(open_flags=self.pick(0, 0, 0, 8, 16, 24, 1), next_id=self.pick(0, 3))
            cmd = Cmd.MAP_GET_FD_BY_ID
        elif kind == "btf":
            record = BtfById(open_flags=self.pick(0, 0, 0, 8), next_id=self.pick(0, 3))
            cmd = Cmd.BTF_GET_FD_BY_ID
        else:
            record = ProgById()
            cmd = Cmd.PROG_GET_FD_BY_ID if kind == "prog" else Cmd.LINK_GET_FD_BY_ID
        step = self.whole(self.step(cmd, record, names=names, makes=kind))
        self.made(kind, thing.attr if thing else None, thing.type if thing else 0)
        return step

    # --- the rest

    def path(self) -> bytes:
        if self.pins and not self.rarely(0.3):
            return self.random.choice(self.pins)
        name = self.random.choice((b"p", b"q", b"r1", b"with.dot", b"dir/x", b""))
        return self.random.choice((b"/sys/fs/bpf/", b"/sys/fs/bpf/", b"/tmp/none/", b"/")) + name

    def pin(self) -> Step:
        path = self.path()
        self.pins.append(path)
        made = [t.kind for t in self.things if t.kind != "btf" or self.rarely()]
        fd, _thing = self.fd(self.random.choice(made or ["map"]))
        names = [Named(8, "fd", fd)]
        self.pointer(names, 0, 0)
        record = ObjPath(file_flags=self.pick(0, 0, 0, 0, 0, 0, 8, 1, PATH_FD))
        if self.rarely(0.05) or record.file_flags == PATH_FD:
            names.append(Named(16, "fd", self.pick(*SURROUNDINGS)))
            path = path.removeprefix(b"/sys/fs/bpf/")
        return self.step(Cmd.OBJ_PIN, record, names=names, buffers=[Buffer(path + b"\0")])

    def get(self) -> Step:
        names: list[Named] = []
        self.pointer(names, 0, 0)
        flags = self.pick(0, 0, 0, 0, 8, 16, 24, 1, PATH_FD)
        record = ObjPath(file_flags=flags, bpf_fd=1 if self.rarely() else 0)
        path = self.path()
        if self.rarely(0.05) or flags == PATH_FD:
            names.append(Named(16, "fd", self.pick(*SURROUNDINGS)))
            path = path.removeprefix(b"/sys/fs/bpf/")
        buffers = [Buffer(path + b"\0")]
        step = self.step(Cmd.OBJ_GET, record, names=names, buffers=buffers, makes="other")
        self.made("other")
        return step

    def bind(self) -> Step:
        names = [Named(0, "fd", self.fd("prog")[0]), Named(4, "fd", self.fd("map")[0])]
        return self.step(Cmd.PROG_BIND_MAP, ProgBindMap(flags=self.pick(0, 0, 0, 1)), names=names)

    def other(self) -> Step:
        which = self.pick(0, 1, 2)
        if which == 0:
            step = self.step(Cmd.ENABLE_STATS, EnableStats(type=self.pick(0, 1)), makes="other")
            self.made("other")
            return step
        if which == 1:
            names = [Named(4, "fd", self.pick(*SURROUNDINGS, 10**6))]
            return self.step(Cmd.TOKEN_CREATE, TokenCreate(flags=self.pick(0, 0, 1)), names=names)
        names = [Named(16, "fd", self.fd("prog")[0]), Named(0, "ptr", 0)]
        record = ProgStreamRead(stream_buf_len=8, stream_id=self.pick(0, 1, 2, 3))
        return self.step(
            Cmd.PROG_STREAM_READ_BY_FD, record, names=names, buffers=[Buffer(bytes(8))]
        )

    def close(self) -> Step:
        if not self.things:
            return self.junk()
        thing = self.random.choice(self.things)
        self.things.remove(thing)
        return Step(self.number, 0, close=thing.step)

    def junk(self) -> Step:
        """Any command with any words; none that could reach past the test's own things."""
        safe = [c for c in Cmd if c != Cmd.PROG_TEST_RUN and "NEXT_ID" not in c.name]
        cmd = int(self.random.choice(safe)) if not self.rarely(0.2) else self.pick(38, 39, 1 << 20)
        words = [self.pick(0, 0, 0, 1, 2, 4, 0xFFFFFFFF) for _ in range(self.pick(1, 4, 10, 42))]
        made = Step(self.number, cmd, struct.pack(f"<{len(words)}I", *words))
        made.names = [Named(0, "fd", 10**6)]  # a closed fd first, so that little gets further
        made.loose = True
        return made
