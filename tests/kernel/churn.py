"""What comes and goes while somebody looks: run as a process, ends when its stdin is closed.

    python -m tests.kernel.churn KIND

Everything is in namespaces and cgroups of its own.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import bpflens
from bpflens.abi.attrs import LinkCreate, ProgAttach
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.abi.netlink import TcParent
from bpflens.port.calls import Calls
from bpflens.testing import rtnetlink
from bpflens.testing.bench import TRACEPOINT
from bpflens.testing.builders import map, program, u32
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

PAUSE = 0.01
"""Seconds between two rounds: whoever looks needs the CPUs too."""


@contextmanager
def closing(calls: Calls) -> Iterator[Callable[[int], int]]:
    """Closes every fd that was kept."""
    fds: list[int] = []

    def keep(fd: int) -> int:
        fds.append(fd)
        return fd

    try:
        yield keep
    finally:
        for fd in reversed(fds):
            calls.close(fd)


def namespaces(calls: Calls, bpffs: Path) -> None:
    """A network namespace with a device that runs XDP and a classifier; the one before goes."""
    checked(libc.unshare(CLONE_NEWNET), "unshare")
    rtnetlink.add_pair("churn", "veth")
    index = socket.if_nametoindex("churn")
    with closing(calls) as keep:
        xdp = keep(program(calls, "r0 = 2; exit", ProgType.XDP, name="churn_xdp"))
        keep(
            calls.link_create(LinkCreate(prog_fd=xdp, target_fd=index, attach_type=AttachType.XDP))
        )
        classifier = keep(program(calls, type=ProgType.SCHED_CLS, name="churn_tc"))
        rtnetlink.ask(rtnetlink.clsact(index))
        rtnetlink.ask(rtnetlink.new_filter(index, TcParent.INGRESS, classifier, b"churn", prio=1))


def cgroups(calls: Calls, bpffs: Path) -> None:
    """A cgroup with a program by a link and one without."""
    path = Path(cgroup_root()) / f"bpflens-churn-{os.getpid()}"
    path.mkdir(exist_ok=True)
    where = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with closing(calls) as keep:
            prog = keep(
                program(calls, "r0 = 1; exit", ProgType.CGROUP_SKB, name="churn_skb",
                        attach_type=AttachType.CGROUP_INET_INGRESS)
            )  # fmt: skip
            attach = ProgAttach(target_fd=where, attach_bpf_fd=prog, attach_flags=2,
                                attach_type=AttachType.CGROUP_INET_INGRESS)  # fmt: skip
            calls.prog_attach(attach)
            keep(
                calls.link_create(
                    LinkCreate(prog_fd=prog, target_fd=where,
                               attach_type=AttachType.CGROUP_INET_INGRESS)
                )
            )  # fmt: skip
    finally:
        os.close(where)
        path.rmdir()


def processes(calls: Calls, bpffs: Path) -> None:
    """A process that opens what it was given once more and ends."""
    with closing(calls) as keep:
        prog = keep(program(calls, name="churn_child"))
        keep(map(calls, MapType.HASH))
        pid = os.fork()
        if not pid:
            os.dup(prog)
            os._exit(0)
        os.waitpid(pid, 0)


def sockets(calls: Calls, bpffs: Path) -> None:
    """A socket that alone holds its filter; a slot that alone holds its program."""
    prog = program(calls, name="churn_filter")
    with closing(calls) as keep, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setsockopt(SOL_SOCKET, SO_ATTACH_BPF, prog)
        calls.map_update(keep(map(calls, MapType.PROG_ARRAY)), u32(0), u32(prog))
        calls.close(prog)


def tracers(calls: Calls, bpffs: Path) -> None:
    """A link to a tracepoint."""
    with closing(calls) as keep:
        prog = keep(program(calls, type=ProgType.RAW_TRACEPOINT, name="churn_tp"))
        keep(calls.raw_tracepoint_open(prog, TRACEPOINT))


def pins(calls: Calls, bpffs: Path) -> None:
    """A pin in a bpffs of our own; twice, in folders that come and go."""
    for name in ("one", "two"):
        with closing(calls) as keep:
            (bpffs / name).mkdir()
            calls.obj_pin(keep(program(calls, name="churn_pin")), str(bpffs / name / "prog"))
        with suppress(OSError):
            os.unlink(bpffs / name / "prog")
        (bpffs / name).rmdir()


KINDS: dict[str, Callable[[Calls, Path], None]] = {
    kind.__name__: kind for kind in (namespaces, cgroups, processes, sockets, tracers, pins)
}


def main(kind: str) -> int:
    checked(libc.unshare(CLONE_NEWNS), "unshare")
    checked(libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None), "mount")
    bpffs = Path(tempfile.mkdtemp(prefix="bpflens-churn-"))
    checked(libc.mount(b"bpf", str(bpffs).encode(), b"bpf", 0, None), "mount")
    rounds = 0
    try:
        with bpflens.open() as system:
            while not select.select([sys.stdin], [], [], 0)[0]:
                KINDS[kind](system.calls, bpffs)
                rounds += 1
                time.sleep(PAUSE)
    finally:
        checked(libc.umount2(str(bpffs).encode(), MNT_DETACH), "umount")
        bpffs.rmdir()
    print(rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
