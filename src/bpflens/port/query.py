"""PROG_QUERY: what is attached at a place."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, NamedTuple

from bpflens import limits
from bpflens.abi.attrs import ProgQuery
from bpflens.abi.enums import AttachType, Cmd
from bpflens.errors import Limited
from bpflens.port.calls import failure
from bpflens.port.memory import Memory

if TYPE_CHECKING:
    from bpflens.port.calls import Calls


class Query(NamedTuple):
    """What is told of a place: its programs in the order in which they run."""

    progs: list[int]
    links: list[int]
    """The link that holds each, 0 where none does; empty where the kernel does not tell."""
    revision: int
    """How often the list has changed, from 1; 0 where the kernel does not tell."""
    flags: list[int]
    """How each shares the place at a cgroup: BPF_F_ALLOW_OVERRIDE or _MULTI."""


def prog_query(
    calls: Calls, target: int, hook: AttachType, links: bool = False, effective: bool = False
) -> Query:
    """The programs that are attached to an fd, or a device by its index.

    `links`: with their links, which only tcx and netkit tell; `effective`: all that run for a
    cgroup, also those of the ones above. Since: 4.15 (links: 6.6).
    """
    # Most places are empty, and there may be thousands: first only how many programs there are.
    room = 0
    # The programs of many hooks, which differ: EINVAL without. Of all that run it is EINVAL with.
    by_hook = hook is AttachType.LSM_CGROUP and not effective
    for _ in range(limits.GROWTHS.value):
        mem = Memory()
        progs, each, held = bytearray(4 * room), bytearray(4 * room), bytearray(4 * room)
        attr = bytearray(
            ProgQuery.__struct__.pack(
                target, hook, effective, 0, mem.pin(progs), room,
                mem.pin(each) if by_hook else 0, mem.pin(held) if links else 0, 0, 0,
            )
        )  # fmt: skip
        try:
            calls.port.bpf(Cmd.PROG_QUERY, mem.pin(attr), len(attr), mem)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise failure(Cmd.PROG_QUERY, error) from error
        told = ProgQuery.decode(attr, len(attr))
        if told.prog_cnt <= room:
            some = struct.Struct(f"={told.prog_cnt}I")
            by = list(some.unpack_from(held)) if links else []
            common = [told.attach_flags] * told.prog_cnt
            flags = list(some.unpack_from(each)) if by_hook else common
            return Query(list(some.unpack_from(progs)), by, told.revision, flags)
        room = told.prog_cnt
    raise Limited(f"the programs of a place: {limits.GROWTHS}")
