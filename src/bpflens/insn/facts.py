"""What a program does, read from its instructions; each statement says on which one it rests.

A forward analysis keeps for each register, and each 8 bytes of stack, what it may hold: a map, an
address in a map's value, an address on the stack, a few constants. Where ways meet and differ it
knows nothing, and says nothing. So what is listed is there; what is not listed may be there too:
stores straight into a packet, and what happens to a map that is handed to a subprogram. Values
behind map-in-map count as the outer map's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bpflens.insn import effects
from bpflens.insn import opcodes as op
from bpflens.insn.calls import Call, call_of
from bpflens.insn.code import Insn, is_wide
from bpflens.insn.effects import helper_of
from bpflens.insn.flow import Flow, flow
from bpflens.insn.text import CallName


class MapRef(NamedTuple):
    """A map as instructions name it: `id` in a dump, `fd` or `idx` (of fd_array) as submitted."""

    by: str
    number: int


class MapUse(NamedTuple):
    """What an instruction does with a map; `loaded` is where the map's address came from."""

    at: int
    map: MapRef
    use: str
    loaded: int


class Effect(NamedTuple):
    """Something that the instruction can do to the system, through helper or kfunc `by`."""

    at: int
    effect: str
    by: str


class Stack(NamedTuple):
    """How far below r10 the function that starts at `entry` reaches, in bytes, and where."""

    entry: int
    depth: int
    at: int


class Return(NamedTuple):
    """The main program's exit, and what it may return if that is a few known numbers."""

    at: int
    values: tuple[int, ...] | None


class Facts(NamedTuple):
    """Everything found, each list in the order of instructions."""

    calls: tuple[Call, ...]
    maps: tuple[MapUse, ...]
    effects: tuple[Effect, ...]
    stacks: tuple[Stack, ...]
    returns: tuple[Return, ...]


class _Map(NamedTuple):
    map: MapRef
    loaded: int


class _Value(NamedTuple):
    map: MapRef
    loaded: int


class _Stack(NamedTuple):
    off: int


class _Numbers(NamedTuple):
    values: frozenset[int]


_Known = _Map | _Value | _Stack | _Numbers
_State = dict[int, _Known]
"""Registers by number, stack slots by their (negative) offset."""

MOST_NUMBERS = 8
NULL = _Numbers(frozenset([0]))


def facts(
    insns: Sequence[Insn],
    *,
    xlated: bool = False,
    entries: Iterable[int] = (),
    call: CallName | None = None,
) -> Facts:
    """What `insns` do. `xlated` and `entries` are as for `flow`.

    `call` names the calls that have no helper id: all of a dump's, and kfuncs.
    """
    known = sorted(set(entries))
    graph = flow(insns, entries=known, xlated=xlated)
    return _Reader(insns, graph, known, xlated, call).read()


class _Reader:
    """One analysis; `collecting` is off while states still change."""

    def __init__(
        self, insns: Sequence[Insn], graph: Flow, entries: Sequence[int], xlated: bool,
        call: CallName | None,
    ) -> None:  # fmt: skip
        self.insns, self.graph, self.entries, self.xlated, self.call = (
            insns, graph, entries, xlated, call,
        )  # fmt: skip
        self.collecting = False
        self.calls: list[Call] = []
        self.maps: set[MapUse] = set()
        self.effects: list[Effect] = []
        self.stacks: dict[int, Stack] = {}
        self.returns: list[Return] = []
        self.function = 0

    def read(self) -> Facts:
        states = self._settle()
        self.collecting = True
        for block in self.graph.blocks:
            if block.start in states:
                self.function = self.graph.functions[block.function]
                self._run(block.start, block.end, dict(states[block.start]))
        return Facts(
            tuple(self.calls),
            tuple(sorted(self.maps)),
            tuple(self.effects),
            tuple(self.stacks[entry] for entry in sorted(self.stacks)),
            tuple(self.returns),
        )

    def _settle(self) -> dict[int, _State]:
        """The state in which each reachable block starts."""
        ends = {block.start: block.end for block in self.graph.blocks}
        followers: dict[int, list[int]] = {}
        for edge in self.graph.edges:
            if edge.kind in ("fallthrough", "taken"):
                followers.setdefault(edge.source, []).append(edge.target)
        reached = {block.start for block in self.graph.blocks if block.reachable}
        states: dict[int, _State] = {
            entry: {op.STACK: _Stack(0)} for entry in self.graph.functions if entry in reached
        }
        todo = list(states)
        while todo:
            start = todo.pop()
            after = self._run(start, ends[start], dict(states[start]))
            for target in followers.get(start, ()):
                if target not in states:
                    states[target] = dict(after)
                    todo.append(target)
                elif (both := _join(states[target], after)) != states[target]:
                    states[target] = both
                    todo.append(target)
        return states

    def _run(self, start: int, end: int, state: _State) -> _State:
        at = start
        while at < end:
            insn = self.insns[at]
            wide = is_wide(self.insns, at)
            self._step(at, insn, state, wide)
            at += 1 + wide
        return state

    def _step(self, at: int, insn: Insn, state: _State, wide: bool) -> None:
        kind = op.class_of(insn.code)
        if wide:
            if insn.src == op.PSEUDO_FUNC and self.collecting:
                self.calls.append(Call(at, "callback", "", at + 1 + insn.imm))
            _put(state, insn.dst, self._loaded(at, insn))
        elif kind in (op.ALU, op.ALU64):
            self._arithmetic(at, insn, state)
        elif kind == op.LDX:
            self._access(at, insn, insn.src, state, effects.READ)
            _put(state, insn.dst, self._load(at, insn, state))
        elif kind in (op.ST, op.STX) and insn.code != op.NOSPEC:
            self._store(at, insn, state)
        elif kind == op.LD:
            _clobber(state)
        elif op.op_of(insn.code) == op.CALL:
            self._call(at, insn, state)
        elif insn.code == op.RETURN and self.collecting and self.function == 0:
            value = state.get(0)
            told = tuple(sorted(value.values)) if isinstance(value, _Numbers) else None
            self.returns.append(Return(at, told))

    def _loaded(self, at: int, insn: Insn) -> _Known | None:
        """What a wide load puts into its register."""
        by = "id" if self.xlated else "fd"
        low, high = insn.imm & 0xFFFF_FFFF, self.insns[at + 1].imm & 0xFFFF_FFFF
        match insn.src:
            case op.PSEUDO_MAP_FD:
                return _Map(MapRef(by, low), at)
            case op.PSEUDO_MAP_VALUE:
                return _Value(MapRef(by, low), at)
            case op.PSEUDO_MAP_IDX:
                return _Map(MapRef("idx", low), at)
            case op.PSEUDO_MAP_IDX_VALUE:
                return _Value(MapRef("idx", low), at)
            case 0:
                return _Numbers(frozenset([high << 32 | low]))
        return None

    def _arithmetic(self, at: int, insn: Insn, state: _State) -> None:
        code, dst, src, off, imm = insn
        operation = op.op_of(code)
        if operation == op.MOV:
            number = imm if op.class_of(code) == op.ALU64 else imm & 0xFFFF_FFFF
            moved = state.get(src) if code & op.X else _Numbers(frozenset([number]))
            keeps = off in (0, op.ADDR_PERCPU) and (code in (op.MOV64_X, 0xB7, 0xB4))
            _put(state, dst, moved if keeps else None)
            return
        old = state.get(dst)
        # What is left of an address after a register is taken from it may be a mere distance.
        stays = operation == op.ADD or (operation == op.SUB and not code & op.X)
        if op.class_of(code) == op.ALU64 and stays:
            if isinstance(old, _Stack) and not code & op.X:
                moved_stack = _Stack(old.off + (imm if operation == op.ADD else -imm))
                self._reach(at, moved_stack.off)
                _put(state, dst, moved_stack)
                return
            if isinstance(old, _Map | _Value):
                # A map's address plus an offset is what the verifier leaves of an array lookup
                # that it put in place (array_map_gen_lookup()): an address in a value.
                if isinstance(old, _Map):
                    self._use(at, old, effects.LOOKUP)
                _put(state, dst, _Value(*old))
                return
            other = state.get(src) if code & op.X else None
            if isinstance(other, _Value | _Map):
                _put(state, dst, _Value(*other))
                return
        _put(state, dst, None)

    def _load(self, at: int, insn: Insn, state: _State) -> _Known | None:
        base = state.get(insn.src)
        if op.size_of(insn.code) != op.DW:
            return None
        if isinstance(base, _Stack) and base.off + insn.off < 0:
            return state.get(base.off + insn.off)
        return base if isinstance(base, _Value) and self._is_percpu_slot(at, insn) else None

    def _store(self, at: int, insn: Insn, state: _State) -> None:
        if insn.imm == op.LOAD_ACQ and op.mode_of(insn.code) in (op.ATOMIC, op.PROBE_ATOMIC):
            self._access(at, insn, insn.src, state, effects.READ)
            _put(state, insn.dst, None)
            return
        self._access(at, insn, insn.dst, state, effects.WRITE)
        base = state.get(insn.dst)
        if base is None:  # it may be somewhere on the stack
            _forget(state, _Numbers)
        elif isinstance(base, _Stack):
            where = base.off + insn.off
            for slot in range(where - 7, where + 8):
                if slot < 0:
                    state.pop(slot, None)
            if insn.code == op.STX | op.DW | op.MEM and where < 0 and insn.src in state:
                state[where] = state[insn.src]
        if op.class_of(insn.code) == op.STX and op.mode_of(insn.code) in (
            op.ATOMIC,
            op.PROBE_ATOMIC,
        ):
            changed = 0 if insn.imm == op.CMPXCHG else insn.src if insn.imm & op.FETCH else None
            if changed is not None:
                _put(state, changed, None)

    def _access(self, at: int, insn: Insn, base: int, state: _State, use: str) -> None:
        held = state.get(base)
        if isinstance(held, _Stack):
            self._reach(at, held.off + insn.off)
        elif isinstance(held, _Value) and not self._is_percpu_slot(at, insn):
            self._use(at, held, use)

    def _is_percpu_slot(self, at: int, insn: Insn) -> bool:
        """Whether a load fetches a per-CPU address, which the next instruction makes usable."""
        if at + 1 >= len(self.insns):
            return False
        following = self.insns[at + 1]
        return (
            following.code == op.MOV64_X
            and following.off == op.ADDR_PERCPU
            and following.src == insn.dst
        )

    def _call(self, at: int, insn: Insn, state: _State) -> None:
        name, result = "", None
        made = call_of(at, insn, self.entries, xlated=self.xlated, call=self.call)
        if made.kind in ("helper", "kfunc"):
            name = helper_of(made.name)
            argument = effects.MAP_ARGUMENTS.get(name) if made.kind == "helper" else None
            held = state.get(argument.reg) if argument else None
            if argument is not None and isinstance(held, _Map):
                self._use(at, held, argument.use)
                if name in effects.RETURNS_VALUE:
                    result = _Value(*held)
        if self.collecting:
            self.calls.append(made)
            if name in effects.EFFECTS:
                self.effects.append(Effect(at, effects.EFFECTS[name], made.name))
        _clobber(state)
        # Whoever was handed the stack may have written to it: a helper numbers, our own functions
        # (callbacks too) also addresses.
        own = made.kind in ("subprogram", "register") or name in effects.CALLS_BACK
        _forget(state, object if own else _Numbers)
        _put(state, 0, result)

    def _use(self, at: int, held: _Map | _Value, use: str) -> None:
        if self.collecting:
            self.maps.add(MapUse(at, held.map, use, held.loaded))

    def _reach(self, at: int, off: int) -> None:
        deepest = self.stacks.get(self.function)
        if self.collecting and off < 0 and (deepest is None or -off > deepest.depth):
            self.stacks[self.function] = Stack(self.function, -off, at)


def _put(state: _State, reg: int, value: _Known | None) -> None:
    if value is None:
        state.pop(reg, None)
    else:
        state[reg] = value


def _forget(state: _State, kind: type) -> None:
    for slot in [place for place, held in state.items() if place < 0 and isinstance(held, kind)]:
        del state[slot]


def _clobber(state: _State) -> None:
    for reg in range(6):
        state.pop(reg, None)


def _join(left: _State, right: _State) -> _State:
    joined: _State = {}
    for place in left.keys() & right.keys():
        one, other = left[place], right[place]
        if one == other:
            joined[place] = one
        elif isinstance(one, _Numbers) and isinstance(other, _Numbers):
            values = one.values | other.values
            if len(values) <= MOST_NUMBERS:
                joined[place] = _Numbers(values)
        elif other == NULL and isinstance(one, _Value):
            joined[place] = one
        elif one == NULL and isinstance(other, _Value):
            joined[place] = other
    return joined
