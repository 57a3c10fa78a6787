"""Random steps that go from IDs to objects."""

from __future__ import annotations

from bpflens.abi.attrs import BtfById, MapById, NextId, ProgById
from bpflens.abi.enums import Cmd
from bpflens.abi.record import Record
from tests.twin.choices import Choices
from tests.twin.steps import Ids, Named, Step


class Numbers(Choices):
    """Writes steps that walk and open by ID."""

    def next_id(self) -> Step:
        kinds = {
            "prog": Cmd.PROG_GET_NEXT_ID,
            "map": Cmd.MAP_GET_NEXT_ID,
            "btf": Cmd.BTF_GET_NEXT_ID,
            "link": Cmd.LINK_GET_NEXT_ID,
        }
        kind = self.random.choice(list(kinds))
        thing = self.thing(kind)
        if thing and not self.rarely(0.5):
            # what follows the number before its own is the object itself, or if it is gone,
            # something of the rest of the machine
            names = [Named(0, f"before {kind}", thing.step)]
            step = self.step(kinds[kind], NextId(next_id=0x7FFFFFFF), names=names)
            step.ids = [Ids(-1, 4, kind)]
            return self.whole(step)
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
