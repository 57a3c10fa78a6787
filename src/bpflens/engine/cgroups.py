"""The tree of cgroups."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.engine.call import err
from bpflens.engine.files import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpflens.engine.engine import Engine
    from bpflens.engine.links.cgroup import CgroupHook
    from bpflens.engine.tasks import Task


def from_fd(task: Task, fd: int) -> Cgroup:
    """cgroup_get_from_fd(): EBADF for everything else, ENOENT for one that was removed."""
    found = task.files.get(fd, Cgroup, errno.EBADF)
    if found.gone:
        raise err(errno.ENOENT)
    return found


class Cgroup(Node):
    """A cgroup of the v2 hierarchy; `hooks` holds what is attached, by `links.cgroup.slot_of`."""

    __slots__ = ("children", "engine", "gone", "hooks", "id", "name", "parent")

    def __init__(self, engine: Engine, parent: Cgroup | None, name: str) -> None:
        self.engine = engine
        self.parent = parent
        self.name = name
        self.id = parent.root().count() + 1 if parent else 1
        self.children: dict[str, Cgroup] = {}
        self.hooks: dict[int, CgroupHook] = {}
        self.gone = False

    def root(self) -> Cgroup:
        """The top of the tree."""
        return self.parent.root() if self.parent else self

    def count(self) -> int:
        """The highest ID in the tree."""
        return max([self.id, *(child.count() for child in self.children.values())])

    def family(self) -> Iterator[Cgroup]:
        """This one and all below."""
        yield self
        for child in self.children.values():
            yield from child.family()

    @property
    def anon(self) -> str:  # type: ignore[override]
        path = f"/sys/fs/cgroup{self.path}".rstrip("/")
        return f"{path} (deleted)" if self.gone else path

    @property
    def inode(self) -> int:  # type: ignore[override]
        return self.id  # kernfs_ino()

    @property
    def path(self) -> str:
        """As in /proc/PID/cgroup."""
        if not self.parent:
            return "/"
        return self.parent.path.rstrip("/") + "/" + self.name

    def make(self, name: str) -> Cgroup:
        """mkdir(2)."""
        if name in self.children:
            raise err(errno.EEXIST)
        child = self.children[name] = Cgroup(self.engine, self, name)
        return child

    def make_all(self, path: str) -> Cgroup:
        """The cgroup at a path like /a/b, made where it is missing."""
        found = self
        for name in path.split("/"):
            if name:
                found = found.children.get(name) or found.make(name)
        return found

    def find(self, path: str) -> Cgroup:
        """The cgroup at a path like /a/b; ENOENT."""
        found = self
        for name in path.split("/"):
            if name:
                child = found.children.get(name)
                if child is None:
                    raise err(errno.ENOENT)
                found = child
        return found

    def lineage(self) -> list[Cgroup]:
        """From this one up to the root."""
        return [self, *(self.parent.lineage() if self.parent else [])]

    def remove(self) -> None:
        """rmdir(2): what is attached goes, links stay without a cgroup. cgroup_bpf_release()."""
        if self.children or any(task.cgroup is self for task in self.engine.tasks.values()):
            raise err(errno.EBUSY)
        self.gone = True
        if self.parent:
            del self.parent.children[self.name]
        for hook in self.hooks.values():
            hook.clear()
        self.hooks.clear()
        self.engine.work()
