"""`--where` and `--sort`: choosing among records by their columns.

A condition is written as in Python: `type == "xdp" and run_cnt > 1000`, `"lb" in name`,
`12 in map_ids`, `pinned`, `btf_id == null`. Only names of columns, constants, comparisons, `in`,
and/or/not and arithmetic are known. A value that is missing equals only null; it is neither less
nor more than anything, nor in anything. Text is given by its bytes, or as documents show it: with
U+FFFD for bytes that are not UTF-8.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable
from typing import Any

from bpflens.errors import UsageError
from bpflens.present.columns import Noun
from bpflens.rawtext import REPLACEMENT, shown

Test = Callable[[Any], Any]

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
}
_NULLS = {"null", "None"}
_CONSTANTS = {"true": True, "false": False}
MAX_LENGTH = 2000


def where(noun: Noun, text: str) -> tuple[Test, set[str]]:
    """(the test that a condition describes, the columns it names). Raises UsageError."""
    if len(text) > MAX_LENGTH:
        raise UsageError(f"--where is longer than {MAX_LENGTH} characters")
    try:
        # Bytes that are no UTF-8, as in a file's name: Python's parser takes them only spelled out.
        spelled = text.strip().encode(errors="backslashreplace").decode()
        tree = ast.parse(spelled, mode="eval")
        names: set[str] = set()
        test = _compile(noun, tree.body, names)
    except (SyntaxError, RecursionError, ValueError, MemoryError) as error:
        raise UsageError(f"--where {text!r} is no condition: {error}") from error
    return test, names


def _compile(noun: Noun, node: ast.expr, names: set[str]) -> Test:
    """The function of a record that a part of a condition stands for."""
    match node:
        case ast.Constant(value=str() | int() | float() | bool() | None as value):
            return lambda record: value
        case ast.Name(id=name):
            return _name(noun, name, names)
        case ast.Attribute() | ast.Subscript():
            return _name(noun, _path(node), names)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            items = [_compile(noun, part, names) for part in parts]
            return lambda record: [item(record) for item in items]
        case ast.BoolOp(op=op, values=parts):
            tests = [_compile(noun, part, names) for part in parts]
            if isinstance(op, ast.And):
                return lambda record: all(test(record) for test in tests)
            return lambda record: any(test(record) for test in tests)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            test = _compile(noun, inner, names)
            return lambda record: not test(record)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            test = _compile(noun, inner, names)
            return lambda record: _apply(operator.sub, 0, test(record))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            a, b = _compile(noun, left, names), _compile(noun, right, names)
            apply = _ARITHMETIC[type(op)]
            return lambda record: _apply(apply, a(record), b(record))
        case ast.Compare(left=first, ops=ops, comparators=others):
            if all(type(op) in _COMPARE for op in ops):
                operands = [_compile(noun, part, names) for part in (first, *others)]
                if any(map(_is_shown, ast.walk(node))):
                    operands = [_as_shown(operand) for operand in operands]
                return _comparison([_COMPARE[type(op)] for op in ops], operands)
    raise UsageError(
        f"--where knows columns, constants, comparisons, in, and/or/not, + - * / % &, "
        f"but not {ast.unparse(node)!r}"
    )


def _name(noun: Noun, name: str, names: set[str]) -> Test:
    if name in _NULLS:
        return lambda record: None
    if name in _CONSTANTS:
        constant = _CONSTANTS[name]
        return lambda record: constant
    column = noun.column(name)
    names.add(name)
    return column.getter


def _path(node: ast.expr) -> str:
    """A path to a part of a column: `value.packets`, `value.slots[3]`, `value["in"].bytes`."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=name):
            return f"{_path(inner)}.{name}"
        case ast.Subscript(value=inner, slice=ast.Constant(value=int() as index)):
            return f"{_path(inner)}[{index}]"
        case ast.Subscript(value=inner, slice=ast.Constant(value=str() as name)):
            return f"{_path(inner)}.{name}"
    raise UsageError(f"--where {ast.unparse(node)!r} names no part of a column")


def _is_shown(node: ast.AST) -> bool:
    """Whether it is a text as documents show it, which may stand for several."""
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and REPLACEMENT in text


def _as_shown(operand: Test) -> Test:
    def value(part: Any) -> Any:
        if isinstance(part, str):
            return shown(part)
        return [value(item) for item in part] if isinstance(part, list) else part

    return lambda record: value(operand(record))


def _comparison(compare: list[Callable[[Any, Any], Any]], operands: list[Test]) -> Test:
    def test(record: Any) -> bool:
        values = [operand(record) for operand in operands]
        pairs = zip(compare, values, values[1:], strict=False)
        return all(_compared(op, a, b) for op, a, b in pairs)

    return test


def _compared(op: Callable[[Any, Any], Any], a: Any, b: Any) -> bool:
    """One comparison; null equals null, and else is neither smaller, larger nor contained."""
    if (a is None or b is None) and op not in (operator.eq, operator.ne):
        return False
    try:
        return bool(op(a, b))
    except TypeError as error:
        raise UsageError(f"--where compares {a!r} with {b!r}: {error}") from error


def _apply(op: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    if a is None or b is None:
        return None
    if not all(isinstance(value, int | float) for value in (a, b)):
        raise UsageError(f"--where calculates with {a!r} and {b!r}: only numbers can be")
    try:
        return op(a, b)
    except (ArithmeticError, TypeError):
        return None


def sort(noun: Noun, records: Iterable[Any], keys: str) -> list[Any]:
    """The records by `keys`: columns separated by commas, `-` before one for descending.

    What is missing comes last, and so does what is no number (NaN). Raises UsageError.
    """
    result = list(records)
    for key in reversed([k.strip() for k in keys.split(",") if k.strip()]):
        descending = key.startswith("-")
        column = noun.column(key.removeprefix("-"))
        value = column.getter
        known = [r for r in result if _has_order(value(r))]
        unknown = [r for r in result if not _has_order(value(r))]
        try:
            known.sort(key=value, reverse=descending)
        except TypeError as error:
            raise UsageError(f"--sort: {column.key} has no order: {error}") from error
        result = known + unknown
    return result


def _has_order(value: Any) -> bool:
    return value is not None and value == value  # NaN is not


def sort_columns(keys: str) -> set[str]:
    """The columns that a `--sort` names."""
    return {k.strip().removeprefix("-") for k in keys.split(",") if k.strip()}
