"""Programs that watch: raw tracepoint, tracepoint and a sampling event."""

from __future__ import annotations

import struct

from bpflens.abi.attrs import LinkCreate
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.engine.creds import Cap
from bpflens.engine.engine import Engine
from bpflens.engine.perf import PerfEvent
from bpflens.engine.progs.prog import Prog
from bpflens.port.calls import Calls
from bpflens.testing.builders import map, program, u32


def trace(engine: Engine) -> None:
    """A tracer with capabilities of its own, and not root: on each exec, and on each exit, where
    the file of the event alone keeps the program."""
    task = engine.task(uid=990, caps=[Cap.BPF, Cap.PERFMON], comm="tracer",
                       cgroup="/system.slice/tracer.service")  # fmt: skip
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
    last = program(calls, "r0 = 0; exit", ProgType.TRACEPOINT, name="on_exit")
    event = PerfEvent("tracepoint", "sched_process_exit")
    task.add(event)
    event.set(task.files.get(last, Prog))
    calls.close(last)


def sample(engine: Engine) -> None:
    """A profiler that samples by the CPU's clock; its program is held by a link."""
    task = engine.task(comm="profilerd", cgroup="/system.slice/profilerd.service")
    calls = Calls(task.doors().bpf)
    stacks = map(calls, MapType.STACK_TRACE, max_entries=64, name="stacks")
    fd = program(calls, "r1 = map_fd stacks; r0 = 0; exit", ProgType.PERF_EVENT,
                 name="on_tick", stacks=stacks)  # fmt: skip
    event = task.add(PerfEvent("event", type=1, config=0))
    calls.link_create(LinkCreate(prog_fd=fd, target_fd=event, attach_type=AttachType.PERF_EVENT))
    for each in (fd, event, stacks):
        calls.close(each)
