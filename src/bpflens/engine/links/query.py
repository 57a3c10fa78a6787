"""PROG_QUERY."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import ProgQuery
from bpflens.abi.enums import Cmd
from bpflens.engine.call import U32, Call, command, err
from bpflens.engine.creds import Cap
from bpflens.engine.links.prog_attach import HOOKS

_EFFECTIVE = 1
"""BPF_F_QUERY_EFFECTIVE."""


@command(Cmd.PROG_QUERY, ProgQuery, checked=False)
def prog_query(call: Call, attr: ProgQuery) -> int:
    """bpf_prog_query(): the one command that asks for rights before it looks at the attr."""
    call.task.require(Cap.NET_ADMIN)
    end = call.engine.release.ends.get(Cmd.PROG_QUERY, ProgQuery.__size__)
    if any(call.raw[end:]) or attr.query_flags & ~_EFFECTIVE:
        raise err(errno.EINVAL)
    known = attr.attach_type < call.engine.release.attach_types
    found = HOOKS.get(attr.attach_type) if known else None
    if found is None:
        raise err(errno.EINVAL)
    found.query(call, attr)
    return 0


def answer(call: Call, attr: ProgQuery, arrays: list[tuple[int, list[int]]]) -> None:
    """Fill arrays of u32, the first of which decides; ENOSPC with as many as fit."""
    at, numbers = arrays[0]
    room = attr.prog_cnt
    if not room or not at or not numbers:
        return
    for where, values in arrays:
        if where:
            call.mem.write(where, b"".join([U32.pack(value) for value in values[:room]]))
    if room < len(numbers):
        raise err(errno.ENOSPC)
