"""Every bound in the source is in the table of limits, or here, with the reason why it is none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import bpflens
from bpflens import limits

ROOT = Path(bpflens.__path__[0])
OURS = "the engine follows the kernel's own bounds, and `testing` reads no host of others"
APART = {"engine": OURS, "testing": OURS, "abi": "it is generated from the kernel's headers"}
"""Rooms that are not looked into."""

BOUND = re.compile(
    r"(^|_)(MAX|MOST|MANY|FEW|LIMIT|LIMITS|DEPTH|DEEPEST|LONGEST|LARGEST|TRIES|ATTEMPTS|GROWTHS|"
    r"SECONDS|TIMEOUT|DEADLINE|BUDGET|STEPS|ENOUGH|PARTS|ROOM|CHUNK|PIECE|TURNS|RETRIES|PATIENCE|"
    r"INTERVAL|BYTES|BATCH|NUMBERS)(_|$)"
)
"""What a bound is called."""

KERNEL = "the kernel's own bound: "
SHOWN = "how much a person is shown: "
AGAIN = "what is beyond is read in another way: "
WHOLE = "a piece of what is read to its end: "
ASKED = "a bound of what the caller types: "

NO_LIMITS = {
    "attach/networks.py:_NAMED_MAX": SHOWN + "links that are named in a reason",
    "attach/perf.py:_NAME_MAX": KERNEL + "PATH_MAX",
    "attach/pins.py:_FEW": SHOWN + "paths that are named for one reason",
    "btf/cache.py:_LARGEST": AGAIN + "a longer index is made anew",
    "btf/edit.py:MAX_PATH": ASKED + "steps of a path to a field",
    "btf/ext.py:MAX_ACCESS": "a fact of the format: BPF_CORE_SPEC_MAX_LEN of libbpf",
    "btf/parse.py:MAX_TYPES": KERNEL + "BTF_MAX_TYPE",
    "btf/render.py:MAX_BITS": "a fact of the format: the widest bit field",
    "btf/specialfields.py:MAX_DEPTH": KERNEL + "MAX_RESOLVE_DEPTH",
    "btf/specialfields.py:MOST": KERNEL + "BTF_FIELDS_MAX",
    "btf/value.py:MAX_LISTED": SHOWN + "elements of an array as text; how many are left is said",
    "cli/dump.py:SECONDS": "graphviz is ended, and the command fails: nothing of ours is read",
    "cli/typefile.py:_PIECE": WHOLE + "a file",
    "cli/output.py:_FEW": SHOWN + "lines on stderr for one reason",
    "cli/progress.py:INTERVAL": SHOWN + "how often a line is renewed",
    "cli/progress.py:PATIENCE": SHOWN + "when a line is shown",
    "cli/record.py:MOST": ASKED + "the default of --elements; what is left out is said",
    "cli/removal.py:MOST": SHOWN + "holders in a line; how many are left is said",
    "insn/asm.py:LIMIT": KERNEL + "BPF_COMPLEXITY_LIMIT_INSNS",
    "insn/facts.py:MOST_NUMBERS": "how exact the analysis is: beyond, it says nothing",
    "insn/opcodes.py:STACK_LIMIT": KERNEL + "MAX_BPF_STACK",
    "insn/prototype.py:DEEPEST": "bpftool's own bound, whose text this is",
    "insn/prototype.py:LONGEST": "bpftool's own bound, whose text this is",
    "linux/bulk.py:_PARTS": AGAIN + "by a call for each cgroup",
    "linux/cgrouprows.py:MOST": KERNEL + "BPF_CGROUP_MAX_PROGS",
    "linux/host.py:_CHUNK": WHOLE + "a file",
    "linux/iterators.py:_PIECE": WHOLE + "an iterator's file",
    "linux/kept.py:_LARGEST": AGAIN + "the instructions are made anew",
    "linux/kept.py:_MOST": AGAIN + "the instructions are made anew",
    "linux/netlink.py:_ROOM": KERNEL + "an answer has at most 32 KiB (netlink_recvmsg())",
    "linux/progrows.py:MAX_FUNCS": AGAIN + "by plain calls",
    "linux/progrows.py:MAX_MAPS": AGAIN + "by plain calls",
    "model/elements.py:BATCH_BYTES": WHOLE + "a map",
    "model/link.py:_MOST": KERNEL + "MAX_KPROBE_MULTI_CNT, MAX_UPROBE_MULTI_CNT",
    "model/link.py:_ROOM": KERNEL + "PATH_MAX",
    "model/program.py:NAME_MAX": KERNEL + "BPF_OBJ_NAME_LEN",
    "model/reader.py:MAX_DEPTH": AGAIN + "by btf.render, which has limits",
    "model/reader.py:MAX_PARTS": AGAIN + "by btf.render, which has limits",
    "model/system.py:ID_MAX": KERNEL + "INT_MAX of idr_alloc_cyclic()",
    "model/system.py:_MOST_AT_REST": AGAIN + "other prog_arrays are opened anew",
    "port/calls.py:_INFO_ROOM": KERNEL + "an info is 232 bytes at most, and says how long it is",
    "port/cassette.py:STRUCT_MAX": "which buffers may hold addresses: no read ends there",
    "port/recording.py:MAX_HEAD": "a fact of the format: a longer first line is no head",
    "port/recording.py:_MAX_ERRNO": KERNEL + "MAX_ERRNO",
    "privatefile.py:READER_SECONDS": "a FIFO that no process reads is refused: nothing is read",
    "privatefile.py:_LONGEST": "bytes of a name that stand in that of an unfinished file",
    "privatefile.py:_PIECE": WHOLE + "a file",
    "present/documents.py:BATCH": WHOLE + "a list of items",
    "present/graph.py:MOST": SHOWN + "chains; how many are left is said",
    "present/parts.py:MOST_SPREAD": SHOWN + "columns of a table",
    "present/query.py:MAX_LENGTH": ASKED + "characters of a condition",
    "present/table.py:ENOUGH": SHOWN + "the width of a column",
    "present/text.py:FEW": SHOWN + "items of a list",
    "snapshot/access.py:_FEW": SHOWN + "findings of one check; how many are left is said",
    "snapshot/match.py:ENOUGH": "what counts as the same program, which docs tell",
    "snapshot/orphans.py:MANY": ASKED + "the default of --many",
    "snapshot/overview.py:LARGEST": SHOWN + "the largest maps",
    "snapshot/overview.py:MANY": SHOWN + "copies that are worth a word",
}
"""Constants that are named like a bound, and why each is no limit."""

LITERALS = {
    "cli/elements.py:most=1 << 20": SHOWN + "columns of a sheet: all that a value can have",
    "cli/output.py:islice(lines, 1024)": WHOLE + "lines",
    "insn/build.py:range(11)": "a fact of the format: registers",
    "insn/facts.py:range(6)": "a fact of the format: registers",
    "insn/opcodes.py:range(8)": "a fact of the format: classes",
    "present/table.py:islice(rows, 1000)": SHOWN + "rows by which the width is chosen",
}
"""Numbers in the text of a function that end a loop, or that are a default."""

TREES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0] not in APART and path.name != "limits.py"
}


def number(node: ast.expr | None) -> int | float | None:
    """The value of an expression of numbers alone; None for anything else."""
    if node is None or not all(
        isinstance(each, (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop))
        for each in ast.walk(node)
    ):
        return None
    found = eval(compile(ast.Expression(node), "", "eval"), {})
    return found if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr | None]]:
    """The names that a module, or a class in it, gives to values."""
    bodies = [tree.body, *(each.body for each in tree.body if isinstance(each, ast.ClassDef))]
    for body in bodies:
        for each in body:
            if isinstance(each, ast.Assign):
                for target in each.targets:
                    if isinstance(target, ast.Name):
                        yield target.id, each.value
            elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                yield each.target.id, each.value


def _counts(value: ast.expr | None) -> bool:
    """Whether it is a number, or made with one."""
    made = isinstance(value, (ast.Constant, ast.BinOp, ast.UnaryOp, ast.Call))
    return made and any(
        number(each) is not None
        for each in ast.walk(value or ast.Pass())
        if isinstance(each, ast.Constant)
    )


def bounds(trees: dict[str, ast.Module]) -> set[str]:
    return {
        f"{path}:{name}"
        for path, tree in trees.items()
        for name, value in constants(tree)
        if name.upper() == name and BOUND.search(name) and _counts(value)
    }


def literals(trees: dict[str, ast.Module]) -> Iterator[str]:
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("range", "islice")
            ):
                counts = [number(each) for each in node.args]
                steps = node.func.id == "range" and len(counts) == 3
                if not steps and any(each is not None and each > 3 for each in counts):
                    yield f"{path}:{ast.unparse(node)}"
            elif isinstance(node, ast.arguments):
                named = [*node.posonlyargs, *node.args][-len(node.defaults) :] + node.kwonlyargs
                for arg, default in zip(named, [*node.defaults, *node.kw_defaults], strict=False):
                    if (number(default) or 0) > 64:
                        yield f"{path}:{arg.arg}={ast.unparse(default or arg)}"
            elif (
                isinstance(node, ast.keyword)
                and node.arg in ("timeout", "seconds")
                and number(node.value) is not None
            ):
                yield f"{path}:{node.arg}={ast.unparse(node.value)}"


def test_a_bound_is_in_the_table_or_has_a_reason() -> None:
    assert bounds(TREES) == set(NO_LIMITS)


def test_a_number_that_ends_a_loop_has_a_reason() -> None:
    assert set(literals(TREES)) == set(LITERALS)


@pytest.mark.parametrize(
    "source",
    ["MAX_PINS = 100_000", "_SECONDS = 2.0", "_TRIES: int = 5", "class A:\n    LIMIT = 1 << 4"],
)
def test_a_new_bound_would_be_found(source: str) -> None:
    assert len(bounds({"attach/new.py": ast.parse(source)})) == 1


@pytest.mark.parametrize(
    "source",
    ["for _ in range(100): pass", "run(timeout=5)", "def f(most=1000): pass", "islice(a, 9)"],
)
def test_a_new_number_would_be_found(source: str) -> None:
    assert len(set(literals({"attach/new.py": ast.parse(source)}))) == 1


def test_every_limit_says_what_it_bounds_and_what_is_said() -> None:
    assert len(limits.TABLE) > 30
    for name, limit in limits.TABLE.items():
        assert name == name.upper()
        assert limit.value > 0
        assert limit.bounds
        assert str(limit.value) in str(limit), name


def test_no_limit_is_copied() -> None:
    """Who reads one reads its value where it holds: never at the top of a module."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("limits"):
                pytest.fail(f"{path}: {ast.unparse(node)}: import the module")
        at_import = [value for _, value in constants(tree) if value is not None]
        for node in ast.walk(tree):
            if isinstance(node, ast.arguments):
                at_import += [each for each in (*node.defaults, *node.kw_defaults) if each]
        for value in at_import:
            names = {each.id for each in ast.walk(value) if isinstance(each, ast.Name)}
            assert "limits" not in names, f"{path}: {ast.unparse(value)}"


USED = {
    name
    for path in TREES
    for name in re.findall(r"\blimits\.([A-Z_]+)\b", (ROOT / path).read_text())
}


@pytest.mark.parametrize("name", limits.TABLE)
def test_every_limit_holds_somewhere(name: str) -> None:
    assert name in USED
