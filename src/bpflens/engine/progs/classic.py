"""Classic BPF, as filters of sockets and of traffic control may still have it."""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from bpflens.engine.call import err

_INSN = struct.Struct("=HBBI")
SIZE = _INSN.size
MOST = 4096
"""BPF_MAXINSNS."""
_CELLS = 16
"""BPF_MEMWORDS."""
_ANCILLARY = 0xFFFFF000
"""SKF_AD_OFF: from here on a load asks for what is not in the packet."""
_ANCILLARY_END = 64

_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_MEM, _X, _JA, _DIV, _MOD = 0x60, 8, _JMP, _ALU | 0x30, _ALU | 0x90
_SHIFTS = (_ALU | 0x60, _ALU | 0x70)
_CONDITIONS = frozenset(_JMP | op | x for op in (0x10, 0x20, 0x30, 0x40) for x in (0, _X))
_ABSOLUTE = (_LD | 0x20, _LD | 0x28, _LD | 0x30)
_LOADS = (_LD | _MEM, _LDX | _MEM)
_KNOWN = frozenset(
    {
        *(_ALU | op << 4 | x for op in (0, 1, 2, 3, 4, 5, 6, 7, 9, 10) for x in (0, _X)),
        *(_ALU | 0x80, _LD, _LD | 0x80, _LDX, _LDX | 0x80, _LDX | 0xB0, _ST, _STX, _JA),
        *_ABSOLUTE,
        *(_LD | 0x40, _LD | 0x48, _LD | 0x50),
        *_LOADS,
        *_CONDITIONS,
        *(_MISC, _MISC | 0x80, _RET, _RET | 0x10),
    }
)
"""chk_code_allowed()."""


class Classic(NamedTuple):
    """struct sock_filter."""

    code: int
    jt: int
    jf: int
    k: int


def check_classic(data: bytes) -> None:
    """bpf_check_classic(): EINVAL for what is not a classic program."""
    insns = [Classic(*row) for row in _INSN.iter_unpack(data)]
    for at, insn in enumerate(insns):
        if not _sane(insn, len(insns) - at - 1):
            raise err(errno.EINVAL)
    if insns[-1].code not in (_RET, _RET | 0x10):
        raise err(errno.EINVAL)
    _check_cells(insns)


def _sane(insn: Classic, left: int) -> bool:
    """Whether an instruction with so many behind it can be."""
    code, k = insn.code, insn.k
    if code in (_DIV, _MOD):
        return k != 0
    if code in _SHIFTS:
        return k < 32
    if code in (*_LOADS, _ST, _STX):
        return k < _CELLS
    if code == _JA:
        return k < left
    if code in _CONDITIONS:
        return insn.jt < left and insn.jf < left
    if code in _ABSOLUTE and k >= _ANCILLARY:
        return k - _ANCILLARY < _ANCILLARY_END and not k % 4
    return code in _KNOWN


def _check_cells(insns: list[Classic]) -> None:
    """check_load_and_stores(): a cell is written before it is read, on every way."""
    every = (1 << _CELLS) - 1
    masks = [every] * len(insns)
    valid = 0
    for at, insn in enumerate(insns):
        valid &= masks[at]
        if insn.code in (_ST, _STX):
            valid |= 1 << insn.k
        elif insn.code in _LOADS:
            if not valid >> insn.k & 1:
                raise err(errno.EINVAL)
        elif insn.code == _JA or insn.code in _CONDITIONS:
            ways = (insn.k,) if insn.code == _JA else (insn.jt, insn.jf)
            for way in ways:
                masks[at + 1 + way] &= valid
            valid = every
