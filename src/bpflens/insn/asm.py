"""A small assembler with labels, in the syntax that bpftool and the verifier print.

    r6 = r1                             ; also wN for the low 32 bits
    r1 = map_fd events                  ; a symbol: assemble(text, events=5)
    r2 = 0x1234567890 ll
    if r1 == 0 goto out                 ; or: goto pc+3
    r3 = *(u32 *)(r6 +4)
    lock *(u64 *)(r0 +0) += r3
    call map_lookup_elem                ; a helper by name or number, or a label
    call kfunc 1234
    out:
    exit

What a listing puts in front of an instruction (`  12: (b7) `) is allowed, as are declarations above
functions, and a code there settles what the words leave open. `;` and `//` start a comment.
`raw code dst src off imm` takes any slot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from bpflens.errors import FormatError
from bpflens.insn import build
from bpflens.insn import opcodes as op
from bpflens.insn.build import Operand, Reg
from bpflens.insn.code import Insn, encode
from bpflens.insn.helpers import HELPER_IDS

LIMIT = 1_000_000
"""Instructions in one text: BPF_COMPLEXITY_LIMIT_INSNS, the most that a kernel takes."""

_SIZES = {name: size for size, name in op.SIZE_NAMES.items()}
_SIGNED_SIZES = {name: size for size, name in op.SIGNED_SIZE_NAMES.items()}
_ALU = {sign: (code, 0) for code, sign in op.ALU_SIGNS.items()} | {
    sign: (code, 1) for code, sign in op.SIGNED_ALU_SIGNS.items()
}
_JUMPS = {sign: code for code, sign in op.JUMP_SIGNS.items()}
_CASTS = {text: off for off, text in op.SIGN_EXTENSIONS.items()}
_ATOMICS = {name: code for code, name in op.ATOMIC_NAMES.items()}
_PSEUDO = {
    "map_fd": op.PSEUDO_MAP_FD,
    "map_value": op.PSEUDO_MAP_VALUE,
    "btf_id": op.PSEUDO_BTF_ID,
    "func": op.PSEUDO_FUNC,
    "map_idx": op.PSEUDO_MAP_IDX,
    "map_idx_value": op.PSEUDO_MAP_IDX_VALUE,
}


class _Context(NamedTuple):
    """What a statement can refer to."""

    symbols: Mapping[str, int]
    labels: Mapping[str, int]
    slot: int
    code: int | None

    def number(self, text: str) -> int:
        """A sum of numbers and symbols."""
        total, sign, wanted = 0, 1, True
        for word in re.findall(r"[+-]|[^\s+-]+", text):
            if word in "+-":
                sign = -sign if word == "-" else sign
                wanted = True
                continue
            if not wanted:
                break
            if word in self.symbols:
                value = self.symbols[word]
            elif re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}", word):
                value = int(word, 16 if word[:2] in ("0x", "0X") else 10)
            else:
                raise ValueError(f"{word!r} is no number, and no symbol of that name was given")
            total, sign, wanted = total + sign * value, 1, False
        else:
            if not wanted:
                return total
        raise ValueError(f"{text!r} is no sum of numbers")

    def operand(self, text: str) -> Operand:
        """A register or a number."""
        return _reg(text) if re.fullmatch(r"[rw](?:10|\d)", text) else self.number(text)

    def distance(self, text: str) -> int:
        """Slots from the next instruction to a label, or as written: `pc+3`, `+3`."""
        if text in self.labels:
            return self.labels[text] - self.slot - 1
        if match := re.fullmatch(r"(?:pc)?\s*([+-].+)", text):
            return self.number(match[1])
        raise ValueError(f"there is no label {text!r}")


def _reg(text: str) -> Reg:
    return Reg(text[1:])


def _bits(text: str) -> int:
    return 32 if text[0] == "w" else 64


def _arithmetic(at: _Context, dst: str, sign: str, other: str) -> Insn | tuple[Insn, Insn]:
    operation, off = _ALU[sign]
    right = at.operand(other)
    if operation == op.MOV and not isinstance(right, Reg) and _is_wide(at, dst, other, right):
        return build.ld_imm64(_reg(dst), right)
    return build.alu(operation, _reg(dst), right, bits=_bits(dst), off=off)


def _is_wide(at: _Context, dst: str, text: str, value: int) -> bool:
    # `r1 = 0x5` with no code beside it is a move; what does not fit one must be the wide load.
    if at.code is not None:
        return at.code == op.LD_IMM64
    return dst[0] == "r" and not -0x8000_0000 <= value <= 0x7FFF_FFFF


def _wide(at: _Context, dst: str, value: str) -> tuple[Insn, Insn]:
    return build.ld_imm64(_reg(dst), at.number(value))


def _pseudo(at: _Context, dst: str, kind: str, value: str, plus: str | None) -> tuple[Insn, Insn]:
    low = build.signed32(at.distance(value) if kind == "func" else at.number(value))
    high = build.signed32(at.number(plus or "0"))
    return build.ld_imm64(_reg(dst), high << 32 | low & 0xFFFF_FFFF, pseudo=_PSEUDO[kind])


def _listed_map(
    at: _Context, dst: str, key: str, value: str, plus: str | None
) -> tuple[Insn, Insn]:
    plain, offset = {"id": ("map_fd", "map_value"), "idx": ("map_idx", "map_idx_value")}[key]
    return _pseudo(at, dst, plain if plus is None else offset, value, plus)


def _move_extended(at: _Context, dst: str, cast: str, src: str) -> Insn:
    return build.alu(op.MOV, _reg(dst), _reg(src), bits=_bits(dst), off=_CASTS[cast])


def _negate(at: _Context, dst: str, src: str) -> Insn:
    if dst != src:
        raise ValueError("a negation has one register")
    return build.neg(_reg(dst), bits=_bits(dst))


def _swap(at: _Context, dst: str, kind: str, bits: str, src: str) -> Insn:
    if dst != src:
        raise ValueError("a byte swap has one register")
    return build.swap(kind, _reg(dst), int(bits))


def _cast(at: _Context, dst: str, src: str, to: str, of: str) -> Insn:
    return build.addr_space_cast(_reg(dst), _reg(src), int(to), int(of))


def _load(at: _Context, dst: str, size: str, base: str, off: str) -> Insn:
    signed = size in _SIGNED_SIZES
    bits = _SIGNED_SIZES[size] if signed else _SIZES[size]
    return build.load(bits, _reg(dst), _reg(base), at.number(off or "0"), signed=signed)


def _store(at: _Context, size: str, base: str, off: str, other: str) -> Insn:
    return build.store(_SIZES[size], _reg(base), at.number(off or "0"), at.operand(other))


def _packet(at: _Context, size: str, base: str | None, value: str) -> Insn:
    return build.load_packet(_SIZES[size], at.number(value), _reg(base) if base else None)


def _lock(at: _Context, size: str, base: str, off: str, sign: str, reg: str) -> Insn:
    operation, signed = _ALU[sign]
    if operation not in _ATOMICS.values() or signed:
        raise ValueError(f"no atomic operation {sign!r}")
    return build.atomic(operation, _SIZES[size], _reg(base), at.number(off or "0"), _reg(reg))


def _fetch(
    at: _Context, dst: str, wide: str | None, name: str, size: str, base: str, off: str, reg: str
) -> Insn:
    if name == "cmpxchg":
        operation, result = op.CMPXCHG, "r0"
    elif name == "xchg":
        operation, result = op.XCHG, reg
    else:
        operation, result = _ATOMICS[name.removeprefix("fetch_")] | op.FETCH, reg
    if dst != result:
        raise ValueError(f"the result of this operation goes to {result}")
    return build.atomic(operation, _SIZES[size], _reg(base), at.number(off or "0"), _reg(reg))


def _acquire(at: _Context, dst: str, size: str, base: str, off: str) -> Insn:
    return build.atomic(op.LOAD_ACQ, _SIZES[size], _reg(base), at.number(off or "0"), _reg(dst))


def _release(at: _Context, size: str, base: str, off: str, reg: str) -> Insn:
    return build.atomic(op.STORE_REL, _SIZES[size], _reg(base), at.number(off or "0"), _reg(reg))


def _if(at: _Context, left: str, sign: str, right: str, target: str) -> Insn:
    return build.jump_if(
        _JUMPS[sign], _reg(left), at.operand(right), at.distance(target), bits=_bits(left)
    )


def _goto(at: _Context, kind: str, target: str) -> Insn:
    make = {"goto": build.jump, "gotol": build.jump_long, "may_goto": build.may_goto}[kind]
    return make(at.distance(target))


def _call(at: _Context, target: str) -> Insn:
    if target in at.labels or re.match(r"(?:pc)?\s*[+-]", target):
        return build.call_relative(at.distance(target))
    if target.removeprefix("bpf_") in HELPER_IDS:
        return build.call(HELPER_IDS[target.removeprefix("bpf_")])
    return build.call(at.number(target))


def _call_printed(at: _Context, name: str, imm: str) -> Insn:
    # disasm.c's words for a call that nothing names; its imm is the BTF id.
    make = build.call_kernel if name == "kernel-function" else build.call
    return make(build.signed32(at.number(imm)))


def _call_kernel(at: _Context, btf_id: str, module: str | None) -> Insn:
    return build.call_kernel(at.number(btf_id), at.number(module or "0"))


def _raw(at: _Context, *fields: str) -> Insn:
    return Insn(*(at.number(field) for field in fields))


_R, _RW, _N = r"(r(?:10|\d))", r"([rw](?:10|\d))", r"([^;:]+?)"
_TYPE, _STYPE = r"\((u8|u16|u32|u64) \*\)", r"\(([us](?:8|16|32)|u64) \*\)"
_AT = rf"\({_R}\s*([+-].*?)?\)"
_ALL_SIGNS = "|".join(re.escape(sign) for sign in sorted(_ALU, key=len, reverse=True))
_JUMP_SIGNS = "|".join(re.escape(sign) for sign in sorted(_JUMPS, key=len, reverse=True))

Maker = Callable[..., "Insn | tuple[Insn, Insn]"]
_FORMS: tuple[tuple[re.Pattern[str], Maker], ...] = tuple(
    (re.compile(pattern), maker)
    for pattern, maker in (
        (r"exit", lambda at: build.exit_()),
        (r"nospec", lambda at: Insn(op.NOSPEC)),
        (r"(goto|gotol|may_goto) (\S+)", _goto),
        (rf"gotox {_R}", lambda at, reg: build.jump_to(_reg(reg))),
        (rf"callx {_R}", lambda at, reg: build.call_through(_reg(reg))),
        (rf"if {_RW} ({_JUMP_SIGNS}) {_N} goto (\S+)", _if),
        (r"call kfunc (\w+)(?: in (\w+))?", _call_kernel),
        (r"call (?!pc)([\w.-]+)#([-+\w]+)", _call_printed),
        (r"call (\S+)", _call),
        (rf"{_R} = map\[(id|idx):(\w+)\](?:\[0\])?(?:\+(\w+))?", _listed_map),
        (rf"{_R} = subprog\[(\S+)\]", lambda at, dst, to: _pseudo(at, dst, "func", to, None)),
        (rf"{_R} = ({'|'.join(_PSEUDO)}) ([^\s+]\S*|\+\d+)(?:\s*\+\s*(\w+))?", _pseudo),
        (rf"{_R} = {_N} ll", _wide),
        (rf"{_RW} = (\(s8\)|\(s16\)|\(s32\)){_RW}", _move_extended),
        (rf"{_RW} = -{_RW}", _negate),
        (rf"{_R} = (le|be|bswap)(16|32|64) {_R}", _swap),
        (rf"{_R} = addr_space_cast\({_R}, (\d+), (\d+)\)", _cast),
        (
            rf"{_R} = &\(void __percpu \*\)\({_R}\)",
            lambda at, dst, src: build.percpu(_reg(dst), _reg(src)),
        ),
        (rf"{_R} = \*{_STYPE}{_AT}", _load),
        (rf"r0 = \*{_TYPE}skb\[(?:{_R} \+ )?{_N}\]", _packet),
        (rf"\*{_TYPE}{_AT} = {_N}", _store),
        (rf"lock \*{_TYPE}{_AT} ({_ALL_SIGNS}) {_R}", _lock),
        (rf"{_R} = atomic(64)?_(fetch_\w+|xchg)\({_TYPE}{_AT}, {_R}\)", _fetch),
        (rf"{_R} = atomic(64)?_(cmpxchg)\({_TYPE}{_AT}, r0, {_R}\)", _fetch),
        (rf"{_R} = load_acquire\({_TYPE}{_AT}\)", _acquire),
        (rf"store_release\({_TYPE}{_AT}, {_R}\)", _release),
        (rf"raw {_N} {_N} {_N} {_N} {_N}", _raw),
        (rf"{_RW} ({_ALL_SIGNS}) {_N}", _arithmetic),
    )
)
_LISTED = re.compile(r"(?:\d+:\s*)?\(([0-9a-f]{2})\) ")
_LABEL = re.compile(r"([A-Za-z_.][\w.]*):(?:\s+|$)")


class _Statement(NamedTuple):
    line: int
    offset: int
    slot: int
    code: int | None
    match: re.Match[str]
    make: Maker


def _fail(what: str, line: int, offset: int) -> FormatError:
    return FormatError(f"line {line}: {what}", offset)


def _match(text: str, line: int, offset: int) -> tuple[re.Match[str], Maker]:
    for pattern, make in _FORMS:
        if match := pattern.fullmatch(text):
            return match, make
    raise _fail(f"not understood: {text!r}", line, offset)


def _is_two_slots(make: Maker, match: re.Match[str], at: _Context) -> bool:
    if make is _arithmetic:
        dst, sign, other = match.groups()
        if sign != "=" or re.fullmatch(r"[rw](?:10|\d)", other):
            return False
        return _is_wide(at, dst, other, at.number(other))
    return make in _TWO_SLOTS


_TWO_SLOTS = {_wide, _pseudo, _listed_map} | {
    make for pattern, make in _FORMS if "subprog" in pattern.pattern
}


def _parse(text: str, symbols: Mapping[str, int]) -> tuple[list[_Statement], dict[str, int]]:
    statements: list[_Statement] = []
    labels: dict[str, int] = {}
    index = offset = 0
    for line, full in enumerate(text.split("\n"), 1):
        rest = re.split(r";|//", full, maxsplit=1)[0].strip()
        if rest.endswith("):"):  # a listing's declaration above a function
            rest = ""
        while (match := _LABEL.match(rest)) is not None:
            if match[1] in labels:
                raise _fail(f"label {match[1]!r} is there twice", line, offset)
            labels[match[1]] = index
            rest = rest[match.end() :]
        code = None
        if listed := _LISTED.match(rest):
            code, rest = int(listed[1], 16), rest[listed.end() :]
        if rest:
            form, make = _match(" ".join(rest.split()), line, offset)
            statements.append(_Statement(line, offset, index, code, form, make))
            try:
                wide = _is_two_slots(make, form, _Context(symbols, labels, index, code))
            except ValueError as error:
                raise _fail(str(error), line, offset) from error
            index += 1 + wide
            if index > LIMIT:
                raise _fail(f"more than {LIMIT} instructions", line, offset)
        offset += len(full.encode()) + 1
    return statements, labels


def _assemble(text: str, symbols: Mapping[str, int]) -> Iterator[Insn]:
    statements, labels = _parse(text, symbols)
    for statement in statements:
        at = _Context(symbols, labels, statement.slot, statement.code)
        try:
            made = statement.make(at, *statement.match.groups())
            slots = (made,) if isinstance(made, Insn) else made
            encode(slots)
        except ValueError as error:
            raise _fail(str(error), statement.line, statement.offset) from error
        if statement.code is not None and statement.code != slots[0].code:
            raise _fail(
                f"the code is {slots[0].code:02x}, not {statement.code:02x} as written",
                statement.line,
                statement.offset,
            )
        yield from slots


def assemble_insns(text: str, **symbols: int) -> list[Insn]:
    """The instructions of an assembly text; as `assemble`, for those who go on in Python."""
    return list(_assemble(text, symbols))


def assemble(text: str, **symbols: int) -> bytes:
    """The little-endian bytes of an assembly text (the syntax is this module's docstring).

    `symbols` stand for numbers: map fds, offsets, constants. `FormatError` with the line, and as
    offset the byte of the text where that line starts.
    """
    return encode(_assemble(text, symbols))
