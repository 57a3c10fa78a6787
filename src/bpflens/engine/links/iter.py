"""Links of iterators: programs that are run over objects of a kind when their file is read."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bpflens.abi.attrs import LinkCreateIter
from bpflens.abi.enums import LinkType, MapType
from bpflens.engine.call import U32, err
from bpflens.engine.cgroups import Cgroup, from_fd
from bpflens.engine.info import check_tail
from bpflens.engine.links.base import Link, finish, give_name
from bpflens.engine.maps.base import Map

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpflens.abi.attrs import LinkCreate
    from bpflens.engine.call import Call
    from bpflens.engine.progs.prog import Prog

_INFO = 16
"""sizeof(union bpf_iter_link_info)."""
_WORDS = struct.Struct("=IiQ")
_CGROUP = struct.Struct("=QI")
_ORDERS = {1: "self_only", 2: "descendants_pre", 3: "descendants_post", 4: "ancestors_up"}
"""enum bpf_cgroup_iter_order."""
_ELEMENTS = (
    *(MapType.HASH, MapType.LRU_HASH, MapType.ARRAY),
    *(MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH, MapType.PERCPU_ARRAY),
)


class IterLink(Link):
    """A program over objects of a kind, `name`; at most one of `map`, `cgroup` and `task` says of
    which."""

    __slots__ = ("cgroup", "map", "name", "order", "task")

    type = LinkType.ITER
    name: bytes
    map: Map | None
    cgroup: Cgroup | None
    order: int
    task: tuple[int, int]
    """Thread and process, if the walk is over one."""

    def release(self) -> None:
        if self.map:
            self.map.urefs -= 1
            if not self.map.urefs:
                self.engine.later(self.map.left)
            self.map.drop()

    def update(self, call: Call, new: Prog, old: Prog | None) -> None:
        """bpf_iter_link_replace()."""
        if old and old is not self.prog:
            raise err(errno.EPERM)
        assert self.prog
        same = (new.type, new.attach_type, new.attach_btf_id)
        if same != (self.prog.type, self.prog.attach_type, self.prog.attach_btf_id):
            raise err(errno.EINVAL)
        self.replace(new)

    def fields(self, call: Call, data: bytearray) -> None:
        if self.map:
            U32.pack_into(data, 28, self.map.id)
        elif self.cgroup:
            _CGROUP.pack_into(data, 32, self.cgroup.id, self.order)
        elif self.name in _TASKS:
            # bpf_iter_task_fill_link_info(): what is not limited stays as it was
            for at, number in zip((32, 36), self.task, strict=True):
                if number:
                    U32.pack_into(data, at, number)
        give_name(call, data, 16, self.name)

    def lines(self) -> str:
        text = f"target_name:\t{self.name.decode()}\n"
        if self.map:
            return text + f"map_id:\t{self.map.id}\n"
        if self.cgroup:
            return text + f"cgroup_path:\t{self.cgroup.path}\norder: {_ORDERS[self.order]}\n"
        tid, pid = self.task
        if pid or tid:
            kind, number = ("PID", pid) if pid else ("TID", tid)
            return text + f"task_type:\t{kind}\n{kind.lower()}:\t{number}\n"
        return text


_TASKS = (b"task", b"task_file", b"task_vma")


def _over_elements(call: Call, made: IterLink, words: bytes) -> None:
    """bpf_iter_attach_map()."""
    fd = int.from_bytes(words[:4], "little", signed=True)
    if not fd:
        raise err(errno.EBADF)
    found = call.task.files.get(fd, Map)
    if found.type not in _ELEMENTS:
        raise err(errno.EINVAL)
    found.opened()
    made.map = found


def _over_cgroups(call: Call, made: IterLink, words: bytes) -> None:
    """bpf_iter_attach_cgroup()."""
    order, fd, id = _WORDS.unpack(words)
    if order not in _ORDERS or (fd and id):
        raise err(errno.EINVAL)
    root = call.engine.cgroup
    if fd:
        made.cgroup = from_fd(call.task, fd)
    elif id:
        made.cgroup = next((one for one in root.family() if one.id == id), None)
        if made.cgroup is None:
            raise err(errno.ENOENT)
    else:
        made.cgroup = root
    made.order = order


def _over_tasks(call: Call, made: IterLink, words: bytes) -> None:
    """bpf_iter_attach_task()."""
    tid, pid, pidfd, _rest = struct.unpack("=4I", words)
    if (tid > 0) + (pid > 0) + (pidfd > 0) > 1:
        raise err(errno.EINVAL)
    if pidfd:
        raise err(errno.EBADF)  # nothing here opens a pidfd
    made.task = (tid, pid)


_TARGETS: dict[bytes, Callable[[Call, IterLink, bytes], None]] = {
    b"bpf_map_elem": _over_elements,
    b"cgroup": _over_cgroups,
    **dict.fromkeys(_TASKS, _over_tasks),
}
"""Targets that take parameters (bpf_iter_attach_target_t)."""


def iterator(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """bpf_iter_link_attach()."""
    more = LinkCreateIter.decode(call.raw)
    if attr.target_fd or attr.flags:
        raise err(errno.EINVAL)
    if bool(more.iter_info) != bool(more.iter_info_len):
        raise err(errno.EINVAL)
    words = bytes(_INFO)
    if more.iter_info:
        if more.iter_info_len > _INFO:
            check_tail(call, more.iter_info, more.iter_info_len, _INFO)
        length = min(more.iter_info_len, _INFO)
        words = call.mem.read(more.iter_info, length).ljust(_INFO, b"\0")
    assert prog.attach_btf
    name = prog.attach_btf.types.type_name(prog.attach_btf_id).removeprefix("bpf_iter_")
    made = IterLink(call.engine, call.task.creds, prog, attr.attach_type)
    made.name, made.map, made.cgroup, made.order, made.task = name.encode(), None, None, 0, (0, 0)
    attach = _TARGETS.get(made.name)

    def place() -> None:
        if attach:
            attach(call, made, words)

    return finish(call, made, place)
