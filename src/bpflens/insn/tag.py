"""What a program is called by its content: the kernel's tags, and a digest of our own."""

from __future__ import annotations

import hashlib
from typing import Literal

from bpflens.insn import opcodes as op
from bpflens.insn.code import Insn, decode, encode

TAG_SIZE = 8

Algorithm = Literal["sha1", "sha256"]


def _without_maps(insns: list[Insn]) -> list[Insn]:
    """Map fds and offsets set to 0, as bpf_prog_calc_tag() in kernel/bpf/core.c does.

    A map referred to by its index in fd_array keeps it, and so does the second slot of a wide
    load that holds anything but an immediate.
    """
    out, was_map = [], False
    for insn in insns:
        if (
            not was_map
            and insn.code == op.LD_IMM64
            and insn.src in (op.PSEUDO_MAP_FD, op.PSEUDO_MAP_VALUE)
        ):
            was_map, insn = True, insn._replace(imm=0)
        elif was_map:
            was_map = False
            if insn[:4] == (0, 0, 0, 0):
                insn = insn._replace(imm=0)
        out.append(insn)
    return out


def full_tag(program: bytes, algorithm: Algorithm = "sha256") -> bytes:
    """The whole hash of a program as submitted: 32 bytes of SHA-256, 20 of SHA-1.

    `excl_prog_hash` of a map is compared with the SHA-256 one. Raises FormatError.
    """
    return hashlib.new(algorithm, encode(_without_maps(decode(program)))).digest()


def tag(program: bytes, algorithm: Algorithm = "sha256") -> bytes:
    """The 8 bytes by which the kernel knows a program, from its instructions as submitted.

    SHA-256 since Linux 6.18, SHA-1 before. Raises FormatError.
    """
    return full_tag(program, algorithm)[:TAG_SIZE]


DIGEST_PREFIX = b"bpflens-insn-1\0"


def digest(program: bytes) -> str:
    """Our own digest of a program as submitted: the same on every kernel, 64 hex digits.

    SHA-256 over `DIGEST_PREFIX` and the little-endian slots, in which what a loader fills in from
    the running system is replaced: fds, indices and BTF ids become 0, a map counts the same by fd
    and by index, and offsets into map values stay (the compiler chose them). CO-RE relocations are
    not undone, so one source may differ between kernels whose types differ. Raises FormatError.
    """
    out, wide = [], 0
    for insn in decode(program):
        if wide:
            # The second slot: an offset for values, else an fd or nothing.
            keeps_offset = wide == op.PSEUDO_MAP_VALUE
            out.append(insn if keeps_offset else insn._replace(imm=0))
            wide = 0
        elif insn.code == op.LD_IMM64 and insn.src in _LOADED:
            wide = _LOADED[insn.src]
            out.append(insn._replace(src=wide, imm=0))
        elif insn.code == op.HELPER_CALL and insn.src == op.PSEUDO_KFUNC_CALL:
            out.append(insn._replace(off=0, imm=0))
        else:
            out.append(insn)
    return hashlib.sha256(DIGEST_PREFIX + encode(out)).hexdigest()


_LOADED = {
    op.PSEUDO_MAP_FD: op.PSEUDO_MAP_FD,
    op.PSEUDO_MAP_IDX: op.PSEUDO_MAP_FD,
    op.PSEUDO_MAP_VALUE: op.PSEUDO_MAP_VALUE,
    op.PSEUDO_MAP_IDX_VALUE: op.PSEUDO_MAP_VALUE,
    op.PSEUDO_BTF_ID: op.PSEUDO_BTF_ID,
}
