"""Memory of maps that a process maps: arrays made for it, and ring buffers."""

from __future__ import annotations

import errno

from bpflens.engine.call import err
from bpflens.engine.files import File
from bpflens.engine.maps.base import Map
from bpflens.errors import ENOTSUPP


class Mapping:
    """What mmap(2) of a map gives: `data` is the map's own memory. It holds the map until `close`.

    A mapping that may be written keeps the map from being frozen.
    """

    def __init__(self, found: Map, data: memoryview, write: bool) -> None:
        self.data = data if write else data.toreadonly()
        self.map: Map | None = found
        self._write = write
        found.hold()
        found.writers += write

    def close(self) -> None:
        """munmap(2)."""
        found, self.map = self.map, None
        if found:
            self.data.release()
            found.writers -= self._write
            found.drop()
            found.engine.work()

    def __enter__(self) -> Mapping:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.close()


def map_memory(file: File, length: int, write: bool, offset: int) -> Mapping:
    """bpf_map_mmap(), of a shared mapping. Raises OSError."""
    found = file.node
    if not isinstance(found, Map):
        raise err(errno.ENODEV)
    if found.special:
        raise err(ENOTSUPP)
    # do_mmap(): the mode of the file
    if not file.readable or (write and not file.writable):
        raise err(errno.EACCES)
    if write:
        found.may_map_for_writing()
    return Mapping(found, found.memory(length, offset, write), write)
