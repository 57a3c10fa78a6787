"""Random steps about the elements of maps, one by one and in batches."""

from __future__ import annotations

from bpflens.abi.attrs import MapBatch, MapCreate, MapDeleteElem, MapElem, MapNextKey
from bpflens.abi.enums import Cmd, MapType
from tests.twin.maps import FD_MAPS, HASHES, Maps, T
from tests.twin.steps import Buffer, Ids, Named, Step

ZERO_SEED = 64


class Elements(Maps):
    """Writes steps that look up, change and walk."""

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
