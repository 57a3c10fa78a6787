"""What outlives those who made it: kept by a cgroup, a pin, a socket or an old fd alone."""

from __future__ import annotations

import struct

from bpflens.abi.attrs import LinkCreate, ProgAttach
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.abi.netlink import NETLINK_ROUTE
from bpflens.abi.rows import SocketRow
from bpflens.engine.engine import Engine
from bpflens.engine.net import SKB, Socket
from bpflens.engine.progs.prog import Prog
from bpflens.port.calls import Calls
from bpflens.testing import rtnetlink
from bpflens.testing.builders import map, program, u32

PINS = "/sys/fs/bpf"
_AF_INET, _SOCK_STREAM, _TCP = 2, 1, 6


def account(engine: Engine) -> None:
    """Bytes of a cgroup are counted; the process that attached the program has ended."""
    task = engine.task(comm="accountd")
    calls = Calls(task.doors().bpf)
    target = task.open("/sys/fs/cgroup/web.slice")
    totals = map(calls, MapType.ARRAY, value_size=8, max_entries=2, name="egress_bytes")
    calls.map_update(totals, u32(0), struct.pack("=Q", 123_456_789))
    fd = program(calls, "r1 = map_fd totals; r0 = 1; exit", ProgType.CGROUP_SKB,
                 name="count_egress", attach_type=AttachType.CGROUP_INET_EGRESS,
                 totals=totals)  # fmt: skip
    calls.prog_attach(
        ProgAttach(target_fd=target, attach_bpf_fd=fd, attach_type=AttachType.CGROUP_INET_EGRESS)
    )
    task.exit()


def guard(engine: Engine) -> None:
    """Connections of a cgroup are checked. The link is pinned; no process has it open."""
    task = engine.task(comm="guardctl")
    calls = Calls(task.doors().bpf)
    target = task.open("/sys/fs/cgroup/web.slice/webapp.service")
    type = AttachType.CGROUP_INET4_CONNECT
    fd = program(calls, "r0 = 1; exit", ProgType.CGROUP_SOCK_ADDR, name="check_connect",
                 attach_type=type)  # fmt: skip
    link = calls.link_create(LinkCreate(prog_fd=fd, target_fd=target, attach_type=type))
    engine.mounts[PINS].make("guard")
    calls.obj_pin(link, f"{PINS}/guard/connect")
    task.exit()


def forget(engine: Engine) -> None:
    """A filter that was replaced long ago: attached nowhere, kept by its pin alone."""
    task = engine.task(comm="installer")
    calls = Calls(task.doors().bpf)
    seen = map(calls, MapType.HASH, value_size=8, max_entries=256, name="seen")
    fd = program(calls, "r1 = map_fd seen; r0 = 1; exit", ProgType.XDP, name="xdp_old_filter",
                 seen=seen)  # fmt: skip
    engine.mounts[PINS].make("old")
    calls.obj_pin(fd, f"{PINS}/old/filter")
    task.exit()


def deploy(engine: Engine) -> None:
    """The same program three times: each deployment loads it anew, and only the last one runs."""
    task = engine.task(comm="deployd", cgroup="/system.slice/deployd.service")
    calls = Calls(task.doors().bpf)
    eth2 = task.netns.add("eth2", native=False)
    for _ in range(3):
        fd = program(calls, "r0 = 2; exit", ProgType.XDP, name="xdp_limit")
        task.doors().net.dump(NETLINK_ROUTE, rtnetlink.set_xdp(eth2.index, fd, SKB))


def leak(engine: Engine) -> None:
    """A socket filter whose fd is closed: no pin, no link, no fd of it leads to the program. Only
    the socket has it, of a user who is not root."""
    task = engine.task(uid=1000, comm="webapp", cgroup="/web.slice/webapp.service")
    calls = Calls(task.doors().bpf)
    fd = program(calls, "r0 = 65535; exit", ProgType.SOCKET_FILTER, name="only_port_80")
    row = SocketRow(family=_AF_INET, type=_SOCK_STREAM, protocol=_TCP, local_port=8080,
                    local=bytes([127, 0, 0, 1]))  # fmt: skip
    socket = task.files.get(task.socket(row, cookie=42), Socket)
    socket.attach(task.files.get(fd, Prog))
    calls.close(fd)
