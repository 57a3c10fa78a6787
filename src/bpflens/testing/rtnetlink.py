"""Network devices and programs on them by rtnetlink, as tests need them: add, remove, attach."""

from __future__ import annotations

import os
import socket
import struct

from bpflens.abi.netlink import (
    ACT_BPF,
    FILTER_ACTIONS,
    IFINFO,
    INGRESS_HANDLE,
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    RTMSG,
    SEG6_LOCAL_BPF,
    TCAMSG,
    TCMSG,
    IfLa,
    IfLaInfo,
    IfLaXdp,
    LwtBpfProg,
    NlMsgType,
    Rta,
    Tca,
    TcaAct,
    TcaActBpf,
    TcaBpf,
    TcParent,
    attribute,
    attributes,
    error_code,
    message,
    messages,
)

RTM_DELLINK = 17
NLM_F_ACK = 0x4
IFF_UP = 1
TC_H_ROOT, TCA_HTB_INIT, TC_ACT_PIPE = 0xFFFFFFFF, 2, 3
BLOCK = -1
"""TCM_IFINDEX_MAGIC_BLOCK: in the place of a device; the parent is then the number of a block."""
RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_LINK, RTN_UNICAST = 254, 3, 253, 1
SEG6_LOCAL_ACTION, SEG6_LOCAL_ACTION_END_BPF = 1, 15
NLA_F_NESTED = 0x8000
NEW = NLM_F_CREATE | NLM_F_EXCL
ETH_P_ALL = socket.htons(3)
"""The protocol of filters that see every packet."""


def add_pair(name: str, kind: str) -> None:
    """Add a pair of veth or netkit devices; the other end gets a name of the kernel's choice."""
    body = IFINFO.pack(0, 0, 0, 0, 0)
    body += attribute(IfLa.IFNAME, name.encode(errors="surrogateescape") + b"\0")
    body += attribute(IfLa.LINKINFO, attribute(IfLaInfo.KIND, kind.encode()))
    ask(message(NlMsgType.NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body))


def peer_of(ifindex: int) -> int:
    """The index of the other end of a pair."""
    answer = _exchange(message(NlMsgType.GETLINK, NLM_F_REQUEST, IFINFO.pack(0, 0, ifindex, 0, 0)))
    _kind, _flags, body = next(messages(answer))
    return int.from_bytes(attributes(body[IFINFO.size :])[IfLa.LINK], "little")


def remove(ifindex: int) -> None:
    """Remove a device."""
    body = IFINFO.pack(0, 0, ifindex, 0, 0)
    ask(message(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, body))


def set_xdp(ifindex: int, fd: int, flags: int = 0, expected_fd: int | None = None) -> bytes:
    """The request that attaches an XDP program to a device; -1 detaches."""
    nested = attribute(IfLaXdp.FD, struct.pack("=i", fd))
    if flags:
        nested += attribute(IfLaXdp.FLAGS, struct.pack("=I", flags))
    if expected_fd is not None:
        nested += attribute(IfLaXdp.EXPECTED_FD, struct.pack("=i", expected_fd))
    body = IFINFO.pack(0, 0, ifindex, 0, 0) + attribute(IfLa.XDP | NLA_F_NESTED, nested)
    return message(NlMsgType.SETLINK, NLM_F_REQUEST | NLM_F_ACK, body)


def up(ifindex: int) -> bytes:
    """The request that switches a device on."""
    body = IFINFO.pack(0, 0, ifindex, IFF_UP, IFF_UP)
    return message(NlMsgType.SETLINK, NLM_F_REQUEST | NLM_F_ACK, body)


def clsact(ifindex: int, flags: int = NEW, handle: int = INGRESS_HANDLE, block: int = 0) -> bytes:
    """The request that gives a device a clsact qdisc; `block` is of filters for its ingress that
    devices share."""
    body = TCMSG.pack(0, ifindex, handle, TcParent.CLSACT, 0) + attribute(Tca.KIND, b"clsact\0")
    if block:
        body += attribute(Tca.INGRESS_BLOCK, struct.pack("=I", block))
    return message(NlMsgType.NEWQDISC, NLM_F_REQUEST | NLM_F_ACK | flags, body)


def htb(ifindex: int, handle: int) -> bytes:
    """The request that gives a device an htb qdisc as its root."""
    glob = struct.pack("=5I", 3, 10, 0, 0, 0)  # version, rate2quantum, …: struct tc_htb_glob
    body = TCMSG.pack(0, ifindex, handle, TC_H_ROOT, 0) + attribute(Tca.KIND, b"htb\0")
    body += attribute(Tca.OPTIONS, attribute(TCA_HTB_INIT, glob))
    return message(NlMsgType.NEWQDISC, NLM_F_REQUEST | NLM_F_ACK | NEW, body)


def no_clsact(ifindex: int) -> bytes:
    """The request that takes it away."""
    body = TCMSG.pack(0, ifindex, INGRESS_HANDLE, TcParent.CLSACT, 0)
    return message(NlMsgType.DELQDISC, NLM_F_REQUEST | NLM_F_ACK, body)


def new_filter(
    ifindex: int, parent: int, fd: int | None, name: bytes | None = None, *,
    prio: int = 0, handle: int = 0, flags: int = NEW, protocol: int = ETH_P_ALL,
    kind: bytes = b"bpf", ops: bytes = b"", count: int | None = None, **words: int,
) -> bytes:  # fmt: skip
    """The request that puts a program under a side of a clsact qdisc.

    `ops` is a classic program, `count` of how many instructions if it is to be another number.
    `words` are more attributes by their names in `TcaBpf`: CLASSID, FLAGS, FLAGS_GEN.
    """
    options = b"" if fd is None else attribute(TcaBpf.FD, struct.pack("=I", fd))
    if ops or count is not None:
        number = len(ops) // 8 if count is None else count
        options += attribute(TcaBpf.OPS_LEN, struct.pack("=H", number))
        options += attribute(TcaBpf.OPS, ops)
    if name is not None:
        options += attribute(TcaBpf.NAME, name + b"\0")
    for word, value in words.items():
        options += attribute(TcaBpf[word], struct.pack("=I", value))
    body = TCMSG.pack(0, ifindex, handle, parent, prio << 16 | protocol)
    body += attribute(Tca.KIND, kind + b"\0") + attribute(Tca.OPTIONS, options)
    return message(NlMsgType.NEWTFILTER, NLM_F_REQUEST | NLM_F_ACK | flags, body)


def bpf_action(fd: int, name: bytes) -> bytes:
    """The list of actions with one in it: a program."""
    parms = ACT_BPF.pack(0, 0, TC_ACT_PIPE, 0, 0)
    options = attribute(TcaActBpf.PARMS, parms) + attribute(TcaActBpf.FD, struct.pack("=i", fd))
    options += attribute(TcaActBpf.NAME, name + b"\0")
    action = attribute(TcaAct.KIND, b"bpf\0") + attribute(TcaAct.OPTIONS, options)
    return attribute(1, action)


def new_action(fd: int, name: bytes) -> bytes:
    """The request for an action that no filter has."""
    body = TCAMSG.pack(0) + attribute(TcaAct.TAB, bpf_action(fd, name))
    return message(NlMsgType.NEWACTION, NLM_F_REQUEST | NLM_F_ACK | NEW, body)


def matchall(ifindex: int, parent: int, actions: bytes, prio: int) -> bytes:
    """The request for a filter that does these actions with every packet."""
    options = attribute(FILTER_ACTIONS["matchall"], actions)
    body = TCMSG.pack(0, ifindex, 0, parent, prio << 16 | ETH_P_ALL)
    body += attribute(Tca.KIND, b"matchall\0") + attribute(Tca.OPTIONS, options)
    return message(NlMsgType.NEWTFILTER, NLM_F_REQUEST | NLM_F_ACK | NEW, body)


def new_route(ifindex: int, to: bytes, bits: int, encap: int, programs: bytes) -> bytes:
    """The request for a route to an IPv4 or IPv6 network that has programs (RTA_ENCAP)."""
    family = socket.AF_INET if len(to) == 4 else socket.AF_INET6
    scope = RT_SCOPE_LINK if len(to) == 4 else 0
    body = RTMSG.pack(family, bits, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0)
    body += attribute(Rta.DST, to) + attribute(Rta.OIF, struct.pack("=i", ifindex))
    body += attribute(Rta.ENCAP_TYPE, struct.pack("=H", encap))
    body += attribute(Rta.ENCAP | NLA_F_NESTED, programs)
    return message(NlMsgType.NEWROUTE, NLM_F_REQUEST | NLM_F_ACK | NEW, body)


def route_program(place: int, fd: int, name: bytes) -> bytes:
    """One program in what `new_route` takes."""
    told = attribute(LwtBpfProg.FD, struct.pack("=i", fd))
    told += attribute(LwtBpfProg.NAME, name + b"\0")
    return attribute(place | NLA_F_NESTED, told)


def seg6_program(fd: int, name: bytes) -> bytes:
    """A program of a seg6local route: the action End.BPF."""
    action = attribute(SEG6_LOCAL_ACTION, struct.pack("=I", SEG6_LOCAL_ACTION_END_BPF))
    return action + route_program(SEG6_LOCAL_BPF, fd, name)


def del_filter(
    ifindex: int, parent: int, *, prio: int = 0, handle: int = 0, protocol: int = 0,
    kind: bytes | None = None,
) -> bytes:  # fmt: skip
    """The request that removes one filter, those of a priority, or all of a side."""
    body = TCMSG.pack(0, ifindex, handle, parent, prio << 16 | protocol)
    if kind is not None:
        body += attribute(Tca.KIND, kind + b"\0")
    return message(NlMsgType.DELTFILTER, NLM_F_REQUEST | NLM_F_ACK, body)


def get_filter(
    ifindex: int, parent: int, *, prio: int = 0, handle: int = 0, protocol: int = ETH_P_ALL,
    kind: bytes | None = None,
) -> bytes:  # fmt: skip
    """The request for one filter. What answers it comes before the acknowledgement."""
    body = TCMSG.pack(0, ifindex, handle, parent, prio << 16 | protocol)
    if kind is not None:
        body += attribute(Tca.KIND, kind + b"\0")
    return message(NlMsgType.GETTFILTER, NLM_F_REQUEST | NLM_F_ACK, body)


def ask(request: bytes) -> None:
    """Send a request that is only acknowledged. Raises OSError."""
    for kind, _, body in messages(_exchange(request)):
        if kind == NlMsgType.ERROR and (code := error_code(body)):
            raise OSError(code, os.strerror(code))


def _exchange(request: bytes) -> bytes:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as door:
        door.bind((0, 0))
        door.send(request)
        return door.recv(1 << 16)
