"""What a program does, in statements, each with the instructions that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from bpflens.abi.enums import ProgType
from bpflens.insn import opcodes as op
from bpflens.insn.effects import RETURN_CODES, helper_of
from bpflens.insn.helpers import HELPER_IDS
from bpflens.snapshot.code import Code

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Statement(NamedTuple):
    """One thing that a program does.

    `about` is helper, kfunc, subprogram, map, effect, return or function; `name` is whose it is,
    and `number` its ID (of a helper or map), its value (of a return) or first slot (of a function).
    """

    about: str
    name: str | None
    what: str
    number: int | None
    at: list[int]
    instructions: list[str]
    missing: dict[str, str]


def statements(code: Code) -> Iterator[Statement]:
    """Everything that could be read from the instructions.

    What is there, is there; a store straight into a packet, or what a subprogram does with a map
    that it is handed, is not found.
    """
    texts = {row.at: row.text for row in code.rows()}

    def statement(
        about: str, name: str | None, what: str, number: int | None, at: Iterable[int]
    ) -> Statement:
        places = sorted(set(at))
        return Statement(
            about, name, what, number, places, [texts.get(place, "") for place in places], {}
        )

    for make in (_calls, _maps, _effects, _returns, _functions):
        for told in make(code):
            yield statement(*told)


Told = tuple[str, str | None, str, int | None, list[int]]


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _calls(code: Code) -> Iterator[Told]:
    for kind in ("helper", "kfunc", "subprogram", "callback", "register"):
        calls = [call for call in code.facts.calls if call.kind == kind]
        for name, made in _grouped(calls, lambda call: _called(code, call)).items():
            number = HELPER_IDS.get(name.removeprefix("bpf_")) if kind == "helper" else None
            about, what = kind, "called"
            if kind in ("subprogram", "callback"):
                number = made[0].number
            if kind == "callback":
                about, what = "subprogram", "handed over, to be called back"
            yield about, name or None, what, number, [call.at for call in made]


def _called(code: Code, call: Any) -> str:
    if call.kind in ("subprogram", "callback"):
        return code.function(call.number)
    helper = helper_of(call.name)
    return f"bpf_{helper}" if call.kind == "helper" and helper in HELPER_IDS else call.name


def _maps(code: Code) -> Iterator[Told]:
    used = _grouped(code.facts.maps, lambda use: (use.map.number, use.use))
    seen = set()
    for (id, use), uses in sorted(used.items(), key=lambda item: item[0][0]):
        seen.add(id)
        yield "map", _map_name(code, id), use, id, [each.at for each in uses]
    loads = _grouped(
        (row for row in code.rows(source=False) if _loads_map(row.slots[0])),
        lambda row: row.slots[0].imm & 0xFFFF_FFFF,
    )
    for id in sorted({*loads, *code.map_ids} - seen):
        places = [row.at for row in loads.get(id, ())]
        what = "named; what is done with it is not told" if places else "bound to the program"
        yield "map", _map_name(code, id), what, id, places


def _loads_map(insn: Any) -> bool:
    return insn.code == op.LD_IMM64 and insn.src in (op.PSEUDO_MAP_FD, op.PSEUDO_MAP_VALUE)


def _map_name(code: Code, id: int) -> str:
    told = code.names.map(id)
    if "error" in told:
        return f"map {id}"
    return f"{told['name'] or 'map'} ({told['type']})"


def _effects(code: Code) -> Iterator[Told]:
    groups = _grouped(code.facts.effects, lambda effect: (effect.effect, effect.by))
    for (effect, by), found in groups.items():
        helper = helper_of(by)
        name = f"bpf_{helper}" if helper in HELPER_IDS else by
        yield "effect", name, effect, None, [each.at for each in found]


def _returns(code: Code) -> Iterator[Told]:
    words = RETURN_CODES.get(ProgType(code.told.type).label, {})
    places: dict[int | None, list[int]] = {}
    for found in code.facts.returns:
        for value in found.values if found.values is not None else (None,):
            number = None if value is None else _signed(value)
            places.setdefault(number, []).append(found.at)
    for value, at in sorted(places.items(), key=lambda item: (item[0] is None, item[0] or 0)):
        if value is None:
            yield "return", None, "a value that it computes", None, at
        else:
            yield "return", str(value), words.get(value, "returned"), value, at


def _signed(value: int) -> int:
    low = value & 0xFFFF_FFFF
    return low - (1 << 32) if low >> 31 and value in (low, low - (1 << 32)) else value


def _functions(code: Code) -> Iterator[Told]:
    ends = [*code.entries[1:], len(code.insns)]
    stacks = {stack.entry: stack for stack in code.facts.stacks}
    for entry, end in zip(code.entries, ends, strict=True):
        stack = stacks.get(entry)
        depth = f"{stack.depth} bytes of stack" if stack else "no stack"
        what = f"instructions {entry} to {end - 1} ({end - entry}), {depth}"
        yield "function", code.function(entry), what, entry, [stack.at] if stack else []
