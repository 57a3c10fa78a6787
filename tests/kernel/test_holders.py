"""Who keeps what alive on the live kernel; and that looking keeps nothing."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from bpflens.abi.attrs import IterCreate, LinkCreateIter
from bpflens.abi.enums import AttachType, Cmd, MapType, ProgType
from bpflens.abi.infos import BtfInfo, LinkInfo, MapInfo
from bpflens.abi.rows import FileKind
from bpflens.attach.files import OpenFile
from bpflens.attach.places import Places
from bpflens.errors import NotFound
from bpflens.model.parts import Reason
from bpflens.model.system import System
from bpflens.port.memory import Memory
from bpflens.snapshot.holders import UNTOLD, Held, Holder, Holders
from bpflens.testing.bench import NOBODY, NotOffered, eventually
from bpflens.testing.builders import btf, program, u32
from bpflens.testing.builders import map as new_map
from bpflens.testing.hooks import Hook, id_of
from bpflens.testing.kernel_types import iterator_program
from bpflens.testing.on_linux import CLONE_NEWNET, LinuxBench, checked, libc
from tests.kernel.conftest import open_fds

PR_SET_DUMPABLE = 4


@pytest.fixture
def system(bench: LinuxBench, folder: str) -> Iterator[System]:
    """A look from there."""
    with System(bench.doors) as system:
        system.index_dir = folder
        yield system


def look(system: System) -> Holders:
    return Holders(Places(system))


def held(system: System, kind: str, id: int) -> Held:
    return look(system).of(kind, id)


def only(found: Held) -> Holder:
    """The one holder that there is."""
    assert len(found.holders) == 1, found
    return found.holders[0]


def filter_program(bench: LinuxBench) -> tuple[int, int]:
    """A program: its fd and its ID."""
    prog = program(bench.calls, "r0 = 0; exit", ProgType.SOCKET_FILTER, name="held")
    return prog, id_of(bench.calls, prog)


# --- held by one thing alone


def test_only_by_a_socket_of_another_user(bench: LinuxBench, system: System) -> None:
    prog, id = filter_program(bench)
    fd, words = bench.bound_socket("udp")
    bench.filter_socket(fd, prog)
    other = bench.stranger(fd)
    bench.files.close(fd)
    bench.files.close(prog)
    found = only(held(system, "program", id))
    assert (found.how, found.kind, found.target) == ("attachment", "socket_filter", words)
    assert (found.pid, found.fd, found.comm) == (other, fd, "sleep")
    assert (found.uid, found.user) == (NOBODY, "nobody")
    assert found.words == f"socket_filter {words}, pid {other} (sleep) fd {fd}"


def test_only_in_a_slot_of_a_prog_array(bench: LinuxBench, system: System) -> None:
    prog, id = filter_program(bench)
    jumps = new_map(bench.calls, MapType.PROG_ARRAY, max_entries=4)
    bench.calls.map_update(jumps, u32(3), u32(prog))
    bench.files.close(prog)
    map_id = bench.calls.info(jumps, MapInfo).id
    found = only(held(system, "program", id))
    assert (found.how, found.map_id, found.slot) == ("slot", map_id, "3")
    assert found.words == f"map {map_id} [3]"


@contextmanager
def bpffs_elsewhere(path: Path) -> Iterator[int]:
    """The pid of a process that alone sees a bpffs, mounted at this path."""
    script = f"mount -t bpf bpf {path} && echo ready && exec sleep 600"
    command = ["unshare", "-m", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout
            assert child.stdout.readline() == b"ready\n"
            yield child.pid
        finally:
            child.kill()


def test_only_by_a_pin_in_another_mount_namespace(
    bench: LinuxBench, system: System, tmp_path: Path
) -> None:
    prog, id = filter_program(bench)
    with bpffs_elsewhere(tmp_path) as pid:
        bench.calls.obj_pin(prog, f"/proc/{pid}/root{tmp_path}/kept")
        bench.files.close(prog)
        found = only(held(system, "program", id))
        mntns = os.stat(f"/proc/{pid}/ns/mnt").st_ino
        assert (found.how, found.path, found.mntns) == ("pin", f"{tmp_path}/kept", mntns)
        assert found.words == f"{tmp_path}/kept@{mntns}"


def test_a_file_system_that_is_mounted_twice_holds_once(bench: LinuxBench, system: System) -> None:
    prog, id = filter_program(bench)
    bpffs = bench.bpffs()
    bench.calls.obj_pin(prog, f"{bpffs}/kept")
    os.mkdir(f"{bpffs}/below")
    bench.calls.obj_pin(prog, f"{bpffs}/below/again")
    bench.files.close(prog)
    again = f"{os.path.dirname(bpffs)}/again"
    os.mkdir(again)
    for source in (bpffs, f"{bpffs}/below"):
        subprocess.run(["mount", "--bind", source, again], check=True)
    try:
        found = held(system, "program", id).holders
        assert sorted(each.path or "" for each in found) == [
            f"{bpffs}/below/again",
            f"{bpffs}/kept",
        ]
    finally:
        for _ in range(2):
            subprocess.run(["umount", again], check=True)


def test_a_symbolic_link_to_a_pin_holds_nothing(bench: LinuxBench, system: System) -> None:
    prog, id = filter_program(bench)
    bpffs = bench.bpffs()
    bench.calls.obj_pin(prog, f"{bpffs}/kept")
    bench.files.close(prog)
    os.symlink(f"{bpffs}/kept", f"{bpffs}/another")
    os.symlink(bpffs, f"{bpffs}/xdp")  # as iproute2 leaves some
    told = held(system, "program", id)
    assert only(told).path == f"{bpffs}/kept"
    assert not [each for each in told.unseen if bpffs in each.what]


def test_only_by_an_fd_in_flight_it_says_that_it_cannot_tell(
    bench: LinuxBench, system: System
) -> None:
    prog, id = filter_program(bench)
    here, there = socket.socketpair()
    with here, there:
        socket.send_fds(here, [b"x"], [prog])
        bench.files.close(prog)
        told = held(system, "program", id)
        assert told.holders == []
        assert UNTOLD["program"] in [each.what for each in told.unseen]
        assert "fd on its way through a unix socket" in UNTOLD["program"]
        _, fds, _, _ = socket.recv_fds(there, 1, 1)
        assert only(held(system, "program", id)).fd == fds[0]
        os.close(fds[0])


# --- every kind of holder


def test_fds_of_every_kind_of_object(bench: LinuxBench, system: System) -> None:
    prog, prog_id = filter_program(bench)
    counts = new_map(bench.calls, MapType.ARRAY)
    types = btf(bench.calls)
    cgroup = bench.cgroup()
    egress = program(bench.calls, "r0 = 1; exit", ProgType.CGROUP_SKB)
    link = Hook(bench.calls, cgroup.fd, AttachType.CGROUP_INET_EGRESS).link(egress)
    other = bench.stranger(prog, counts, types, link)
    ids = {
        "program": (prog, prog_id),
        "map": (counts, bench.calls.info(counts, MapInfo).id),
        "btf": (types, bench.calls.info(types, BtfInfo).id),
        "link": (link, bench.calls.info(link, LinkInfo).id),
    }
    found = look(system)
    for kind, (fd, id) in ids.items():
        holders = found.of(kind, id).holders
        assert {(each.how, each.pid, each.fd) for each in holders} == {
            ("fd", os.getpid(), fd),
            ("fd", other, fd),
        }
        assert {each.comm for each in holders if each.pid == other} == {"sleep"}
    runs = found.of("program", id_of(bench.calls, egress)).holders
    assert [each.link_id for each in runs if each.how == "link"] == [ids["link"][1]]


def test_maps_of_programs_inner_maps_and_types(bench: LinuxBench, system: System) -> None:
    inner = new_map(bench.calls, MapType.ARRAY)
    outer = new_map(bench.calls, MapType.ARRAY_OF_MAPS, max_entries=4, inner=inner)
    bench.calls.map_update(outer, u32(2), u32(inner))
    user = program(bench.calls, "r1 = map_fd outer; r0 = 0; exit", name="user", outer=outer)
    inner_id, outer_id = (bench.calls.info(fd, MapInfo).id for fd in (inner, outer))
    user_id = id_of(bench.calls, user)
    for fd in (inner, outer):
        bench.files.close(fd)
    found = look(system)
    assert only(found.of("map", outer_id)).prog_id == user_id
    slot = only(found.of("map", inner_id))
    assert (slot.how, slot.map_id, slot.slot) == ("slot", outer_id, "2")


def test_an_open_iterator_holds_its_program_and_its_map(bench: LinuxBench, system: System) -> None:
    counts = new_map(bench.calls, MapType.ARRAY)
    try:
        prog = iterator_program(bench.calls, "bpf_map_elem")
    except NotOffered as reason:
        pytest.xfail(str(reason))
    mem = Memory()
    over = LinkCreateIter(prog_fd=prog, attach_type=AttachType.TRACE_ITER)
    over.iter_info, over.iter_info_len = mem.pin(bytearray(u32(counts, 0, 0, 0))), 16
    link = bench.calls.link_create(over, mem)
    rows = bench.calls.call(Cmd.ITER_CREATE, IterCreate(link_fd=link))
    prog_id, map_id = id_of(bench.calls, prog), bench.calls.info(counts, MapInfo).id
    for fd in (prog, link, counts):
        bench.files.close(fd)
    told = look(system)
    for kind, id in (("program", prog_id), ("map", map_id)):
        holder = only(told.of(kind, id))
        assert (holder.fd, holder.words.endswith("(iterator)")) == (rows, True)


def test_only_at_a_device_of_a_namespace_that_is_open_in_a_process(
    bench: LinuxBench, system: System
) -> None:
    prog = program(bench.calls, "r0 = 2; exit", ProgType.XDP, name="held")
    id = id_of(bench.calls, prog)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        checked(libc.unshare(CLONE_NEWNET), "unshare")
        bench.set_xdp(bench.device(), prog)
        there = bench.netns()
    finally:
        checked(libc.setns(home, CLONE_NEWNET), "setns")
        os.close(home)
    inode = os.fstat(there).st_ino
    bench.files.close(prog)
    found = only(held(system, "program", id))
    assert found.kind == "xdp"
    assert str(found.target).endswith(f"@{inode}")


# --- the open files of every process


def of_processes(places: Places, *pids: int) -> set[OpenFile]:
    """Their files that are BPF objects."""
    kinds = (FileKind.PROGRAM, FileKind.MAP, FileKind.LINK, FileKind.BTF)
    rows = places.files.rows
    return {row for row in rows if row.pid in pids and row.kind in kinds}


def test_the_bulk_door_and_proc_tell_the_same_objects(bench: LinuxBench, system: System) -> None:
    fds = [filter_program(bench)[0], new_map(bench.calls, MapType.HASH), btf(bench.calls)]
    cgroup = bench.cgroup()
    egress = program(bench.calls, "r0 = 1; exit", ProgType.CGROUP_SKB)
    fds.append(Hook(bench.calls, cgroup.fd, AttachType.CGROUP_INET_EGRESS).link(egress))
    fds.append(bench.dup(fds[0]))
    other = bench.stranger(*fds)
    pids = (os.getpid(), other)
    in_bulk = Places(system)
    assert in_bulk.files.bulk is None
    with System(bench.doors._replace(bulk=None)) as plain:
        by_proc = Places(plain)
        found = of_processes(by_proc, *pids)
        assert by_proc.files.bulk is not None
    assert found == of_processes(in_bulk, *pids)
    assert {row.fd for row in found if row.pid == other} == set(fds)


def test_files_that_a_thread_does_not_share(bench: LinuxBench, system: System) -> None:
    clone_files = 0x400
    libc = ctypes.CDLL(None, use_errno=True)
    prog, id = filter_program(bench)
    begun, end = Event(), Event()
    error: list[int] = []

    def keep() -> None:
        error.append(libc.unshare(clone_files))
        begun.set()
        end.wait()
        os.close(prog)

    thread = Thread(target=keep)
    thread.start()
    try:
        assert begun.wait(10)
        assert error == [0]
        bench.files.close(prog)
        found = only(held(system, "program", id))
        assert (found.pid, found.fd) == (os.getpid(), prog)
    finally:
        end.set()
        thread.join()


def test_a_process_of_another_user_sees_its_own_files_and_says_what_it_misses(
    bench: LinuxBench, system: System
) -> None:
    prog, id = filter_program(bench)
    bench.stranger(prog)
    told = as_nobody(bench, id)
    assert told["own"] == [["fd", prog]]
    assert told["bulk"].startswith(str(Reason.RESTRICTED))
    assert any("open files of processes" in each for each in told["unseen"])
    assert any("programs of open sockets" in each for each in told["unseen"])


def as_nobody(bench: LinuxBench, id: int) -> dict[str, Any]:
    """What a child without rights, which has our files open, is told of a program."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)
            places = Places(System(bench.doors))
            holders = Holders(places).of("program", id)
            own = [[each.how, each.fd] for each in holders.holders if each.pid == os.getpid()]
            unseen = [f"{each.what}: {each.reason}" for each in holders.unseen]
            told = {"own": own, "bulk": str(places.files.bulk), "unseen": unseen}
            os.write(writer, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader) as file:
        found: dict[str, Any] = json.loads(file.read())
    return found


# --- nothing stays because we looked


def objects() -> set[str]:
    """What this process has open, but for the files of procfs that a host keeps: they hold
    nothing."""
    return {each for each in open_fds() if "/fdinfo/" not in each}


def test_a_look_leaves_nothing_behind(bench: LinuxBench, system: System) -> None:
    held(system, "program", 1)
    before = objects()
    files = bench.doors.bulk
    assert files
    rows = files.files(bench.doors.bpf, system.index_dir)
    look(system).of("program", 1)
    assert objects() == before
    assert rows.reader

    def gone() -> bool:
        try:
            system.program(rows.reader).close()
        except NotFound:
            return True
        return False

    eventually(gone, "the program that read the files is gone")


def test_it_does_not_tell_of_itself(bench: LinuxBench, system: System) -> None:
    prog, id = filter_program(bench)
    with system.program(id) as ours:
        assert [each.fd for each in held(system, "program", id).holders] == [prog]
        assert ours.fd != prog
    rows = Places(system).files.rows
    mine = [row for row in rows if row.pid == os.getpid() and row.kind != FileKind.NAMESPACE]
    assert [row.fd for row in mine] == [prog]


def test_what_we_looked_at_goes_with_its_owner(bench: LinuxBench, system: System) -> None:
    prog, id = filter_program(bench)
    fd, _ = bench.bound_socket("unnamed")
    bench.filter_socket(fd, prog)
    other = bench.stranger(fd)
    bench.files.close(fd)
    bench.files.close(prog)
    found = look(system)
    assert only(found.of("program", id)).pid == other
    os.kill(other, 9)

    def gone() -> bool:
        try:
            system.program(id).close()
        except NotFound:
            return True
        return False

    eventually(gone, "the program whose owner ended is freed")
    assert held(system, "program", id).holders == []
    assert only(found.of("program", id)).comm == "sleep"
