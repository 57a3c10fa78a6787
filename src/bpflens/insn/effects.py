"""What each helper does to the system and to maps: facts only, one row a helper.

A helper without a row only looks: it reads kernel or user memory, tells the time, computes. The
kernel's own description of every helper is in include/uapi/linux/bpf.h.
"""

from __future__ import annotations

from typing import NamedTuple

from bpflens.insn.helpers import HELPER_IDS


class MapArgument(NamedTuple):
    """That a helper takes a map in register `reg`, and what it does with it."""

    reg: int
    use: str


LOOKUP, UPDATE, DELETE, WALK = "looked up", "updated", "deleted from", "walked"
TAIL_CALL, REDIRECT, OUTPUT, STORAGE = (
    "tail-called through",
    "redirected through",
    "output to",
    "local storage",
)
READ, WRITE = "value read", "value written"

MAP_ARGUMENTS: dict[str, MapArgument] = {
    "map_lookup_elem": MapArgument(1, LOOKUP),
    "map_lookup_percpu_elem": MapArgument(1, LOOKUP),
    "map_update_elem": MapArgument(1, UPDATE),
    "map_delete_elem": MapArgument(1, DELETE),
    "map_push_elem": MapArgument(1, UPDATE),
    "map_pop_elem": MapArgument(1, DELETE),
    "map_peek_elem": MapArgument(1, LOOKUP),
    "for_each_map_elem": MapArgument(1, WALK),
    "tail_call": MapArgument(2, TAIL_CALL),
    "redirect_map": MapArgument(1, REDIRECT),
    "sk_redirect_map": MapArgument(2, REDIRECT),
    "sk_redirect_hash": MapArgument(2, REDIRECT),
    "msg_redirect_map": MapArgument(2, REDIRECT),
    "msg_redirect_hash": MapArgument(2, REDIRECT),
    "sk_select_reuseport": MapArgument(2, REDIRECT),
    "sock_map_update": MapArgument(2, UPDATE),
    "sock_hash_update": MapArgument(2, UPDATE),
    "perf_event_output": MapArgument(2, OUTPUT),
    "skb_output": MapArgument(2, OUTPUT),
    "xdp_output": MapArgument(2, OUTPUT),
    "perf_event_read": MapArgument(1, LOOKUP),
    "perf_event_read_value": MapArgument(1, LOOKUP),
    "get_stackid": MapArgument(2, UPDATE),
    "ringbuf_output": MapArgument(1, OUTPUT),
    "ringbuf_reserve": MapArgument(1, OUTPUT),
    "ringbuf_reserve_dynptr": MapArgument(1, OUTPUT),
    "ringbuf_query": MapArgument(1, LOOKUP),
    "user_ringbuf_drain": MapArgument(1, LOOKUP),
    "skb_under_cgroup": MapArgument(2, LOOKUP),
    "current_task_under_cgroup": MapArgument(1, LOOKUP),
    "sk_storage_get": MapArgument(1, STORAGE),
    "sk_storage_delete": MapArgument(1, DELETE),
    "inode_storage_get": MapArgument(1, STORAGE),
    "inode_storage_delete": MapArgument(1, DELETE),
    "task_storage_get": MapArgument(1, STORAGE),
    "task_storage_delete": MapArgument(1, DELETE),
    "cgrp_storage_get": MapArgument(1, STORAGE),
    "cgrp_storage_delete": MapArgument(1, DELETE),
    "get_local_storage": MapArgument(1, STORAGE),
}

RETURNS_VALUE = frozenset(
    name
    for name, argument in MAP_ARGUMENTS.items()
    if argument.use in (LOOKUP, STORAGE) and name.endswith(("_elem", "_get", "_storage"))
)
"""Helpers whose result is the address of a map's value, or NULL."""

CALLS_BACK = frozenset({"for_each_map_elem", "loop", "find_vma", "user_ringbuf_drain"})
"""Helpers that run a function of the program, with an address on its stack if it likes."""

_BY_EFFECT = {
    "writes user memory": "probe_write_user copy_to_user",
    "sends a signal": "send_signal send_signal_thread send_signal_task",
    "overrides a function's return value": "override_return",
    "changes the call's return value": "set_retval",
    "runs another program in its place": "tail_call",
    "prints to the trace log": "trace_printk trace_vprintk stream_vprintk",
    "writes to packets": (
        "skb_store_bytes xdp_store_bytes l3_csum_replace l4_csum_replace lwt_seg6_store_bytes"
        " skb_ecn_set_ce store_hdr_opt csum_update dynptr_write"
    ),
    "changes a packet's size or headers": (
        "skb_vlan_push skb_vlan_pop skb_change_proto skb_change_type skb_change_tail"
        " skb_change_head skb_adjust_room xdp_adjust_head xdp_adjust_meta xdp_adjust_tail"
        " lwt_push_encap lwt_seg6_adjust_srh reserve_hdr_opt msg_push_data msg_pop_data"
    ),
    "changes a packet's metadata": (
        "skb_set_tunnel_key skb_set_tunnel_opt set_hash set_hash_invalid csum_level skb_set_tstamp"
    ),
    "redirects packets": (
        "clone_redirect redirect redirect_map redirect_neigh redirect_peer sk_redirect_map"
        " sk_redirect_hash msg_redirect_map msg_redirect_hash lwt_seg6_action"
    ),
    "chooses the socket that receives": "sk_assign sk_select_reuseport",
    "changes a socket": (
        "setsockopt bind sock_ops_cb_flags_set tcp_send_ack msg_apply_bytes msg_cork_bytes"
    ),
    "ends a socket": "sock_destroy",
    "changes a sysctl's new value": "sysctl_set_new_value",
    "sends remote control keys": "rc_repeat rc_keydown rc_pointer_rel",
    "changes how a program is executed": "bprm_opts_set",
    "calls bpf(2)": "sys_bpf sys_close",
    "sets a timer": "timer_start wq_start",
    "changes an extended attribute": ("set_dentry_xattr remove_dentry_xattr set_file_xattr"),
    "sends data to user space": (
        "perf_event_output skb_output xdp_output ringbuf_output ringbuf_submit"
        " ringbuf_submit_dynptr seq_printf seq_write seq_printf_btf"
    ),
}

EFFECTS: dict[str, str] = {
    name: effect for effect, names in _BY_EFFECT.items() for name in names.split()
}
"""Helper or kfunc, without `bpf_`, to what it does to the system."""

RETURN_CODES: dict[str, dict[int, str]] = {
    "xdp": {0: "aborts", 1: "drops", 2: "passes", 3: "sends back", 4: "redirects"},
    "sched_cls": {
        -1: "goes on by the class",
        0: "accepts",
        1: "reclassifies",
        2: "drops",
        3: "pipes",
        4: "steals",
        5: "queues",
        6: "repeats",
        7: "redirects",
        8: "traps",
    },
    "cgroup_skb": {0: "drops", 1: "passes", 2: "drops, congestion", 3: "passes, congestion"},
    "cgroup_sock": {0: "refuses", 1: "allows"},
    "cgroup_sock_addr": {0: "refuses", 1: "allows"},
    "cgroup_device": {0: "refuses", 1: "allows"},
    "cgroup_sysctl": {0: "refuses", 1: "allows"},
    "cgroup_sockopt": {0: "refuses", 1: "allows"},
    "netfilter": {0: "drops", 1: "accepts"},
    "sk_lookup": {0: "drops", 1: "passes"},
    "sk_skb": {0: "drops", 1: "passes"},
    "sk_msg": {0: "drops", 1: "passes"},
    "sk_reuseport": {0: "drops", 1: "passes"},
    "socket_filter": {0: "drops"},
    "lwt_in": {0: "passes", 2: "drops", 128: "goes on routing"},
    "lwt_out": {0: "passes", 2: "drops", 128: "goes on routing"},
    "lwt_xmit": {0: "passes", 2: "drops", 7: "redirects", 128: "goes on routing"},
    "flow_dissector": {0: "accepts", 2: "drops", 129: "goes on with the kernel's own"},
}
"""Program type to what its return values mean (uapi: xdp_action, TC_ACT_*, sk_action, ...)."""

ALIASES = {
    "user_rnd_u32": "get_prandom_u32",
    "xdp_redirect_map": "redirect_map",
    "xdp_redirect": "redirect",
}
"""Names that kallsyms has for a helper's implementation and that are not made from its own."""

IMPLEMENTATIONS = {
    ("", "map_redirect"): "redirect_map",
    ("for_each_", "_elem"): "for_each_map_elem",
}
"""How names of map types' own functions begin and end, and the helper that they serve."""

MAP_OPERATIONS = ("lookup", "lookup_percpu", "update", "delete", "push", "pop", "peek")


def helper_of(symbol: str) -> str:
    """The helper that a kernel function implements, without `bpf_`; the name itself if none.

    A dump names implementations: `bpf_perf_event_output_tp` for perf_event_output, and where the
    verifier put a map's own function in place (do_misc_fixups()), `htab_map_update_elem`.
    """
    name = symbol.removeprefix("bpf_")
    name = ALIASES.get(name, name)
    if name in HELPER_IDS:
        return name
    for operation in MAP_OPERATIONS:
        if name.endswith(f"map_{operation}_elem"):
            return f"map_{operation}_elem"
    for ends, helper in IMPLEMENTATIONS.items():
        if name.startswith(ends[0]) and name.endswith(ends[1]):
            return helper
    while "_" in name and symbol.startswith("bpf_"):
        name = name.rpartition("_")[0]
        if name in HELPER_IDS:
            return name
    return symbol.removeprefix("bpf_")
