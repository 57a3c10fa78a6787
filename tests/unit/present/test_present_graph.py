"""The object graph in words."""

from __future__ import annotations

import pytest

from bpflens.model.system import System
from bpflens.present.graph import chain
from bpflens.snapshot.graph import Indexed
from bpflens.snapshot.relations import Relations
from bpflens.snapshot.why import why
from bpflens.testing.attachments import links, slots
from bpflens.testing.attachments.suite import Attach
from bpflens.testing.on_engine import EngineBench


@pytest.mark.parametrize(
    ("attach", "key", "words"),
    [
        (links.freplace, "prog:1", "link 1 replaces main of -> program 1"),
        (links.freplace, "prog:2", "link 1 (program 1 main) runs -> program 2"),
        (
            slots.struct_ops,
            "prog:1",
            "struct_ops tcp_congestion_ops runs -> map 1 has -> program 1",
        ),
        (slots.struct_ops_link, "map:1", "link 1 attached to -> map 1"),
    ],
)
def test_what_a_link_is_at_is_said_once(attach: Attach, key: str, words: str) -> None:
    bench = EngineBench()
    attach(bench)
    with System(bench.engine.task().doors()) as system:
        graph = Indexed(Relations(system).graph)
    told = [chain(graph, edges) for edges in why(graph, key).chains]
    assert any(each.endswith(words) for each in told), told
