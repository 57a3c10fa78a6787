"""What runs, counts and binds programs: statistics, streams, test runs, bound maps."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import ProgBindMap, ProgStreamRead, ProgTestRun, TokenCreate
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import ProgInfo
from bpflens.errors import ENOTSUPP
from bpflens.port.calls import Calls
from bpflens.testing.bench import Bench
from bpflens.testing.builders import map, program
from bpflens.testing.conformance.ids import walk
from bpflens.testing.conformance.suite import BAD, CLOSED, cases, fails, same
from bpflens.testing.objects import SLEEPABLE


def check_stats_are_a_file(bench: Bench) -> None:
    """Statistics are on while an fd is open; that file is no BPF object."""
    fd = bench.calls.enable_stats()
    fails(errno.EINVAL, bench.calls.info, fd, ProgInfo)
    bench.calls.close(fd)


def check_stream(calls: Calls) -> None:
    """A program has two streams, which are empty at first; others are ENOENT."""
    prog = program(calls)
    for id in (1, 2):
        same(calls.call(Cmd.PROG_STREAM_READ_BY_FD, ProgStreamRead(prog_fd=prog, stream_id=id)), 0)
    for id in (0, 3, 99):
        attr = ProgStreamRead(prog_fd=prog, stream_id=id)
        fails(errno.ENOENT, calls.call, Cmd.PROG_STREAM_READ_BY_FD, attr)


def check_stream_of_what_is_no_program(calls: Calls) -> None:
    """Only programs have streams (EINVAL)."""
    attr = ProgStreamRead(prog_fd=map(calls), stream_id=1)
    fails(errno.EINVAL, calls.call, Cmd.PROG_STREAM_READ_BY_FD, attr)


@cases(
    kprobe=P.KPROBE, tracepoint=P.TRACEPOINT, perf_event=P.PERF_EVENT,
    cgroup_sysctl=P.CGROUP_SYSCTL, sk_msg=P.SK_MSG, cgroup_device=P.CGROUP_DEVICE,
)  # fmt: skip
def check_test_run_of_others(calls: Calls, type: P) -> None:
    """Programs of some types cannot be run for a test (ENOTSUPP)."""
    attach = 18 if type == P.CGROUP_SYSCTL else 0
    attr = ProgTestRun(prog_fd=program(calls, "r0 = 1; exit", type, attach_type=attach))
    fails(ENOTSUPP, calls.call, Cmd.PROG_TEST_RUN, attr)


@cases(in_=("ctx_size_in", "ctx_in"), out=("ctx_size_out", "ctx_out"))
def check_test_run_context(calls: Calls, size: str, pointer: str) -> None:
    """A context needs size and pointer (EINVAL), which comes before the fd."""
    for name in (size, pointer):
        attr = ProgTestRun(prog_fd=CLOSED)
        setattr(attr, name, 8)
        fails(errno.EINVAL, calls.call, Cmd.PROG_TEST_RUN, attr)


def check_test_run_of_a_short_packet(calls: Calls) -> None:
    """A packet to run on has an Ethernet header at least (EINVAL)."""
    attr = ProgTestRun(prog_fd=program(calls, "r0 = 2; exit", P.XDP), data_size_in=4, data_in=BAD)
    fails(errno.EINVAL, calls.call, Cmd.PROG_TEST_RUN, attr)


LIVE_FRAMES, CHECKSUM = 2, 4
"""BPF_F_TEST_…"""


@cases(
    unknown_flag=(P.SCHED_CLS, {"data_size_in": 64, "flags": 8}, errno.EINVAL),
    packet_on_a_cpu=(P.SCHED_CLS, {"data_size_in": 64, "cpu": 1}, errno.EINVAL),
    no_packet=(P.SCHED_CLS, {"data_size_in": 64, "data_in": BAD}, errno.EFAULT),
    other_flag=(P.XDP, {"data_size_in": 64, "flags": CHECKSUM}, errno.EINVAL),
    batch=(P.XDP, {"data_size_in": 64, "batch_size": 1}, errno.EINVAL),
    large_batch=(
        P.XDP, {"data_size_in": 64, "flags": LIVE_FRAMES, "batch_size": 257}, errno.E2BIG,
    ),
    no_context=(P.SK_LOOKUP, {}, errno.EINVAL),
    lookup_of_a_packet=(P.SK_LOOKUP, {"data_size_in": 64}, errno.EINVAL),
    tracepoint_on_a_packet=(P.RAW_TRACEPOINT, {"data_in": BAD}, errno.EINVAL),
    many_arguments=(P.RAW_TRACEPOINT, {"ctx_size_in": 104, "ctx_in": BAD}, errno.EINVAL),
    repeated_tracepoint=(P.RAW_TRACEPOINT, {"repeat": 2}, errno.EINVAL),
    repeated_call=(P.SYSCALL, {"repeat": 2}, errno.EINVAL),
    call_with_flags=(P.SYSCALL, {"flags": 1}, errno.EINVAL),
)  # fmt: skip
def check_test_run_arguments(calls: Calls, type: P, fields: dict[str, int], code: int) -> None:
    """What a type's test run does not take is refused before anything runs."""
    attach = A.SK_LOOKUP if type == P.SK_LOOKUP else 0
    flags = SLEEPABLE if type == P.SYSCALL else 0
    prog = program(calls, "r0 = 0; exit", type, attach_type=attach, flags=flags)
    fails(code, calls.call, Cmd.PROG_TEST_RUN, ProgTestRun(prog_fd=prog, **fields))


def check_bind_arguments(calls: Calls) -> None:
    """To bind a map takes a program's and a map's fd, and no flags."""
    prog, fd = program(calls), map(calls)
    for wrong, code in (
        ({"prog_fd": CLOSED}, errno.EBADF),
        ({"map_fd": CLOSED}, errno.EBADF),
        ({"prog_fd": fd}, errno.EINVAL),
        ({"map_fd": prog}, errno.EINVAL),
        ({"flags": 1}, errno.EINVAL),
    ):
        arguments = {"prog_fd": prog, "map_fd": fd} | wrong
        fails(code, calls.call, Cmd.PROG_BIND_MAP, ProgBindMap(**arguments))


def check_bound_map_lives(calls: Calls) -> None:
    """A map that is bound lives as long as the program."""
    from bpflens.abi.infos import MapInfo

    prog, fd = program(calls), map(calls)
    id = calls.info(fd, MapInfo).id
    calls.call(Cmd.PROG_BIND_MAP, ProgBindMap(prog_fd=prog, map_fd=fd))
    calls.close(fd)
    assert id in walk(calls, "map", id - 1)


def check_token_arguments(bench: Bench) -> None:
    """A token comes from the root of a bpffs: closed fd EBADF, another file or flags EINVAL."""
    fails(errno.EBADF, bench.calls.call, Cmd.TOKEN_CREATE, TokenCreate(bpffs_fd=CLOSED))
    attr = TokenCreate(bpffs_fd=bench.plain_file())
    fails(errno.EINVAL, bench.calls.call, Cmd.TOKEN_CREATE, attr)
    attr = TokenCreate(bpffs_fd=bench.plain_file(), flags=1)
    fails(errno.EINVAL, bench.calls.call, Cmd.TOKEN_CREATE, attr)
