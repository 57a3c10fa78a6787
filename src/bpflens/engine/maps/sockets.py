"""Maps of sockets: SOCKMAP, SOCKHASH, REUSEPORT_SOCKARRAY."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from bpflens.abi.enums import MapFlag, MapType
from bpflens.engine.call import err
from bpflens.engine.creds import Cap
from bpflens.engine.files import File
from bpflens.engine.maps.array import Indexed
from bpflens.engine.maps.base import (
    ACCESS_MASK,
    EXIST,
    NOEXIST,
    RW,
    Map,
    access_ok,
    kind,
    r8,
    roundup_pow2,
    u32,
)
from bpflens.engine.maps.hash import Buckets
from bpflens.engine.net import Socket
from bpflens.errors import ENOTSUPP

if TYPE_CHECKING:
    from bpflens.abi.attrs import MapCreate
    from bpflens.engine.objects import Object
    from bpflens.engine.tasks import Task

_STACK = 512
"""MAX_BPF_STACK: the longest key that a program could hold."""


class Sockets(Map):
    """What the two kinds of sock_map.c share."""

    __slots__ = ("progs", "sockets")

    allowed: ClassVar[int] = MapFlag.NUMA_NODE | RW
    cap = Cap.NET_ADMIN

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """sock_map_alloc(), sock_hash_alloc()."""
        if not attr.max_entries or not attr.key_size or attr.value_size not in (4, 8):
            raise err(errno.EINVAL)
        if attr.map_flags & ~self.allowed:
            raise err(errno.EINVAL)
        self.sockets: dict[bytes, Socket] = {}
        self.progs: dict[int, Object] = {}
        """Attach type → the program or link that is attached."""

    def left(self) -> None:
        """sock_map_release_progs(). A link counts as a user, so only programs are here then."""
        while self.progs:
            self.progs.popitem()[1].drop()

    def lookup(self, key: bytes) -> bytes:
        """sock_map_lookup_sys(): the socket by its cookie."""
        if self.value_size != 8:
            raise err(errno.ENOSPC)
        socket = self.sockets.get(key)
        if socket is None:
            raise err(errno.ENOENT)
        return socket.cookie.to_bytes(8, "little")

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """sock_map_update_elem_sys()."""
        fd = int.from_bytes(value, "little")
        if fd > 0x7FFFFFFF:
            raise err(errno.EINVAL)
        socket = task.files.get(fd, Socket, errno.ENOTSOCK)
        if not socket.established:
            raise err(errno.EOPNOTSUPP)
        if flags > EXIST:
            raise err(errno.EINVAL)
        self.check_place(key)
        if key in self.sockets:
            if flags == NOEXIST:
                raise err(errno.EEXIST)
        elif flags == EXIST:
            raise err(errno.ENOENT)
        self.store(key, socket)

    def check_place(self, key: bytes) -> None:
        """E2BIG where there is no room."""

    def store(self, key: bytes, socket: Socket) -> None:
        self.sockets[key] = socket
        socket.maps.add(self)

    def socket_gone(self, socket: Socket) -> None:
        """sock_map_close()."""
        for key in [key for key, there in self.sockets.items() if there is socket]:
            self.delete(key)

    def free(self) -> None:
        for socket in self.sockets.values():
            socket.maps.discard(self)
        super().free()


@kind(MapType.SOCKMAP)
class Sockmap(Sockets, Indexed):
    """Sockets at indexes."""

    __slots__ = ()

    allowed: ClassVar[int] = MapFlag.NUMA_NODE | RW

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """There is no sock_map_alloc_check()."""

    def allocate(self, attr: MapCreate, task: Task) -> None:
        if attr.key_size != 4:
            raise err(errno.EINVAL)
        super().allocate(attr, task)
        self.engine.afford(8 * attr.max_entries)

    def check_place(self, key: bytes) -> None:
        if u32(key) >= self.max_entries:
            raise err(errno.E2BIG)

    def delete(self, key: bytes) -> None:
        """sock_map_delete_elem()."""
        if self.sockets.pop(key, None) is None:
            raise err(errno.EINVAL)

    def memlock(self) -> int:
        return 376 + 8 * self.max_entries


@kind(MapType.SOCKHASH)
class Sockhash(Sockets):
    """Sockets by any key."""

    __slots__ = ("buckets",)

    def allocate(self, attr: MapCreate, task: Task) -> None:
        super().allocate(attr, task)
        if attr.key_size > _STACK:
            raise err(errno.E2BIG)
        count = roundup_pow2(attr.max_entries)
        if count > 0xFFFFFFFF // 16:
            raise err(errno.EINVAL)
        self.engine.afford(16 * count)
        self.buckets = Buckets(count, 0)

    def check_place(self, key: bytes) -> None:
        if key not in self.sockets and len(self.sockets) >= self.max_entries:
            raise err(errno.E2BIG)

    def store(self, key: bytes, socket: Socket) -> None:
        if key in self.sockets:
            self.buckets.remove(key)
        self.buckets.add(key)
        super().store(key, socket)

    def delete(self, key: bytes) -> None:
        if self.sockets.pop(key, None) is None:
            raise err(errno.ENOENT)
        self.buckets.remove(key)

    def next_key(self, key: bytes | None) -> bytes:
        """sock_hash_get_next_key()."""
        if key is None or key not in self.sockets:
            following = self.buckets.first()
        else:
            following = self.buckets.after(key)
        if following is None:
            raise err(errno.ENOENT)
        return following

    def memlock(self) -> int:
        elem = 48 + r8(self.key_size)
        return 384 + 16 * self.buckets.count + len(self.sockets) * elem


@kind(MapType.REUSEPORT_SOCKARRAY)
class Reuseport(Indexed):
    """Sockets of SO_REUSEPORT groups (reuseport_array.c)."""

    __slots__ = ("sockets",)

    allowed: ClassVar[int] = MapFlag.NUMA_NODE | ACCESS_MASK
    cap = Cap.BPF
    checks_btf = False

    @classmethod
    def check(cls, attr: MapCreate, task: Task) -> None:
        """reuseport_array_alloc_check()."""
        if attr.value_size not in (4, 8) or not access_ok(attr.map_flags):
            raise err(errno.EINVAL)
        super().check(attr, task)

    def allocate(self, attr: MapCreate, task: Task) -> None:
        self.engine.afford(8 * attr.max_entries)
        self.sockets: dict[int, Socket] = {}

    def lookup(self, key: bytes) -> bytes:
        """bpf_fd_reuseport_array_lookup_elem()."""
        if self.value_size != 8:
            raise err(errno.ENOSPC)
        socket = self.sockets.get(u32(key))
        if socket is None:
            raise err(errno.ENOENT)
        return socket.cookie.to_bytes(8, "little")

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """bpf_fd_reuseport_array_update_elem()."""
        if flags > EXIST:
            raise err(errno.EINVAL)
        if u32(key) >= self.max_entries:
            raise err(errno.E2BIG)
        fd = int.from_bytes(value, "little")
        if len(value) == 8 and fd > 0x7FFFFFFF:
            raise err(errno.EINVAL)
        socket = task.files.get(fd, Socket, errno.ENOTSOCK)
        # reuseport_array_update_check()
        there = u32(key) in self.sockets
        if there and flags == NOEXIST:
            raise err(errno.EEXIST)
        if not there and flags == EXIST:
            raise err(errno.ENOENT)
        if socket.family != "inet":
            raise err(ENOTSUPP)
        if not socket.group:
            raise err(errno.EINVAL)
        if any(isinstance(one, Reuseport) for one in socket.maps):
            raise err(errno.EBUSY)
        self._remove(u32(key))
        self.sockets[u32(key)] = socket
        socket.maps.add(self)

    def _remove(self, index: int) -> bool:
        old = self.sockets.pop(index, None)
        if old:
            old.maps.discard(self)
        return old is not None

    def socket_gone(self, socket: Socket) -> None:
        """bpf_sk_reuseport_detach()."""
        self.sockets = {at: there for at, there in self.sockets.items() if there is not socket}

    def free(self) -> None:
        for socket in self.sockets.values():
            socket.maps.discard(self)
        super().free()

    def delete(self, key: bytes) -> None:
        """reuseport_array_delete_elem()."""
        if u32(key) >= self.max_entries:
            raise err(errno.E2BIG)
        if not self._remove(u32(key)):
            raise err(errno.ENOENT)

    def memlock(self) -> int:
        return 296 + 8 * self.max_entries
