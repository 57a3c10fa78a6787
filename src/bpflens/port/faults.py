"""Fault injection: a kernel that fails where a test wants it to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from bpflens.port.doors import BpfPort
from bpflens.port.memory import Memory


class Fault(NamedTuple):
    """The `nth` call of a command (from 1; 0: every call) fails with `errno`."""

    cmd: int
    errno: int
    nth: int = 0


class FaultyBpf:
    """A `BpfPort` that lets the kernel behind it answer, but for the calls that are to fail."""

    def __init__(self, inner: BpfPort, faults: Iterable[Fault]) -> None:
        self._inner = inner
        self._faults = list(faults)
        self.calls: Counter[int] = Counter()
        """How often each command was called."""

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        self.calls[cmd] += 1
        for fault in self._faults:
            if fault.cmd == cmd and fault.nth in (0, self.calls[cmd]):
                raise OSError(fault.errno, os.strerror(fault.errno))
        return self._inner.bpf(cmd, attr, size, mem)

    def close(self, fd: int) -> None:
        self._inner.close(fd)
