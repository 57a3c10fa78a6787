"""PROG_LOAD: the checks that come before the verifier, then the verifier, then a program."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import ProgLoad
from bpflens.abi.enums import AttachType, Cmd, MapFlag, MapType, ProgType
from bpflens.engine.bpffs import read_string
from bpflens.engine.btfs import BtfObject
from bpflens.engine.call import Call, command, err
from bpflens.engine.creds import Cap
from bpflens.engine.files import O_RDWR
from bpflens.engine.maps.create import object_name
from bpflens.engine.maps.nested import compatible
from bpflens.engine.objects import install
from bpflens.engine.progs import debug
from bpflens.engine.progs.log import Log
from bpflens.engine.progs.prog import Prog
from bpflens.engine.progs.refs import References
from bpflens.engine.progs.tag import digest
from bpflens.engine.progs.xlate import translate
from bpflens.engine.tokens import token_userns
from bpflens.errors import ENOTSUPP

_COMPLEXITY = 1_000_000
"""BPF_COMPLEXITY_LIMIT_INSNS."""
_TRUE_SIZE = 140
"""Offset of log_true_size."""
_SLEEPABLE, _XDP_FRAGS, _DEV_BOUND_ONLY = 0x10, 0x20, 0x40
_GPL = (
    b"GPL", b"GPL v2", b"GPL and additional rights", b"Dual BSD/GPL", b"Dual MIT/GPL",
    b"Dual MPL/GPL",
)  # fmt: skip
"""license_is_gpl_compatible()."""

_NET = frozenset({
    ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP, ProgType.LWT_IN, ProgType.LWT_OUT,
    ProgType.LWT_XMIT, ProgType.LWT_SEG6LOCAL, ProgType.SK_SKB, ProgType.SK_MSG,
    ProgType.FLOW_DISSECTOR, ProgType.CGROUP_DEVICE, ProgType.CGROUP_SOCK,
    ProgType.CGROUP_SOCK_ADDR, ProgType.CGROUP_SOCKOPT, ProgType.CGROUP_SYSCTL, ProgType.SOCK_OPS,
    ProgType.EXT, ProgType.NETFILTER,
})  # fmt: skip
"""is_net_admin_prog_type()."""
_PERF = frozenset({
    ProgType.KPROBE, ProgType.TRACEPOINT, ProgType.PERF_EVENT, ProgType.RAW_TRACEPOINT,
    ProgType.RAW_TRACEPOINT_WRITABLE, ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS,
    ProgType.EXT,
})  # fmt: skip
"""is_perfmon_prog_type()."""
_BTF_TARGETS = (ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS, ProgType.EXT)

A = AttachType
ATTACH_TYPES: dict[int, frozenset[int]] = {
    ProgType.CGROUP_SOCK: frozenset(
        {A.CGROUP_INET_SOCK_CREATE, A.CGROUP_INET_SOCK_RELEASE, A.CGROUP_INET4_POST_BIND,
         A.CGROUP_INET6_POST_BIND}
    ),
    ProgType.CGROUP_SOCK_ADDR: frozenset(
        {*range(A.CGROUP_INET4_BIND, A.CGROUP_INET6_CONNECT + 1),
         A.CGROUP_UDP4_SENDMSG, A.CGROUP_UDP6_SENDMSG, A.CGROUP_UDP4_RECVMSG,
         A.CGROUP_UDP6_RECVMSG,
         *range(A.CGROUP_INET4_GETPEERNAME, A.CGROUP_INET6_GETSOCKNAME + 1),
         *range(A.CGROUP_UNIX_CONNECT, A.CGROUP_UNIX_GETSOCKNAME + 1)}
    ),
    ProgType.CGROUP_SKB: frozenset({A.CGROUP_INET_INGRESS, A.CGROUP_INET_EGRESS}),
    ProgType.CGROUP_SOCKOPT: frozenset({A.CGROUP_SETSOCKOPT, A.CGROUP_GETSOCKOPT}),
    ProgType.SK_LOOKUP: frozenset({A.SK_LOOKUP}),
    ProgType.SK_REUSEPORT: frozenset({A.SK_REUSEPORT_SELECT, A.SK_REUSEPORT_SELECT_OR_MIGRATE}),
    ProgType.NETFILTER: frozenset({A.NETFILTER}),
    ProgType.SYSCALL: frozenset({0}),
    ProgType.EXT: frozenset({0}),
}  # fmt: skip
"""bpf_prog_load_check_attach(): what is enforced; other types take any number."""
_DEFAULT_ATTACH = {
    ProgType.CGROUP_SOCK: A.CGROUP_INET_SOCK_CREATE,
    ProgType.SK_REUSEPORT: A.SK_REUSEPORT_SELECT,
}
"""bpf_prog_load_fixup_attach_type()."""
_HOLD_PROGS = (MapType.PROG_ARRAY, MapType.DEVMAP, MapType.CPUMAP)
"""map_type_contains_progs()."""
_NOT_BUILT = (ProgType.UNSPEC, ProgType.LIRC_MODE2)


@command(Cmd.PROG_LOAD, ProgLoad)
def prog_load(call: Call, attr: ProgLoad) -> int:
    """bpf_prog_load(), its checks in its order."""
    task, engine = call.task, call.engine
    if attr.prog_flags & ~engine.release.prog_flags:
        raise err(errno.EINVAL)
    userns = None
    if attr.prog_flags & MapFlag.TOKEN_FD:
        userns = token_userns(
            call, attr.prog_token_fd, Cmd.PROG_LOAD, prog=attr.prog_type,
            attach=attr.expected_attach_type,
        )  # fmt: skip
    bpf = task.capable(Cap.BPF, userns)
    if not bpf:
        raise err(errno.EPERM)  # the gate of sysctl kernel.unprivileged_bpf_disabled
    if engine.release.license_first:
        read_string(call.mem, attr.license, 127)
    if not 0 < attr.insn_cnt <= _COMPLEXITY:
        raise err(errno.E2BIG)
    if attr.prog_type in _NET and not task.capable(Cap.SYS_ADMIN, userns):
        task.require(Cap.NET_ADMIN, userns)
    if attr.prog_type in _PERF:
        task.require(Cap.PERFMON, userns)
    made = Prog(engine, task.creds, attr.prog_type)
    made.leaks = task.capable(Cap.PERFMON, userns)
    _target(call, attr, made)
    _check_attach(attr, made)
    insns = call.mem.read(attr.insns, 8 * attr.insn_cnt)
    license = read_string(call.mem, attr.license, 127)
    if attr.prog_ifindex:
        _offload(call, attr)
    if attr.prog_type in _NOT_BUILT or attr.prog_type >= engine.release.prog_types:
        raise err(errno.EINVAL)
    made.name = object_name(call.raw[48:64])
    made.dev_bound = bool(attr.prog_ifindex)
    made.gpl = license in _GPL
    made.flags = attr.prog_flags
    made.sleepable = bool(attr.prog_flags & _SLEEPABLE)
    if made.target:
        made.target.hold()
    made.digest = digest(insns, engine.release.tag_hash)
    made.tag = made.digest[:8]
    try:
        _verify(call, attr, made, insns)
    except OSError:
        made.free()
        raise
    return install(task, made, O_RDWR)


def _target(call: Call, attr: ProgLoad, made: Prog) -> None:
    """What attach_prog_fd (or attach_btf_obj_fd) and attach_btf_id name."""
    files = call.task.files
    if attr.attach_prog_fd:
        file = files.files.get(attr.attach_prog_fd)
        node = file.node if file else None
        if isinstance(node, BtfObject):
            if not node.kernel:
                raise err(ENOTSUPP)
            made.attach_btf = node
        elif isinstance(node, Prog):
            made.target = node
        else:
            raise err(errno.EINVAL)
    elif attr.attach_btf_id:
        made.attach_btf = call.engine.vmlinux
    made.attach_btf_id = attr.attach_btf_id


def _check_attach(attr: ProgLoad, made: Prog) -> None:
    """bpf_prog_load_fixup_attach_type(), bpf_prog_load_check_attach()."""
    type = attr.prog_type
    attach = attr.expected_attach_type or _DEFAULT_ATTACH.get(ProgType(type), 0)
    if attr.attach_btf_id and type not in _BTF_TARGETS:
        raise err(errno.EINVAL)
    if attr.attach_prog_fd and not made.attach_btf and type not in (ProgType.TRACING, ProgType.EXT):
        raise err(errno.EINVAL)
    if made.attach_btf and type not in _BTF_TARGETS:
        raise err(errno.EINVAL)
    known = ATTACH_TYPES.get(ProgType(type))
    newest = made.engine.release.attach_types
    if known is not None and (attach not in known or attach >= newest):
        raise err(errno.EINVAL)
    made.attach_type = attach


def _offload(call: Call, attr: ProgLoad) -> None:
    """bpf_prog_dev_bound_init(): a program may be bound to a device, but run by none."""
    if attr.prog_type not in (ProgType.SCHED_CLS, ProgType.XDP):
        raise err(errno.EINVAL)
    bound = bool(attr.prog_flags & _DEV_BOUND_ONLY)
    frags = attr.prog_flags & _XDP_FRAGS
    if attr.prog_flags & ~(_DEV_BOUND_ONLY | _XDP_FRAGS) or (frags and not bound):
        raise err(errno.EINVAL)
    if bound and attr.prog_type == ProgType.SCHED_CLS:
        raise err(errno.EINVAL)
    device = call.task.netns.devices.get(attr.prog_ifindex)
    if device is None:
        raise err(errno.EINVAL)
    if not device.native:
        raise err(errno.EOPNOTSUPP)
    if not bound:
        raise err(errno.EINVAL)


def _verify(call: Call, attr: ProgLoad, made: Prog, insns: bytes) -> None:
    """bpf_check()."""
    log = Log(attr.log_level, attr.log_buf, attr.log_size, call.engine.release.log_rotates)
    try:
        refs = References(call, attr, made)
        found = translate(call, attr, made, insns, refs, log)
        for used in refs.maps:  # bpf_check_tail_call()
            if used.type in _HOLD_PROGS and not compatible(used, made):
                raise err(errno.EINVAL)
    finally:
        log.finish(call, _TRUE_SIZE)
    for used in refs.maps:
        made.bind(used)
    debug.keep(made, found)
