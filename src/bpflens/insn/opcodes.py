"""The numbers of the instruction set, and the words that `kernel/bpf/disasm.c` has for them.

One table for each fact; the printer, the assembler and the analyses read the same ones.
Sources: RFC 9669 (BPF ISA), include/uapi/linux/bpf.h, and include/linux/filter.h for the codes
that exist inside the kernel only and reach people through xlated dumps.
"""

from __future__ import annotations

# Instruction classes, the low three bits of the code (RFC 9669 section 3.1).
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)

# Where the second operand comes from (section 3.2).
K, X = 0x00, 0x08

# Arithmetic (section 4.1); MOV, NEG and END have forms of their own.
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH = range(0x00, 0x80, 0x10)
NEG, MOD, XOR, MOV, ARSH, END = range(0x80, 0xE0, 0x10)
ALU_SIGNS = {
    ADD: "+=",
    SUB: "-=",
    MUL: "*=",
    DIV: "/=",
    OR: "|=",
    AND: "&=",
    LSH: "<<=",
    RSH: ">>=",
    MOD: "%=",
    XOR: "^=",
    MOV: "=",
    ARSH: "s>>=",
}
SIGNED_ALU_SIGNS = {DIV: "s/=", MOD: "s%="}
"""Division as signed numbers: off = 1 (section 4.1). Since: Linux 6.6."""

# Jumps (section 4.3).
JA, JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE, CALL, EXIT, JLT, JLE, JSLT, JSLE, JCOND = range(
    0x00, 0xF0, 0x10
)
JUMP_SIGNS = {
    JEQ: "==",
    JGT: ">",
    JGE: ">=",
    JSET: "&",
    JNE: "!=",
    JSGT: "s>",
    JSGE: "s>=",
    JLT: "<",
    JLE: "<=",
    JSLT: "s<",
    JSLE: "s<=",
}

# Access sizes (section 5).
W, H, B, DW = 0x00, 0x08, 0x10, 0x18
SIZE_NAMES = {W: "u32", H: "u16", B: "u8", DW: "u64"}
SIGNED_SIZE_NAMES = {W: "s32", H: "s16", B: "s8"}
SIZE_BYTES = {W: 4, H: 2, B: 1, DW: 8}

# Modes of loads and stores (section 5).
IMM, ABS, IND, MEM, MEMSX, ATOMIC = 0x00, 0x20, 0x40, 0x60, 0x80, 0xC0

# Modes that only the kernel writes (include/linux/filter.h). bpf_insn_prepare_dump() in
# kernel/bpf/syscall.c turns PROBE_MEM and PROBE_MEM32 back into MEM; the others show.
PROBE_MEM, PROBE_MEMSX, PROBE_MEM32, PROBE_MEM32SX, PROBE_ATOMIC = 0x20, 0x40, 0xA0, 0xC0, 0xE0
NOSPEC = ST | 0xC0
"""A speculation barrier that the verifier put in. Since: Linux 5.13."""

# Atomic operations, in imm (section 5.3); load-acquire and store-release since Linux 6.15.
FETCH = 0x01
XCHG, CMPXCHG = 0xE0 | FETCH, 0xF0 | FETCH
LOAD_ACQ, STORE_REL = 0x100, 0x110
ATOMIC_NAMES = {ADD: "add", AND: "and", OR: "or", XOR: "xor"}

# Whole codes that are asked for by name.
LD_IMM64 = LD | IMM | DW
MOV64_X = ALU64 | MOV | X
HELPER_CALL = JMP | CALL
CALLX = JMP | CALL | X
GOTO = JMP | JA
GOTOL = JMP32 | JA
GOTOX = JMP | JA | X
MAY_GOTO = JMP | JCOND
RETURN = JMP | EXIT
TAIL_CALL = JMP | 0xF0
"""Kernel-internal; a dump shows it as a call of helper 12 (bpf_insn_prepare_dump())."""

# Meanings of `off` in a 64-bit register move.
ADDR_SPACE_CAST = 1  # Since: Linux 6.9, arenas
ADDR_PERCPU = -1  # kernel-internal (filter.h), since Linux 6.10
SIGN_EXTENSIONS = {8: "(s8)", 16: "(s16)", 32: "(s32)"}  # Since: Linux 6.6

# What `src` says in a 64-bit immediate load (section 5.4) ...
PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_BTF_ID, PSEUDO_FUNC, PSEUDO_MAP_IDX = 1, 2, 3, 4, 5
PSEUDO_MAP_IDX_VALUE = 6
# ... and in a call (section 4.3.1).
PSEUDO_CALL, PSEUDO_KFUNC_CALL = 1, 2

STACK = 10
"""r10, the read-only frame pointer."""
STACK_LIMIT = 512
"""MAX_BPF_STACK, bytes a call chain may use (include/linux/filter.h)."""


def class_of(code: int) -> int:
    """The instruction class of a code."""
    return code & 0x07


def op_of(code: int) -> int:
    """The operation of an arithmetic or jump code."""
    return code & 0xF0


def size_of(code: int) -> int:
    """The access size bits of a load or store code; `SIZE_BYTES` has the bytes."""
    return code & 0x18


def mode_of(code: int) -> int:
    """The mode of a load or store code."""
    return code & 0xE0
