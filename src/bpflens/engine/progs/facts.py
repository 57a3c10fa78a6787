"""What the verifier knows of helpers, contexts and return values, one table for each."""

from __future__ import annotations

from bpflens.abi.enums import AttachType, MapType, ProgType

LOOKUP, TAIL_CALL, PERF_OUTPUT = 1, 12, 25
PLAIN_VALUES = (
    *(MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH),
    MapType.LPM_TRIE,
)
"""Maps in which a lookup finds a value or NULL.

Not arrays: with an index that is known and inside, their value is known to be there
(can_elide_value_nullness(), since 6.14).
"""
NEEDS_MAP = {TAIL_CALL: MapType.PROG_ARRAY, PERF_OUTPUT: MapType.PERF_EVENT_ARRAY}
"""check_map_func_compatibility(), for helpers that take one kind of map as second argument."""
MAY_HAVE_PRIVATE_STACKS = (
    *(ProgType.KPROBE, ProgType.TRACEPOINT, ProgType.PERF_EVENT, ProgType.RAW_TRACEPOINT),
    *(ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS),
)
GPL_ONLY = frozenset({4, 6, 22, 25, 27, 36, 45, 58, 112, 113, 114, 115})
_XDP_ONLY = (ProgType.XDP,)
ONLY_FOR: dict[int, tuple[int, ...]] = {
    23: (ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP, ProgType.LWT_XMIT),
    44: _XDP_ONLY,
    51: _XDP_ONLY,
    54: _XDP_ONLY,
    65: _XDP_ONLY,
}
"""redirect, and the helpers that change what XDP does: no other program has them."""
CTX_SIZES: dict[int, int] = {
    ProgType.SOCKET_FILTER: 192,
    ProgType.SCHED_CLS: 192,
    ProgType.XDP: 24,
    ProgType.CGROUP_SKB: 192,
    ProgType.CGROUP_SOCK: 80,
    ProgType.CGROUP_SOCK_ADDR: 72,
    ProgType.CGROUP_DEVICE: 12,
    ProgType.CGROUP_SYSCTL: 8,
    ProgType.FLOW_DISSECTOR: 192,
    ProgType.SK_LOOKUP: 72,
    ProgType.NETFILTER: 16,
}
CTX_WRITABLE: dict[int, tuple[int, int]] = {
    ProgType.SOCKET_FILTER: (48, 68),
    **dict.fromkeys(
        (
            *(ProgType.XDP, ProgType.CGROUP_DEVICE, ProgType.FLOW_DISSECTOR),
            *(ProgType.SK_LOOKUP, ProgType.NETFILTER),
        ),
        (0, 0),
    ),
}
"""Where the context ends and may be written, for types where that is simple (filter.c)."""

SCALARS = {5: 0, 7: 0, 8: 0, 14: 0, 15: 0, 125: 0}
"""Helpers that return a number of which nothing is known, and how many arguments they read."""
ARGS = SCALARS | {1: 2, 2: 4, 3: 2, 12: 3, 35: 0}

_RETURNS = {
    ProgType.CGROUP_SOCK: (0, 1),
    ProgType.SOCK_OPS: (0, 1),
    ProgType.CGROUP_DEVICE: (0, 1),
    ProgType.CGROUP_SYSCTL: (0, 1),
    ProgType.CGROUP_SOCKOPT: (0, 1),
    ProgType.SK_LOOKUP: (0, 1),
    ProgType.NETFILTER: (0, 1),
}
"""check_return_code(): what a program may return, where that does not depend on more."""
_ONLY_ONE = (
    *(AttachType.CGROUP_UDP4_RECVMSG, AttachType.CGROUP_UDP6_RECVMSG),
    *range(AttachType.CGROUP_INET4_GETPEERNAME, AttachType.CGROUP_INET6_GETSOCKNAME + 1),
    *range(AttachType.CGROUP_UNIX_RECVMSG, AttachType.CGROUP_UNIX_GETSOCKNAME + 1),
)
_SESSIONS = (AttachType.TRACE_KPROBE_SESSION, AttachType.TRACE_UPROBE_SESSION)
_BINDS = (AttachType.CGROUP_INET4_BIND, AttachType.CGROUP_INET6_BIND)


def return_range(type: int, attach: int) -> tuple[int, int] | None:
    """The values that a program may return; None for any."""
    if type == ProgType.CGROUP_SKB:
        return (0, 3) if attach == AttachType.CGROUP_INET_EGRESS else (0, 1)
    if type == ProgType.CGROUP_SOCK_ADDR:
        if attach in _ONLY_ONE:
            return (1, 1)
        return (0, 3) if attach in _BINDS else (0, 1)
    if type == ProgType.KPROBE and attach in _SESSIONS:
        return (0, 1)
    if type == ProgType.TRACING and attach in (AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT):
        return (0, 0)
    if type == ProgType.TRACING and attach == AttachType.TRACE_ITER:
        return (0, 1)
    return _RETURNS.get(ProgType(type))
