"""Why an object is still there: what keeps it, what would free it, what cannot be told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bpflens.snapshot.graph import KINDS, Edge, Indexed, Node
from bpflens.snapshot.lifetime import Chain, Chains, ways_to_free

MAPPED = ("array", "ringbuf", "user_ringbuf", "arena")
"""Types of maps that a process can have in its memory, with the fd closed."""


class Possibility(NamedTuple):
    """Something that may keep an object and that nobody can see, and how to find out."""

    what: str
    how: str


class Why(NamedTuple):
    """What is known of why an object is alive."""

    node: Node
    chains: list[Chain]
    """Every way from something that needs no keeper to the object, the shortest first."""
    ways: list[list[Edge]]
    """The smallest sets of references without which it would go; empty where there is none."""
    cut: str
    """Why these are not all chains and all ways; empty where they are."""
    cycle: list[Edge]
    """What keeps it where no chain does: objects that keep one another."""
    unseen: list[Possibility]
    """What may keep it beside that."""


def why(graph: Indexed, key: str) -> Why:
    """Why the node with this key is there."""
    node = graph.nodes[key]
    chains = Chains(graph, key)
    ways, cut = ways_to_free(graph, key, chains)
    cycle = [] if chains.found or chains.cut else graph.keepers(key)
    explained = bool(chains.found or chains.cut)
    return Why(node, chains.found, ways, cut, cycle, _unseen(graph, node, explained))


def _unseen(graph: Indexed, node: Node, explained: bool) -> list[Possibility]:
    found = [
        Possibility(words, "'bpflens doctor' tells what this user can see")
        for words in graph.graph.unseen
    ]
    found += [
        Possibility(
            f"{graph.nodes[edge.source].words}, where the kernel does not tell which program it is "
            f"that runs ({edge.label})",
            "ip -d tuntap"
            if edge.label == "tun"
            else "ip route show table all, in that network namespace",
        )
        for edge in graph.perhaps(node.key)
    ]
    if explained or graph.keepers(node.key):
        return found
    if node.kind == "program":
        found += _places(node.type or "")
    found += [
        Possibility(
            "its last reference was given up just now, and it is about to go", "look again"
        ),
        Possibility(
            "an fd in flight: sent through a unix socket, and not received yet",
            "ss -xp shows unix sockets with unread data (Recv-Q)",
        ),
        Possibility(
            "a file that is registered with io_uring, its fd closed",
            "grep -A9 UserFiles /proc/*/fdinfo/*",
        ),
        Possibility(
            "a pin in a bpffs that is mounted nowhere, and that only an open directory keeps",
            "ls -l /proc/*/cwd /proc/*/fd | grep bpf",
        ),
        Possibility("the kernel, by mistake: it lost count", "it is still there after all else"),
    ]
    if node.kind == "map" and node.type in MAPPED:
        how = "grep bpf-map /proc/*/maps"
        found.append(Possibility("a process that has it in its memory, its fd closed", how))
    return found


def _places(type: str) -> Iterator[Possibility]:
    """Where a program of a type can be without any call that tells it."""
    if type in ("socket_filter", "sk_reuseport"):
        yield Possibility(
            "a socket that no process has open: in flight itself, or of a TCP connection that is "
            "not accepted yet, or closed and not yet at its end",
            "ss -tan, in each network namespace",
        )
    if type == "socket_filter":
        yield Possibility(
            "a tun device (TUNSETSTEERINGEBPF, TUNSETFILTEREBPF) or a kcm socket",
            "ip tuntap; ss --kcm",
        )
        yield Possibility(
            "a rule of iptables (xt_bpf)", "iptables-save | grep bpf, in each network namespace"
        )
    if type in IN_NETWORKS:
        yield Possibility(
            "a network namespace that only a socket keeps", "ls -l /proc/*/fd | grep socket"
        )


IN_NETWORKS = (
    "xdp", "sched_cls", "sched_act", "flow_dissector", "sk_lookup", "netfilter",
    "lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local",
)  # fmt: skip
"""Types of programs that are attached in a network namespace."""


def undo(graph: Indexed, edge: Edge) -> str:
    """What takes a reference away, in words: `pid 812 (nginx) closes fd 5`."""
    words = KINDS[edge.kind].undo
    source, target = graph.nodes[edge.source].words, graph.nodes[edge.target].words
    label = edge.label or target
    return words.format(source=source, target=target, label=label)
