"""What the kernel tells of links, of every type and every age."""

from __future__ import annotations

import errno
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpflens.abi.attrs import LinkById, ObjInfo
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd, LinkType, MapType, PerfEventType
from bpflens.abi.enums import ProgType as P
from bpflens.attach.everything import find
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment, Failure
from bpflens.model import fdinfolink
from bpflens.model.link import LinkFacts
from bpflens.model.parts import Missing, Reason
from bpflens.model.system import System
from bpflens.port.doors import BpfPort, Doors
from bpflens.port.memory import Memory
from bpflens.port.tracer import traced
from bpflens.present.documents import encode, item_of
from bpflens.present.links import LINKS
from bpflens.snapshot.links import LinkLook
from bpflens.testing.attachments import links
from bpflens.testing.bench import TRACEPOINT, Cap
from bpflens.testing.builders import map, program
from bpflens.testing.conformance import functions, iterators, many_probes, probes
from bpflens.testing.hooks import Hook, link_id
from bpflens.testing.kernel_types import traced_program
from bpflens.testing.on_engine import EngineBench


def facts(bench: EngineBench, fd: int) -> LinkFacts:
    return links.told(bench, fd)


@pytest.fixture
def bench() -> EngineBench:
    return EngineBench()


def test_what_a_link_does_not_have_is_none_and_needs_no_reason(bench: EngineBench) -> None:
    told = facts(bench, bench.calls.raw_tracepoint_open(
        program(bench.calls, type=P.RAW_TRACEPOINT), TRACEPOINT))  # fmt: skip
    assert (told.type, told.tp_name, told.cookie) == (LinkType.RAW_TRACEPOINT, TRACEPOINT, 0)
    assert (told.cgroup_id, told.ifindex, told.missing, told.raw) == (None, None, {}, None)


def test_an_iterator_has_the_parameters_of_its_target_alone(bench: EngineBench) -> None:
    over = {name: facts(bench, iterators.over(bench.calls, name)) for name in ("bpf_map", "task")}
    for told in over.values():
        assert told.missing == {}
        assert (told.map_id, told.tid, told.pid, told.cgroup_id, told.order) == (None,) * 5
    words = struct.pack("=4I", 0, 1, 0, 0)
    assert facts(bench, iterators.over(bench.calls, "task", words)).pid == 1


def test_many_probes_are_all_told(bench: EngineBench) -> None:
    told = facts(bench, many_probes.at_functions(bench.calls, ["vfs_open", "vfs_unlink"], [7, 9]))
    assert told.probe_count == 2
    assert told.addrs is not None
    assert told.cookies is not None
    assert len(told.addrs) == 2
    assert sorted(told.cookies) == [7, 9]
    places = facts(bench, many_probes.at_places(bench, [64, 128], [1, 2]))
    assert (places.path, places.offsets) == (bench.executable(), [64, 128])
    assert (places.cookies, places.pid, places.probe_count) == ([1, 2], 0, 2)


def test_hidden_addresses_are_missing_and_not_zero(bench: EngineBench) -> None:
    fd = many_probes.at_functions(bench.calls, ["vfs_open"])
    lesser = bench.engine.task(uid=0, caps=[Cap.BPF, Cap.SYS_ADMIN])
    lesser.files = bench.task.files
    with System(lesser.doors()) as system, system.link(link_id(bench.calls, fd)) as link:
        told = link.info()
    assert told.addrs is None
    assert told.missing["addrs"].reason is Reason.RESTRICTED
    assert told.probe_count == 1


@pytest.mark.parametrize("release", ["6.12", "6.1"])
def test_what_an_older_kernel_does_not_tell_is_not_zero(release: str) -> None:
    bench = EngineBench(release)
    point = bench.calls.raw_tracepoint_open(program(bench.calls, type=P.RAW_TRACEPOINT), TRACEPOINT)
    told = facts(bench, point)
    assert (told.cookie, told.missing["cookie"].reason) == (None, Reason.UNSUPPORTED)
    prog = traced_program(bench.calls, "vfs_unlink", A.TRACE_FENTRY)
    told = facts(bench, functions.open_(bench.calls, prog))
    assert told.target_btf_id
    assert (told.cookie, "cookie" in told.missing) in ((None, True), (0, False))


def test_before_6_6_a_perf_event_says_nothing_of_itself() -> None:
    bench = EngineBench("6.1")
    told = facts(bench, probes.at_event(bench, bench.ticks(), type=P.PERF_EVENT))
    assert (told.type, told.perf_event_type) == (LinkType.PERF_EVENT, None)
    assert told.missing["perf_event_type"].reason is Reason.UNSUPPORTED


def test_a_perf_event_has_the_facts_of_its_kind(bench: EngineBench) -> None:
    event = bench.probe("uprobe", bench.executable(), 64, back=True)
    told = facts(bench, probes.at_event(bench, event, 5))
    assert told.perf_event_type is PerfEventType.URETPROBE
    assert (told.file_name, told.offset, told.cookie) == (bench.executable(), 64, 5)
    assert (told.func_name, told.addr, told.missing) == (None, None, {})


# --- what goes wrong, and what is new


class Meddled:
    """A `BpfPort` on which links are of a type of tomorrow, or cannot be opened."""

    def __init__(self, inner: BpfPort, type: int = 0, refused: int = 0, code: int = 0) -> None:
        self.inner = inner
        self.type = type
        self.refused = refused
        self.code = code

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        if cmd == Cmd.LINK_GET_FD_BY_ID:
            asked_for = LinkById.decode(mem.read(attr, size)).link_id
            if asked_for == self.refused:
                raise OSError(self.code, os.strerror(self.code))
        if cmd == Cmd.LINK_GET_NEXT_ID and self.code and not self.refused:
            raise OSError(self.code, os.strerror(self.code))
        result = self.inner.bpf(cmd, attr, size, mem)
        if cmd == Cmd.OBJ_GET_INFO_BY_FD and self.type:
            asked = ObjInfo.decode(mem.read(attr, size))
            if mem.read(asked.info, 4) == struct.pack("=I", LinkType.RAW_TRACEPOINT):
                mem.write(asked.info, struct.pack("=I", self.type))
        return result

    def close(self, fd: int) -> None:
        self.inner.close(fd)


class Scrambled:
    """A `BpfPort` on which any bytes are the info of a link."""

    def __init__(self, inner: BpfPort, answer: bytes) -> None:
        self.inner = inner
        self.answer = answer

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        asked = ObjInfo.decode(mem.read(attr, size)) if cmd == Cmd.OBJ_GET_INFO_BY_FD else None
        result = self.inner.bpf(cmd, attr, size, mem)
        if asked and asked.info_len in (512, 64, len(self.answer)):
            told = min(asked.info_len, len(self.answer))
            mem.write(asked.info, self.answer[:told])
            mem.write(attr + 4, struct.pack("=I", told))
        return result

    def close(self, fd: int) -> None:
        self.inner.close(fd)


@settings(max_examples=300)
@given(st.integers(0, 16), st.binary(max_size=60))
def test_any_bytes_are_a_link_or_a_failure(type: int, rest: bytes) -> None:
    bench = EngineBench()
    two_links(bench)
    doors = bench.doors
    port = Scrambled(doors.bpf, struct.pack("=I", type) + rest)
    with System(Doors(port, doors.host, doors.net, doors.mounts, doors.bulk)) as system:
        look = LinkLook(system)
        found = [encode(item_of(LINKS.columns)(record)) for record in look.links()]
    assert len(found) + len(look.errors) == 2


def meddled(bench: EngineBench, **how: int) -> Places:
    doors = bench.doors
    return Places(
        System(Doors(Meddled(doors.bpf, **how), doors.host, doors.net, doors.mounts, doors.bulk))
    )


def two_links(bench: EngineBench) -> list[int]:
    fds = (
        bench.calls.raw_tracepoint_open(program(bench.calls, type=P.RAW_TRACEPOINT), TRACEPOINT)
        for _ in range(2)
    )
    return [link_id(bench.calls, fd) for fd in fds]


def test_a_type_of_tomorrow_shows_number_program_and_bytes(bench: EngineBench) -> None:
    ids = two_links(bench)
    places = meddled(bench, type=99)
    told = places.links[0]
    assert (told.id, told.type, told.type.label, told.prog_id) == (ids[0], 99, "unknown_99", 1)
    assert told.raw is not None
    assert len(told.raw) == 64 - 12
    found = [each for each in find(places) if isinstance(each, Attachment) and each.link_id]
    assert [(each.kind, each.target) for each in found] == [("unknown", "link type 99")] * 2
    record = LinkLook(places.system).record(told)
    assert record.flags is None
    for field in ("attach_type", "target", "flags", "cookie", "map_id"):
        assert record.missing[field].startswith("unsupported: bpflens does not know"), field
    for each in found:
        assert each.missing["attach_type"].startswith("unsupported: ")


def test_a_link_to_many_functions_of_which_nothing_is_told(bench: EngineBench) -> None:
    two_links(bench)  # whose info and fdinfo have nothing of such a link
    places = meddled(bench, type=LinkType.TRACING_MULTI)
    record = LinkLook(places.system).record(places.links[0])
    assert (record.type, record.kind, record.attach_type) == (
        "tracing_multi", "tracing_multi", None,
    )  # fmt: skip
    for field in ("attach_type", "target", "probe_count", "functions", "target_btf_ids", "cookies"):
        assert record.missing[field].startswith("unsupported: "), field


def test_fdinfo_tells_of_a_link_to_many_functions() -> None:
    text = (
        b"pos:\t0\nlink_type:\ttracing_multi\nlink_id:\t7\nprog_tag:\t59f4a931744dcdc6\nprog_id:\t3\n"
        b"attach_type:\t59\ncnt:\t2\nobj-id\t btf-id\t cookie\t func\n"
        b"1\t 121362\t 0\t vfs_read+0x4/0x490\n1\t 121381\t 9\t vfs_write+0x4/0x560\n"
    )
    told = fdinfolink.facts(text)
    assert told
    assert (told.id, told.type, told.prog_id) == (7, LinkType.TRACING_MULTI, 3)
    assert (told.attach_type, told.probe_count, told.target_obj_id) == (59, 2, 1)
    assert (told.target_btf_ids, told.cookies, told.missing) == ([121362, 121381], [0, 9], {})


@pytest.mark.parametrize("code", [errno.EPERM, errno.EIO])
def test_one_link_that_cannot_be_read_ends_nothing(bench: EngineBench, code: int) -> None:
    first, second = two_links(bench)
    places = meddled(bench, refused=first, code=code)
    assert [each.id for each in places.links] == [second]
    failed = [each for each in find(places) if isinstance(each, Failure)]
    assert [(each.kind, each.target) for each in failed] == [("links", f"link {first}")]


def test_a_link_that_went_meanwhile_is_no_failure(bench: EngineBench) -> None:
    first, second = two_links(bench)
    places = meddled(bench, refused=first, code=errno.ENOENT)
    assert [each.id for each in places.links] == [second]
    assert places.link_failures == []


def test_where_links_cannot_be_listed_that_is_one_failure(bench: EngineBench) -> None:
    two_links(bench)
    places = meddled(bench, code=errno.EPERM)
    assert [link.id for link in places.links] == [1, 2]  # told by the open files
    assert [what for what, _ in places.link_failures] == ["links"]


def test_a_detached_link_is_no_attachment(bench: EngineBench) -> None:
    hook = Hook(bench.calls, map(bench.calls, MapType.SOCKMAP), A.SK_MSG_VERDICT)
    fd = hook.link(program(bench.calls, "r0 = 1; exit", P.SK_MSG))
    with System(bench.doors) as system:
        assert any(isinstance(e, Attachment) and e.link_id == 1 for e in find(Places(system)))
        with system.link(1) as link:
            assert link.info().map_id == 1
            link.detach()
            assert link.info().map_id == 1  # as it was asked before
            link.basic(fresh=True)
            assert link.info().map_id == 0
        assert not [e for e in find(Places(system)) if isinstance(e, Attachment)]
    assert fd


def test_the_calls_of_a_list_are_few(bench: EngineBench) -> None:
    for _ in range(50):
        iterators.over(bench.calls, "bpf_map")
    lines: list[str] = []
    with System(traced(bench.doors, lines.append)) as system:
        assert len(Places(system).links) == 50
    assert len(lines) == 50 * 5 + 1  # next ID, open, info, name, close


def test_missing_is_said_of_the_attachment() -> None:
    bench = EngineBench("6.1")
    many_probes.at_functions(bench.calls, ["vfs_open"])
    with System(bench.doors) as system:
        (found,) = [e for e in find(Places(system)) if isinstance(e, Attachment)]
    assert (found.kind, found.target) == ("kprobe_multi", "kernel functions")
    assert found.missing["target"].startswith(str(Missing(Reason.UNSUPPORTED)))
