"""Links of the live kernel are detached and unpinned, and it is said who holds what is left."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable

import pytest

from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import MapType
from bpflens.abi.enums import ProgType as P
from bpflens.attach.everything import find
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment
from bpflens.model.system import System
from bpflens.testing.attachments import links
from bpflens.testing.attachments.suite import Expected
from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.builders import map, program
from bpflens.testing.conformance import tables
from bpflens.testing.conformance.cgroups import skb
from bpflens.testing.conformance.devices import xdp_link
from bpflens.testing.conformance.namespaces import filter_link, netns_link
from bpflens.testing.hooks import Hook, link_id
from tests.kernel.conftest import Ran

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def attached(bench: Bench, id: int) -> bool:
    """Whether a link is found among what is attached."""
    with System(bench.doors) as system:
        found = [each for each in find(Places(system)) if isinstance(each, Attachment)]
    return any(each.link_id == id for each in found)


MAKERS: dict[str, Callable[[Bench], int]] = {
    "xdp": lambda b: xdp_link(b, b.device(), program(b.calls, type=P.XDP)),
    "tcx": lambda b: Hook(b.calls, b.device(), A.TCX_INGRESS).link(
        program(b.calls, type=P.SCHED_CLS)
    ),
    "cgroup": lambda b: Hook(b.calls, b.cgroup().fd, A.CGROUP_INET_EGRESS).link(skb(b.calls)),
    "netns": lambda b: netns_link(b, program(b.calls, type=P.FLOW_DISSECTOR), A.FLOW_DISSECTOR),
    "sockmap": lambda b: Hook(b.calls, map(b.calls, MapType.SOCKMAP), A.SK_MSG_VERDICT).link(
        program(b.calls, "r0 = 1; exit", P.SK_MSG)
    ),
    "netfilter": filter_link,
    "struct_ops": lambda b: tables.register(
        b.calls, tables.ready(b.calls, tables.control(b.calls, b"detached"))
    ),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_link_is_detached_and_stays(bench: Bench, run: Callable[..., Ran], kind: str) -> None:
    fd = MAKERS[kind](bench)
    id = link_id(bench.calls, fd)
    assert attached(bench, id)
    dry = run("link", "detach", str(id), "--dry-run")
    assert dry.status == 0, dry.stderr
    # The command runs in a fork of this process, which holds what this one does: either is first.
    assert re.search(rf"while it is held by .*\bpid {os.getpid()} \(", dry.stdout)
    assert f"fd {fd}" in dry.stdout
    assert attached(bench, id)
    done = run("link", "detach", str(id), "--yes", "--json")
    assert done.status == 0, done.stderr
    assert json.loads(done.stdout)["done"] is True
    assert link_id(bench.calls, fd) == id
    if kind != "netfilter":  # its info stays as it was
        assert not attached(bench, id)
        (item,) = json.loads(run("link", "show", str(id), "--json").stdout)["items"]
        assert (item["kind"], item["target"]) == (None, None)


@pytest.mark.parametrize(
    "make", [links.raw_tracepoint, links.perf_event, links.uprobe_multi, links.iterator_elements]
)
def test_a_link_without_a_detach_says_who_holds_it(
    bench: Bench, run: Callable[..., Ran], make: Callable[[Bench], Expected]
) -> None:
    try:
        id = make(bench).link_id
    except NotOffered as reason:
        pytest.xfail(str(reason))
    for option in ("--yes", "--dry-run"):
        done = run("link", "detach", str(id), option)
        assert done.status == 5
        assert "cannot be detached" in done.stderr
        assert re.search(rf"held by .*\bpid {os.getpid()} \(", done.stderr)


def test_what_only_its_pin_keeps_goes_with_it(bench: Bench, run: Callable[..., Ran]) -> None:
    path = f"{bench.bpffs()}/only"
    fd = bench.calls.raw_tracepoint_open(
        program(bench.calls, type=P.RAW_TRACEPOINT), "sched_process_exec"
    )
    id = link_id(bench.calls, fd)
    bench.calls.obj_pin(fd, path)
    bench.calls.close(fd)
    dry = run("unpin", path, "--dry-run")
    assert f"raw_tracepoint link {id}" in dry.stdout
    # The rest of the machine may have processes that hide what they hold.
    assert "nothing else holds the link" in dry.stdout or "nothing that can be seen" in dry.stdout
    assert run("link", "show", f"pin:{path}").status == 0
    assert run("unpin", path, "--yes").status == 0
    assert run("link", "show", str(id)).status == 3
    assert not os.path.exists(path)
