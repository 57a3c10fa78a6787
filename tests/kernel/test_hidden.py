"""Processes that hide their namespaces: from a looker without CAP_SYS_PTRACE, all that have it."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from bpflens.abi.attrs import ProgAttach
from bpflens.abi.enums import AttachType, Cmd, ProgType
from bpflens.abi.rows import TaskRow
from bpflens.attach.everything import find
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.model.system import System
from bpflens.testing.bench import eventually
from bpflens.testing.builders import program
from bpflens.testing.hooks import id_of
from bpflens.testing.on_linux import CLONE_NEWNET, LinuxBench, checked, libc
from tests.kernel.test_holders import bpffs_elsewhere

CAP_SYS_PTRACE = 19
CAPABILITIES_V3 = 0x20080522


@pytest.fixture
def system(bench: LinuxBench, folder: str) -> Iterator[System]:
    """A look from there."""
    with System(bench.doors) as system:
        system.index_dir = folder
        yield system


def drop_ptrace() -> None:
    """Lose CAP_SYS_PTRACE: who has it is hidden from now on (cap_ptrace_access_check())."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = struct.pack("=Ii", CAPABILITIES_V3, 0), ctypes.create_string_buffer(24)
    assert libc.capget(header, sets) == 0
    effective, permitted, *rest = struct.unpack("=6I", sets.raw)
    kept = (1 << 32) - 1 - (1 << CAP_SYS_PTRACE)
    assert libc.capset(header, struct.pack("=6I", effective & kept, permitted & kept, *rest)) == 0


def looked(system: System, look: Callable[[Places], Any], bulk: bool = True) -> Any:
    """What a child sees that has lost that capability."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            drop_ptrace()
            inner = System(system.doors if bulk else system.doors._replace(bulk=None))
            inner.index_dir = system.index_dir
            os.write(writer, json.dumps(look(Places(inner))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader) as file:
        return json.load(file)


@contextmanager
def elsewhere(flag: str) -> Iterator[int]:
    """The pid of a process that is alone in a namespace."""
    kind = {"-n": "net", "-m": "mnt"}[flag]
    with subprocess.Popen(["unshare", flag, "sleep", "600"]) as child:
        try:
            path = f"/proc/{child.pid}/ns/{kind}"
            eventually(
                lambda: os.readlink(path) != os.readlink(f"/proc/self/ns/{kind}"), "it is there"
            )
            yield child.pid
        finally:
            child.kill()


def inode(pid: int, kind: str) -> int:
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def test_the_iterator_tells_what_proc_tells(system: System) -> None:
    bulk = system.doors.bulk
    assert bulk
    with elsewhere("-n") as other:
        rows = bulk.tasks(system.doors.bpf, system.index_dir)
        told = {pid: tuple(rest) for pid, *rest in TaskRow.__struct__.iter_unpack(rows.data)}
        for pid in (os.getpid(), os.getppid(), other):
            assert told[pid] == (inode(pid, "net"), inode(pid, "mnt"))
        shown = [each for each in Places(system).processes if not each.hidden]
        assert len(shown) > 3
        # A test beside this one may just be moving to another namespace.
        moved = [each for each in shown if told.get(each.pid, each[1:3]) != each[1:3]]
        assert len(moved) < len(shown) / 10
    assert rows.reader


def test_a_hidden_process_is_in_the_namespaces_that_the_iterator_tells(system: System) -> None:
    def look(places: Places) -> Any:
        return next(each for each in places.processes if each.pid == os.getppid())

    here = [os.getpid(), inode(os.getpid(), "net"), inode(os.getpid(), "mnt"), True, 0]
    assert looked(system, look) == here
    # /proc/PID/net, which is open to all, is that of one who shows himself.
    assert looked(system, look, bulk=False) == [*here[:2], None, True, 0]


def test_a_thread_that_is_elsewhere_than_its_process(bench: LinuxBench, system: System) -> None:
    begun, end = Event(), Event()

    def leave() -> None:
        checked(libc.unshare(CLONE_NEWNET), "unshare")
        fd = program(bench.calls, "r0 = 0; exit", ProgType.FLOW_DISSECTOR, name="in_a_thread")
        attr = ProgAttach(attach_bpf_fd=fd, attach_type=AttachType.FLOW_DISSECTOR)
        bench.calls.call(Cmd.PROG_ATTACH, attr)
        there.append((id_of(bench.calls, fd), os.stat("/proc/thread-self/ns/net").st_ino))
        bench.calls.close(fd)
        begun.set()
        end.wait()

    there: list[tuple[int, int]] = []
    thread = Thread(target=leave)
    thread.start()
    try:
        assert begun.wait(10)
        ((prog_id, netns),) = there
        found = [each for each in find(Places(system)) if isinstance(each, Attachment)]
        (ours,) = (each for each in found if each.prog_id == prog_id)
        assert (ours.kind, ours.target) == ("flow_dissector", f"netns {netns}")
    finally:
        end.set()
        thread.join()


def failures(places: Places) -> list[str]:
    found = [each for each in find(places) if isinstance(each, Failure)]
    return [f"{each.kind} {each.target}" for each in found]


def test_a_network_namespace_that_only_a_hidden_process_is_in(
    bench: LinuxBench, system: System
) -> None:
    program(bench.calls, "r0 = 2; exit", ProgType.XDP, name="somewhere")
    with elsewhere("-n") as other:
        there = f"network netns {inode(other, 'net')}"
        assert there in looked(system, failures)
        assert there not in failures(Places(system))
        hidden = "network namespaces of hidden processes"
        assert hidden in looked(system, failures, bulk=False)
        # Another way leads there: then it is looked into as any other.
        way = os.open(f"/proc/{other}/ns/net", os.O_RDONLY)
        try:
            assert there not in looked(system, failures)
        finally:
            os.close(way)


def unseen(places: Places) -> list[str]:
    return [what for what, _ in places.pins.unseen]


def test_pins_that_only_a_hidden_process_sees(system: System, tmp_path: Path) -> None:
    with bpffs_elsewhere(tmp_path) as other:
        words = f"pins below {tmp_path}@{inode(other, 'mnt')} of hidden processes"
        assert words in looked(system, unseen)
        assert words not in unseen(Places(system))
        plain = looked(system, unseen, bulk=False)
        assert [each for each in plain if each.startswith(f"pins below {tmp_path} ")]


def test_a_hidden_process_that_sees_our_file_systems_hides_no_pins(system: System) -> None:
    with elsewhere("-m") as other:
        for bulk in (True, False):
            words = looked(system, unseen, bulk)
            assert not [each for each in words if str(inode(other, "mnt")) in each]
            assert not [each for each in words if "that hidden processes see" in each]
