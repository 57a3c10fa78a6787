"""Instructions from Python: one function for each kind, named after its assembly.

    program = encode([*ld_map_fd(R1, fd), mov(R2, R10), add(R2, -4), call(1), exit_()])

A second operand is a register (`R0` ... `R10`) or a number; that decides the code.
"""

from __future__ import annotations

from bpflens.insn import opcodes as op
from bpflens.insn.code import Insn


class Reg(int):
    """A register, so that a number and a register cannot be mixed up."""

    __slots__ = ()


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = (Reg(number) for number in range(11))
Operand = Reg | int


def signed32(value: int) -> int:
    """`value` as the signed 32-bit number with the same bits; `ValueError` if it has more bits."""
    if not -0x8000_0000 <= value <= 0xFFFF_FFFF:
        raise ValueError(f"{value:#x} does not fit 32 bits")
    return value - 0x1_0000_0000 if value > 0x7FFF_FFFF else value


def _operate(code: int, dst: int, other: Operand, off: int = 0) -> Insn:
    if isinstance(other, Reg):
        return Insn(code | op.X, dst, int(other), off, 0)
    return Insn(code | op.K, dst, 0, off, signed32(other))


def alu(operation: int, dst: Reg, other: Operand, *, bits: int = 64, off: int = 0) -> Insn:
    """`dst operation other`; `off` 1 makes a division signed, 8, 16 or 32 a move sign-extend."""
    return _operate((op.ALU64 if bits == 64 else op.ALU) | operation, dst, other, off)


def mov(dst: Reg, other: Operand, *, bits: int = 64) -> Insn:
    """`dst = other`."""
    return alu(op.MOV, dst, other, bits=bits)


def add(dst: Reg, other: Operand, *, bits: int = 64) -> Insn:
    """`dst += other`."""
    return alu(op.ADD, dst, other, bits=bits)


def neg(dst: Reg, *, bits: int = 64) -> Insn:
    """`dst = -dst`."""
    return Insn((op.ALU64 if bits == 64 else op.ALU) | op.NEG, dst)


def swap(kind: str, dst: Reg, bits: int) -> Insn:
    """Byte swap: `kind` le or be (to that order from the machine's), or bswap (Linux 6.6)."""
    code = {"le": op.ALU | op.K, "be": op.ALU | op.X, "bswap": op.ALU64 | op.K}[kind]
    return Insn(code | op.END, dst, imm=bits)


def addr_space_cast(dst: Reg, src: Reg, to: int, of: int) -> Insn:
    """`dst = addr_space_cast(src, to, of)`. Since: Linux 6.9."""
    return Insn(op.MOV64_X, dst, src, op.ADDR_SPACE_CAST, signed32(to << 16 | of))


def percpu(dst: Reg, src: Reg) -> Insn:
    """`dst = &(void __percpu *)(src)`, which only the kernel itself may use."""
    return Insn(op.MOV64_X, dst, src, op.ADDR_PERCPU)


def load(size: int, dst: Reg, base: Reg, off: int = 0, *, signed: bool = False) -> Insn:
    """`dst = *(size *)(base + off)`."""
    return Insn(op.LDX | size | (op.MEMSX if signed else op.MEM), dst, base, off)


def store(size: int, base: Reg, off: int, other: Operand) -> Insn:
    """`*(size *)(base + off) = other`."""
    if isinstance(other, Reg):
        return Insn(op.STX | size | op.MEM, base, other, off)
    return Insn(op.ST | size | op.MEM, base, 0, off, signed32(other))


def load_packet(size: int, at: int, base: Reg | None = None) -> Insn:
    """`r0 = *(size *)skb[at]`, or `skb[base + at]`: the loads of classic BPF (RFC 9669 5.5)."""
    if base is None:
        return Insn(op.LD | size | op.ABS, imm=signed32(at))
    return Insn(op.LD | size | op.IND, src=base, imm=signed32(at))


def atomic(operation: int, size: int, base: Reg, off: int, reg: Reg) -> Insn:
    """An atomic `operation` (imm) on `*(size *)(base + off)` with `reg`."""
    if operation == op.LOAD_ACQ:  # the one atomic that names its target in dst
        return Insn(op.STX | size | op.ATOMIC, reg, base, off, operation)
    return Insn(op.STX | size | op.ATOMIC, base, reg, off, operation)


def jump(off: int) -> Insn:
    """`goto pc+off`."""
    return Insn(op.GOTO, off=off)


def jump_long(off: int) -> Insn:
    """`gotol pc+off`. Since: Linux 6.6."""
    return Insn(op.GOTOL, imm=off)


def jump_if(operation: int, left: Reg, right: Operand, off: int, *, bits: int = 64) -> Insn:
    """`if left operation right goto pc+off`."""
    return _operate((op.JMP if bits == 64 else op.JMP32) | operation, left, right, off)


def may_goto(off: int) -> Insn:
    """`may_goto pc+off`. Since: Linux 6.9."""
    return Insn(op.MAY_GOTO, off=off)


def jump_to(target: Reg) -> Insn:
    """`gotox target`, through an instruction array. Since: Linux 6.19."""
    return Insn(op.GOTOX, target)


def call(helper: int) -> Insn:
    """A call of a helper by id."""
    return Insn(op.HELPER_CALL, imm=helper)


def call_relative(distance: int) -> Insn:
    """A call of a subprogram, `distance` slots after the next instruction."""
    return Insn(op.HELPER_CALL, src=op.PSEUDO_CALL, imm=distance)


def call_kernel(btf_id: int, module: int = 0) -> Insn:
    """A kfunc call by BTF id; `module` is the slot of fd_array that holds its BTF."""
    return Insn(op.HELPER_CALL, src=op.PSEUDO_KFUNC_CALL, off=module, imm=btf_id)


def call_through(target: Reg) -> Insn:
    """`callx target`."""
    return Insn(op.CALLX, target)


def exit_() -> Insn:
    """`exit`."""
    return Insn(op.RETURN)


def ld_imm64(dst: Reg, value: int, *, pseudo: int = 0) -> tuple[Insn, Insn]:
    """`dst = value ll`: both slots; `pseudo` says what the value stands for."""
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"{value:#x} does not fit 64 bits")
    low, high = value & 0xFFFF_FFFF, value >> 32 & 0xFFFF_FFFF
    return Insn(op.LD_IMM64, dst, pseudo, 0, signed32(low)), Insn(0, imm=signed32(high))


def ld_map_fd(dst: Reg, fd: int) -> tuple[Insn, Insn]:
    """`dst = map_fd fd`."""
    return ld_imm64(dst, fd & 0xFFFF_FFFF, pseudo=op.PSEUDO_MAP_FD)


def ld_map_value(dst: Reg, fd: int, offset: int = 0) -> tuple[Insn, Insn]:
    """`dst = map_value fd + offset`: an address inside the first value of an array map."""
    wide = (offset & 0xFFFF_FFFF) << 32 | fd & 0xFFFF_FFFF
    return ld_imm64(dst, wide, pseudo=op.PSEUDO_MAP_VALUE)
