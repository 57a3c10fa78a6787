"""Programs on network devices: a load balancer, a chain of classifiers, a network of its own."""

from __future__ import annotations

import struct

from bpflens.abi.attrs import LinkCreate, ProgAttach
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.abi.netlink import NETLINK_ROUTE, TcParent
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.engine.engine import Engine
from bpflens.engine.tasks import Task
from bpflens.port.calls import Calls
from bpflens.testing import rtnetlink
from bpflens.testing.builders import map, program, u32

PINS = "/sys/fs/bpf"


def balance(engine: Engine) -> None:
    """An XDP load balancer on eth0, whose second stage is reached by a tail call."""
    task = engine.task(comm="balancerd", cgroup="/system.slice/balancerd.service")
    calls = Calls(task.doors().bpf)
    eth0 = task.netns.add("eth0")
    made = BtfBuilder()
    key = made.add_int("unsigned int", 4)
    port = made.add_int("unsigned short", 2)
    packets = made.add_int("unsigned long", 8)
    backend = made.add_struct(
        "backend",
        16,
        [("address", key, 0), ("port", port, 32), ("weight", port, 48), ("packets", packets, 64)],
    )
    whole = made.add_int("int", 4, Int.SIGNED)
    proto = made.add_func_proto(whole)
    stages = [made.add_func(name, proto, linkage=1) for name in ("xdp_balance", "xdp_pick_backend")]
    btf = calls.btf_load(made.build())
    backends = map(calls, MapType.HASH, key_size=4, value_size=16, max_entries=64,
                   name="backends", btf=(btf, key, backend))  # fmt: skip
    counters = map(calls, MapType.PERCPU_ARRAY, value_size=8, max_entries=4, name="counters",
                   btf=(btf, key, packets))  # fmt: skip
    jumps = map(calls, MapType.PROG_ARRAY, max_entries=4, name="jumps")
    for number in range(1, 4):
        address = bytes([10, 0, 0, number])
        value = address + struct.pack("=HHQ", 8080, number, 1000 * number)
        calls.map_update(backends, u32(number), value)
    for slot in range(2):
        calls.map_update(counters, u32(slot), struct.pack("=QQ", 41 + slot, 7))
    first = program(
        calls,
        """
        r6 = r1
        *(u32 *)(r10 -4) = 0
        r2 = r10
        r2 += -4
        r1 = map_fd counters
        call map_lookup_elem
        if r0 == 0 goto jump
        r1 = *(u64 *)(r0 +0)
        r1 += 1
        *(u64 *)(r0 +0) = r1
        jump:
        r1 = r6
        r2 = map_fd jumps
        r3 = 1
        call tail_call
        r0 = 2
        exit
        """,
        ProgType.XDP, name="xdp_balance", btf=btf, funcs=[(0, stages[0])],
        counters=counters, jumps=jumps,
    )  # fmt: skip
    second = program(
        calls,
        """
        r2 = *(u32 *)(r1 +12)
        *(u32 *)(r10 -4) = r2
        r2 = r10
        r2 += -4
        r1 = map_fd backends
        call map_lookup_elem
        if r0 != 0 goto found
        r0 = 1
        exit
        found:
        r1 = 1
        lock *(u64 *)(r0 +8) += r1
        r0 = 2
        exit
        """,
        ProgType.XDP, name="xdp_pick_backen", btf=btf, funcs=[(0, stages[1])], backends=backends,
    )  # fmt: skip
    calls.map_update(jumps, u32(1), u32(second))
    calls.link_create(LinkCreate(prog_fd=first, target_fd=eth0.index, attach_type=AttachType.XDP))
    engine.mounts[PINS].make("balancer")
    for fd, name in ((first, "xdp_balance"), (backends, "backends"), (jumps, "jumps")):
        calls.obj_pin(fd, f"{PINS}/balancer/{name}")
    for fd in (btf, second, counters):
        calls.close(fd)


def classify(engine: Engine) -> None:
    """Two classifiers on eth1, by tcx: the first by a link, the second without."""
    task = engine.task(comm="classd", cgroup="/system.slice/classd.service")
    calls = Calls(task.doors().bpf)
    eth1 = task.netns.add("eth1")
    marks = map(calls, MapType.LRU_HASH, key_size=4, value_size=4, max_entries=128, name="marks")
    for mark in range(5):
        calls.map_update(marks, u32(mark), u32(mark * 16))
    side = AttachType.TCX_INGRESS
    mark_fd = program(calls, "r1 = map_fd marks; r0 = -1; exit", ProgType.SCHED_CLS,
                      name="tc_mark", attach_type=side, marks=marks)  # fmt: skip
    count_fd = program(calls, "r1 = map_fd marks; r0 = 3; exit", ProgType.SCHED_CLS,
                       name="tc_count", attach_type=side, marks=marks)  # fmt: skip
    calls.link_create(LinkCreate(prog_fd=mark_fd, target_fd=eth1.index, attach_type=side))
    calls.prog_attach(ProgAttach(target_fd=eth1.index, attach_bpf_fd=count_fd, attach_type=side))
    for fd in (mark_fd, count_fd):
        calls.close(fd)


def contain(engine: Engine) -> None:
    """A container in the network `blue`, where somebody who is gone polices eth0 by cls_bpf. It has
    a bpffs of its own, with a pin that no other mount namespace shows."""
    made = engine.task(comm="containerd")
    calls, net = Calls(made.doors().bpf), made.doors().net
    blue = made.unshare_net()
    eth0 = blue.add("eth0")
    engine.mntns.mount_netns("blue", blue)
    fd = program(calls, "r0 = -1; exit", ProgType.SCHED_CLS, name="tc_police")
    net.dump(NETLINK_ROUTE, rtnetlink.clsact(eth0.index))
    police = rtnetlink.new_filter(eth0.index, TcParent.INGRESS, fd, b"police.o:[tc]", FLAGS=1)
    net.dump(NETLINK_ROUTE, police)
    calls.close(fd)
    nginx = made.fork(comm="nginx")
    nginx.cgroup = engine.cgroup.make_all(f"/system.slice/docker-{CONTAINER}.scope")
    made.exit()
    _pin_inside(nginx)


def _pin_inside(task: Task) -> None:
    task.unshare_mounts()
    calls = Calls(task.doors().bpf)
    task.mount_bpffs("/run/bpf")
    limits = map(calls, MapType.HASH, value_size=8, max_entries=16, name="limits")
    calls.map_update(limits, u32(1), struct.pack("=Q", 1000))
    calls.obj_pin(limits, "/run/bpf/limits")
    calls.close(limits)


CONTAINER = "3f2a90c1b7de" + "5e" * 26
"""The ID of the container: 64 hex digits."""
