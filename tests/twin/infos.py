"""Random steps that ask what an object is."""

from __future__ import annotations

from bpflens.abi.attrs import ObjInfo, ProgLoad
from bpflens.abi.enums import AttachType, Cmd
from tests.twin.choices import Choices, Thing
from tests.twin.hooks import ON_CGROUP, ON_MAP, ON_NETNS, P
from tests.twin.steps import NAMED_TYPES, Buffer, Ids, Named, Step

INFO_SIZE = {"map": 104, "prog": 232, "btf": 32, "link": 64, "other": 32}


class Infos(Choices):
    """Writes steps with OBJ_GET_INFO_BY_FD."""

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
            # jited, load time, statistics (of test runs): see section 10 of the specification
            step_ignore += [(0, 16, 4), (0, 20, 4), (0, 24, 8), (0, 40, 8), (0, 104, 8)]
            step_ignore += [(0, 168, 4), (0, 192, 16), (0, 216, 4)]
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

    def link_info(
        self,
        thing: Thing | None,
        buffers: list[Buffer],
        data: bytearray,
        ids: list[Ids],
        ignore: list[tuple[int, int, int]],
    ) -> None:
        """What the info of a link needs, by the type of its program."""
        type = thing.type if thing else 0
        if type in ON_CGROUP:
            ignore.append((0, 16, 8))  # a cgroup's ID
        elif type in ON_NETNS:
            ignore.append((0, 16, 4))  # a namespace's inode
        elif type in ON_MAP:
            ids.append(Ids(0, 16, "map"))
        elif type == P.KPROBE:
            ignore.append((0, 60, 4))  # the process's number
            if len(data) >= 64 and self.rarely(0.7):
                self.places(buffers, data)
        elif type == P.TRACING:
            assert thing
            self.traced(thing, buffers, data, ids, ignore)
        elif type in (P.PERF_EVENT, P.TRACEPOINT):
            ignore.append((0, 32, 4))  # the number of the clock's PMU differs by machine
        elif type == P.RAW_TRACEPOINT and len(data) >= 40 and self.rarely(0.6):
            self.name(buffers, data)

    def traced(
        self,
        thing: Thing,
        buffers: list[Buffer],
        data: bytearray,
        ids: list[Ids],
        ignore: list[tuple[int, int, int]],
    ) -> None:
        """What the info of a link to what its program named needs."""
        assert isinstance(thing.attr, ProgLoad)
        attach = thing.attr.expected_attach_type
        if attach == AttachType.TRACE_ITER:
            name = NAMED_TYPES[thing.attr.attach_btf_id]
            if name.endswith("map_elem"):
                ids.append(Ids(0, 28, "map"))
            else:
                ignore.append((0, 32, 8))  # a cgroup's ID, or a process's number
        if attach in (AttachType.TRACE_ITER, AttachType.TRACE_RAW_TP) and len(data) >= 40:
            self.name(buffers, data)

    def name(self, buffers: list[Buffer], data: bytearray) -> None:
        """Ask for the name, too."""
        room = self.pick(1, 5, 12, 64)
        data[24:28] = room.to_bytes(4, "little")
        buffers[0].names.append(Named(16, "ptr", 1))
        buffers.append(Buffer(bytes(room)))

    def places(self, buffers: list[Buffer], data: bytearray) -> None:
        """Arrays for what a link to many places tells."""
        room, count = self.pick(0, 4, 12, 64), self.pick(0, 1, 2, 8)
        data[48:56] = room.to_bytes(4, "little") + count.to_bytes(4, "little")
        for at, size in enumerate((room, 8 * count, 8 * count, 8 * count)):
            if self.rarely(0.6):
                buffers[0].names.append(Named(16 + 8 * at, "ptr", len(buffers)))
                buffers.append(Buffer(bytes(max(size, 1))))
