"""Processes that hide which namespaces they are in, on the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpflens.abi.enums import MapType, ProgType
from bpflens.abi.rows import TaskRow
from bpflens.attach import pins
from bpflens.attach.everything import find
from bpflens.attach.pins import Pins
from bpflens.attach.places import Closed, Places
from bpflens.attach.processes import Process
from bpflens.attach.record import Failure
from bpflens.engine.creds import Cap, Creds
from bpflens.engine.engine import Engine
from bpflens.engine.tasks import Task
from bpflens.errors import Denied
from bpflens.model.system import System
from bpflens.port.calls import Calls
from bpflens.port.cassette import Recorder
from bpflens.port.doors import Doors
from bpflens.port.mountinfo import Mount
from bpflens.port.replay import Replay
from bpflens.testing.builders import map as new_map
from bpflens.testing.builders import program


class Host:
    """A process with all rights, and one that may look at BPF but not into the other."""

    def __init__(self) -> None:
        self.engine = Engine(policy="linux")
        self.shy = self.engine.task(comm="shy")
        rights = [cap for cap in Cap if cap != Cap.SYS_PTRACE]
        self.looker = self.engine.task(creds=Creds(0, 0, rights), comm="looker")
        program(Calls(self.shy), "r0 = 2; exit", ProgType.XDP, name="somewhere")

    def places(self, bulk: bool = True) -> Places:
        doors = self.looker.doors()
        return Places(System(doors if bulk else doors._replace(bulk=None)))


def seen(places: Places, task: Task) -> tuple[int | None, int | None, bool]:
    found = next(each for each in places.processes if each.pid == task.pid)
    return found.netns, found.mntns, found.hidden


def failures(places: Places) -> list[tuple[str, str]]:
    return [(each.kind, each.target) for each in find(places) if isinstance(each, Failure)]


def test_the_bulk_door_tells_where_a_hidden_process_is() -> None:
    host = Host()
    places = host.places()
    assert seen(places, host.shy) == (host.shy.netns.inode, host.shy.mntns.inode, True)
    assert seen(places, host.looker) == (host.looker.netns.inode, host.looker.mntns.inode, False)
    assert (places.unseen, places.closed_netns) == (0, [])
    assert places.netns[0].pids == [host.looker.pid, host.shy.pid]
    assert failures(places) == []


def test_without_it_that_is_not_known() -> None:
    host = Host()
    places = host.places(bulk=False)
    assert seen(places, host.shy) == (None, None, True)
    assert places.unseen == 1
    assert ("network", "namespaces of hidden processes") in failures(places)


def test_where_nobody_hides_the_bulk_door_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    doors = Host().engine.task().doors()

    def never(*_: object) -> None:
        raise AssertionError("it costs something")

    monkeypatch.setattr(doors.bulk, "tasks", never)
    assert len(Places(System(doors)).processes) == 3


def test_who_could_load_no_iterator_is_told_nothing() -> None:
    doors = Host().engine.task(creds=Creds(1000)).doors()
    assert doors.bulk
    with pytest.raises(Denied):
        doors.bulk.tasks(doors.bpf, None)
    assert Places(System(doors)).processes  # and none of it


def test_a_network_namespace_that_only_it_is_in_cannot_be_entered() -> None:
    host = Host()
    inode = host.shy.unshare_net().inode
    places = host.places()
    assert places.closed_netns == [inode]
    assert inode not in [each.inode for each in places.netns]
    assert failures(places) == [("network", f"netns {inode}")]
    host.engine.task(comm="open").netns = host.shy.netns
    other = host.engine.task(creds=Creds(0, 0, []), comm="open")
    other.netns = host.shy.netns
    assert host.places().closed_netns == []
    assert failures(host.places()) == []


def test_one_that_is_unmounted_meanwhile_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Host().places()
    mount = Mount("nsfs", "0:4", "net:[77]", "/run/netns/x", mntns=1, before="/proc/1/root")
    told = iter([Closed([mount], []), Closed([], [])])
    monkeypatch.setattr(places, "_closed", lambda: next(told))
    assert places.closed_netns == []


@pytest.mark.parametrize("bulk", [True, False])
def test_its_mounts_tell_whether_it_sees_pins_that_we_do_not(bulk: bool) -> None:
    host = Host()
    mntns = host.shy.unshare_mounts().inode
    assert host.places(bulk).pins.unseen == []
    host.shy.mount_bpffs("/run/bpf")
    Calls(host.shy).obj_pin(new_map(Calls(host.shy), MapType.HASH), "/run/bpf/kept")
    ((what, reason),) = host.places(bulk).pins.unseen
    where = f"@{mntns}" if bulk else ""
    assert what == f"pins below /run/bpf{where} of hidden processes"
    assert str(reason).startswith("denied: ")


def test_a_recording_tells_the_same(tmp_path: Path) -> None:
    host = Host()
    host.shy.unshare_net()
    host.shy.unshare_mounts()
    host.shy.mount_bpffs("/run/bpf")
    live = recorded(host.looker.doors(), f"{tmp_path}/host.cassette")
    again = Places(System(Replay(f"{tmp_path}/host.cassette").doors))
    assert (again.processes, again.closed_netns, pins.read(again)) == live
    assert live[1]
    assert live[2].unseen


def recorded(doors: Doors, path: str) -> tuple[list[Process], list[int], Pins]:
    recorder = Recorder(doors)
    places = Places(System(recorder.doors))
    told = [*places.processes], places.closed_netns, places.pins
    recorder.save(path, {})
    return told


def test_what_is_not_in_the_recording_is_not_known(tmp_path: Path) -> None:
    host = Host()
    recorder = Recorder(host.looker.doors()._replace(bulk=None))
    assert Places(System(recorder.doors)).mounts
    recorder.save(f"{tmp_path}/host.cassette", {})
    again = Places(System(Replay(f"{tmp_path}/host.cassette").doors))
    assert (again.unseen, len(again.processes), again.unseen) == (0, 2, 1)
    assert again.closed.unread == [host.shy.pid]


def test_rows_are_one_for_each_process() -> None:
    host = Host()
    doors = host.looker.doors()
    assert doors.bulk
    rows = [*TaskRow.__struct__.iter_unpack(doors.bulk.tasks(doors.bpf, None).data)]
    assert [row[0] for row in rows] == [host.shy.pid, host.looker.pid]
