"""Mount namespaces: which file systems there are, and where (fs/namespace.c)."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from bpflens.engine.bpffs import Bpffs, Directory
from bpflens.engine.call import err
from bpflens.engine.files import Node
from bpflens.engine.net import NetNs

if TYPE_CHECKING:
    from bpflens.engine.engine import Engine

NSFS = 4
"""Minor device number of nsfs, which is mounted at boot."""
_RESERVED = re.compile(r"[ \t\n\\]")


class Mount(NamedTuple):
    """A file system at a path."""

    id: int
    kind: str
    device: int
    options: str = "rw"
    super_options: str = "rw"
    node: Bpffs | NetNs | None = None

    def line(self, parent: int, path: str) -> str:
        """Of /proc/PID/mountinfo: show_mountinfo()."""
        root = self.node.anon if isinstance(self.node, NetNs) else "/"
        path = _RESERVED.sub(lambda found: f"\\{ord(found[0]):03o}", path)
        return (
            f"{self.id} {parent} 0:{self.device} {root} {path} {self.options}"
            f" - {self.kind} {self.kind} {self.super_options}\n"
        )


class MountNs(Node):
    """A mount namespace. All of them have the same root file system; what is mounted in it is each
    one's own. Its mounts go with its last task."""

    __slots__ = ("_places", "engine", "inode", "mounts", "users")

    mnt_id: ClassVar[int] = 3

    def __init__(self, engine: Engine, model: MountNs | None = None) -> None:
        self.engine = engine
        self.inode = engine.inode()
        self.users = 0
        self.mounts: dict[str, Mount] = {}
        self._places: dict[Directory, Bpffs] = {}
        if model is None:
            self._add("/", Mount(engine.mount_id(), "rootfs", 1))
            self._add("/proc", Mount(engine.mount_id(), "proc", engine.superblock()))
            self._add("/sys/fs/cgroup", Mount(engine.mount_id(), "cgroup2", engine.superblock()))
            return
        for path, mount in model.mounts.items():  # copy_mnt_ns()
            self._add(path, mount._replace(id=engine.mount_id()))
        self._places = dict(model._places)

    @property
    def anon(self) -> str:  # type: ignore[override]
        return f"mnt:[{self.inode}]"

    def _add(self, path: str, mount: Mount) -> None:
        if path in self.mounts:
            raise err(errno.EBUSY)
        self.mounts[path] = mount
        if mount.node:
            mount.node.hold()

    # --- who is in it

    def hold(self) -> None:
        self.users += 1

    def drop(self) -> None:
        self.users -= 1
        if not self.users:
            self.engine.later(self.free)

    def free(self) -> None:
        """put_mnt_ns()."""
        for path in list(self.mounts):
            self.unmount(path)

    # --- what is mounted

    def cross(self, place: Directory) -> Directory:
        """What is mounted on a directory, or itself where nothing is: follow_mount()."""
        return self._places.get(place, place)

    def mount_bpffs(self, path: str, found: Bpffs | None = None) -> Bpffs:
        """Mount a new bpffs, or one that there is (mount --bind)."""
        place = self._place(path)
        made = found or Bpffs(self.engine, place.parent)
        options = "rw,nosuid,nodev,noexec,relatime"
        id, device = self.engine.mount_id(), made.device
        self._add(path, Mount(id, "bpf", device, options, "rw,mode=700", made))
        self._places[place] = made
        return made

    def _place(self, path: str) -> Directory:
        """The directory on which something is mounted at a path; made where it is missing."""
        place = self.engine.root
        for name in path.split("/"):
            if name:
                place = self.cross(place).make(name)
        return place

    def mount_netns(self, name: str, netns: NetNs) -> None:
        """Give a network namespace a name, as `ip netns` does."""
        path = f"/run/netns/{name}"
        self._add(path, Mount(self.engine.mount_id(), "nsfs", NSFS, node=netns))

    def unmount(self, path: str) -> None:
        """umount(2). Raises EINVAL where nothing is mounted."""
        gone = self.mounts.pop(path, None)
        if gone is None:
            raise err(errno.EINVAL)
        if gone.node:
            self._places.pop(self._place(path), None)
            gone.node.drop()

    @property
    def bpffs(self) -> dict[str, Bpffs]:
        """Every bpffs by its path."""
        return {at: one.node for at, one in self.mounts.items() if isinstance(one.node, Bpffs)}

    def named_netns(self, name: str) -> NetNs | None:
        """The network namespace at /run/netns/NAME."""
        found = self.mounts.get(f"/run/netns/{name}")
        return found.node if found and isinstance(found.node, NetNs) else None

    def mountinfo(self) -> str:
        """/proc/PID/mountinfo."""
        root = self.mounts["/"].id
        return "".join(
            mount.line(1 if path == "/" else root, path) for path, mount in self.mounts.items()
        )
