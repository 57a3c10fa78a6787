"""The kinds of attachments: the only list of them, for records, help, docs and tests."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of place at which programs run."""

    name: str
    words: str
    since: str
    """Linux version."""


KINDS = (
    Kind("xdp", "packets as a device's driver receives them", "4.8"),
    Kind("tc", "classifier of a qdisc (clsact, cls_bpf)", "4.1"),
    Kind("act_bpf", "action of a tc filter", "4.1"),
    Kind("tcx", "packets of a device, without a qdisc", "6.6"),
    Kind("netkit", "packets of a netkit device", "6.7"),
    Kind("lwt", "packets of a route (lightweight tunnel, seg6local)", "4.10"),
    Kind("cgroup", "what the processes of a cgroup do", "4.10"),
    Kind("flow_dissector", "how a network namespace dissects packets", "4.20"),
    Kind("sk_lookup", "which socket of a network namespace gets a packet", "5.9"),
    Kind("sockmap", "data of the sockets in a map", "4.14"),
    Kind("sk_reuseport", "which socket of a port's group gets a packet", "4.5"),
    Kind("socket_filter", "packets of one socket", "3.19"),
    Kind("packet_fanout", "which socket of a group of packet sockets gets a packet", "4.3"),
    Kind("netfilter", "a netfilter hook of a network namespace", "6.4"),
    Kind("raw_tracepoint", "a tracepoint, by its raw arguments", "4.17"),
    Kind("tracing", "a kernel or BPF function or tracepoint, by BTF", "5.5"),
    Kind("lsm", "a hook of the Linux security modules", "5.7"),
    Kind("freplace", "in place of a function of another program", "5.6"),
    Kind("tracing_multi", "many kernel functions at once, by BTF", "7.2"),
    Kind("iter", "the kernel's objects of one kind, one after another", "5.8"),
    Kind("perf_event", "a hardware or software event", "4.9"),
    Kind("tracepoint", "a tracepoint, by its formatted arguments", "4.7"),
    Kind("kprobe", "an instruction of the kernel, or the return from a function", "4.1"),
    Kind("uprobe", "an instruction of a program on disk, or the return from a function", "4.3"),
    Kind("kprobe_multi", "many kernel functions at once", "5.18"),
    Kind("uprobe_multi", "many places of a program on disk at once", "6.6"),
    Kind("struct_ops", "the functions of a kernel interface", "5.6"),
    Kind("devmap", "packets redirected to a device by a map's slot", "5.8"),
    Kind("cpumap", "packets redirected to a CPU by a map's slot", "5.9"),
    Kind("prog_array", "a tail call by a map's slot", "4.2"),
    Kind("lirc", "signals of an infrared receiver", "4.18"),
    Kind("tun", "packets of a tun device, and which queue gets them", "4.16"),
    Kind("xt_bpf", "a rule of iptables", "4.10"),
    Kind("unknown", "a link of a type that bpflens does not know", ""),
)
