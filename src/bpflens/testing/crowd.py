"""A crowded Linux host: many network namespaces, cgroups, processes and attachments of our own.

Everything is in namespaces, cgroups and processes that are made for it and are gone afterwards.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

from bpflens.abi.attrs import LinkCreate, ProgAttach
from bpflens.abi.enums import AttachType, ProgType
from bpflens.abi.netlink import TcParent
from bpflens.port.calls import Calls
from bpflens.testing import rtnetlink
from bpflens.testing.builders import map, program
from bpflens.testing.on_linux import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    MNT_DETACH,
    MS_REC_PRIVATE,
    SO_ATTACH_BPF,
    SOL_SOCKET,
    cgroup_root,
    checked,
    libc,
)

NETNS = "/run/netns"
MS_BIND = 0x1000
PR_SET_PDEATHSIG = 1
MULTI = 2
"""BPF_F_ALLOW_MULTI."""


class Size(NamedTuple):
    """How many of what."""

    netns: int = 200
    cgroups: int = 2000
    processes: int = 300
    fds: int = 50
    attachments: int = 1000
    """Two a network namespace; the rest in equal parts at cgroups, tracepoints and sockets."""


class Crowd(NamedTuple):
    """What was made."""

    cgroup: str
    """The folder of our cgroups."""
    pids: list[int]


@contextmanager
def crowd(calls: Calls, size: Size = Size()) -> Iterator[Crowd]:  # noqa: B008
    """The host while it is crowded. Until then the caller is in a mount namespace of its own, in
    which /run/netns has our network namespaces. Needs root."""
    with ExitStack() as undo:
        home, folder = os.open("/proc/self/ns/mnt", os.O_RDONLY), os.getcwd()
        undo.callback(os.close, home)
        undo.callback(os.chdir, folder)  # setns(2) into a mount namespace moves to its root
        undo.callback(lambda: checked(libc.setns(home, CLONE_NEWNS), "setns"))
        checked(libc.unshare(CLONE_NEWNS), "unshare")
        checked(libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None), "mount")
        pids = _processes(calls, size, undo)
        made = _cgroups(size, undo)
        _devices(calls, size.netns, undo)
        rest = max(0, size.attachments - 2 * size.netns) // 3
        _accountants(calls, made, rest, undo)
        _tracers(calls, rest, undo)
        _filters(calls, rest, undo)
        yield Crowd(made[0], pids)


def _processes(calls: Calls, size: Size, undo: ExitStack) -> list[int]:
    """Processes with open programs and maps; made first, so that they have no other files."""
    fds = [program(calls, name=f"crowd{n}") if n % 2 else map(calls) for n in range(size.fds)]
    pids: list[int] = []

    def end() -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    undo.callback(end)
    for _ in range(size.processes):
        pid = os.fork()
        if not pid:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            while True:
                signal.pause()
        pids.append(pid)
    for fd in fds:
        calls.close(fd)
    return pids


def _cgroups(size: Size, undo: ExitStack) -> list[str]:
    top = f"{cgroup_root()}/bpflens-crowd-{os.getpid()}"
    made: list[str] = []

    def remove() -> None:
        for path in reversed(made):
            os.rmdir(path)

    undo.callback(remove)
    for number in range(size.cgroups):
        path = f"{top}/slice{number // 100}"
        for folder in (top, path, f"{path}/{number}"):
            if not os.path.isdir(folder):
                os.mkdir(folder)
                made.append(folder)
    return made


def _devices(calls: Calls, count: int, undo: ExitStack) -> None:
    """Namespaces with a pair of veths: an XDP link on one end, a classifier on the other."""
    os.makedirs(NETNS, exist_ok=True)
    checked(libc.mount(b"tmpfs", NETNS.encode(), b"tmpfs", 0, None), "mount tmpfs")
    undo.callback(lambda: checked(libc.umount2(NETNS.encode(), MNT_DETACH), "umount"))
    xdp = program(calls, "r0 = 2; exit", ProgType.XDP, name="crowd_xdp")
    undo.callback(calls.close, xdp)
    classifier = program(calls, type=ProgType.SCHED_CLS, name="crowd_tc")
    undo.callback(calls.close, classifier)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        for number in range(count):
            checked(libc.unshare(CLONE_NEWNET), "unshare")
            path = f"{NETNS}/crowd{number}"
            os.close(os.open(path, os.O_CREAT, 0o444))
            checked(
                libc.mount(b"/proc/thread-self/ns/net", path.encode(), None, MS_BIND, None), "bind"
            )
            rtnetlink.add_pair("inner", "veth")
            index = socket.if_nametoindex("inner")
            link = calls.link_create(
                LinkCreate(prog_fd=xdp, target_fd=index, attach_type=AttachType.XDP)
            )
            undo.callback(calls.close, link)
            rtnetlink.ask(rtnetlink.clsact(index))
            rtnetlink.ask(
                rtnetlink.new_filter(index, TcParent.INGRESS, classifier, b"crowd", prio=1)
            )
    finally:
        checked(libc.setns(home, CLONE_NEWNET), "setns")
        os.close(home)


def _accountants(calls: Calls, cgroups: list[str], count: int, undo: ExitStack) -> None:
    """Programs of cgroups, every other one by a link."""
    prog = program(calls, "r0 = 1; exit", ProgType.CGROUP_SKB, name="crowd_skb",
                   attach_type=AttachType.CGROUP_INET_EGRESS)  # fmt: skip
    undo.callback(calls.close, prog)
    for number in range(count):
        fd = os.open(cgroups[-1 - number % len(cgroups)], os.O_RDONLY | os.O_DIRECTORY)
        try:
            if number % 2:
                link = calls.link_create(
                    LinkCreate(
                        prog_fd=prog, target_fd=fd, attach_type=AttachType.CGROUP_INET_EGRESS
                    )
                )
                undo.callback(calls.close, link)
            else:
                calls.prog_attach(
                    ProgAttach(
                        target_fd=fd,
                        attach_bpf_fd=prog,
                        attach_type=AttachType.CGROUP_INET_EGRESS,
                        attach_flags=MULTI,
                    )
                )
        finally:
            os.close(fd)


def _tracers(calls: Calls, count: int, undo: ExitStack) -> None:
    for number in range(count):
        prog = program(calls, type=ProgType.RAW_TRACEPOINT, name=f"crowd_tp{number}")
        undo.callback(calls.close, calls.raw_tracepoint_open(prog, "sched_process_exec"))
        calls.close(prog)


def _filters(calls: Calls, count: int, undo: ExitStack) -> None:
    """Sockets whose filter nobody else holds."""
    for number in range(count):
        prog = program(calls, name=f"crowd_so{number}")
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        undo.callback(made.close)
        made.setsockopt(SOL_SOCKET, SO_ATTACH_BPF, prog)
        calls.close(prog)
