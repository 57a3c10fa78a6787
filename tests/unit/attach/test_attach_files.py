"""Open files, sockets and pins, also where not everything may be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from bpflens.abi.attrs import RawTracepointOpen
from bpflens.abi.enums import Cmd, MapType, ProgType
from bpflens.abi.infos import MapInfo
from bpflens.abi.rows import EventRow, FileKind, FileRow, SocketRow
from bpflens.attach import pins, sockets
from bpflens.attach.everything import find
from bpflens.attach.files import OpenFile, _decoded
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.engine.creds import Creds
from bpflens.engine.engine import Engine
from bpflens.engine.net import Socket
from bpflens.engine.progs.prog import Prog
from bpflens.engine.tasks import Task
from bpflens.model.parts import Reason
from bpflens.model.system import System
from bpflens.port.calls import Calls
from bpflens.port.cassette import Recorder
from bpflens.port.doors import Doors, HostPort, Rows
from bpflens.port.memory import Memory
from bpflens.port.mountinfo import Mount
from bpflens.port.replay import Replay
from bpflens.snapshot.holders import Holders
from bpflens.testing.builders import map as new_map
from bpflens.testing.builders import program
from bpflens.testing.hooks import id_of


class Host:
    """A process of root's with a map, and a socket with a program that nothing else keeps."""

    def __init__(self) -> None:
        self.engine = Engine(policy="linux")
        self.root = self.engine.task(comm="owner")
        self.calls = Calls(self.root)
        self.map = new_map(self.calls, MapType.HASH)
        self.map_id = self.calls.info(self.map, MapInfo).id
        prog = program(self.calls, "r0 = 0; exit", ProgType.SOCKET_FILTER)
        self.prog_id = id_of(self.calls, prog)
        there = Socket(family="unix", netns=self.root.netns)
        self.socket = self.root.add(there)
        there.attach(self.root.files.get(prog, Prog))
        self.root.close(prog)

    def places(self, task: Task | None = None, bulk: bool = True) -> Places:
        doors = (task or self.engine.task(comm="looker")).doors()
        return Places(System(doors if bulk else doors._replace(bulk=None)))


def rows(places: Places) -> set[tuple[int, int, int, int]]:
    return {(row.pid, row.fd, row.kind, row.id) for row in places.files.rows}


def test_both_ways_tell_the_same_objects() -> None:
    host = Host()
    there = (host.root.pid, host.map, FileKind.MAP, host.map_id)
    in_bulk, plain = host.places(), host.places(bulk=False)
    assert rows(plain) == {there}
    assert rows(in_bulk) == {there, (host.root.pid, host.socket, FileKind.SOCKET, 0)}
    assert in_bulk.files.bulk is None
    assert plain.files.bulk
    assert plain.files.bulk.reason is Reason.UNSUPPORTED


def test_another_user_sees_its_own_and_whose_it_does_not() -> None:
    host = Host()
    user = host.engine.task(creds=Creds(1000), comm="user")
    fd = host.root.send(host.map, user)
    files = host.places(user).files
    assert [(row.pid, row.fd) for row in files.rows] == [(user.pid, fd)]
    assert list(files.hidden) == [host.root.pid]
    assert "CAP_SYS_PTRACE" in str(files.hidden[host.root.pid])
    assert files.bulk is not None


class Hiding:
    """A host whose procfs is mounted with these options."""

    def __init__(self, host: HostPort, options: str) -> None:
        self._host = host
        self._options = options.encode()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def read(self, path: str, most: int = 0) -> bytes:
        mounts = b"21 1 0:4 / /x rw - proc proc rw,hidepid=2,gid=7\n"
        mounts += b"22 1 0:5 / /proc rw,nosuid - proc proc rw," + self._options + b"\n"
        return mounts if path == "/proc/self/mountinfo" else self._host.read(path, most)

    def listdir(self, path: str) -> list[tuple[str, bool]]:
        found = self._host.listdir(path)
        return [each for each in found if each[0] != "1"] if path == "/proc" else found


def hiding(options: str, creds: Creds | None = None) -> Places:
    """What a user sees, who is in the group 0, or root."""
    task = Host().engine.task(creds=creds or Creds(1000), comm="user")
    doors = task.doors()
    return Places(System(doors._replace(host=cast(HostPort, Hiding(doors.host, options)))))


@pytest.mark.parametrize(
    "options",
    ["hidepid=invisible,gid=7", "hidepid=2,gid=7", "hidepid=ptraceable", "hidepid=4",
     "subset=pid", "hidepid=ptraceable,subset=pid"],
)  # fmt: skip
def test_a_procfs_that_hides_something_is_told(options: str) -> None:
    elsewhere = hiding(options).files.elsewhere
    assert elsewhere
    assert elsewhere.reason is Reason.RESTRICTED
    assert "procfs" in elsewhere.detail


@pytest.mark.parametrize(
    "options",
    ["hidepid=invisible", "hidepid=2", "hidepid=noaccess,gid=7", "hidepid=1", "hidepid=off",
     "hidepid=0", "gid=7", "errors=hidepid"],
)  # fmt: skip
def test_a_procfs_that_hides_nobody_is_no_trouble(options: str) -> None:
    """has_pid_permissions(): members of the group, which is 0 where none is told, see everybody."""
    assert hiding(options).files.elsewhere is None


def test_root_sees_whom_a_procfs_hides_from_others() -> None:
    assert hiding("hidepid=ptraceable", Creds()).files.elsewhere is None


def test_a_procfs_of_processes_that_we_are_not_among_is_told() -> None:
    places = hiding("rw")

    def readlink(path: str) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    places.host.readlink = readlink  # type: ignore[method-assign]
    assert "does not show" in str(places.files.elsewhere)


def test_a_procfs_that_hides_others_is_told() -> None:
    host = Host()
    places = hiding("hidepid=ptraceable")
    told = [each for each in find(places) if isinstance(each, Failure) and "hidepid" in each.error]
    assert {each.kind for each in told} >= {"network", "perf_event"}
    assert host.places().files.elsewhere is None


def test_another_user_is_told_of_the_links_that_it_has_open() -> None:
    host = Host()
    user = host.engine.task(creds=Creds(1000), comm="user")
    prog = program(host.calls, "r0 = 0; exit", ProgType.RAW_TRACEPOINT)
    name = bytearray(b"sched_switch\0")
    mem = Memory()
    attr = RawTracepointOpen(name=mem.pin(name), prog_fd=prog)
    link = host.calls.call(Cmd.RAW_TRACEPOINT_OPEN, attr, mem)
    host.root.send(link, user)
    found = list(find(host.places(user)))
    (told,) = (each for each in found if isinstance(each, Attachment))
    assert (told.kind, told.target) == ("raw_tracepoint", "sched_switch")
    assert told.prog_id == id_of(host.calls, prog)
    assert "links" in [each.target for each in found if isinstance(each, Failure)]


def test_without_the_bulk_door_sockets_are_not_called_free_of_programs() -> None:
    host = Host()
    failures = [each for each in sockets.find(host.places(bulk=False)) if isinstance(each, Failure)]
    assert {each.kind for each in failures} == set(sockets.KINDS)
    assert "CAP_BPF" in failures[0].error
    held = Holders(host.places(bulk=False)).of("program", host.prog_id)
    assert held.holders == []
    assert any("sockets" in each.what for each in held.unseen)


def test_where_no_program_can_be_at_a_socket_nothing_is_missed() -> None:
    places = Places(System(Engine(policy="linux").task().doors()._replace(bulk=None)))
    assert list(sockets.find(places)) == []


def test_a_recording_tells_who_holds_what(tmp_path: Path) -> None:
    host = Host()
    looker = host.engine.task(comm="looker")
    live = recorded(looker.doors(), f"{tmp_path}/host.cassette")
    again = Holders(Places(System(Replay(f"{tmp_path}/host.cassette").doors)))
    for kind, id in (("program", host.prog_id), ("map", host.map_id)):
        assert again.of(kind, id) == live.of(kind, id)
        assert len(live.of(kind, id).holders) == 1


def recorded(doors: Doors, path: str) -> Holders:
    recorder = Recorder(doors)
    holders = Holders(Places(System(recorder.doors)))
    assert holders.all
    recorder.save(path, {})
    return holders


def test_rows_of_every_length_are_told_apart() -> None:
    event = EventRow(event=7, config=9, event_type=1)
    socket = SocketRow.decode(SocketRow(netns=5, family=1, inode=3, path=b"\7" * 108).encode())
    parts = (
        FileRow(pid=1, fd=3, kind=FileKind.MAP, id=12).encode(),
        FileRow(pid=1, fd=4, kind=FileKind.SOCKET, prog_id=8).encode() + socket.encode(),
        FileRow(pid=1, fd=5, kind=FileKind.PERF_EVENT, prog_id=9).encode() + event.encode(),
        FileRow(pid=1, fd=3, kind=FileKind.MAP, id=12).encode(),  # another thread's
        FileRow(pid=2, fd=3, kind=FileKind.LINK, id=1).encode(),
    )
    assert sorted(_decoded(Rows(b"".join(parts)))) == [
        OpenFile(1, 3, FileKind.MAP, 12, 0, 0, 0),
        OpenFile(1, 4, FileKind.SOCKET, 0, 8, 0, 0, socket),
        OpenFile(1, 5, FileKind.PERF_EVENT, 0, 9, 0, 0, None, event),
        OpenFile(2, 3, FileKind.LINK, 1, 0, 0, 0),
    ]


@pytest.mark.parametrize(
    ("socket", "words"),
    [
        (SocketRow(family=2, type=2, protocol=17, local_port=53, local=b"\x7f\0\0\1" + bytes(12)),
         "udp 127.0.0.1:53"),
        (SocketRow(family=10, type=1, protocol=6, local_port=80, local=bytes(15) + b"\1",
                   remote_port=9, remote=bytes(15) + b"\2"), "tcp [::1]:80 > [::2]:9"),
        (SocketRow(family=10, type=2, protocol=17, local_port=53,
                   local=bytes(10) + b"\xff\xff\x7f\0\0\1"), "udp [::ffff:127.0.0.1]:53"),
        (SocketRow(family=2, type=3, protocol=89, local=bytes(16)), "raw protocol 89 0.0.0.0"),
        (SocketRow(family=1, path=b"/run/x".ljust(108, b"\0")), "unix /run/x"),
        (SocketRow(family=1, path=b"\0abc".ljust(108, b"\0")), "unix @abc"),
        (SocketRow(family=1, path=bytes(108), inode=77), "unix socket:[77]"),
        (SocketRow(family=17, ifindex=0), "packet (every device)"),
        (SocketRow(family=17, ifindex=99), "packet device 99"),
        (SocketRow(family=17, ifindex=1), "packet lo"),
        (SocketRow(family=16, inode=5), "netlink socket:[5]"),
        (SocketRow(family=99, inode=5), "family 99 socket:[5]"),
    ],
)  # fmt: skip
def test_sockets_have_words(socket: SocketRow, words: str) -> None:
    task = Engine().task()
    socket.netns = task.netns.inode
    places = Places(System(task.doors()))
    assert sockets.target(places, socket) == words
    socket.netns = 12345
    assert sockets.target(places, socket).endswith("@12345")


def test_a_device_elsewhere_has_its_namespace_once() -> None:
    engine = Engine()
    other = engine.task()
    inode = other.unshare_net().inode
    places = Places(System(engine.task().doors()))
    socket = SocketRow(family=17, ifindex=1, netns=inode)
    assert sockets.target(places, socket) == f"packet lo@{inode}"


def test_a_file_system_is_walked_once_and_as_a_whole() -> None:
    def mount(device: str, root: str, mntns: int = 1) -> Mount:
        return Mount("bpf", device, root, f"/at{root}", mntns=mntns, before=f"/reach{mntns}")

    part, whole, other = mount("0:5", "/sub"), mount("0:5", "/", 2), mount("0:6", "/sub")
    again, beside = mount("0:5", "/", 3), mount("0:6", "/subway")
    assert pins.once([part, whole, other, again, beside]) == [whole, other, beside]


def test_pins_that_another_mount_covers_are_told_as_unseen() -> None:
    places = Host().places()
    (mount,) = (each for each in places.mounts if each.kind == "bpf")
    places.mounts.append(mount._replace(device="0:99", covered=True))
    told = [f"{what}: {why}" for what, why in pins.read(places).unseen]
    assert told == [f"pins below {mount.path}: failed: another mount covers it"]


def test_a_system_does_not_find_the_fds_by_which_it_looks() -> None:
    host = Host()
    places = host.places()
    with places.system.map(host.map_id):
        assert {row.pid for row in places.files.rows} == {host.root.pid}
        assert len({row.pid for row in host.places().files.rows}) == 2  # another one finds it
