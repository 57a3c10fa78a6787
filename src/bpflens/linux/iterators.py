"""BPF iterators: a program that the kernel runs for each of its objects, read like a file.

bpf_iter_prog_supported() in kernel/bpf/bpf_iter.c. Since: Linux 5.8. It needs CAP_BPF and
CAP_PERFMON, as every tracing program does.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL
from typing import NamedTuple

from bpflens.abi.attrs import IterCreate, LinkCreateIter, ProgLoad
from bpflens.abi.enums import AttachType, Cmd, ProgType
from bpflens.abi.infos import ProgInfo
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Func, Int
from bpflens.errors import Denied, SyscallError
from bpflens.insn.opcodes import LD_IMM64, PSEUDO_FUNC
from bpflens.port.calls import CallDenied, Calls
from bpflens.port.memory import Memory

_NOTHING = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
"""r0 = 0; exit"""

_PIECE = 1 << 16
"""A read gives no more than the 32 KiB that bpf_seq_read() collects."""


class Opened(NamedTuple):
    """The fds of an iterator: its program, its link, and the file of its rows."""

    prog: int
    link: int
    rows: int


@contextmanager
def opened(
    calls: Calls, name: str, target: int, insns: bytes, parameters: bytes = b""
) -> Iterator[Opened]:
    """An iterator, which is gone afterwards.

    `target` is the BTF ID of the function that stands for the kind of object; `parameters` (union
    bpf_iter_link_info) say over which. Raises what the kernel says.
    """
    prog = load(calls, name, target, insns)
    try:
        mem = Memory()
        attr = LinkCreateIter(prog_fd=prog, attach_type=AttachType.TRACE_ITER)
        if parameters:
            attr.iter_info, attr.iter_info_len = mem.pin(bytearray(parameters)), len(parameters)
        link = calls.link_create(attr, mem)
        try:
            rows = calls.call(Cmd.ITER_CREATE, IterCreate(link_fd=link))
            try:
                yield Opened(prog, link, rows)
            finally:
                calls.close(rows)
        finally:
            calls.close(link)
    finally:
        calls.close(prog)


def read(
    calls: Calls, name: str, target: int, insns: bytes, parameters: bytes = b""
) -> tuple[bytes, int]:
    """All that an iterator writes, and the ID of the program that wrote it, which is gone now."""
    with opened(calls, name, target, insns, parameters) as made:
        return read_all(made.rows), calls.info(made.prog, ProgInfo).id


def read_all(fd: int) -> bytes:
    """All that an iterator writes to its file."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(fd, _PIECE)
        except BlockingIOError:  # a million objects were passed over; the next read goes on there
            continue
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def may_load(calls: Calls) -> None:
    """Raises Denied where we may load no iterator, before one is made in vain.

    bpf_prog_load() looks at the rights first; then this one, which is attached to nothing, is
    invalid.
    """
    try:
        calls.close(load(calls, "", 0, _NOTHING))
    except CallDenied as error:
        raise Denied(f"no iterator can be loaded: {error}", "CAP_BPF and CAP_PERFMON") from error
    except SyscallError as error:
        if error.errno != EINVAL:
            raise


def load(calls: Calls, name: str, target: int, insns: bytes) -> int:
    """The fd of the program of an iterator, with BTF where it has callbacks."""
    attr = ProgLoad(
        prog_type=ProgType.TRACING,
        expected_attach_type=AttachType.TRACE_ITER,
        attach_btf_id=target,
        prog_name=name.encode(),
    )
    callbacks = _callbacks(insns)
    if not callbacks:
        return calls.prog_load(attr, insns)
    # The kernel takes a function as a callback only if BTF says that it is static
    # (check_ld_imm()).
    types, starts = _types(name, callbacks)
    mem = Memory()
    attr.func_info, attr.func_info_rec_size = mem.pin(starts), 8
    attr.func_info_cnt = len(starts) // 8
    attr.prog_btf_fd = calls.btf_load(types)
    try:
        return calls.prog_load(attr, insns, mem=mem)
    finally:
        calls.close(attr.prog_btf_fd)


def _callbacks(insns: bytes) -> list[int]:
    """Where the functions begin whose addresses are loaded, by the number of the instruction."""
    found = set()
    for at, insn in enumerate(struct.iter_unpack("=BBhi", insns)):
        if insn[0] == LD_IMM64 and insn[1] >> 4 == PSEUDO_FUNC:
            found.add(at + 1 + insn[3])
    return sorted(found)


def _types(name: str, callbacks: list[int]) -> tuple[bytes, bytearray]:
    """BTF in which a program and its callbacks are functions, and which of them begins where."""
    made = BtfBuilder()
    number = made.add_int("long int", 8, Int.SIGNED)
    proto = made.add_func_proto(number, [("context", made.add_ptr(0))])
    called = made.add_func_proto(number, [("index", number), ("context", made.add_ptr(0))])
    functions = [(0, made.add_func(name, proto, linkage=Func.GLOBAL))]
    functions += [
        (at, made.add_func(f"{name}_{at}", called, linkage=Func.STATIC)) for at in callbacks
    ]
    return made.build(), bytearray(b"".join(struct.pack("=II", *entry) for entry in functions))
