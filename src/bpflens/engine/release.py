"""What a release of Linux lacks of 6.18: the newest is the rule, older ones are exceptions."""

from __future__ import annotations

import errno
from typing import NamedTuple

from bpflens.abi.enums import AttachType, Cmd, MapType, ProgType


class Release(NamedTuple):
    """How a release differs from 6.18."""

    name: str
    attr_size: int = 168
    """sizeof(union bpf_attr)."""
    commands: int = 38
    """Commands from this number on are unknown."""
    map_types: int = MapType.ARENA + 1
    prog_types: int = ProgType.NETFILTER + 1
    attach_types: int = AttachType.TRACE_UPROBE_SESSION + 1
    tag_hash: str = "sha256"
    ends: dict[int, int] = {}
    """Where the attr of a command ends, if elsewhere than in 6.18."""
    prog_info: tuple[int, int] = (232, 228)
    """sizeof(struct bpf_prog_info), and where the caller's bytes must be zero from."""
    map_info: tuple[int, int] = (104, 100)
    link_info: int = 64
    prog_flags: int = 0x100FF
    map_tokens: bool = True
    """Whether MAP_CREATE knows BPF_F_TOKEN_FD."""
    token_info: int = 32
    """sizeof(struct bpf_token_info)."""
    map_info_echo: bool = True
    """Whether what bpf_map_info does not fill keeps the caller's bytes; else it is zero."""
    stack_trace_pops: bool = True
    """Whether a stack trace can be looked up and deleted in one."""
    gate_first: bool = False
    """Whether those without rights are refused before any command looks at its attr."""
    sys_admin_for_net: bool = True
    """Whether CAP_SYS_ADMIN stands for CAP_NET_ADMIN: bpf_net_capable()."""
    freeze_by_mode: bool = True
    """Whether MAP_FREEZE asks for the fd's mode; else for CAP_BPF, and a second one is EBUSY."""
    log_rotates: bool = True
    """Whether a log keeps its end, tells its size, and may be asked for without a buffer."""
    deep_calls: int = errno.E2BIG
    """What the verifier says of more than eight frames."""
    section_names: bool = True
    """Whether sections in BTF may have any printable name; else that of an identifier."""
    stack_steps: tuple[int, int] = (16, 0)
    """What the stack of a function is rounded up to, and the least that counts."""
    private_stacks: bool = True
    """Whether functions of programs that trace may have a stack of their own."""
    exceptions: bool = True
    """Whether programs may name a function that runs when one is thrown."""
    lazy_functions: bool = True
    """Whether global functions are verified only if they are called."""
    license_first: bool = False
    """Whether the license is copied before the number of instructions is looked at."""
    perf_link_info: bool = True
    """Whether the link of a perf event tells what it is at."""
    tracepoint_shared: bool = True
    """Whether a program may be at a raw tracepoint more than once."""
    sockmap_links: bool = True
    """Whether socket maps take links."""
    cgroup_order: bool = True
    """Whether programs at a cgroup may be ordered."""
    raw_tracepoint_cookie: bool = True
    """Whether the info of a raw tracepoint's link has a cookie."""
    uprobe_counter: bool = True
    """Whether a perf event's uprobe tells its ref_ctr_offset."""
    struct_ops_links: bool = True
    """Whether tables of functions can be registered by links."""
    probe_lines: bool = True
    """Whether links at perf events and at many probes have lines of their own in fdinfo."""
    multi_flags: bool = True
    """Whether links to many places of files refuse flags of links."""
    tracing_cookie: bool = True
    """Whether a link at a function tells its cookie."""
    tracing_place: bool = True
    """Whether its lines in fdinfo tell the function."""


RELEASES: dict[str, Release] = {
    "6.18": Release("6.18"),
    "6.12": Release(
        "6.12",
        attr_size=152,
        commands=Cmd.PROG_STREAM_READ_BY_FD,
        attach_types=AttachType.TRACE_UPROBE_SESSION,
        tag_hash="sha1",
        # no excl_prog_hash; no signature, keyring_id, fd_array_cnt; no token for BTF ids
        ends={Cmd.MAP_CREATE: 80, Cmd.PROG_LOAD: 148, Cmd.BTF_GET_FD_BY_ID: 4},
        prog_info=(232, 228),
        map_info=(88, 88),
        map_info_echo=False,
        stack_trace_pops=False,
        raw_tracepoint_cookie=False,
        uprobe_counter=False,
        probe_lines=False,
        multi_flags=False,
        private_stacks=False,
        token_info=0,
        tracing_cookie=False,
    ),
    "6.1": Release(
        "6.1",
        attr_size=144,
        commands=Cmd.TOKEN_CREATE,
        map_types=MapType.USER_RINGBUF + 1,
        prog_types=ProgType.SYSCALL + 1,
        attach_types=AttachType.LSM_CGROUP + 1,
        gate_first=True,
        sys_admin_for_net=False,
        freeze_by_mode=False,
        log_rotates=False,
        deep_calls=errno.EINVAL,
        section_names=False,
        stack_steps=(32, 32),
        exceptions=False,
        lazy_functions=False,
        license_first=True,
        perf_link_info=False,
        tracepoint_shared=False,
        sockmap_links=False,
        struct_ops_links=False,
        tracing_place=False,
        cgroup_order=False,
        tag_hash="sha1",
        # no log_true_size, token or multi-attach fields
        ends={
            Cmd.MAP_CREATE: 72,
            Cmd.PROG_LOAD: 140,
            Cmd.OBJ_PIN: 16,
            Cmd.OBJ_GET: 16,
            Cmd.PROG_ATTACH: 20,
            Cmd.PROG_DETACH: 20,
            Cmd.PROG_QUERY: 40,
            Cmd.BTF_LOAD: 28,
            Cmd.BTF_GET_FD_BY_ID: 4,
            Cmd.LINK_CREATE: 48,
        },
        prog_info=(232, 228),
        map_info=(88, 88),
        map_info_echo=False,
        stack_trace_pops=False,
        raw_tracepoint_cookie=False,
        uprobe_counter=False,
        probe_lines=False,
        multi_flags=False,
        private_stacks=False,
        token_info=0,
        tracing_cookie=False,
        link_info=48,
        prog_flags=0x3F,
        map_tokens=False,
    ),
}
