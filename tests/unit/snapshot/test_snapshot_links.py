"""Links as records: names beside numbers, on the engine."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from bpflens.abi.attrs import ProgLoad
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import MapType
from bpflens.abi.enums import ProgType as P
from bpflens.model.system import System
from bpflens.port.doors import HostPort
from bpflens.present.documents import encode, item_of
from bpflens.present.links import LINKS
from bpflens.snapshot.links import LinkLook, LinkRecord
from bpflens.snapshot.relations import Relations
from bpflens.testing.bench import TRACEPOINT
from bpflens.testing.builders import RETURN_0, code, load, map, program, u32
from bpflens.testing.conformance import functions, iterators, many_probes, probes, tables
from bpflens.testing.conformance.cgroups import skb
from bpflens.testing.conformance.devices import xdp_link
from bpflens.testing.conformance.namespaces import dissector, netns_link
from bpflens.testing.hooks import Hook, id_of
from bpflens.testing.kernel_types import function_id, traced_program
from bpflens.testing.on_engine import EngineBench


def records(bench: EngineBench) -> list[LinkRecord]:
    with System(bench.doors) as system:
        look = LinkLook(system)
        found = list(look.links())
    assert look.errors == []
    return found


def record(bench: EngineBench) -> LinkRecord:
    (found,) = records(bench)
    return found


@pytest.fixture
def bench() -> EngineBench:
    return EngineBench()


def test_every_function_of_many_is_named(bench: EngineBench) -> None:
    many_probes.at_functions(bench.calls, ["vfs_open", "vfs_unlink"], [7, 9])
    found = record(bench)
    assert (found.target, found.probe_count) == ("2 functions", 2)
    assert sorted(found.functions or ()) == ["vfs_open", "vfs_unlink"]
    told = json.loads(encode(item_of(LINKS.columns)(found)))
    assert (told["functions"], told["cookies"]) == (found.functions, found.cookies)
    assert "path" not in told


WAYS: dict[str, tuple[Callable[[EngineBench], object], dict[str, Any]]] = {
    "fexit": (
        lambda b: functions.open_(b.calls, traced_program(b.calls, "vfs_unlink", A.TRACE_FEXIT), 3),
        {"kind": "tracing", "target": "vfs_unlink", "attach_type": "trace_fexit", "cookie": 3},
    ),
    "lsm": (
        lambda b: functions.open_(
            b.calls, traced_program(b.calls, "bpf_lsm_file_open", A.LSM_MAC)
        ),
        {"kind": "lsm", "target": "file_open", "attach_type": "lsm_mac", "cookie": 0},
    ),
    "freplace": (
        lambda b: functions.open_(
            b.calls, functions.extension(b.calls, *functions.target(b.calls))
        ),
        {"kind": "freplace", "target": "program 1 main", "attach_type": None, "prog_type": "ext"},
    ),
    "iterator": (
        lambda b: iterators.over(b.calls, "cgroup", u32(4, b.cgroup().fd)),
        {"kind": "iter", "target": "cgroup /bench0 ancestors_up", "order": "ancestors_up"},
    ),
    "uprobe": (
        lambda b: probes.at_event(b, b.probe("uprobe", b.executable(), 64, back=True), 5),
        {"kind": "uprobe", "target": "/usr/bin/bench+0x40", "attach_type": "uretprobe",
         "perf_event_type": "uretprobe", "file_name": "/usr/bin/bench", "offset": 64},
    ),
    "struct_ops": (
        lambda b: tables.register(b.calls, tables.ready(b.calls, tables.control(b.calls))),
        {"kind": "struct_ops", "target": "tcp_congestion_ops", "prog_id": None, "prog_name": None},
    ),
    "sockmap": (
        lambda b: Hook(b.calls, map(b.calls, MapType.SOCKMAP), A.SK_MSG_VERDICT).link(
            program(b.calls, "r0 = 1; exit", P.SK_MSG, name="verdict")
        ),
        {"kind": "sockmap", "target": "map 1", "map_id": 1, "prog_name": "verdict"},
    ),
    "tcx": (
        lambda b: Hook(b.calls, b.device(), A.TCX_EGRESS).link(
            program(b.calls, type=P.SCHED_CLS)
        ),
        {"kind": "tcx", "target": "bench1", "attach_type": "tcx_egress"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WAYS)
def test_a_record_has_names_and_numbers(bench: EngineBench, kind: str) -> None:
    make, expected = WAYS[kind]
    make(bench)
    found = record(bench)
    assert {field: getattr(found, field) for field in expected} == expected
    assert found.missing == {}


def test_a_program_that_is_traced_is_told_from_a_function_of_the_kernel(
    bench: EngineBench,
) -> None:
    """A link tells of both by a number alone: the ID of a program, or of a BTF object."""
    calls = bench.calls
    prog, id = functions.target(calls)
    attr = ProgLoad(
        prog_type=P.TRACING, expected_attach_type=A.TRACE_FENTRY, attach_btf_id=id,
        attach_prog_fd=prog,
    )  # fmt: skip
    functions.open_(calls, load(calls, attr, code(RETURN_0)))
    assert (record(bench).target_obj_id, id_of(calls, prog)) == (1, 1)
    assert record(bench).target == "program 1 main"
    functions.open_(calls, traced_program(calls, "vfs_open", A.TRACE_FENTRY))
    other = records(bench)[1]
    assert (other.target_obj_id, other.target) == (1, "vfs_open")
    assert other.target_btf_id == function_id(calls, "vfs_open")


def test_where_a_link_does_not_tell_its_event_the_fd_of_the_event_does() -> None:
    bench = EngineBench("6.1")
    event = bench.tracepoint("sched", TRACEPOINT)
    probes.at_event(bench, event, type=P.TRACEPOINT)
    assert (record(bench).kind, record(bench).target) == ("tracepoint", TRACEPOINT)
    bench.calls.close(event)
    found = record(bench)
    assert (found.kind, found.target) == ("tracepoint", None)
    assert found.missing["target"].startswith("unsupported: ")


def test_a_program_that_cannot_be_opened_leaves_the_link_in_the_list(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bpflens.errors import Denied

    probes.at_event(bench, bench.tracepoint("sched", TRACEPOINT), type=P.TRACEPOINT)

    def refuse(system: System, id: int) -> None:
        raise Denied("no", "CAP_SYS_ADMIN")

    monkeypatch.setattr(System, "program", refuse)
    found = record(bench)
    assert (found.prog_id, found.prog_name, found.target) == (1, None, TRACEPOINT)
    assert found.missing["prog_name"] == "restricted: no (needs CAP_SYS_ADMIN)"


def test_a_link_that_was_detached_still_says_to_which_hook(bench: EngineBench) -> None:
    link = Hook(bench.calls, bench.cgroup().fd, A.CGROUP_INET_INGRESS).link(skb(bench.calls))
    bench.calls.link_detach(link)
    found = record(bench)
    assert (found.kind, found.attach_type) == (None, "cgroup_inet_ingress")


class NoProc:
    """A host on which procfs is not mounted."""

    def __init__(self, host: HostPort) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._host, name)

        def ask(*arguments: Any) -> Any:
            if arguments and str(arguments[0]).startswith("/proc/"):
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", arguments[0])
            return asked(*arguments)

        return ask


def test_without_proc_links_are_told_with_what_is_missing(bench: EngineBench) -> None:
    xdp_link(bench, bench.device(), program(bench.calls, "r0 = 2; exit", P.XDP))
    netns_link(bench, dissector(bench.calls), A.FLOW_DISSECTOR)
    doors = bench.doors._replace(host=cast(HostPort, NoProc(bench.doors.host)))
    with System(doors) as system:
        look = LinkLook(system)
        assert [found.type for found in look.links()] == ["xdp", "netns"]
        assert "/proc/self/ns/net" in [error.path for error in look.errors]
        assert {"link:1", "link:2"} <= set(Relations(system).graph.nodes)
