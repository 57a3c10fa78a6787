"""Targets of XDP redirects: DEVMAP, DEVMAP_HASH, CPUMAP, XSKMAP."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from bpflens.abi.enums import AttachType, MapFlag, MapType, ProgType
from bpflens.engine.call import err
from bpflens.engine.creds import Cap
from bpflens.engine.files import File
from bpflens.engine.maps.array import Indexed
from bpflens.engine.maps.base import EXIST, NOEXIST, RW, Map, kind, p32, roundup_pow2, u32
from bpflens.engine.maps.nested import compatible
from bpflens.engine.net import Device, Socket
from bpflens.engine.progs.prog import Prog

if TYPE_CHECKING:
    from bpflens.abi.attrs import MapCreate
    from bpflens.engine.tasks import Task

_CPU_QUEUE_MAX = 16384
_NR_CPUS = 256
"""CONFIG_NR_CPUS."""


def second_prog(
    owner: Map, value: bytes, task: Task, attach: AttachType, wrong: int
) -> Prog | None:
    """The XDP program in the second half of a value, with a reference; `wrong` if it cannot be."""
    fd = int.from_bytes(value[4:8], "little", signed=True)
    if len(value) < 8 or fd <= 0:
        return None
    try:
        prog = task.files.get(fd, Prog)
    except OSError:
        raise err(wrong) from None
    if prog.type != ProgType.XDP or prog.attach_type != attach or not compatible(owner, prog):
        raise err(wrong)
    prog.hold()
    return prog


class Target:
    """An element: a number (ifindex or queue size), and the program that runs before."""

    __slots__ = ("device", "number", "prog")

    def __init__(self, number: int, device: Device | None, prog: Prog | None) -> None:
        self.number = number
        self.device = device
        self.prog = prog

    def value(self, size: int) -> bytes:
        """As user space reads it: the program by ID."""
        return (p32(self.number) + p32(self.prog.id if self.prog else 0))[:size]

    def release(self) -> None:
        """Give up the references."""
        if self.prog:
            self.prog.drop()


@kind(MapType.DEVMAP)
class Devmap(Indexed):
    """Network devices at indexes (devmap.c)."""

    __slots__ = ("targets",)

    allowed: ClassVar[int] = MapFlag.NUMA_NODE | RW
    cap = Cap.NET_ADMIN

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """dev_map_alloc_check()."""
        if not attr.max_entries or attr.key_size != 4 or attr.value_size not in (4, 8):
            raise err(errno.EINVAL)
        if attr.map_flags & ~cls.allowed:
            raise err(errno.EINVAL)
        # Lookup gives programs a pointer into the device, so they must not write there.
        attr.map_flags |= int(MapFlag.RDONLY_PROG)
        if attr.map_type == MapType.DEVMAP_HASH and attr.max_entries > 1 << 31:
            raise err(errno.EINVAL)

    def allocate(self, attr: MapCreate, task: Task) -> None:
        self.engine.afford(8 * roundup_pow2(self.max_entries))
        self.targets: dict[int, Target] = {}

    def lookup(self, key: bytes) -> bytes:
        target = self.targets.get(u32(key))
        if target is None:
            raise err(errno.ENOENT)
        return target.value(self.value_size)

    def target(self, value: bytes, task: Task) -> Target:
        """__dev_map_alloc_node()."""
        device = task.netns.devices.get(u32(value))
        if device is None:
            raise err(errno.EINVAL)
        prog = second_prog(self, value, task, AttachType.XDP_DEVMAP, errno.EINVAL)
        return Target(u32(value), device, prog)

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """__dev_map_update_elem()."""
        index = u32(key)
        if flags > EXIST:
            raise err(errno.EINVAL)
        if index >= self.max_entries:
            raise err(errno.E2BIG)
        if flags == NOEXIST:
            raise err(errno.EEXIST)
        if not u32(value):
            if int.from_bytes(value[4:8], "little", signed=True) > 0:
                raise err(errno.EINVAL)
            self.remove(index)
            return
        new = self.target(value, task)
        self.remove(index)
        self.targets[index] = new

    def remove(self, index: int) -> bool:
        """Take an element out, if it is there."""
        old = self.targets.pop(index, None)
        if old:
            old.release()
        return old is not None

    def delete(self, key: bytes) -> None:
        """dev_map_delete_elem()."""
        if u32(key) >= self.max_entries:
            raise err(errno.EINVAL)
        self.remove(u32(key))

    def device_gone(self, device: Device) -> None:
        """dev_map_notification()."""
        for index in [at for at, t in self.targets.items() if t.device is device]:
            self.remove(index)

    def free(self) -> None:
        for index in list(self.targets):
            self.remove(index)
        super().free()

    def memlock(self) -> int:
        return 344 + 8 * self.max_entries + 64 * len(self.targets)


@kind(MapType.DEVMAP_HASH)
class DevmapHash(Devmap):
    """Network devices by any number."""

    __slots__ = ()

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """__dev_map_hash_update_elem(): BPF_EXIST is not looked at."""
        index = u32(key)
        if flags > EXIST or not u32(value):
            raise err(errno.EINVAL)
        if index in self.targets and flags & NOEXIST:
            raise err(errno.EEXIST)
        new = self.target(value, task)
        if not self.remove(index) and len(self.targets) >= self.max_entries:
            new.release()
            raise err(errno.E2BIG)
        self.targets[index] = new

    def delete(self, key: bytes) -> None:
        if not self.remove(u32(key)):
            raise err(errno.ENOENT)

    def next_key(self, key: bytes | None) -> bytes:
        """dev_map_hash_get_next_key(): the bucket is the index, cut; newest first inside."""
        mask = roundup_pow2(self.max_entries) - 1
        age = {index: -at for at, index in enumerate(self.targets)}
        order = sorted(self.targets, key=lambda index: (index & mask, age[index]))
        at = order.index(u32(key)) + 1 if key is not None and u32(key) in self.targets else 0
        if at >= len(order):
            raise err(errno.ENOENT)
        return p32(order[at])

    def memlock(self) -> int:
        return 344 + 8 * roundup_pow2(self.max_entries) + 64 * len(self.targets)


@kind(MapType.CPUMAP)
class Cpumap(Devmap):
    """CPUs with a queue length (cpumap.c)."""

    __slots__ = ()

    allowed: ClassVar[int] = MapFlag.NUMA_NODE
    cap = Cap.BPF

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """There is no cpu_map_alloc_check()."""

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """cpu_map_alloc()."""
        if not attr.max_entries or attr.key_size != 4 or attr.value_size not in (4, 8):
            raise err(errno.EINVAL)
        if attr.map_flags & ~self.allowed:
            raise err(errno.EINVAL)
        if attr.max_entries > _NR_CPUS:
            raise err(errno.E2BIG)
        super().allocate(attr, task)

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """cpu_map_update_elem()."""
        cpu, size = u32(key), u32(value)
        if flags > EXIST:
            raise err(errno.EINVAL)
        if cpu >= self.max_entries:
            raise err(errno.E2BIG)
        if flags == NOEXIST:
            raise err(errno.EEXIST)
        if size > _CPU_QUEUE_MAX:
            raise err(errno.EOVERFLOW)
        if cpu >= self.engine.cpus:
            raise err(errno.ENODEV)
        new = None
        if size:
            # any failure of __cpu_map_entry_alloc() is told as "no memory"
            prog = second_prog(self, value, task, AttachType.XDP_CPUMAP, errno.ENOMEM)
            new = Target(size, None, prog)
        self.remove(cpu)
        if new:
            self.targets[cpu] = new

    def memlock(self) -> int:
        return 304 + 8 * self.max_entries


@kind(MapType.XSKMAP)
class Xskmap(Indexed):
    """AF_XDP sockets (xskmap.c). User space can put them there, and not read them."""

    __slots__ = ("sockets",)

    allowed: ClassVar[int] = MapFlag.NUMA_NODE | RW
    cap = Cap.NET_ADMIN

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """There is no xsk_map_alloc_check()."""

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """xsk_map_alloc()."""
        if not attr.max_entries or attr.key_size != 4 or attr.value_size != 4:
            raise err(errno.EINVAL)
        if attr.map_flags & ~self.allowed:
            raise err(errno.EINVAL)
        self.engine.afford(8 * attr.max_entries)
        self.sockets: dict[int, Socket] = {}

    def lookup(self, key: bytes) -> bytes:
        raise err(errno.EOPNOTSUPP)

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """xsk_map_update_elem()."""
        if flags > EXIST:
            raise err(errno.EINVAL)
        if u32(key) >= self.max_entries:
            raise err(errno.E2BIG)
        fd = int.from_bytes(value[:4], "little", signed=True)
        socket = task.files.get(fd, Socket, errno.ENOTSOCK)
        if socket.family != "xdp":
            raise err(errno.EOPNOTSUPP)
        there = self.sockets.get(u32(key))
        if there is socket:
            return
        if there and flags == NOEXIST:
            raise err(errno.EEXIST)
        if not there and flags == EXIST:
            raise err(errno.ENOENT)
        self.sockets[u32(key)] = socket
        socket.maps.add(self)

    def delete(self, key: bytes) -> None:
        """xsk_map_delete_elem()."""
        if u32(key) >= self.max_entries:
            raise err(errno.EINVAL)
        self.sockets.pop(u32(key), None)

    def socket_gone(self, socket: Socket) -> None:
        """xsk_delete_from_maps()."""
        self.sockets = {at: there for at, there in self.sockets.items() if there is not socket}

    def free(self) -> None:
        for socket in self.sockets.values():
            socket.maps.discard(self)
        super().free()

    def memlock(self) -> int:
        return 304 + 8 * self.max_entries
