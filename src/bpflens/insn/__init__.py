"""BPF instructions: bytes, text, flow, meaning. Pure: nothing here asks a kernel."""

from __future__ import annotations

from bpflens.insn.code import Insn, Step, decode, encode, steps

__all__ = ["Insn", "Step", "decode", "encode", "steps"]
