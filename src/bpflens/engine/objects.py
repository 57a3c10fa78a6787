"""What maps, programs, BTF and links share: an ID, references, and the commands over IDs."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from bpflens.abi.attrs import BtfById, LinkById, MapById, NextId, ProgById
from bpflens.abi.enums import Cmd, MapFlag
from bpflens.engine.call import Call, command, err
from bpflens.engine.creds import Cap
from bpflens.engine.files import O_RDONLY, O_RDWR, O_WRONLY, File, Node

if TYPE_CHECKING:
    from bpflens.engine.creds import Creds
    from bpflens.engine.engine import Engine
    from bpflens.engine.tasks import Task

ACCESS = int(MapFlag.RDONLY | MapFlag.WRONLY)


class Object(Node):
    """Something with an ID."""

    __slots__ = ("engine", "id", "info_end", "info_size", "refs", "uid")

    space: ClassVar[str]
    """Which of the four ID spaces it lives in."""
    mode: ClassVar[int] = O_RDWR

    def __init__(self, engine: Engine, creds: Creds) -> None:
        self.engine = engine
        self.info_size = 0
        """sizeof(struct bpf_*_info)."""
        self.info_end = 0
        """Where its last member ends: from there on, the caller's buffer must hold zeros."""
        self.uid = creds.uid
        self.id = 0
        self.refs = 0

    def publish(self) -> None:
        """Take an ID. From here on the object is found in its space."""
        self.id = self.engine.ids[self.space].allocate(self)

    def hold(self) -> None:
        self.refs += 1

    def drop(self) -> None:
        self.refs -= 1
        if not self.refs:
            if self.id:
                self.engine.ids[self.space].remove(self.id)
            self.engine.later(self.free)

    def opened(self) -> None:
        """A file, or a pin, refers to this: a reference by user space."""
        self.hold()

    def free(self) -> None:
        """Give up what this object refers to; run by the worker when no reference is left."""

    def info(self, call: Call, file: File, data: bytearray, told: int) -> None:
        """Fill `data`, which holds what the caller gave of it: `told` bytes."""
        raise NotImplementedError


def open_object(task: Task, obj: Object, mode: int, name: str = "") -> int:
    """A new fd of `obj`. EMFILE; then the object is as it was."""
    files = task.files
    if files.full():
        raise err(errno.EMFILE)
    obj.opened()
    return files.add(File(obj, mode, task.creds, name))


def install(task: Task, obj: Object, mode: int) -> int:
    """Publish a new object and return its first fd; EMFILE costs an ID, as on Linux."""
    obj.publish()
    obj.opened()
    try:
        return task.files.add(File(obj, mode, task.creds))
    except OSError:
        obj.closed(File(obj, mode, task.creds))
        obj.drop()
        raise


def access_mode(flags: int) -> int:
    """bpf_get_file_flag(): the file mode that BPF_F_RDONLY and BPF_F_WRONLY ask for."""
    if flags & ACCESS == ACCESS:
        raise err(errno.EINVAL)
    if flags & MapFlag.RDONLY:
        return O_RDONLY
    return O_WRONLY if flags & MapFlag.WRONLY else O_RDWR


_SPACES = {
    Cmd.PROG_GET_NEXT_ID: "prog",
    Cmd.MAP_GET_NEXT_ID: "map",
    Cmd.BTF_GET_NEXT_ID: "btf",
    Cmd.LINK_GET_NEXT_ID: "link",
}


def _next_id_of(space: str) -> None:
    """bpf_obj_get_next_id(): it only peeks, no reference is taken."""

    def next_id(call: Call, attr: NextId) -> int:
        start = attr.start_id
        if start >= 0x7FFFFFFF:
            raise err(errno.EINVAL)
        engine = call.engine
        if not engine.policy.may_walk(call.task.creds):
            raise err(errno.EPERM)
        found = engine.ids[space].after(start)
        if not found:
            raise err(errno.ENOENT)
        call.put_u32(4, found)
        return 0

    command(next(cmd for cmd, name in _SPACES.items() if name == space), NextId)(next_id)


for _space in _SPACES.values():
    _next_id_of(_space)


def _by_id(call: Call, space: str, id: int) -> Object:
    """The object; EPERM comes before ENOENT where the policy does not look at it."""
    obj: Object | None = call.engine.ids[space].objects.get(id)
    if not call.engine.policy.may_open(call.task.creds, obj):
        raise err(errno.EPERM)
    if obj is None:
        raise err(errno.ENOENT)
    return obj


@command(Cmd.PROG_GET_FD_BY_ID, ProgById)
def prog_fd_by_id(call: Call, attr: ProgById) -> int:
    return open_object(call.task, _by_id(call, "prog", attr.prog_id), O_RDWR)


@command(Cmd.MAP_GET_FD_BY_ID, MapById)
def map_fd_by_id(call: Call, attr: MapById) -> int:
    flags = attr.open_flags
    if flags & ~ACCESS:
        raise err(errno.EINVAL)
    if not call.engine.policy.may_walk(call.task.creds):
        raise err(errno.EPERM)
    mode = access_mode(flags)
    return open_object(call.task, _by_id(call, "map", attr.map_id), mode)


@command(Cmd.BTF_GET_FD_BY_ID, BtfById)
def btf_fd_by_id(call: Call, attr: BtfById) -> int:
    if attr.open_flags & ~int(MapFlag.TOKEN_FD):
        raise err(errno.EINVAL)
    if attr.open_flags & MapFlag.TOKEN_FD:
        from bpflens.engine.tokens import token_userns

        userns = token_userns(call, attr.fd_by_id_token_fd, Cmd.BTF_GET_FD_BY_ID)
        if userns and call.task.capable(Cap.SYS_ADMIN, userns):
            obj = call.engine.ids["btf"].objects.get(attr.btf_id)
            if obj is None:
                raise err(errno.ENOENT)
            return open_object(call.task, obj, O_RDONLY)
    return open_object(call.task, _by_id(call, "btf", attr.btf_id), O_RDONLY)


@command(Cmd.LINK_GET_FD_BY_ID, LinkById)
def link_fd_by_id(call: Call, attr: LinkById) -> int:
    # bpf_link_new_fd() names the file differently than bpf_link_prime() does
    link = _by_id(call, "link", attr.link_id)
    return open_object(call.task, link, O_RDONLY, "anon_inode:bpf-link")
