"""LLVM's disassembler as a second opinion: what it prints, we assemble to the same bytes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bpflens.insn import decode, encode
from bpflens.insn import opcodes as op
from bpflens.insn.asm import assemble
from bpflens.insn.text import text

SOURCE = Path(__file__).parent.parent.parent / "data" / "insn" / "everything.c"
pytestmark = [
    pytest.mark.skipif(shutil.which(tool) is None, reason=f"needs {tool}")
    for tool in ("clang", "llvm-objdump")
]


def disassembled(cpu: str, folder: Path) -> list[tuple[bytes, str]]:
    """Bytes and LLVM's words for each instruction of the object, before relocation."""
    built = folder / "everything.o"
    compiled = subprocess.run(
        ["clang", "-target", "bpf", f"-mcpu={cpu}", "-O2", "-c", SOURCE, "-o", built,
         "-I", f"/usr/include/{os.uname().machine}-linux-gnu"],
        capture_output=True, text=True,
    )  # fmt: skip
    if compiled.returncode:
        pytest.skip(f"clang: {compiled.stderr[-200:]}")
    shown = subprocess.run(
        ["llvm-objdump", "-d", f"--mcpu={cpu}", built], capture_output=True, text=True, check=True
    ).stdout
    lines = re.findall(r"(?m)^\s*\d+:\t([0-9a-f ]+)\t(.+)$", shown)
    return [(bytes.fromhex(data), words) for data, words in lines]


@pytest.mark.parametrize("cpu", ["v1", "v2", "v3"])
def test_llvm_and_we_mean_the_same(cpu: str, tmp_path: Path) -> None:
    compared = 0
    for data, words in disassembled(cpu, tmp_path):
        insns = decode(data)
        if insns[0].code == op.HELPER_CALL:
            continue  # `call -1` does not say which kind of call it is
        words = re.sub(r"\s*<[^>]*>$", "", words)
        assert assemble(words) == data, words
        wide = insns[1].imm << 32 | insns[0].imm if len(insns) == 2 else None
        assert assemble(text(insns[0], wide)) == encode(insns)
        compared += 1
    assert compared > 100
