"""In which network and mount namespace each process is.

A process may hide that (another user's, one with more rights than ours). Where the kernel has a
bulk door, that tells it; else /proc tells who is in the same network namespace as somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from errno import EINVAL
from typing import NamedTuple

from bpflens.abi.rows import TaskRow
from bpflens.errors import BpflensError
from bpflens.model.system import System
from bpflens.port.doors import HostPort


class Process(NamedTuple):
    """A process and the namespaces that it is in, by inode number; None where they are not told.

    One whose threads are in several comes several times.
    """

    pid: int
    netns: int | None
    mntns: int | None
    hidden: bool = False
    """It does not let us in: its namespaces can be entered only by way of something else."""
    thread: int = 0
    """The thread that is there, where the first thread is not, or has ended."""

    @property
    def folder(self) -> str:
        """`/proc/812`, `/proc/812/task/815`."""
        return f"/proc/{self.pid}" + (f"/task/{self.thread}" if self.thread else "")


def read(system: System) -> list[Process]:
    """Every process that there is, but for zombies. Raises OSError."""
    host = system.host
    pids = [int(name) for name, _ in host.listdir("/proc") if name.isdecimal()]
    found = [process for pid in pids for process in _threads(host, pid)]
    if any(process.hidden for process in found):
        found = list(_neighbours(host, list(_revealed(system, found))))
    return sorted(found)


def one(host: HostPort, pid: int, thread: int = 0) -> Process | None:
    """What /proc tells; None: it ended."""
    folder = Process(pid, None, None, thread=thread).folder
    try:
        netns, mntns = (namespace(host, f"{folder}/ns/{kind}") for kind in ("net", "mnt"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError:
        return Process(pid, None, None, True, thread)
    return Process(pid, netns, mntns, thread=thread)


def namespace(host: HostPort, path: str) -> int:
    """The inode number in `net:[4026531833]`. Raises OSError."""
    return int(host.readlink(path).partition("[")[2].rstrip("]"))


def _threads(host: HostPort, pid: int) -> Iterator[Process]:
    """A process, once for each place where its threads are."""
    first = one(host, pid)
    if first:
        yield first
        if first.hidden:
            return
    seen = {first[1:3]} if first else set()
    try:
        threads = host.listdir(f"/proc/{pid}/task")
    except OSError:
        return  # it ended
    for name, _ in threads if len(threads) > 1 else ():
        other = one(host, pid, int(name)) if int(name) != pid else None
        if other and not other.hidden and other[1:3] not in seen:
            seen.add(other[1:3])
            yield other


def _revealed(system: System, processes: list[Process]) -> Iterator[Process]:
    """With the namespaces of those that hide them, where the bulk door tells."""
    bulk = system.doors.bulk
    told: dict[int, tuple[int, int]] | None = None
    with suppress(BpflensError, OSError):
        if bulk is not None:
            rows = bulk.tasks(system.doors.bpf, system.index_dir)
            told = {
                pid: (netns, mntns)
                for pid, netns, mntns in TaskRow.__struct__.iter_unpack(rows.data)
            }
    for process in processes:
        if not process.hidden or told is None:
            yield process
        elif process.pid not in told:
            if again := one(system.host, process.pid):
                yield again
        elif all(told[process.pid]):  # else it is ending
            yield Process(process.pid, *told[process.pid], hidden=True)


def _neighbours(host: HostPort, processes: list[Process]) -> Iterator[Process]:
    """With the network namespaces of those that hide them, and that are where a process is that
    does not."""
    known: dict[int, int] = {}
    for process in processes:
        if process.netns is not None and process.netns not in known.values():
            with suppress(OSError):
                known[_net_directory(host, process)] = process.netns
    for process in processes:
        if process.netns is not None:
            yield process
            continue
        try:
            there = known.get(_net_directory(host, process))
        except OSError as error:
            if error.errno == EINVAL:  # proc_tgid_net_readdir(): a zombie
                continue
            there = None
        yield process._replace(netns=there)


def _net_directory(host: HostPort, process: Process) -> int:
    """What tells one network namespace from another. Raises OSError.

    /proc/PID/net is open to all (proc_tgid_net_lookup()), and what is in it has inode numbers of
    its own in each namespace.
    """
    host.listdir(f"{process.folder}/net")
    return host.identity(f"{process.folder}/net/stat")[1]
