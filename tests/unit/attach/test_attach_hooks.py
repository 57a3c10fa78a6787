"""Cgroups, perf events and slots on the engine: by each door, in a recording, and refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bpflens import limits
from bpflens.abi.enums import AttachType, MapType, ProgType
from bpflens.attach import cgroup, perf, slots
from bpflens.attach.everything import find
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.model.system import System
from bpflens.port.cassette import Recorder
from bpflens.port.doors import Doors
from bpflens.port.replay import Replay
from bpflens.testing.attachments import suite
from bpflens.testing.bench import TRACEPOINT, Bench, NotOffered
from bpflens.testing.builders import map, program, u32
from bpflens.testing.hooks import PREORDER, Hook, id_of, link_id
from bpflens.testing.on_engine import EngineBench

MULTI = 2
EGRESS = AttachType.CGROUP_INET_EGRESS
OURS = ("cgroup", "perf_event", "tracepoint", "kprobe", "uprobe", "sockmap", "prog_array")
CASES = [each for each in suite.cases() if each.kind in OURS]


@pytest.fixture
def bench() -> Iterator[EngineBench]:
    made = EngineBench()
    yield made
    made.close()


def skb(bench: Bench) -> int:
    """A program for the packets of a cgroup."""
    return program(bench.calls, "r0 = 1; exit", ProgType.CGROUP_SKB)


def attachments(doors: Doors) -> list[Attachment]:
    """What is attached; fails where something but sockets could not be looked at."""
    found = _found(doors)
    failures = [each for each in found if isinstance(each, Failure)]
    assert [each for each in failures if each.target != "sockets"] == []
    return [each for each in found if isinstance(each, Attachment)]


def by_place(found: list[Attachment]) -> tuple[list[object], list[object]]:
    """Programs by their turn, and by their link: plain calls do not tell which link has which turn
    where a program is there twice, nor who goes first."""
    turns = [
        (e.kind, e.target, e.attach_type, e.order, e.prog_id, set(e.flags) - {"preorder"})
        for e in found
    ]
    held = [(e.kind, e.target, e.attach_type, e.link_id, e.prog_id) for e in found]
    return sorted(turns, key=repr), sorted(held, key=repr)


@pytest.mark.parametrize("release", ["6.18", "6.1"])
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.kind == "cgroup"], ids=lambda case: case.name
)
def test_plain_calls_tell_of_cgroups_as_the_bulk_door_does(case: suite.Case, release: str) -> None:
    bench = EngineBench(release)
    with suppress(NotOffered):  # then there is less to tell
        case.attach(bench)
    found = attachments(bench.doors)
    assert by_place(found) == by_place(attachments(bench.doors._replace(bulk=None)))
    assert {each.via for each in found if each.kind == "cgroup"} <= {"cgroups"}


@pytest.mark.parametrize("bulk", [True, False])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.name}")
def test_a_recording_tells_the_same(
    case: suite.Case, bulk: bool, bench: EngineBench, tmp_path: Path
) -> None:
    with suppress(NotOffered):  # then there is less to tell
        case.attach(bench)
    doors = bench.doors if bulk else bench.doors._replace(bulk=None)
    recorder = Recorder(doors)
    told = [e._replace(missing={}) for e in _found(recorder.doors) if isinstance(e, Attachment)]
    path = str(tmp_path / "machine.cassette")
    recorder.save(path, {})
    again = [each for each in _found(Replay(path).doors) if isinstance(each, Attachment)]
    assert [each._replace(missing={}) for each in again] == told


def _found(doors: Doors) -> list[Attachment | Failure]:
    with System(doors) as system:
        return list(find(Places(system)))


# --- cgroups


def test_who_goes_first_is_told_in_bulk_and_else_only_the_order(bench: EngineBench) -> None:
    made = bench.cgroup()
    hook = Hook(bench.calls, made.fd, EGRESS)
    first, second = skb(bench), skb(bench)
    hook.attach(first, MULTI)
    hook.attach(second, MULTI | PREORDER)
    ids = [id_of(bench.calls, second), id_of(bench.calls, first)]
    in_bulk = attachments(bench.doors)
    plain = attachments(bench.doors._replace(bulk=None))
    assert [(each.prog_id, each.order) for each in in_bulk] == [(ids[0], 0), (ids[1], 1)]
    assert [each.flags for each in in_bulk] == [["multi", "preorder"], ["multi"]]
    assert [(each.prog_id, each.order) for each in plain] == [(ids[0], 0), (ids[1], 1)]
    assert [each.flags for each in plain] == [["multi"], ["multi"]]


def test_effective_programs_are_those_that_run_in_their_order(bench: EngineBench) -> None:
    above = bench.cgroup()
    below = bench.cgroup(above)
    progs = [skb(bench) for _ in range(3)]
    Hook(bench.calls, above.fd, EGRESS).attach(progs[0], MULTI)
    Hook(bench.calls, above.fd, EGRESS).attach(progs[1], MULTI | PREORDER)
    Hook(bench.calls, below.fd, EGRESS).attach(progs[2], MULTI)
    with System(bench.doors) as system:
        found = list(cgroup.effective(Places(system), below.name))
        lost = list(cgroup.effective(Places(system), "/nowhere"))
        by_directory = list(cgroup.effective(Places(system), f"/sys/fs/cgroup{below.name}"))
    assert by_directory == found
    ids = [id_of(bench.calls, progs[at]) for at in (1, 2, 0)]
    told = [(each.prog_id, each.order) for each in found if isinstance(each, Attachment)]
    assert told == [(id, turn) for turn, id in enumerate(ids)]
    assert [type(each) for each in lost] == [Failure]


def test_a_cgroup_without_a_path_is_told_by_its_number(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench.cgroup()
    Hook(bench.calls, made.fd, EGRESS).attach(skb(bench))
    monkeypatch.setattr(Places, "cgroups", {})
    assert attachments(bench.doors) == []  # all of them are seen: it was removed meanwhile
    monkeypatch.setattr(cgroup, "_hidden", lambda _: "a part is mounted")
    (found,) = attachments(bench.doors)
    assert (found.target, list(found.missing)) == (f"cgroup {made.id}", ["target"])


def test_where_nothing_may_be_asked_that_is_said(bench: EngineBench) -> None:
    Hook(bench.calls, bench.cgroup().fd, EGRESS).attach(skb(bench))
    other = bench.engine.task(uid=1000)
    with System(other.doors()) as system:
        (failed,) = cgroup.find(Places(system))
    assert isinstance(failed, Failure)
    assert "CAP_NET_ADMIN" in failed.error


def test_a_link_is_told_apart_by_counting(bench: EngineBench) -> None:
    made = bench.cgroup()
    hook = Hook(bench.calls, made.fd, EGRESS)
    prog = skb(bench)
    held = [link_id(bench.calls, hook.link(prog)) for _ in range(2)]
    hook.attach(prog, MULTI)
    found = attachments(bench.doors._replace(bulk=None))
    assert sorted(each.link_id or 0 for each in found) == [0, *held]


def test_a_small_machine_is_asked_nothing(bench: EngineBench) -> None:
    def never(*_: object) -> None:
        raise AssertionError("asked")

    with System(bench.doors) as system:
        places = Places(system)
        finders: list[Callable[[Places], Iterator[Attachment | Failure]]] = [cgroup.find, perf.find]
        for method in ("cgroups", "files"):
            setattr(system.doors.bulk, method, never)
        assert [list(finder(places)) for finder in finders] == [[], []]


# --- perf events


def test_an_event_of_many_fds_and_processes_is_told_once(bench: EngineBench) -> None:
    event = bench.tracepoint("sched", TRACEPOINT)
    prog = program(bench.calls, type=ProgType.TRACEPOINT)
    bench.set_event(event, prog)
    bench.task.fork(comm="child")
    for doors in (bench.doors, bench.doors._replace(bulk=None)):
        (found,) = attachments(doors)
        assert found.holder is not None
        assert found.holder.count("fd") == 2
        assert "(child)" in found.holder


def test_what_an_event_counts_is_told_only_in_bulk(bench: EngineBench) -> None:
    prog = program(bench.calls, type=ProgType.PERF_EVENT)
    bench.set_event(bench.ticks(), prog)
    (found,) = attachments(bench.doors)
    assert (found.prog_id, found.target) == (id_of(bench.calls, prog), "dummy")
    (found,) = attachments(bench.doors._replace(bulk=None))
    assert (found.prog_id, found.target) == (None, "perf event")
    assert set(found.missing) == {"prog_id", "target"}


# --- slots


def test_a_walk_that_was_cut_is_a_failure(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = map(bench.calls, MapType.PROG_ARRAY, max_entries=10)
    prog = program(bench.calls)
    for slot in range(10):
        bench.calls.map_update(fd, u32(slot), u32(prog))
    monkeypatch.setattr(limits.SLOTS, "value", 3)
    with System(bench.doors) as system:
        found = list(slots.find(Places(system)))
    assert [type(each) for each in found] == [Attachment] * 3 + [Failure]


def test_empty_slots_take_no_more_time_than_is_allowed(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    map(bench.calls, MapType.PROG_ARRAY, max_entries=100_000)
    monkeypatch.setattr(limits.SLOT_SECONDS, "value", 0)
    with System(bench.doors) as system:
        (found,) = slots.find(Places(system))
    assert isinstance(found, Failure)
    assert "time" in found.error
