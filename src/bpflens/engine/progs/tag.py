"""The tag of a program: a digest of its instructions, map references left out."""

from __future__ import annotations

import hashlib

from bpflens.insn import opcodes as op

_WIDE = op.LD_IMM64
_MAPS = (op.PSEUDO_MAP_FD, op.PSEUDO_MAP_VALUE)


def neutral(insns: bytes) -> bytes:
    """The instructions with what differs between two loads of one program set to zero.

    bpf_prog_calc_tag(): only references by fd, not those by index of fd_array.
    """
    out = bytearray(insns)
    was_map = False
    for at in range(0, len(insns), 8):
        if not was_map and insns[at] == _WIDE and insns[at + 1] >> 4 in _MAPS:
            was_map = True
            out[at + 4 : at + 8] = bytes(4)
        elif was_map and insns[at : at + 4] == bytes(4):
            was_map = False
            out[at + 4 : at + 8] = bytes(4)
        else:
            was_map = False
    return bytes(out)


def digest(insns: bytes, algorithm: str) -> bytes:
    """The whole digest; its first eight bytes are the tag. sha1 until 6.17, then sha256."""
    return hashlib.new(algorithm, neutral(insns)).digest()
