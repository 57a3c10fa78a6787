"""Commands that stand alone: statistics, streams, binding a map."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.attrs import EnableStats, ProgBindMap, ProgStreamRead
from bpflens.abi.enums import Cmd, StatsType, StreamId
from bpflens.engine.call import Call, command, err
from bpflens.engine.files import O_RDONLY, File, Node
from bpflens.engine.maps.base import Map
from bpflens.engine.progs.prog import Prog

if TYPE_CHECKING:
    from bpflens.engine.engine import Engine


class Stats(Node):
    """While a file is open on this, run time would be counted."""

    __slots__ = ("engine",)

    anon = "anon_inode:bpf-stats"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def closed(self, file: File) -> None:
        self.engine.stats_users -= 1


@command(Cmd.ENABLE_STATS, EnableStats)
def enable_stats(call: Call, attr: EnableStats) -> int:
    """bpf_enable_stats(). The engine runs no programs, so the counts stay zero."""
    task = call.task
    if not call.engine.policy.may_walk(task.creds):
        raise err(errno.EPERM)
    if attr.type != StatsType.RUN_TIME:
        raise err(errno.EINVAL)
    fd = task.files.add(File(Stats(call.engine), O_RDONLY, task.creds))
    call.engine.stats_users += 1
    return fd


@command(Cmd.PROG_BIND_MAP, ProgBindMap)
def prog_bind_map(call: Call, attr: ProgBindMap) -> int:
    """bpf_prog_bind_map()."""
    if attr.flags:
        raise err(errno.EINVAL)
    prog = call.task.files.get(attr.prog_fd, Prog)
    prog.bind(call.task.files.get(attr.map_fd, Map))
    return 0


@command(Cmd.PROG_STREAM_READ_BY_FD, ProgStreamRead)
def stream_read(call: Call, attr: ProgStreamRead) -> int:
    """prog_stream_read(): nothing is ever written to a stream here."""
    call.task.files.get(attr.prog_fd, Prog)
    if attr.stream_id not in (StreamId.STDOUT, StreamId.STDERR):
        raise err(errno.ENOENT)
    return 0
