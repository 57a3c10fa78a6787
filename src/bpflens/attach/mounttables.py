"""What is mounted in each mount namespace, by the mountinfo of a process that is in it."""

from __future__ import annotations

from errno import EFBIG, EINVAL, ENOENT, ESRCH
from functools import cached_property

from bpflens import limits
from bpflens.attach.processes import Process
from bpflens.model.parts import Missing, Reason, because
from bpflens.port import mountinfo
from bpflens.port.doors import HostPort
from bpflens.port.mountinfo import Mount


class MountTables:
    """The mounts of bpffs, cgroup2 and namespace files in every mount namespace."""

    def __init__(self, host: HostPort) -> None:
        self._host = host
        self._left = limits.MOUNTINFOS_BYTES.value
        self.unread: dict[int, Missing] = {}
        """Mount namespaces of which not all mounts were read, when `read` has returned."""

    def read(self, own: int, processes: list[Process]) -> list[Mount]:
        """All that can be seen, those of our own mount namespace first. Raises OSError."""
        found = self.of("/proc/self", own, "")
        whole = {own}
        parts: dict[int, dict[str, list[Mount]]] = {}
        """By mount namespace: what is seen from the root of processes that see a part of it."""
        for process in processes:
            mntns = process.mntns
            if process.hidden or mntns is None or mntns in whole:
                continue
            try:
                root = self._root(process)
                if root in parts.get(mntns, ()):
                    continue
                there = self.of(process.folder, mntns, f"{process.folder}/root")
            except OSError as error:
                if error.errno in (ENOENT, ESRCH, EINVAL):
                    continue  # it ended: another process of that namespace may not have
                self.unread[mntns] = because(error)
                whole.add(mntns)
                continue
            if root == "/":
                whole.add(mntns)
                found += there
            else:
                parts.setdefault(mntns, {})[root] = there
        for mntns in parts.keys() - whole:
            roots = ", ".join(parts[mntns])
            why = f"its processes see no more of it than what is below {roots} (chroot)"
            self.unread[mntns] = Missing(Reason.FAILED, why)
            found += (mount for there in parts[mntns].values() for mount in there)
        self._kept(found, own, {process.mntns for process in processes})
        return found

    def _root(self, process: Process) -> str:
        """The root directory of a process: `/` where it sees all of its mount namespace."""
        try:
            return self._host.readlink(f"{process.folder}/root")
        except FileNotFoundError:
            return "/"  # it ended; or a recording does not hold it

    def _kept(self, mounts: list[Mount], own: int, inside: set[int | None]) -> None:
        """Note the mount namespaces that a mount keeps and that no process is in."""
        for mount in mounts:
            name = mount.root.removeprefix("mnt:[").removesuffix("]")
            if mount.kind == "nsfs" and mount.root.startswith("mnt:[") and name.isdecimal():
                where = mount.path + ("" if mount.mntns == own else f"@{mount.mntns}")
                why = f"no process is in it; the mount at {where} keeps it"
                if int(name) not in inside:
                    self.unread.setdefault(int(name), Missing(Reason.FAILED, why))

    def of(self, folder: str, mntns: int, before: str) -> list[Mount]:
        """The mounts that a process sees, by its folder in /proc. Raises OSError."""
        largest, left = limits.MOUNTINFO_BYTES.value, self._left
        try:
            text = self._host.read(f"{folder}/mountinfo", max(min(largest, left), 1))
        except OSError as error:
            if error.errno == EFBIG and left < largest:
                raise OSError(EFBIG, str(limits.MOUNTINFOS_BYTES)) from error
            raise
        self._left -= len(text)
        trusted = self._root_device if before else mountinfo.root_device(text)
        return mountinfo.mounts(
            text, "bpf", "cgroup2", "nsfs", mntns=mntns, before=before, trusted=trusted
        )

    @cached_property
    def _root_device(self) -> str:
        most = limits.MOUNTINFO_BYTES.value
        return mountinfo.root_device(self._host.read("/proc/self/mountinfo", most))
