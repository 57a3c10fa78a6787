"""Since which Linux there is what: each name has a version."""

from __future__ import annotations

import re

import pytest

from bpflens.abi import since
from bpflens.abi.enums import AttachType, LinkType, MapType, ProgType
from bpflens.attach.kinds import KINDS


@pytest.mark.parametrize(
    ("told", "count"),
    [
        (since.prog_types(), len(ProgType) - 1),
        (since.map_types(), len(MapType) - 1),
        (since.link_types(), len(LinkType) - 1),
        (since.attach_types(), len(AttachType)),
    ],
)
def test_every_name_has_a_version(told: dict[str, str], count: int) -> None:
    assert len(told) == count
    assert all(re.fullmatch(r"\d+\.\d+", version) for version in told.values())


def test_kinds_of_links_are_as_old_as_links_or_their_hooks() -> None:
    links = since.link_types()
    kinds = {kind.name: kind.since for kind in KINDS}
    for name in ("kprobe_multi", "uprobe_multi", "tcx", "netkit", "netfilter", "tracing_multi"):
        assert kinds[name] == links[name], name


def test_what_is_new_in_7_2() -> None:
    assert since.map_types()["insn_array"] == "6.19"
    assert since.map_types()["rhash"] == "7.2"
    assert since.link_types()["tracing_multi"] == "7.2"
    assert since.attach_types()["trace_fsession"] == "7.0"
    assert [name for name, version in since.attach_types().items() if version == "7.2"] == [
        "trace_fentry_multi", "trace_fexit_multi", "trace_fsession_multi",
    ]  # fmt: skip
