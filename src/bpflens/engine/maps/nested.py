"""Maps whose values are objects: programs, maps, perf events, cgroups."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from bpflens.abi.enums import MapFlag, MapType, ProgType
from bpflens.engine.call import err
from bpflens.engine.cgroups import Cgroup, from_fd
from bpflens.engine.files import File
from bpflens.engine.maps.array import Slots
from bpflens.engine.maps.base import EXIST, Map, kind, p32, u32
from bpflens.engine.maps.hash import Hash
from bpflens.engine.perf import PerfEvent
from bpflens.engine.progs.prog import Prog
from bpflens.errors import ENOTSUPP

if TYPE_CHECKING:
    from bpflens.abi.attrs import MapCreate
    from bpflens.engine.tasks import Task


def compatible(owner: Map, prog: Prog) -> bool:
    """bpf_prog_map_compatible(): the first program decides what may be in a map for good."""
    if prog.dev_bound:
        return False
    wanted = prog.owner_key(owner.type == MapType.PROG_ARRAY)
    if owner.owner is None:
        owner.owner = wanted
        return True
    return owner.owner == wanted


@kind(MapType.PROG_ARRAY)
class ProgArray(Slots):
    """Targets of tail calls."""

    __slots__ = ()

    can_be_inner = False
    checks_btf = False

    def get(self, fd: int, task: Task, file: File) -> Prog:
        """prog_fd_array_get_ptr()."""
        prog = task.files.get(fd, Prog)
        if prog.type == ProgType.EXT or not compatible(self, prog):
            raise err(errno.EINVAL)
        if prog.extended:
            raise err(errno.EBUSY)
        prog.slots += 1
        prog.hold()
        return prog

    def put(self, item: object) -> None:
        assert isinstance(item, Prog)
        item.slots -= 1
        item.drop()

    def lookup(self, key: bytes) -> bytes:
        prog = self.held.get(u32(key))
        if not isinstance(prog, Prog):
            raise err(errno.ENOENT)
        return p32(prog.id)

    def left(self) -> None:
        """prog_array_map_clear(): what breaks a cycle of programs that tail call each other."""
        self.clear()


def template_of(attr: MapCreate, task: Task) -> Map:
    """bpf_map_meta_alloc(): the map that says how elements must look."""
    inner = task.files.get(attr.inner_map_fd, Map)
    if inner.has_inner:
        raise err(errno.EINVAL)
    if not inner.can_be_inner or inner.exclusive:
        raise err(ENOTSUPP)
    return inner


class OfMaps(Map):
    """What the two kinds of maps of maps share."""

    __slots__ = ()

    has_inner = True
    fd_values = True

    def inner_by_fd(self, fd: int, task: Task) -> Map:
        """bpf_map_fd_get_ptr()."""
        inner = task.files.get(fd, Map)
        if inner.exclusive or self.template != (inner.like(), inner.special):  # type: ignore[attr-defined]
            raise err(errno.EINVAL)
        inner.hold()
        return inner


@kind(MapType.ARRAY_OF_MAPS)
class ArrayOfMaps(Slots, OfMaps):
    """Maps at indexes."""

    __slots__ = ("template",)

    batch = "LU"

    def allocate(self, attr: MapCreate, task: Task) -> None:
        inner = template_of(attr, task)
        self.template = (inner.like(), inner.special)
        super().allocate(attr, task)

    def get(self, fd: int, task: Task, file: File) -> Map:
        return self.inner_by_fd(fd, task)

    def put(self, item: object) -> None:
        assert isinstance(item, Map)
        item.drop()

    def lookup(self, key: bytes) -> bytes:
        inner = self.held.get(u32(key))
        if not isinstance(inner, Map):
            raise err(errno.ENOENT)
        return p32(inner.id)


@kind(MapType.HASH_OF_MAPS)
class HashOfMaps(Hash, OfMaps):
    """Maps by any key."""

    __slots__ = ("maps", "template")

    batch = "LUDX"
    pops = False
    checks_btf = True
    reorders = False

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """fd_htab_map_alloc_check()."""
        if attr.value_size != 4:
            raise err(errno.EINVAL)
        super().check(attr, task)

    def check_btf(self, btf: object, key: int, value: int) -> None:
        raise err(ENOTSUPP)

    def allocate(self, attr: MapCreate, task: Task) -> None:
        inner = template_of(attr, task)
        self.template = (inner.like(), inner.special)
        self.maps: dict[bytes, Map] = {}
        super().allocate(attr, task)

    def check_flags(self, flags: int) -> None:
        if flags > EXIST:
            raise err(errno.EINVAL)

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """bpf_fd_htab_map_update_elem(): the fd is looked at before the flags."""
        inner = self.inner_by_fd(int.from_bytes(value[:4], "little", signed=True), task)
        try:
            super().update(key, p32(inner.id), flags, task, file)
        except OSError:
            inner.drop()
            raise
        old = self.maps.get(key)
        self.maps[key] = inner
        if old is not None:
            old.drop()

    def delete(self, key: bytes) -> None:
        super().delete(key)
        self.maps.pop(key).drop()

    def free(self) -> None:
        for inner in self.maps.values():
            inner.drop()
        self.maps.clear()
        super().free()

    def memlock(self) -> int:
        if self.flags & MapFlag.NO_PREALLOC:
            return super().memlock()
        return 896 + 16 * self.buckets.count + self._elem() * self.max_entries


@kind(MapType.PERF_EVENT_ARRAY)
class PerfEventArray(Slots):
    """Perf events, for programs to write to and read from."""

    __slots__ = ()

    allowed: ClassVar[int] = Slots.allowed | MapFlag.PRESERVE_ELEMS

    def get(self, fd: int, task: Task, file: File) -> tuple[PerfEvent, File]:
        """perf_event_fd_array_get_ptr()."""
        event = task.files.get(fd, PerfEvent, errno.EBADF)
        event.hold()
        return event, file

    def put(self, item: object) -> None:
        assert isinstance(item, tuple)
        item[0].drop()

    def closed(self, file: File | None = None) -> None:
        """perf_event_fd_array_release(): events put in through this file go with it."""
        if not self.flags & MapFlag.PRESERVE_ELEMS:
            for index, item in list(self.held.items()):
                if isinstance(item, tuple) and item[1] is file:
                    del self.held[index]
                    self.put(item)
        super().closed(file)


@kind(MapType.CGROUP_ARRAY)
class CgroupArray(Slots):
    """Cgroups, to ask whether something is below them."""

    __slots__ = ()

    def get(self, fd: int, task: Task, file: File) -> Cgroup:
        cgroup = from_fd(task, fd)
        cgroup.hold()
        return cgroup

    def put(self, item: object) -> None:
        assert isinstance(item, Cgroup)
        item.drop()
