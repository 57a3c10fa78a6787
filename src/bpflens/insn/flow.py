"""The flow graph of a program: blocks, edges, subprograms, loops, and what is never reached.

Any instructions have a graph. A jump to nowhere is an entry in `Flow.bad`, no error, since people
look at programs that no kernel would take.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bpflens import limits
from bpflens.insn import opcodes as op
from bpflens.insn.code import Insn, steps


class Edge(NamedTuple):
    """From one block to another, both by their first slot; `at` is the instruction."""

    source: int
    target: int
    kind: str
    """fallthrough, taken, call (a subprogram), callback (its address is taken)"""
    at: int


class Block(NamedTuple):
    """Slots `start` up to but without `end` that run one after the other."""

    start: int
    end: int
    function: int
    reachable: bool


class Loop(NamedTuple):
    """A loop: `body` holds the first slots of its blocks, `header`'s included.

    `natural` is False where the loop can be entered past its header; then `body` is empty, as it is
    where `Flow.cut` says so.
    """

    header: int
    back_edges: tuple[int, ...]
    body: tuple[int, ...]
    natural: bool


class BadJump(NamedTuple):
    """An instruction that leads where nothing can run."""

    at: int
    target: int | None
    why: str


class Flow(NamedTuple):
    """The graph; everything is in the order of slots."""

    blocks: tuple[Block, ...]
    edges: tuple[Edge, ...]
    functions: tuple[int, ...]
    loops: tuple[Loop, ...]
    bad: tuple[BadJump, ...]
    cut: str = ""
    """Why some loops have no body."""

    def block_of(self, slot: int) -> Block:
        """The block that holds a slot; IndexError outside the program."""
        if not self.blocks or not 0 <= slot < self.blocks[-1].end:
            raise IndexError(slot)
        return self.blocks[bisect_right(self.blocks, slot, key=lambda block: block.start) - 1]


class _Way(NamedTuple):
    """Where an instruction can go, before blocks are known."""

    at: int
    target: int
    kind: str


class _Scan(NamedTuple):
    starts: set[int]
    after: dict[int, int]
    ways: list[_Way]
    ends: set[int]
    indirect: list[int]


def call_target(at: int, insn: Insn, entries: Sequence[int] = (), *, xlated: bool) -> int:
    """The slot that a subprogram call goes to.

    A loader leaves the distance in imm. The kernel keeps it in off, cut to 16 bits, and puts the
    number of the subprogram in imm (jit_subprogs() in kernel/bpf/verifier.c), which counts where
    `entries`, the subprograms' first slots, are known. 0 is no such number: the verifier takes no
    recursion, so nothing calls the main program, and to who may not see addresses imm reads 0.
    """
    if not xlated:
        return at + 1 + insn.imm
    if 0 < insn.imm < len(entries):
        return entries[insn.imm]
    return at + 1 + insn.off


def _scan(insns: Sequence[Insn], entries: Sequence[int], xlated: bool) -> _Scan:
    scan = _Scan(set(), {}, [], set(), [])
    for at, insn, wide in steps(insns):
        scan.starts.add(at)
        scan.after[at] = at + (1 if wide is None else 2)
        kind, operation = op.class_of(insn.code), op.op_of(insn.code)
        if wide is not None and insn.src == op.PSEUDO_FUNC:
            scan.ways.append(_Way(at, at + 1 + insn.imm, "callback"))
        if kind not in (op.JMP, op.JMP32):
            continue
        if insn.code in (op.GOTO, op.GOTOL):
            scan.ways.append(
                _Way(at, at + 1 + (insn.imm if kind == op.JMP32 else insn.off), "taken")
            )
            scan.ends.add(at)
        elif insn.code == op.GOTOX:
            scan.indirect.append(at)
            scan.ends.add(at)
        elif operation == op.EXIT:
            scan.ends.add(at)
        elif operation == op.CALL:
            if insn.src == op.PSEUDO_CALL and not insn.code & op.X:
                target = call_target(at, insn, entries, xlated=xlated)
                scan.ways.append(_Way(at, target, "call"))
        elif operation in op.JUMP_SIGNS or insn.code == op.MAY_GOTO:
            scan.ways.append(_Way(at, at + 1 + insn.off, "taken"))
    return scan


def flow(insns: Sequence[Insn], *, entries: Iterable[int] = (), xlated: bool = False) -> Flow:
    """The graph of `insns`.

    `entries` are first slots of functions that are known from elsewhere, as func_info; those that
    calls and callbacks name are found here. `xlated` says that the kernel has rewritten the calls.
    """
    known = sorted(set(entries))
    scan = _scan(insns, known, xlated)
    functions = {0, *known} & scan.starts
    leaders, bad, ways = set(functions), [], []
    for way in scan.ways:
        if way.target not in scan.starts:
            inside = 0 <= way.target < len(insns)
            why = "the middle of an instruction" if inside else "outside the program"
            bad.append(BadJump(way.at, way.target, why))
            continue
        ways.append(way)
        leaders.add(way.target)
        if way.kind == "taken":
            leaders.add(scan.after[way.at])
        else:
            functions.add(way.target)
    leaders |= {scan.after[at] for at in scan.ends}
    bad += [BadJump(at, None, "a jump through a register") for at in scan.indirect]
    firsts = sorted(leaders & scan.starts)
    ends = [*firsts[1:], len(insns)] if firsts else []
    edges = _edges(scan, firsts, ends, ways, bad, len(insns))
    order = tuple(sorted(functions))
    reached = _reach(edges, [0, *known] if firsts else [])
    blocks = tuple(
        Block(start, end, bisect_right(order, start) - 1, start in reached)
        for start, end in zip(firsts, ends, strict=True)
    )
    loops, cut = _loops(edges, order, reached)
    return Flow(blocks, edges, order, loops, tuple(sorted(bad, key=_place)), cut)


def _place(bad: BadJump) -> int:
    return bad.at


def _edges(
    scan: _Scan, firsts: list[int], ends: list[int], ways: list[_Way], bad: list[BadJump], size: int
) -> tuple[Edge, ...]:
    edges = []
    lasts: dict[int, int] = {}
    for start in sorted(scan.starts, reverse=True):
        lasts.setdefault(scan.after[start], start)
    for start, end in zip(firsts, ends, strict=True):
        last = lasts[end]
        if last in scan.ends:
            continue
        if end < size:
            edges.append(Edge(start, end, "fallthrough", last))
        else:
            bad.append(BadJump(last, size, "the program ends without an exit"))
    for way in ways:
        source = firsts[bisect_right(firsts, way.at) - 1]
        edges.append(Edge(source, way.target, way.kind, way.at))
    return tuple(sorted(edges, key=lambda edge: (edge.at, edge.kind, edge.target)))


def _followers(edges: Iterable[Edge], *kinds: str) -> dict[int, list[int]]:
    next_blocks: dict[int, list[int]] = {}
    for edge in edges:
        if not kinds or edge.kind in kinds:
            next_blocks.setdefault(edge.source, []).append(edge.target)
    return next_blocks


def _reach(edges: Iterable[Edge], roots: Iterable[int]) -> set[int]:
    followers = _followers(edges)
    todo = list(roots)
    seen = set(todo)
    while todo:
        for target in followers.get(todo.pop(), ()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def _loops(
    edges: Sequence[Edge], functions: Sequence[int], reached: set[int]
) -> tuple[tuple[Loop, ...], str]:
    """(the loops, why some have no body)."""
    inner = [edge for edge in edges if edge.kind in ("fallthrough", "taken")]
    followers = _followers(inner)
    before: dict[int, list[int]] = {}
    for edge in inner:
        before.setdefault(edge.target, []).append(edge.source)
    loops: dict[tuple[int, bool], list[int]] = {}
    for entry in functions:
        if entry not in reached:
            continue
        order, retreating = _depth_first(followers, entry)
        rank = {block: number for number, block in enumerate(order)}
        parents = _dominators(order, rank, before)
        for source, target in retreating:
            natural = _dominates(target, source, parents, rank)
            loops.setdefault((target, natural), []).append(source)
    budget, cut = limits.LOOP_BLOCKS.value, ""
    found = []
    for (header, natural), sources in sorted(loops.items()):
        body: set[int] = set()
        if natural:
            body = _body(header, sources, before, budget) if budget > 0 else body
            budget -= len(body) or budget
            cut = cut if body else str(limits.LOOP_BLOCKS)
        back = tuple(sorted(set(sources)))
        found.append(Loop(header, back, tuple(sorted(body)), natural))
    return tuple(found), cut


def _depth_first(
    followers: dict[int, list[int]], entry: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Blocks in reverse postorder, and the edges that lead back to a block under way."""
    order: list[int] = []
    retreating = []
    state = {entry: "open"}
    stack = [(entry, iter(followers.get(entry, ())))]
    while stack:
        block, rest = stack[-1]
        for target in rest:
            if target not in state:
                state[target] = "open"
                stack.append((target, iter(followers.get(target, ()))))
                break
            if state[target] == "open":
                retreating.append((block, target))
        else:
            state[block] = "done"
            order.append(block)
            stack.pop()
    return order[::-1], retreating


def _dominators(
    order: list[int], rank: dict[int, int], before: dict[int, list[int]]
) -> dict[int, int]:
    """Each block's immediate dominator (Cooper, Harvey and Kennedy, 2001)."""
    parents = {order[0]: order[0]}
    changed = True
    while changed:
        changed = False
        for block in order[1:]:
            known = [source for source in before.get(block, ()) if source in parents]
            best = known[0]
            for other in known[1:]:
                while best != other:
                    while rank[best] > rank[other]:
                        best = parents[best]
                    while rank[other] > rank[best]:
                        other = parents[other]
            if parents.get(block) != best:
                parents[block] = best
                changed = True
    return parents


def _dominates(upper: int, lower: int, parents: dict[int, int], rank: dict[int, int]) -> bool:
    while rank[lower] > rank[upper]:
        lower = parents[lower]
    return lower == upper


def _body(header: int, sources: list[int], before: dict[int, list[int]], budget: int) -> set[int]:
    body, todo = {header}, list(sources)
    while todo:
        block = todo.pop()
        if block in body:
            continue
        body.add(block)
        if len(body) > budget:
            return set()
        todo += before.get(block, ())
    return body
