"""A small believable machine: a load balancer, a classifier, a tracer, an accountant.

- `balancerd` (root) balances on eth0: an XDP program that jumps by a prog_array, typed maps, pins
- `classd` (root) classifies on eth1 by tcx
- `tracer` (uid 990, trusted) counts what is executed, in a typed hash
- a cgroup has an accountant; who attached it is gone
- `webapp` (uid 1000) filters a socket; it closed the fd, so that only the socket holds the program
"""

from __future__ import annotations

import struct

from bpflens.abi.attrs import LinkCreate, ProgAttach
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.engine.creds import Cap
from bpflens.engine.engine import Engine
from bpflens.engine.files import O_RDONLY, O_RDWR, File
from bpflens.engine.net import Socket
from bpflens.engine.progs.prog import Prog
from bpflens.engine.tasks import Task
from bpflens.port.calls import Calls
from bpflens.testing.builders import map, program, u32

PINS = "/sys/fs/bpf"


def scene() -> Task:
    """The machine, and a task of root's that looks at it."""
    engine = Engine()
    engine.task(comm="systemd")
    balance(engine)
    classify(engine)
    trace(engine)
    account(engine)
    leak(engine)
    return engine.task(comm="bpflens")


def balance(engine: Engine) -> None:
    """An XDP load balancer on eth0, whose second stage is reached by a tail call."""
    task = engine.task(comm="balancerd")
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
    """A classifier on eth1, by tcx."""
    task = engine.task(comm="classd")
    calls = Calls(task.doors().bpf)
    eth1 = task.netns.add("eth1")
    marks = map(calls, MapType.LRU_HASH, key_size=4, value_size=4, max_entries=128, name="marks")
    for mark in range(5):
        calls.map_update(marks, u32(mark), u32(mark * 16))
    fd = program(calls, "r1 = map_fd marks; r0 = -1; exit", ProgType.SCHED_CLS,
                 name="tc_mark", attach_type=AttachType.TCX_INGRESS, marks=marks)  # fmt: skip
    calls.link_create(
        LinkCreate(prog_fd=fd, target_fd=eth1.index, attach_type=AttachType.TCX_INGRESS)
    )
    calls.close(fd)


def trace(engine: Engine) -> None:
    """A tracer with capabilities of its own, and not root."""
    task = engine.task(uid=990, caps=[Cap.BPF, Cap.PERFMON], comm="tracer")
    calls = Calls(task.doors().bpf)
    made = BtfBuilder()
    pid = made.add_int("unsigned int", 4)
    char = made.add_int("char", 1, Int.CHAR)
    count = made.add_int("unsigned long", 8)
    comm = made.add_array(char, 16, pid)
    ran = made.add_struct("ran", 24, [("comm", comm, 0), ("times", count, 128)])
    btf = calls.btf_load(made.build())
    execs = map(calls, MapType.HASH, key_size=4, value_size=24, max_entries=1024, name="execs",
                btf=(btf, pid, ran))  # fmt: skip
    for number, name in enumerate((b"sshd", b"bash", b"curl"), 4001):
        calls.map_update(execs, u32(number), name.ljust(16, b"\0") + struct.pack("=Q", number % 7))
    fd = program(calls, "r1 = map_fd execs; r0 = 0; exit", ProgType.RAW_TRACEPOINT,
                 name="on_exec", execs=execs)  # fmt: skip
    calls.raw_tracepoint_open(fd, "sched_process_exec")
    calls.close(btf)


def account(engine: Engine) -> None:
    """Bytes of a cgroup are counted; the process that attached the program has ended."""
    task = engine.task(comm="accountd")
    calls = Calls(task.doors().bpf)
    cgroup = engine.cgroup.make("web.slice")
    cgroup.hold()
    target = task.files.add(File(cgroup, O_RDONLY, task.creds))
    totals = map(calls, MapType.ARRAY, value_size=8, max_entries=2, name="egress_bytes")
    calls.map_update(totals, u32(0), struct.pack("=Q", 123_456_789))
    fd = program(calls, "r1 = map_fd totals; r0 = 1; exit", ProgType.CGROUP_SKB,
                 name="count_egress", attach_type=AttachType.CGROUP_INET_EGRESS,
                 totals=totals)  # fmt: skip
    calls.prog_attach(
        ProgAttach(target_fd=target, attach_bpf_fd=fd, attach_type=AttachType.CGROUP_INET_EGRESS)
    )
    task.exit()


def leak(engine: Engine) -> None:
    """A socket filter whose fd is closed: no pin, no link, no fd leads to it."""
    task = engine.task(uid=1000, comm="webapp")
    calls = Calls(task.doors().bpf)
    fd = program(calls, "r0 = 65535; exit", ProgType.SOCKET_FILTER, name="only_port_80")
    socket = Socket(cookie=42)
    socket.hold()
    task.files.add(File(socket, O_RDWR, task.creds))
    socket.attach(task.files.get(fd, Prog))
    calls.close(fd)
