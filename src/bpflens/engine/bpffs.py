"""The file system: directories, bpffs mounts with pins, and the commands OBJ_PIN and OBJ_GET."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeAlias

from bpflens.abi.attrs import ObjPath
from bpflens.abi.enums import Cmd, MapFlag
from bpflens.abi.infos import TokenInfo
from bpflens.engine.call import Call, command, err
from bpflens.engine.cgroups import Cgroup
from bpflens.engine.creds import Cap, Creds, UserNs
from bpflens.engine.files import O_RDONLY, O_RDWR, O_WRONLY, Node
from bpflens.engine.objects import ACCESS, Object, access_mode, open_object

if TYPE_CHECKING:
    from bpflens.engine.engine import Engine
    from bpflens.engine.mounts import MountNs
    from bpflens.engine.tasks import Task
    from bpflens.port.memory import Memory

_PATH_MAX = 4096
_NAME_MAX = 255
_PATH_FD = int(MapFlag.PATH_FD)


_STICKY = 0o1000
"""S_ISVTX."""


class Pin:
    """A file of a bpffs: one more reference to an object by user space."""

    __slots__ = ("inode", "mode", "obj", "uid")

    def __init__(self, obj: Object, uid: int, inode: int) -> None:
        self.inode = inode
        self.obj = obj
        self.uid = uid
        self.mode = 0o600

    def grants(self, creds: Creds, mode: int) -> bool:
        """inode_permission() for a file mode."""
        wanted = {O_RDONLY: 4, O_WRONLY: 2, O_RDWR: 6}[mode]
        granted = self.mode >> 6 if creds.uid == self.uid else self.mode
        return creds.has(Cap.DAC_OVERRIDE) or granted & wanted == wanted

    def let_go(self) -> None:
        """The reference goes; the object may go with it."""
        self.obj.closed(None)  # type: ignore[arg-type]
        self.obj.drop()


class Regular(Node):
    """A file with bytes in it, such as a program that probes are put in."""

    __slots__ = ("data", "path", "probes")

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.data = data
        self.probes: list[tuple[int, int]] = []
        """Offsets of uprobes, each with that of its semaphore."""

    @property
    def anon(self) -> str:  # type: ignore[override]
        return self.path


class Directory(Node):
    """A directory, of a bpffs or of something else."""

    __slots__ = ("bpffs", "engine", "entries", "inode", "mode", "parent", "uid")

    anon = "/"

    def __init__(self, engine: Engine, parent: Directory | None = None) -> None:
        self.engine = engine
        self.parent = parent
        self.bpffs: Bpffs | None = parent.bpffs if parent else None
        self.entries: dict[str, Entry] = {}
        self.inode = engine.file_inode()
        self.uid = 0
        self.mode = 0o1777 if parent and parent.bpffs else 0o755

    def make(self, path: str) -> Directory:
        """The directory at a path below this one, made where it is missing."""
        found = self
        for name in path.split("/"):
            if name:
                entry = found.entries.setdefault(name, Directory(self.engine, found))
                if not isinstance(entry, Directory):
                    raise err(errno.ENOTDIR)
                found = entry
        return found

    def file(self, path: str, data: bytes) -> Regular:
        """A new file at a path below the root."""
        folder, _, name = path.rpartition("/")
        made = Regular(path, data)
        self.make(folder).entries[name] = made
        return made

    def look(self, name: str) -> Entry | None:
        """The entry of that name. bpf_lookup() keeps names with dots for later."""
        if name == "..":
            return self.parent or self
        if len(name.encode(errors="surrogateescape")) > _NAME_MAX:
            raise err(errno.ENAMETOOLONG)
        if self.bpffs and "." in name:
            raise err(errno.EPERM)
        return self.entries.get(name)

    def writable(self, creds: Creds) -> bool:
        """Whether entries may be made and taken away: inode_permission(MAY_WRITE | MAY_EXEC)."""
        granted = self.mode >> 6 if creds.uid == self.uid else self.mode
        return creds.has(Cap.DAC_OVERRIDE) or granted & 3 == 3

    def unlink(self, name: str, creds: Creds) -> None:
        """Remove a pin; the object may go with it. In a sticky directory, only one's own."""
        entry = self.entries.get(name)
        if entry is None:
            raise err(errno.ENOENT)
        if not self.writable(creds):
            raise err(errno.EACCES)  # may_delete()
        own = isinstance(entry, Pin) and creds.uid == entry.uid
        if self.mode & _STICKY and not (own or creds.uid == self.uid or creds.has(Cap.FOWNER)):
            raise err(errno.EPERM)
        if not isinstance(entry, Pin):
            raise err(errno.EISDIR)
        del self.entries[name]
        entry.let_go()
        self.engine.work()

    def take(self) -> list[Entry]:
        """All entries, which are not here any more."""
        found = list(self.entries.values())
        self.entries.clear()
        return found

    def hold(self) -> None:
        if self.bpffs:
            self.bpffs.users += 1

    def drop(self) -> None:
        if self.bpffs:
            self.bpffs.users -= 1
            if not self.bpffs.users:
                self.engine.later(self.bpffs.let_go)


class Bpffs(Directory):
    """The root of a bpffs. It goes with its last mount, or open directory: then what is pinned in
    it is let go."""

    __slots__ = ("delegated", "device", "userns", "users")

    def __init__(self, engine: Engine, parent: Directory | None) -> None:
        super().__init__(engine, parent)
        self.bpffs = self
        self.mode = 0o1777
        self.userns: UserNs | None = None
        """The user namespace that it was made in."""
        self.delegated = TokenInfo()
        """What tokens made from it allow: the mount options delegate_cmds and so on."""
        self.device = engine.superblock()
        """Minor device number: the same for every mount of this file system."""
        self.users = 0

    def let_go(self) -> None:
        """bpf_free_inode() for all that is left."""
        waiting: list[Directory] = [self]
        while waiting:
            for entry in waiting.pop().take():
                if isinstance(entry, Directory):
                    waiting.append(entry)
                elif isinstance(entry, Pin):
                    entry.let_go()


Entry: TypeAlias = Directory | Pin | Regular
"""What a name in a directory stands for."""


def read_string(mem: Memory, at: int, limit: int) -> bytes:
    """A NUL-terminated string of the caller, without its NUL; cut at `limit`. EFAULT."""
    out = b""
    step = 64
    while len(out) < limit:
        try:
            chunk = mem.read(at + len(out), min(step, limit - len(out)))
        except OSError:
            if step == 1:
                raise
            step = 1  # near the end of what is mapped
            continue
        head, nul, _rest = chunk.partition(b"\0")
        out += head
        if nul:
            return out
    return out


def walk(task: Task, path: str, start: Directory | None) -> tuple[MountNs, Directory, str]:
    """The way to the last name of a path: the mount namespace that it leads through, the directory
    that the name is in, and the name, which is empty where the path is no more than that."""
    mntns, names = task.mntns, path.split("/")
    if path.startswith("/") or start is None:
        mntns, names = task.way(path)
        start = mntns.cross(task.engine.root)
    names = [name for name in names if name not in ("", ".")]
    way = [start]
    for name in names[:-1]:
        if name == ".." and len(way) > 1:
            way.pop()
            continue
        entry = way[-1].look(name)
        if entry is None:
            raise err(errno.ENOENT)
        if not isinstance(entry, Directory):
            raise err(errno.ENOTDIR)
        way.append(mntns.cross(entry))
    if not names:
        return mntns, start, ""
    return mntns, way[-1], names[-1] + ("/" if path.endswith("/") else "")


def resolve(task: Task, path: bytes, start: Directory | None) -> tuple[Directory, str]:
    """The directory that the last name of a path is in, and that name."""
    return walk(task, path.decode(errors="surrogateescape"), start)[1:]


def _place(call: Call, attr: ObjPath) -> tuple[Directory, str]:
    """getname(), then the way to the last name."""
    path = read_string(call.mem, attr.pathname, _PATH_MAX)
    if len(path) >= _PATH_MAX:
        raise err(errno.ENAMETOOLONG)
    if not path:
        raise err(errno.ENOENT)
    start = None
    if attr.file_flags & MapFlag.PATH_FD and not path.startswith(b"/") and attr.path_fd != -100:
        start = _folder(call, attr.path_fd)
    return resolve(call.task, path, start)


def _folder(call: Call, fd: int) -> Directory:
    """The directory behind an fd; in a cgroup there is nothing that could be meant."""
    node = call.task.files.get(fd, Node)
    if isinstance(node, Cgroup):
        if node.gone:
            raise err(errno.ENOENT)
        return Directory(call.engine)
    if not isinstance(node, Directory):
        raise err(errno.ENOTDIR)
    return node


@command(Cmd.OBJ_PIN, ObjPath)
def obj_pin(call: Call, attr: ObjPath) -> int:
    """bpf_obj_pin_user(). BTF and tokens cannot be pinned."""
    if attr.file_flags & ~_PATH_FD or (attr.path_fd and not attr.file_flags):
        raise err(errno.EINVAL)
    file = call.task.files.files.get(attr.bpf_fd)
    obj = file.node if file else None
    if not isinstance(obj, Object) or obj.space == "btf":
        raise err(errno.EINVAL)  # bpf_fd_probe_obj(), for a closed fd too
    where, name = _place(call, attr)
    if not name or where.look(name.rstrip("/")) is not None:
        raise err(errno.EEXIST)
    if name.endswith("/"):
        raise err(errno.ENOENT)  # filename_create(): only a directory may be meant
    if not where.bpffs:
        raise err(errno.EPERM)
    if not where.writable(call.task.creds):
        raise err(errno.EACCES)
    obj.opened()
    where.entries[name] = Pin(obj, call.task.creds.uid, call.engine.file_inode())
    return 0


@command(Cmd.OBJ_GET, ObjPath)
def obj_get(call: Call, attr: ObjPath) -> int:
    """bpf_obj_get_user()."""
    flags = attr.file_flags
    if attr.bpf_fd or flags & ~(ACCESS | _PATH_FD):
        raise err(errno.EINVAL)
    if attr.path_fd and not flags & MapFlag.PATH_FD:
        raise err(errno.EINVAL)
    mode = access_mode(flags)
    where, name = _place(call, attr)
    entry = where.look(name.rstrip("/")) if name else where
    if entry is None:
        raise err(errno.ENOENT)
    if not isinstance(entry, Directory) and name.endswith("/"):
        raise err(errno.ENOTDIR)
    if not isinstance(entry, Pin) or not entry.grants(call.task.creds, mode):
        raise err(errno.EACCES)
    obj = entry.obj
    if obj.space == "link":
        if mode != O_RDWR:
            raise err(errno.EINVAL)
        return open_object(call.task, obj, O_RDONLY, "anon_inode:bpf-link")
    return open_object(call.task, obj, mode if obj.space == "map" else O_RDWR)
