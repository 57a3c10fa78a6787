"""PROG_TEST_RUN: what Linux looks at before it runs a program. Here every call ends there."""

from __future__ import annotations

import errno
from collections.abc import Callable

from bpflens.abi.attrs import ProgTestRun
from bpflens.abi.enums import AttachType, Cmd
from bpflens.abi.enums import ProgType as P
from bpflens.engine.call import Call, command, err
from bpflens.engine.info import check_tail
from bpflens.engine.progs.prog import Prog
from bpflens.errors import ENOTSUPP

_ETH_HLEN = 14
_IP_HLEN = 20
_ON_CPU, _LIVE_FRAMES, _CHECKSUM_COMPLETE = 1, 2, 4
"""BPF_F_TEST_…"""
_MOST_FRAMES = 256
"""TEST_XDP_MAX_BATCH."""
_ARGUMENTS = 12 * 8
"""MAX_BPF_FUNC_ARGS, in bytes."""
_SK_BUFF, _XDP_MD, _FLOW_KEYS, _SK_LOOKUP, _HOOK_STATE = 192, 24, 56, 72, 8
"""Sizes of the contexts as user space gives them."""


def _plain(attr: ProgTestRun, flags: int = 0) -> None:
    """Of the newest arguments, most types take none."""
    if attr.flags & ~flags or attr.cpu or attr.batch_size:
        raise err(errno.EINVAL)


def _data(call: Call, attr: ProgTestRun, least: int = _ETH_HLEN) -> None:
    """bpf_test_init(): the packet is copied in."""
    if attr.data_size_in < least:
        raise err(errno.EINVAL)
    call.mem.read(attr.data_in, attr.data_size_in)


def _context(call: Call, attr: ProgTestRun, size: int) -> bytes | None:
    """bpf_ctx_init(): as much of it as the kernel knows; None without one, either way."""
    if not attr.ctx_in:
        return bytes(size) if attr.ctx_out else None
    if attr.ctx_size_in > size:
        check_tail(call, attr.ctx_in, attr.ctx_size_in, size)
    return call.mem.read(attr.ctx_in, min(attr.ctx_size_in, size)).ljust(size, b"\0")


def _skb(call: Call, attr: ProgTestRun, prog: Prog) -> None:
    """bpf_prog_test_run_skb()."""
    _plain(attr, _CHECKSUM_COMPLETE)
    _data(call, attr)
    _context(call, attr, _SK_BUFF)


def _xdp(call: Call, attr: ProgTestRun, prog: Prog) -> None:
    """bpf_prog_test_run_xdp()."""
    if prog.attach_type in (AttachType.XDP_DEVMAP, AttachType.XDP_CPUMAP):
        raise err(errno.EINVAL)
    if attr.flags & ~_LIVE_FRAMES:
        raise err(errno.EINVAL)
    if not attr.flags and attr.batch_size:
        raise err(errno.EINVAL)
    if attr.batch_size > _MOST_FRAMES:
        raise err(errno.E2BIG)
    _context(call, attr, _XDP_MD)
    _data(call, attr)


def _flow(call: Call, attr: ProgTestRun, prog: Prog) -> None:
    """bpf_prog_test_run_flow_dissector()."""
    _plain(attr)
    _data(call, attr)
    _context(call, attr, _FLOW_KEYS)


def _lookup(call: Call, attr: ProgTestRun, prog: Prog) -> None:
    """bpf_prog_test_run_sk_lookup()."""
    _plain(attr)
    if attr.data_in or attr.data_size_in or attr.data_out or attr.data_size_out:
        raise err(errno.EINVAL)
    if _context(call, attr, _SK_LOOKUP) is None:
        raise err(errno.EINVAL)


def _netfilter(call: Call, attr: ProgTestRun, prog: Prog) -> None:
    """bpf_prog_test_run_nf()."""
    _plain(attr)
    _data(call, attr, _IP_HLEN)
    _context(call, attr, _HOOK_STATE)


def _no_packet(attr: ProgTestRun) -> None:
    """Of what is not run on a packet: neither data nor time."""
    if attr.data_in or attr.data_out or attr.ctx_out:
        raise err(errno.EINVAL)
    if attr.duration or attr.repeat or attr.batch_size:
        raise err(errno.EINVAL)


def _raw_tracepoint(call: Call, attr: ProgTestRun, prog: Prog) -> None:
    """bpf_prog_test_run_raw_tp(), but how many arguments the program reads."""
    _no_packet(attr)
    if attr.ctx_size_in > _ARGUMENTS or (attr.cpu and not attr.flags & _ON_CPU):
        raise err(errno.EINVAL)
    call.mem.read(attr.ctx_in, attr.ctx_size_in)
    if attr.cpu >= call.engine.cpus:
        raise err(errno.ENXIO)


def _syscall(call: Call, attr: ProgTestRun, prog: Prog) -> None:
    """bpf_prog_test_run_syscall(), but how much of its context the program reads."""
    _no_packet(attr)
    if attr.flags or attr.ctx_size_in > 0xFFFF:
        raise err(errno.EINVAL)
    call.mem.read(attr.ctx_in, attr.ctx_size_in)


_AT_TEST_FUNCTIONS = (AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT, AttachType.MODIFY_RETURN)


def _tracing(call: Call, attr: ProgTestRun, prog: Prog) -> None:
    """bpf_prog_test_run_tracing(): calls functions that are there for this."""
    _plain(attr)
    if prog.attach_type not in _AT_TEST_FUNCTIONS:
        raise err(errno.EFAULT)


_CHECKS: dict[int, Callable[[Call, ProgTestRun, Prog], None]] = {
    P.SOCKET_FILTER: _skb, P.SCHED_CLS: _skb, P.SCHED_ACT: _skb, P.CGROUP_SKB: _skb,
    P.LWT_IN: _skb, P.LWT_OUT: _skb, P.LWT_XMIT: _skb, P.LWT_SEG6LOCAL: _skb,
    P.XDP: _xdp, P.FLOW_DISSECTOR: _flow, P.SK_LOOKUP: _lookup, P.NETFILTER: _netfilter,
    P.RAW_TRACEPOINT: _raw_tracepoint, P.SYSCALL: _syscall, P.TRACING: _tracing,
}  # fmt: skip
"""Types that can be run for a test (bpf_prog_ops.test_run)."""


@command(Cmd.PROG_TEST_RUN, ProgTestRun)
def test_run(call: Call, attr: ProgTestRun) -> int:
    """bpf_prog_test_run(). What would run now is ENOTSUPP, as of a type that cannot be run."""
    if bool(attr.ctx_size_in) != bool(attr.ctx_in) or bool(attr.ctx_size_out) != bool(attr.ctx_out):
        raise err(errno.EINVAL)
    prog = call.task.files.get(attr.prog_fd, Prog)
    check = _CHECKS.get(prog.type)
    if check:
        check(call, attr, prog)
    raise err(ENOTSUPP)
