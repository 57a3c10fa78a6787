"""Why objects are there, who is an orphan, and what goes with what, on the live kernel."""

from __future__ import annotations

import fcntl
import mmap as mmap  # which another user may not be able to import
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpflens.abi.enums import MapType, ProgType
from bpflens.abi.infos import MapInfo
from bpflens.model.system import PROGRAM, System
from bpflens.snapshot.graph import Indexed
from bpflens.snapshot.lifetime import freed
from bpflens.snapshot.orphans import OrphanRecord, orphans
from bpflens.snapshot.relations import Relations
from bpflens.snapshot.why import Why, why
from bpflens.testing.bench import NOBODY, eventually
from bpflens.testing.builders import map as new_map
from bpflens.testing.builders import program, u32
from bpflens.testing.hooks import id_of
from bpflens.testing.on_linux import LinuxBench
from tests.kernel.conftest import Ran
from tests.kernel.test_holders import bpffs_elsewhere

TUNSETIFF, TUNSETFILTEREBPF = 0x400454CA, 0x800454E1
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
"""linux/if_tun.h"""


@pytest.fixture
def system(bench: LinuxBench, folder: str) -> Iterator[System]:
    """A look from there."""
    with System(bench.doors) as system:
        system.index_dir = folder
        yield system


def graph(system: System) -> Indexed:
    found = Indexed(Relations(system).graph)
    system.settle()
    return found


def explained(system: System, id: int) -> Why:
    return why(graph(system), f"prog:{id}")


def orphan(system: System, id: int) -> OrphanRecord | None:
    """The row of a program."""
    found, _ = orphans(system)
    system.settle()
    rows = [
        row for row in found if (row.kind, row.id) == ("program", id) and row.verdict != "copies"
    ]
    return rows[0] if rows else None


def loaded(bench: LinuxBench) -> tuple[int, int]:
    """A program: its fd and its ID."""
    prog = program(bench.calls, "r0 = 0; exit", ProgType.SOCKET_FILTER, name="why")
    return prog, id_of(bench.calls, prog)


def lives(system: System, id: int) -> bool:
    return id in system.ids(PROGRAM)


def went(system: System, id: int, array: str) -> None:
    """The program goes with its array; unless somebody else, who looks too, has that open."""
    try:
        eventually(lambda: not lives(system, id), f"program {id} went with {array}")
    except AssertionError:
        others = [edge for edge in graph(system).keepers(array) if edge.kind == "holds"]
        if not others:
            raise


def test_a_tun_device_may_run_it(bench: LinuxBench, system: System) -> None:
    prog, id = loaded(bench)
    with bench.elsewhere():
        try:
            tun = os.open("/dev/net/tun", os.O_RDWR)
        except OSError as error:
            pytest.skip(f"/dev/net/tun: {error.strerror}")
        try:
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tun7", IFF_TAP | IFF_NO_PI))
            fcntl.ioctl(tun, TUNSETFILTEREBPF, struct.pack("i", prog))
            rows = [orphan(system, id)]
            assert f"prog:{id}" not in freed(graph(system), [f"pid:{os.getpid()}"])
            bench.files.close(prog)
            rows.append(orphan(system, id))
            told = explained(system, id)
        finally:
            os.close(tun)
    assert [row and (row.verdict, row.certain) for row in rows] == [
        ("detached", False),
        ("leaked", False),
    ]
    assert all(row and "device tun7 may run it" in row.why for row in rows)
    assert any("TUNSETFILTEREBPF" in each.what for each in told.unseen)
    eventually(lambda: not lives(system, id), "the program went with the device")


def test_a_socket_of_another_user(bench: LinuxBench, system: System) -> None:
    prog, id = loaded(bench)
    fd, words = bench.bound_socket("udp")
    bench.filter_socket(fd, prog)
    other = bench.stranger(fd)
    bench.files.close(fd)
    bench.files.close(prog)
    (chain,) = explained(system, id).chains
    assert [edge.source for edge in chain] == [f"pid:{other}", f"socket:{words}"]
    row = orphan(system, id)
    assert row is not None
    assert row.verdict == "unowned"
    assert row.holders == [f"socket {words}", f"pid {other} (sleep) fd {fd}"]
    found = graph(system)
    assert freed(found, [f"pid:{other}"])[-1] == f"prog:{id}"


def test_the_other_end_of_a_pair_goes_with_a_namespace(bench: LinuxBench, system: System) -> None:
    prog = program(bench.calls, "r0 = 2; exit", ProgType.XDP, name="why")
    id = id_of(bench.calls, prog)
    with bench.elsewhere():
        here = os.readlink("/proc/thread-self/ns/net")
        inside = subprocess.Popen(["unshare", "--net", "sleep", "100"])
        try:
            there = f"/proc/{inside.pid}/ns/net"
            eventually(lambda: os.readlink(there) != here, "it is in a namespace of its own")
            ends = ["one", "type", "veth", "peer", "name", "two", "netns", str(inside.pid)]
            subprocess.run(["ip", "link", "add", *ends], check=True)
            bench.set_xdp(socket.if_nametoindex("one"), prog)
            bench.files.close(prog)
            assert f"prog:{id}" in freed(graph(system), [f"pid:{inside.pid}"])
        finally:
            inside.kill()
            inside.wait()
        eventually(lambda: not lives(system, id), "the program went with its device")


def test_a_slot_of_a_prog_array_and_its_end(bench: LinuxBench, system: System) -> None:
    prog, id = loaded(bench)
    jumps = new_map(bench.calls, MapType.PROG_ARRAY, max_entries=4)
    bench.calls.map_update(jumps, u32(3), u32(prog))
    bench.files.close(prog)
    key = f"map:{bench.calls.info(jumps, MapInfo).id}"
    # Who else looks at this host has the array open meanwhile.
    chains = [[edge.source for edge in chain] for chain in explained(system, id).chains]
    assert [f"pid:{os.getpid()}", key] in chains
    assert {chain[-1].label for chain in explained(system, id).chains} == {"[3]"}
    row = orphan(system, id)
    assert row is not None
    assert row.verdict == "detached"  # nothing that is attached jumps there
    assert any(f"map {key[4:]} [3]" in words for words in row.holders)
    found = graph(system)
    held = [edge for edge in found.keepers(key) if edge.kind == "holds"]
    assert f"prog:{id}" in freed(found, cut=held)
    bench.files.close(jumps)
    went(system, id, key)


def test_a_program_and_the_array_that_it_is_in(bench: LinuxBench, system: System) -> None:
    jumps = new_map(bench.calls, MapType.PROG_ARRAY, max_entries=4)
    text = "r2 = map_fd jumps; r3 = 0; call tail_call; r0 = 0; exit"
    prog = program(bench.calls, text, ProgType.SOCKET_FILTER, name="why", jumps=jumps)
    id = id_of(bench.calls, prog)
    bench.calls.map_update(jumps, u32(0), u32(prog))
    key = f"map:{bench.calls.info(jumps, MapInfo).id}"
    found = graph(system)
    cut = [edge for edge in found.keepers(f"prog:{id}") if edge.kind == "holds"]
    assert f"prog:{id}" not in freed(found, cut=cut)  # its slot is left
    cut += [edge for edge in found.keepers(key) if edge.kind == "holds"]
    assert f"prog:{id}" in freed(found, cut=cut)
    bench.files.close(prog)
    assert lives(system, id)
    bench.files.close(jumps)
    went(system, id, key)


def test_a_pin_in_another_mount_namespace(
    bench: LinuxBench, system: System, tmp_path: Path
) -> None:
    prog, id = loaded(bench)
    with bpffs_elsewhere(tmp_path) as pid:
        bench.calls.obj_pin(prog, f"/proc/{pid}/root{tmp_path}/kept")
        bench.files.close(prog)
        (chain,) = explained(system, id).chains
        mntns = os.stat(f"/proc/{pid}/ns/mnt").st_ino
        assert chain[0].source == f"pin:{tmp_path}/kept@{mntns}"
        row = orphan(system, id)
        assert row is not None
        assert row.verdict == "pinned"
        assert f"prog:{id}" in freed(graph(system), [f"pid:{pid}"])
    eventually(lambda: not lives(system, id), "the pin went with its mount namespace")


def test_an_fd_in_flight(bench: LinuxBench, system: System) -> None:
    prog, id = loaded(bench)
    here, there = socket.socketpair()
    with here, there:
        socket.send_fds(here, [b"x"], [prog])
        bench.files.close(prog)
        found = explained(system, id)
        assert found.chains == []
        assert found.ways == []
        assert any("in flight" in each.what for each in found.unseen)
        row = orphan(system, id)
        assert row is not None
        assert (row.verdict, row.certain) == ("leaked", False)
        assert row.why.startswith("cannot tell")
    eventually(lambda: not lives(system, id), "the fd went with its socket")


def test_another_user_sees_what_its_own_process_holds(
    bench: LinuxBench, run: Callable[..., Ran]
) -> None:
    prog, id = loaded(bench)
    found = run("why", "prog", str(id), uid=NOBODY)  # a child of ours, with our files
    assert found.status == 1, found.stderr
    assert f"fd {prog} -> program {id}" in found.stdout
    assert "programs cannot be listed" in found.stderr
    assert run("why", "prog", "1", uid=NOBODY).status == 4
    assert run("orphans", uid=NOBODY).status == 4
