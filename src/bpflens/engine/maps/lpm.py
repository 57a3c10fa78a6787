"""LPM_TRIE: values by prefix, the longest that matches wins (lpm_trie.c)."""

from __future__ import annotations

import errno
from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING, ClassVar

from bpflens.abi.enums import MapFlag, MapType
from bpflens.engine.call import err
from bpflens.engine.creds import Cap
from bpflens.engine.files import File
from bpflens.engine.maps.base import ACCESS_MASK, EXIST, NOEXIST, Map, access_ok, kind, u32

if TYPE_CHECKING:
    from bpflens.abi.attrs import MapCreate
    from bpflens.engine.btfs import BtfObject
    from bpflens.engine.tasks import Task


@kind(MapType.LPM_TRIE)
class LpmTrie(Map):
    """The trie as a sorted list of its paths.

    A path is the prefix in digits with an end mark above them: so a longer prefix sorts before the
    shorter ones that it lies in, which is the order in which the kernel walks.
    """

    __slots__ = ("lengths", "nodes", "paths")

    allowed: ClassVar[int] = MapFlag.NO_PREALLOC | MapFlag.NUMA_NODE | ACCESS_MASK
    cap = Cap.BPF
    batch = "LUD"

    def allocate(self, attr: MapCreate, task: Task) -> None:
        """trie_alloc()."""
        if not attr.max_entries or not attr.map_flags & MapFlag.NO_PREALLOC:
            raise err(errno.EINVAL)
        if attr.map_flags & ~self.allowed or not access_ok(attr.map_flags):
            raise err(errno.EINVAL)
        if not 5 <= attr.key_size <= 260 or not 1 <= attr.value_size <= 4194024:
            raise err(errno.EINVAL)
        self.nodes: dict[str, tuple[bytes, bytes]] = {}
        """Path → key as it was given, and value."""
        self.paths: list[str] = []
        self.lengths: dict[int, int] = {}
        """Prefix length → how many there are."""

    def check_btf(self, btf: BtfObject, key: int, value: int) -> None:
        """trie_check_btf(): the key must be a struct."""
        if not btf.is_struct(key):
            raise err(errno.EINVAL)

    @property
    def _longest(self) -> int:
        return 8 * (self.key_size - 4)

    def _path(self, key: bytes) -> str:
        bits = f"{int.from_bytes(key[4:], 'big'):0{self._longest}b}"
        return bits[: u32(key)] + "2"

    def lookup(self, key: bytes) -> bytes:
        """trie_lookup_elem()."""
        length = u32(key)
        if length > self._longest:
            raise err(errno.ENOENT)
        path = self._path(key)
        for shorter in sorted(self.lengths, reverse=True):
            if shorter <= length:
                node = self.nodes.get(path[:shorter] + "2")
                if node is not None:
                    return node[1]
        raise err(errno.ENOENT)

    def update(self, key: bytes, value: bytes, flags: int, task: Task, file: File) -> None:
        """trie_update_elem()."""
        if flags > EXIST or u32(key) > self._longest:
            raise err(errno.EINVAL)
        path = self._path(key)
        if path in self.nodes:
            if flags == NOEXIST:
                raise err(errno.EEXIST)
        else:
            if flags == EXIST:
                raise err(errno.ENOENT)
            if len(self.nodes) == self.max_entries:
                raise err(errno.ENOSPC)
            insort(self.paths, path)
            self.lengths[u32(key)] = self.lengths.get(u32(key), 0) + 1
        self.nodes[path] = (key, value)

    def delete(self, key: bytes) -> None:
        """trie_delete_elem()."""
        length = u32(key)
        if length > self._longest:
            raise err(errno.EINVAL)
        path = self._path(key)
        if self.nodes.pop(path, None) is None:
            raise err(errno.ENOENT)
        del self.paths[bisect_left(self.paths, path)]
        self.lengths[length] -= 1
        if not self.lengths[length]:
            del self.lengths[length]

    def next_key(self, key: bytes | None) -> bytes:
        """trie_get_next_key(): a key that is not there starts again."""
        at = 0
        if key is not None and u32(key) <= self._longest:
            path = self._path(key)
            if path in self.nodes:
                at = bisect_right(self.paths, path)
        if at >= len(self.paths):
            raise err(errno.ENOENT)
        return self.nodes[self.paths[at]][0]

    def memlock(self) -> int:
        return len(self.nodes) * (24 + self.key_size - 4 + self.value_size)
