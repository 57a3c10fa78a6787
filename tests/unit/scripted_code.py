"""A scripted kernel with one program of which everything is told."""

from __future__ import annotations

import struct

from bpflens.abi.enums import MapType, ProgType
from bpflens.btf.build import BtfBuilder
from bpflens.insn import encode
from bpflens.insn.asm import assemble_insns
from bpflens.model.kallsyms import PATH
from tests.unit.scripted import Kernel
from tests.unit.scripted_objects import Types, prog, table, u32

BASE = 0xFFFFFFFF81000040
MAIN, SUB = 0xFFFFFFFFC0000100, 0xFFFFFFFFC0000200
SYMBOLS = {
    BASE: "__bpf_call_base",
    BASE + 0x1000: "__htab_map_lookup_elem",
    BASE + 0x2000: "bpf_kf",
    MAIN: "bpf_prog_0101010101010101_main",
    SUB: "bpf_prog_0202020202020202_sub_of_it",
}
TEXT = """
    r1 = map[id:7]
    call 4096
    if r0 == 0 goto out
    r1 = map[id:8][0]+4
    call pc+3
    call 8192
out:
    r0 = 2
    exit
    r0 = 0
    exit
"""


def code_bytes() -> bytes:
    """The text above as the kernel leaves it: distances in calls, and roles of fields changed."""
    insns = assemble_insns(TEXT.replace("call pc+3", "r0 = 0").replace("call 8192", "r0 = 0"))
    subprogram = next(at for at, insn in enumerate(insns) if insn == (0xB7, 0, 0, 0, 0))
    insns[subprogram] = insns[subprogram]._replace(code=0x85, src=1, off=3, imm=1)
    insns[subprogram + 1] = insns[subprogram + 1]._replace(code=0x85, src=2, off=0, imm=0x2000)
    return encode(insns)


def types() -> bytes:
    """`int main(void)` and `int sub_of_it(void)`, a line of source, and a data section."""
    made = BtfBuilder()
    number = made.add_int("int", 4)
    proto = made.add_func_proto(number)
    made.add_func("main", proto)
    made.add_func("sub_of_it", proto)
    low, high = made.add_var("low", number), made.add_var("high", number)
    made.add_datasec(".bss", 8, [(low, 0, 4), (high, 4, 4)])
    made.string("\treturn\t2;\x1b[2J")
    made.string("a.c")
    return made.build()


def offset(text: str) -> int:
    start: int = struct.unpack_from("<I", types(), 16)[0] + 24
    return types().find(text.encode()) - start


def code_kernel() -> Kernel:
    """An XDP program with a subprogram, two maps, BTF, machine code and symbols."""
    lines = struct.pack("<8I", 0, offset("a.c"), offset("\treturn"), 3 << 10 | 7,
                        10, offset("a.c"), offset("\treturn"), 4 << 10)  # fmt: skip
    made = prog(
        1, b"main", xlated_prog_insns=code_bytes(), map_ids=u32(7, 8),
        jited_ksyms=struct.pack("<2Q", MAIN, SUB), jited_func_lens=u32(6, 1),
        jited_prog_insns=b"\xe8" + struct.pack("<i", BASE + 0x1000 - MAIN - 5) + b"\xc3" + b"\xc3",
        func_info=u32(0, 3, 10, 4), line_info=lines, jited_line_info=struct.pack("<2Q", MAIN, SUB),
    )  # fmt: skip
    made.info.btf_id = 7
    made.info.type = ProgType.XDP
    flows = table(7, name=b"flows")
    bss = table(8, MapType.ARRAY, name=b"main.bss")
    bss.info.btf_id, bss.info.btf_value_type_id = 7, 7
    kernel = Kernel(made, flows, bss, Types(7, types()))
    kernel.host.files[PATH] = b"".join(
        f"{at:016x} T {name}\n".encode() for at, name in SYMBOLS.items()
    )
    return kernel
