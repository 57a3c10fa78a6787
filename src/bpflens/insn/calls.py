"""Where a call goes, as far as its instruction and a lister's names tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bpflens.insn import opcodes as op
from bpflens.insn.code import Insn
from bpflens.insn.effects import helper_of
from bpflens.insn.flow import call_target
from bpflens.insn.helpers import HELPER_IDS, HELPERS
from bpflens.insn.text import CallName


class Call(NamedTuple):
    """A call; `number` is the helper id, BTF id or first slot, None where it is not told.

    A dump tells no BTF id of a kfunc, and of a helper only what its name gives away.
    """

    at: int
    kind: str
    """helper, kfunc, subprogram, register; callback: a subprogram that something else is to call"""
    name: str
    number: int | None


def call_of(
    at: int,
    insn: Insn,
    entries: Sequence[int] = (),
    *,
    xlated: bool = False,
    call: CallName | None = None,
) -> Call:
    """Where the call at slot `at` goes. The rest is as for `bpflens.insn.facts.facts`."""
    if insn.code & op.X:
        return Call(at, "register", "", None)
    if insn.src == op.PSEUDO_CALL:
        target = call_target(at, insn, entries, xlated=xlated)
        # A lister's words for it are `+5#name`, or `+5`.
        return Call(at, "subprogram", _named(insn, call).partition("#")[2], target)
    if insn.src == op.PSEUDO_KFUNC_CALL:
        return Call(at, "kfunc", _named(insn, call), None if xlated else insn.imm)
    if xlated and not insn.imm:  # bpf_insn_prepare_dump() hides it from who may not see addresses
        return Call(at, "helper", "", None)
    # The kernel restores tail calls to helper 12; other numbers of a dump are distances.
    if insn.imm in HELPERS:
        return Call(at, "helper", f"bpf_{HELPERS[insn.imm]}", insn.imm)
    symbol = _named(insn, call)
    return Call(at, "helper", symbol, HELPER_IDS.get(helper_of(symbol)))


def _named(insn: Insn, call: CallName | None) -> str:
    return (call(insn) if call is not None else None) or ""
