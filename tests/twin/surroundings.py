"""What both sides have before a story begins: a few open files, a network namespace, a bpffs.

On Linux it is made inside namespaces of this process (see `tests.twin.__main__`), so nothing of
the machine can be reached.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

from bpflens.abi.attrs import ProgAttach, ProgQuery
from bpflens.abi.enums import AttachType, Cmd
from bpflens.engine import Engine
from bpflens.engine.files import O_RDWR, File, Node
from bpflens.engine.net import Socket
from bpflens.engine.perf import PerfEvent
from bpflens.engine.tasks import Task
from bpflens.errors import SyscallError
from bpflens.port.calls import Calls
from bpflens.port.doors import BpfPort
from bpflens.port.memory import Memory

NULL, BPFFS, DIRECTORY, UDP, PERF, CGROUP, NETNS, CHILD, TRACED = range(-1, -10, -1)
QUIET = "xdp_bulk_tx"
"""A tracepoint that nothing in these surroundings reaches; an event of it is `TRACED`."""
_BPFFS = "/sys/fs/bpf"
_TRACEFS = "/sys/kernel/tracing"
_PERF_EVENT_OPEN = 298
_SOFTWARE, _TRACEPOINT = 1, 2
"""PERF_TYPE_…"""
FOLDER, PROBED = "/mnt", "/mnt/probed"
"""A file for uprobes, alone in its folder."""
_PROBED_SIZE = 4096
_libc = ctypes.CDLL(None, use_errno=True)


def _perf_event(type: int, config: int) -> int:
    """An event of this process."""
    attr = struct.pack("=IIQQQQQ", type, 112, config, 1_000_000_000, 0, 0, 1).ljust(112, b"\0")
    fd = _libc.syscall(_PERF_EVENT_OPEN, ctypes.c_char_p(attr), 0, -1, -1, 8)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    return int(fd)


def _cgroup_root() -> Path:
    """Where the v2 hierarchy is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _source, place, kind, *_rest = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise FileNotFoundError("no cgroup2 is mounted")


class LinuxSurroundings:
    """Files of this process, a bpffs and network devices of its own, two cgroups of its own."""

    def __init__(self) -> None:
        for flags, source, target, kind in (
            (1 << 14 | 1 << 18, b"none", b"/", None),  # MS_REC | MS_PRIVATE
            (0, b"bpf", _BPFFS.encode(), b"bpf"),
            (0, b"tmpfs", FOLDER.encode(), b"tmpfs"),
            (0, b"tracefs", _TRACEFS.encode(), b"tracefs"),
        ):
            if _libc.mount(source, target, kind, flags, None):
                raise OSError(ctypes.get_errno(), "mount")
        Path(PROBED).write_bytes(bytes(_PROBED_SIZE))
        name = f"bpflens-twin-{os.getpid()}-{os.urandom(4).hex()}"
        self.cgroup = _cgroup_root() / name
        subprocess.run(
            ["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True
        )
        self.fds = {
            NULL: os.open("/dev/null", os.O_RDWR),
            BPFFS: os.open(_BPFFS, os.O_RDONLY),
            DIRECTORY: os.open("/tmp", os.O_RDONLY),
            UDP: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(),
            NETNS: os.open("/proc/self/ns/net", os.O_RDONLY),
        }
        self._make()

    def _make(self) -> None:
        """What a story may have changed."""
        (self.cgroup / "child").mkdir(parents=True)
        self.fds[PERF] = _perf_event(_SOFTWARE, 0)
        number = int(Path(f"{_TRACEFS}/events/xdp/{QUIET}/id").read_text())
        self.fds[TRACED] = _perf_event(_TRACEPOINT, number)
        self.fds[CGROUP] = os.open(self.cgroup, os.O_RDONLY)
        self.fds[CHILD] = os.open(self.cgroup / "child", os.O_RDONLY)

    def _remove(self) -> None:
        for name in (PERF, TRACED, CGROUP, CHILD):
            os.close(self.fds.pop(name))
        (self.cgroup / "child").rmdir()
        self.cgroup.rmdir()

    def reset(self, port: BpfPort) -> None:
        """As before the story: no pins, nothing attached."""
        for name in os.listdir(_BPFFS):
            with suppress(IsADirectoryError, PermissionError):  # maps.debug, progs.debug
                os.unlink(f"{_BPFFS}/{name}")
        self._remove()
        self._make()
        calls = Calls(port)
        for index in (1, 2, 3):
            for attach in (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS):
                with suppress(SyscallError):
                    while True:
                        attr = ProgAttach(target_fd=index, attach_type=attach)
                        calls.call(Cmd.PROG_DETACH, attr)
        mem = Memory()
        ids = bytearray(4)
        query = ProgQuery(
            target_fd=self.fds[NETNS], attach_type=AttachType.FLOW_DISSECTOR,
            prog_ids=mem.pin(ids), prog_cnt=1,
        )  # fmt: skip
        calls.call(Cmd.PROG_QUERY, query, mem)
        if query.prog_cnt:
            fd = calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, int.from_bytes(ids, "little"))
            attr = ProgAttach(attach_bpf_fd=fd, attach_type=AttachType.FLOW_DISSECTOR)
            with suppress(SyscallError):
                calls.call(Cmd.PROG_DETACH, attr)
            calls.close(fd)

    def close(self) -> None:
        """Leave nothing behind."""
        self._remove()
        for fd in self.fds.values():
            os.close(fd)


def engine_surroundings(engine: Engine, task: Task) -> dict[int, int]:
    """The same in the engine."""

    def add(node: Node) -> int:
        node.hold()
        return task.files.add(File(node, O_RDWR, task.creds))

    engine.root.file(PROBED, bytes(_PROBED_SIZE))
    task.netns.add("v1")
    task.netns.add("v0")
    return {
        NULL: add(Node()),
        BPFFS: add(engine.mounts[_BPFFS]),
        DIRECTORY: add(engine.root.make("/tmp")),
        UDP: add(Socket(7)),
        PERF: add(PerfEvent()),
        TRACED: add(PerfEvent("tracepoint", QUIET)),
        CGROUP: add(engine.cgroup.make("twin")),
        CHILD: add(engine.cgroup.find("twin").make("child")),
        NETNS: add(engine.netns),
    }
