"""The flow graph, and its printers."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflens import limits
from bpflens.insn import Insn, decode
from bpflens.insn import opcodes as op
from bpflens.insn.asm import assemble_insns
from bpflens.insn.flow import BadJump, Block, Edge, Loop, call_target, flow
from bpflens.insn.graph import as_data, as_dot, as_text

LOOPS = assemble_insns("""
          r1 = 5
    top:  if r1 == 0 goto out
          r1 -= 1
    deep: r2 -= 1
          if r2 != 0 goto deep
          goto top
          r9 = 1
    out:  call sub
          r1 = func each
          exit
    sub:  r0 = 1
          exit
    each: r0 = 0
          exit
""")


def test_blocks_and_edges() -> None:
    graph = flow(assemble_insns("if r1 == 0 goto out\nr0 = 1\nout: exit"))
    assert graph.blocks == (Block(0, 1, 0, True), Block(1, 2, 0, True), Block(2, 3, 0, True))
    assert graph.edges == (
        Edge(0, 1, "fallthrough", 0),
        Edge(0, 2, "taken", 0),
        Edge(1, 2, "fallthrough", 1),
    )
    assert not graph.loops
    assert not graph.bad


def test_functions_loops_and_what_is_never_reached() -> None:
    graph = flow(LOOPS)
    assert graph.functions == (0, 11, 13)
    assert [(edge.at, edge.target) for edge in graph.edges if edge.kind == "call"] == [(7, 11)]
    assert [(edge.at, edge.target) for edge in graph.edges if edge.kind == "callback"] == [(8, 13)]
    assert graph.loops == (Loop(1, (5,), (1, 2, 3, 5), True), Loop(3, (3,), (3,), True))
    assert [block.start for block in graph.blocks if not block.reachable] == [6]
    assert graph.bad == ()
    assert graph.block_of(8) == Block(7, 11, 0, True)
    for slot in (-1, 15):
        with pytest.raises(IndexError):
            graph.block_of(slot)


def test_a_loop_with_two_ways_in_is_not_natural() -> None:
    graph = flow(
        assemble_insns("""
           if r1 == 0 goto b
        a: r1 += 1
        b: r1 += 2
           if r1 != 9 goto a
           exit
    """)
    )
    assert graph.loops == (Loop(1, (2,), (), False),) or graph.loops == (Loop(2, (1,), (), False),)


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("goto pc+9\nexit", BadJump(0, 10, "outside the program")),
        ("goto pc-9\nexit", BadJump(0, -8, "outside the program")),
        ("goto pc+1\nr1 = 5 ll\nexit", BadJump(0, 2, "the middle of an instruction")),
        ("r0 = 1", BadJump(0, 1, "the program ends without an exit")),
        ("call pc+70000\nexit", BadJump(0, 70001, "outside the program")),
        ("gotox r1", BadJump(0, None, "a jump through a register")),
    ],
)
def test_bad_jumps_are_data(text: str, bad: BadJump) -> None:
    assert flow(assemble_insns(text)).bad == (bad,)


def test_calls_of_a_dump() -> None:
    # Loaded: the distance in imm. Dumped: in off, and in imm the subprogram's number.
    loaded = assemble_insns("call pc+1\nexit\nr0 = 1\nexit")
    dumped = [loaded[0]._replace(off=1, imm=1), *loaded[1:]]
    for graph in (
        flow(loaded),
        flow(dumped, xlated=True),
        flow([dumped[0]._replace(off=99), *dumped[1:]], xlated=True, entries=[0, 2]),
    ):
        assert [edge.target for edge in graph.edges if edge.kind == "call"] == [2]
        assert graph.functions == (0, 2)


def test_functions_that_nothing_reaches_have_no_loops() -> None:
    insns = assemble_insns("exit\nr1 = func f\nf: goto f")
    assert flow(insns).loops == ()
    assert flow(insns, entries=[3]).loops == (Loop(3, (3,), (3,), True),)


def test_bodies_of_loops_are_told_up_to_a_limit() -> None:
    heads = "".join(f"a{n}: r1 += 1\n" for n in range(1000))
    tails = "".join(f"if r1 == {n} goto a{n}\n" for n in reversed(range(1000)))
    graph = flow(assemble_insns(heads + tails + "exit"))
    loops = graph.loops
    assert graph.cut == str(limits.LOOP_BLOCKS)
    assert len(loops) == 1000
    assert all(loop.natural for loop in loops)
    assert 0 < sum(len(loop.body) for loop in loops) <= limits.LOOP_BLOCKS.value
    assert not loops[-1].body


def test_nothing_has_an_empty_graph() -> None:
    graph = flow([])
    assert not any(graph)
    assert list(as_text(graph)) == []
    with pytest.raises(IndexError):
        graph.block_of(0)


def test_text() -> None:
    assert list(as_text(flow(LOOPS), body=lambda block: [f"<{block.start}>"]))[:5] == [
        "function at 0:",
        "  0-0 -> fallthrough 1",
        "    <0>",
        "  1-1 (loop header) -> fallthrough 2, taken 7",
        "    <1>",
    ]
    tail = list(as_text(flow(LOOPS), name=lambda entry: f"f{entry}"))[-4:]
    assert tail == [
        "f13:",
        "  13-14 -> end",
        "loop at 1, back from 5: blocks 1, 2, 3, 5",
        "loop at 3, back from 3: blocks 3",
    ]
    assert list(as_text(flow(assemble_insns("goto pc+9"))))[-1] == "at 0: outside the program (10)"


def test_data_is_json() -> None:
    data = json.loads(json.dumps(as_data(flow(LOOPS))))
    assert data["functions"] == [0, 11, 13]
    assert data["edges"][0] == {"source": 0, "target": 1, "kind": "fallthrough", "at": 0}


def test_names_cannot_break_out_of_dot() -> None:
    dot = "\n".join(as_dot(flow(LOOPS), name=lambda entry: 'x"];\n\x1b\\', body=lambda _: ['"\\l']))
    assert 'label="x\\"];??\\\\";' in dot
    assert '[label="\\"\\\\l\\l"]' in dot


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs graphviz")
def test_graphviz_takes_our_dot() -> None:
    dot = "\n".join(as_dot(flow(LOOPS), name=lambda entry: 'a "b" \\'))
    subprocess.run(["dot", "-Tsvg"], input=dot, text=True, capture_output=True, check=True)


programs = st.integers(0, 60).flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n))


@given(programs, st.booleans())
def test_any_instructions_have_a_graph(data: bytes, xlated: bool) -> None:
    insns = decode(data)
    graph = flow(insns, xlated=xlated)
    assert [slot for block in graph.blocks for slot in range(block.start, block.end)] == list(
        range(len(insns))
    )
    starts = {block.start for block in graph.blocks}
    assert all({edge.source, edge.target} <= starts for edge in graph.edges)
    assert list(as_text(graph)) or not insns
    assert list(as_dot(graph))
    json.dumps(as_data(graph))


def test_a_call_whose_number_the_kernel_hides_goes_by_its_distance() -> None:
    call = Insn(op.HELPER_CALL, src=op.PSEUDO_CALL, off=4)
    assert call_target(1, call, [0, 6], xlated=True) == 6
    assert call_target(1, call._replace(imm=1, off=99), [0, 6], xlated=True) == 6


def test_many_calls_of_one_function_are_one_line() -> None:
    graph = flow(assemble_insns("call sub\ncall sub\nexit\nsub: exit"))
    assert [line for line in as_dot(graph) if "->" in line] == ['  b0 -> b3 [style="dashed"];']
    assert "  0-2 -> call 3" in [*as_text(graph)]
    assert len(as_data(graph)["edges"]) == 2
