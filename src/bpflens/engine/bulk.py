"""The bulk door: rows from the engine's own tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpflens.abi.rows import CgroupRow, EventRow, FileKind, FileRow, TaskRow
from bpflens.engine.links.commands import Iterator
from bpflens.engine.links.mprog import PREORDER
from bpflens.engine.mounts import MountNs
from bpflens.engine.net import NetNs, Socket
from bpflens.engine.objects import Object
from bpflens.engine.perf import PerfEvent
from bpflens.errors import Denied, Unsupported
from bpflens.port.doors import BpfPort, Rows

if TYPE_CHECKING:
    from bpflens.engine.files import Node
    from bpflens.engine.tasks import Task

_KINDS = {
    "prog": FileKind.PROGRAM,
    "map": FileKind.MAP,
    "link": FileKind.LINK,
    "btf": FileKind.BTF,
}


class EngineBulk:
    """`BulkPort` of a task. Who may use it are those who could load an iterator on Linux."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def programs(self, bpf: BpfPort, after: int, maps: bool, keep: str | None) -> Rows:
        """See `BulkPort.programs`: the plain calls cost nothing here."""
        raise Unsupported("the engine tells of programs one by one")

    def files(self, bpf: BpfPort, keep: str | None) -> Rows:
        """See `BulkPort.files`. Raises Denied."""
        self._check()
        return Rows(
            b"".join(
                row
                for task in list(self._task.engine.tasks.values())
                for fd, file in sorted(task.files.files.items())
                if (row := _row(task.pid, fd, file.node))
            )
        )

    def cgroups(self, bpf: BpfPort, keep: str | None) -> Rows:
        """See `BulkPort.cgroups`. Raises Denied."""
        self._check()
        return Rows(
            b"".join(
                CgroupRow(
                    id=cgroup.id,
                    prog_id=entry.prog.id,
                    link_id=entry.link.id if entry.link else 0,
                    attach_type=slot & 0xFF,
                    flags=found.flags | entry.flags & PREORDER,
                ).encode()
                for cgroup in self._task.engine.cgroup.family()
                for slot, found in cgroup.hooks.items()
                for entry in found.entries
            )
        )

    def tasks(self, bpf: BpfPort, keep: str | None) -> Rows:
        """See `BulkPort.tasks`. Raises Denied."""
        self._check()
        return Rows(
            b"".join(
                TaskRow(pid=task.pid, netns=task.netns.inode, mntns=task.mntns.inode).encode()
                for task in self._task.engine.tasks.values()
            )
        )

    def _check(self) -> None:
        needs = self._task.engine.policy.needs_to_read_all(self._task.creds)
        if needs:
            raise Denied("what others have open is not told", needs)


def _row(pid: int, fd: int, node: Node) -> bytes:
    """What a file is open on, if that has to do with BPF."""
    row = FileRow(pid=pid, fd=fd)
    if isinstance(node, Object):
        row.kind, row.id = _KINDS[node.space], node.id
    elif isinstance(node, Iterator):
        row.kind, row.prog_id = FileKind.ITERATOR, node.prog.id
        row.id = node.map.id if node.map else 0
    elif isinstance(node, PerfEvent) and node.prog:
        row.kind, row.prog_id, row.cookie = FileKind.PERF_EVENT, node.prog.id, node.cookie
        event = EventRow(event=id(node), config=node.config, event_type=node.type)
        return row.encode() + event.encode()
    elif isinstance(node, Socket):
        row.kind = FileKind.SOCKET
        row.prog_id = node.filter.id if node.filter else 0
        row.reuseport_id = node.group.prog.id if node.group and node.group.prog else 0
        if row.prog_id or row.reuseport_id:
            return row.encode() + node.row.encode()
        return b""
    elif isinstance(node, NetNs | MountNs):
        row.kind, row.id = FileKind.NAMESPACE, node.inode
    return row.encode() if row.kind else b""
