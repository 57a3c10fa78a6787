"""While everything around comes and goes, what stays is seen in every look, and is no orphan."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import bpflens
from bpflens.abi.attrs import LinkCreate, ProgAttach
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.abi.infos import LinkInfo, MapInfo, ProgInfo
from bpflens.linux.netlink import LinuxNet
from bpflens.model.system import System
from bpflens.port.doors import Way
from bpflens.snapshot.orphans import orphans
from bpflens.testing import rtnetlink
from bpflens.testing.bench import eventually
from bpflens.testing.builders import map, program, u32
from bpflens.testing.on_linux import (
    SO_ATTACH_BPF,
    SOL_SOCKET,
    cgroup_root,
)
from tests.kernel.churn import KINDS
from tests.kernel.conftest import open_fds

LOOKS = int(os.environ.get("BPFLENS_LOOKS", "250"))
"""A thousand take some minutes."""
SOUND = ("copies", "unowned")
"""Verdicts on what is in use."""
NAME = "bpflens_steady"


@contextmanager
def churn() -> Iterator[None]:
    """Everything that can come and go does, in processes of their own."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.kernel.churn", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for kind in KINDS
    ]
    try:
        yield
    finally:
        told = [process.communicate()[0] for process in running]
    assert all(process.returncode == 0 for process in running)
    assert all(int(rounds) for rounds in told)


@pytest.fixture
def steady(system: System, bpffs: Path) -> Iterator[dict[str, set[int]]]:
    """Programs, maps and links that stay, each held in another way and by nothing else."""
    calls = system.calls
    with ExitStack() as undo:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        undo.callback(made.close)
        jumps = map(calls, MapType.PROG_ARRAY)
        called = program(calls, name=NAME)
        calls.map_update(jumps, u32(1), u32(called))
        first = program(calls, "r2 = map_fd jumps; r3 = 1; call tail_call; r0 = 0; exit",
                        name=NAME, jumps=jumps)  # fmt: skip
        made.setsockopt(SOL_SOCKET, SO_ATTACH_BPF, first)

        folder = Path(cgroup_root()) / f"bpflens-steady-{os.getpid()}"
        folder.mkdir()
        undo.callback(folder.rmdir)
        counter = program(calls, "r0 = 1; exit", ProgType.CGROUP_SKB, name=NAME,
                          attach_type=AttachType.CGROUP_INET_EGRESS)  # fmt: skip
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        calls.prog_attach(
            ProgAttach(target_fd=at, attach_bpf_fd=counter,
                       attach_type=AttachType.CGROUP_INET_EGRESS)
        )  # fmt: skip
        os.close(at)

        xdp = program(calls, "r0 = 2; exit", ProgType.XDP, name=NAME)
        sleeper = _with_own_network(undo)
        with LinuxNet().entered(Way(f"/proc/{sleeper.pid}/ns/net")):
            rtnetlink.add_pair("steady", "veth")
            link = calls.link_create(
                LinkCreate(prog_fd=xdp, target_fd=socket.if_nametoindex("steady"),
                           attach_type=AttachType.XDP)
            )  # fmt: skip
        calls.obj_pin(link, str(bpffs / "link"))
        programs = [called, first, counter, xdp]
        ids = {
            "program": {calls.info(fd, ProgInfo).id for fd in programs},
            "map": {calls.info(jumps, MapInfo).id},
            "link": {calls.info(link, LinkInfo).id},
        }
        for fd in (*programs, jumps, link):
            calls.close(fd)
        yield ids


def _with_own_network(undo: ExitStack) -> subprocess.Popen[bytes]:
    sleeper = subprocess.Popen(["unshare", "-n", "sleep", "3600"])
    undo.callback(sleeper.wait)
    undo.callback(sleeper.kill)
    own = os.readlink("/proc/self/ns/net")
    eventually(lambda: os.readlink(f"/proc/{sleeper.pid}/ns/net") != own, "unshare")
    return sleeper


def test_what_stays_is_no_orphan_and_no_fd_of_ours_remains(
    steady: dict[str, set[int]], tmp_path: Path
) -> None:
    before = open_fds()
    with churn():
        for _ in range(LOOKS):
            with bpflens.open() as looking:
                looking.index_dir = str(tmp_path)  # as the command line has it
                found, _errors = orphans(looking)
            accused = {(each.kind, each.id) for each in found if each.verdict not in SOUND}
            false = {(kind, id) for kind, ids in steady.items() for id in ids} & accused
            assert not false, [record for record in found if (record.kind, record.id) in false]
    assert open_fds() == before
