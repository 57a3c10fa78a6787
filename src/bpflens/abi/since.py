"""Which Linux first had each type of program and link, and each place to attach a program.

For help texts, completion and tests alone: no code asks for the version of its kernel. Types of
maps have theirs in `mapfacts`.
"""

from __future__ import annotations

from bpflens.abi.enums import AttachType, LinkType, MapType, ProgType
from bpflens.abi.mapfacts import MAP_FACTS

_PROGS = {
    "3.19": "socket_filter",
    "4.1": "kprobe sched_cls sched_act",
    "4.7": "tracepoint",
    "4.8": "xdp",
    "4.9": "perf_event",
    "4.10": "cgroup_skb cgroup_sock lwt_in lwt_out lwt_xmit",
    "4.13": "sock_ops",
    "4.14": "sk_skb",
    "4.15": "cgroup_device",
    "4.17": "sk_msg raw_tracepoint cgroup_sock_addr",
    "4.18": "lwt_seg6local lirc_mode2",
    "4.19": "sk_reuseport",
    "4.20": "flow_dissector",
    "5.2": "cgroup_sysctl raw_tracepoint_writable",
    "5.3": "cgroup_sockopt",
    "5.5": "tracing",
    "5.6": "struct_ops ext",
    "5.7": "lsm",
    "5.9": "sk_lookup",
    "5.14": "syscall",
    "6.4": "netfilter",
}
_LINKS = {
    "5.8": "raw_tracepoint tracing cgroup iter netns",
    "5.9": "xdp",
    "5.15": "perf_event",
    "5.18": "kprobe_multi",
    "6.4": "struct_ops netfilter",
    "6.6": "tcx uprobe_multi",
    "6.7": "netkit",
    "6.10": "sockmap",
    "7.2": "tracing_multi",
}
_PLACES = {
    "4.10": "cgroup_inet_ingress cgroup_inet_egress cgroup_inet_sock_create",
    "4.13": "cgroup_sock_ops",
    "4.14": "sk_skb_stream_parser sk_skb_stream_verdict",
    "4.15": "cgroup_device",
    "4.17": "sk_msg_verdict cgroup_inet4_bind cgroup_inet6_bind cgroup_inet4_connect "
    "cgroup_inet6_connect cgroup_inet4_post_bind cgroup_inet6_post_bind",
    "4.18": "cgroup_udp4_sendmsg cgroup_udp6_sendmsg lirc_mode2",
    "4.20": "flow_dissector",
    "5.2": "cgroup_sysctl cgroup_udp4_recvmsg cgroup_udp6_recvmsg",
    "5.3": "cgroup_getsockopt cgroup_setsockopt",
    "5.5": "trace_raw_tp trace_fentry trace_fexit",
    "5.7": "modify_return lsm_mac",
    "5.8": "trace_iter cgroup_inet4_getpeername cgroup_inet6_getpeername cgroup_inet4_getsockname "
    "cgroup_inet6_getsockname xdp_devmap",
    "5.9": "cgroup_inet_sock_release xdp_cpumap sk_lookup xdp",
    "5.13": "sk_skb_verdict",
    "5.14": "sk_reuseport_select sk_reuseport_select_or_migrate",
    "5.15": "perf_event",
    "5.18": "trace_kprobe_multi",
    "6.0": "lsm_cgroup",
    "6.4": "struct_ops netfilter",
    "6.6": "tcx_ingress tcx_egress trace_uprobe_multi",
    "6.7": "cgroup_unix_connect cgroup_unix_sendmsg cgroup_unix_recvmsg cgroup_unix_getpeername "
    "cgroup_unix_getsockname netkit_primary netkit_peer",
    "6.10": "trace_kprobe_session",
    "6.13": "trace_uprobe_session",
    "7.0": "trace_fsession",
    "7.2": "trace_fentry_multi trace_fexit_multi trace_fsession_multi",
}


def _by_name(table: dict[str, str]) -> dict[str, str]:
    return {name: since for since, names in table.items() for name in names.split()}


def prog_types() -> dict[str, str]:
    """Name → Linux version, in the kernel's order. The other functions tell the same."""
    known = _by_name(_PROGS)
    return {type.label: known[type.label] for type in ProgType if type}


def map_types() -> dict[str, str]:
    return {type.label: MAP_FACTS[type].since for type in MapType if type}


def link_types() -> dict[str, str]:
    known = _by_name(_LINKS)
    return {type.label: known[type.label] for type in LinkType if type}


def attach_types() -> dict[str, str]:
    known = _by_name(_PLACES)
    return {type.label: known[type.label] for type in AttachType}
