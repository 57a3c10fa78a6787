"""From the instructions as loaded to those that a dump shows (bpf_insn_prepare_dump())."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, NamedTuple

from bpflens.abi.enums import AttachType, ProgType
from bpflens.engine.progs import debug
from bpflens.engine.progs.code import (
    Functions,
    check_flow,
    check_subprogs,
    is_pseudo_call,
    shrink,
    subprogs,
)
from bpflens.engine.progs.target import check_target
from bpflens.engine.progs.verifier import Verifier
from bpflens.insn import Insn, decode, encode
from bpflens.insn import opcodes as op
from bpflens.insn.build import R0, R1, exit_, mov

if TYPE_CHECKING:
    from bpflens.abi.attrs import ProgLoad
    from bpflens.engine.call import Call
    from bpflens.engine.maps.base import Map
    from bpflens.engine.progs.log import Log
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.progs.refs import References


class Translated(NamedTuple):
    """What the verifier leaves behind."""

    debug: debug.Debug
    places: list[int]
    """Old index of an instruction → where it is now."""


def translate(
    call: Call, attr: ProgLoad, made: Prog, data: bytes, refs: References, log: Log
) -> Translated:
    """bpf_check() in its order; fills in what a dump of `made` shows."""
    insns = decode(data)
    info = debug.Debug(call, attr)
    info.early()
    on_throw = info.on_throw()
    starts = subprogs(insns, on_throw)
    check_subprogs(insns, starts)
    info.check(insns, starts)
    refs.resolve(insns)
    check_flow(insns, on_throw)
    check_target(made)
    functions = Functions(starts, info.globals(), on_throw)
    result = Verifier(insns, made, refs.places, functions, log).run()
    egress = made.attach_type == AttachType.CGROUP_INET_EGRESS
    made.enforced = made.type == ProgType.CGROUP_SKB and egress and bool(result.returns & {2, 3})
    seen = set(result.seen)
    seen |= {at + 1 for at in result.seen if insns[at].code == op.LD_IMM64}
    maps = dict(refs.places)
    if not result.complete:
        seen = set(range(len(insns)))
    kept, places = shrink(insns, seen)
    starts = sorted({places[start] for start in starts if start in seen})
    maps = {places[at]: used for at, used in maps.items() if at in seen}
    made.verified_insns = result.insns
    made.func_count = len(starts) if len(starts) > 1 else 0
    if result.throws and not on_throw:
        kept = kept + _RETURN_COOKIE
    made.xlated = encode(_dump(kept, starts, maps, raw=True))
    made.xlated_hidden = encode(_dump(kept, starts, maps, raw=False))
    made.prog_tags = _tags(kept, starts, maps, call) if made.func_count else made.tag
    return Translated(info, places)


def _dump(insns: list[Insn], starts: list[int], maps: dict[int, Map], raw: bool) -> list[Insn]:
    """Maps by ID, calls by number of the function; numbers that are addresses only if `raw`."""
    out = list(insns)
    for at, insn in enumerate(insns):
        if at in maps:
            by_value = insn.src in (op.PSEUDO_MAP_VALUE, op.PSEUDO_MAP_IDX_VALUE)
            src = op.PSEUDO_MAP_VALUE if by_value else op.PSEUDO_MAP_FD
            out[at] = insn._replace(src=src, imm=_s32(maps[at].id))
            if not by_value:
                out[at + 1] = insns[at + 1]._replace(imm=0)
        elif is_pseudo_call(insn):
            callee = starts.index(at + 1 + insn.imm)
            out[at] = insn._replace(off=_s16(insn.imm), imm=callee if raw else 0)
        elif insn.code == op.HELPER_CALL and not raw and insn.imm != _TAIL_CALL:
            out[at] = insn._replace(imm=0)
    return out


_TAIL_CALL = 12
_RETURN_COOKIE = [mov(R0, R1), exit_()]
"""The function for exceptions of a program that has none: add_hidden_subprog()."""


def _tags(insns: list[Insn], starts: list[int], maps: dict[int, Map], call: Call) -> bytes:
    """bpf_prog_calc_tag() of each function, after the calls in it were rewritten."""
    bounds = [*starts, len(insns)]
    tags = b""
    for start, end in itertools.pairwise(bounds):
        code = []
        for at in range(start, end):
            insn = insns[at]
            if at in maps:
                insn = insn._replace(src=0, imm=0)
            elif is_pseudo_call(insn):
                insn = insn._replace(off=starts.index(at + 1 + insn.imm), imm=1)
            code.append(insn)
        tags += hashlib.new(call.engine.release.tag_hash, encode(code)).digest()[:8]
    return tags


def _s32(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def _s16(number: int) -> int:
    return (number + 0x8000 & 0xFFFF) - 0x8000
