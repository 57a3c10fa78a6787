"""BPF iterators: a program that the kernel runs for each of its objects, read like a file.

bpf_iter_prog_supported() in kernel/bpf/bpf_iter.c. Since: Linux 5.8. It needs CAP_BPF and
CAP_PERFMON, as every tracing program does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bpflens.abi.attrs import IterCreate, LinkCreateIter, ProgLoad
from bpflens.abi.enums import AttachType, Cmd, ProgType
from bpflens.abi.infos import ProgInfo
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Func, Int
from bpflens.insn.opcodes import LD_IMM64, PSEUDO_FUNC
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory

_PIECE = 1 << 16
"""A read gives no more than the 32 KiB that bpf_seq_read() collects."""


class Opened(NamedTuple):
    """The fds of an iterator: its program, its link, and the file of its rows."""

    prog: int
    link: int
    rows: int


@contextmanager
def opened(calls: Calls, name: str, target: int, insns: bytes) -> Iterator[Opened]:
    """An iterator, which is gone afterwards.

    `target` is the BTF ID of the function that stands for the kind of object. Raises what the
    kernel says.
    """
    attr = ProgLoad(
        prog_type=ProgType.TRACING,
        expected_attach_type=AttachType.TRACE_ITER,
        attach_btf_id=target,
        prog_name=name.encode(),
    )
    prog = calls.prog_load(attr, insns)
    try:
        link = calls.link_create(LinkCreateIter(prog_fd=prog, attach_type=AttachType.TRACE_ITER))
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


def read(calls: Calls, name: str, target: int, insns: bytes) -> tuple[bytes, int]:
    """All that an iterator writes, and the ID of the program that wrote it, which is gone now."""
    with opened(calls, name, target, insns) as made:
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
