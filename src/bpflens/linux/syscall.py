"""bpf(2) by ctypes: no compiler, no libbpf."""

from __future__ import annotations

import ctypes
import os

from bpflens.abi.enums import Cmd
from bpflens.errors import Unsupported
from bpflens.port.memory import Memory

NUMBERS = {
    "x86_64": 321,
    "i686": 357,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "armv7l": 386,
    "s390x": 351,
    "ppc64le": 361,
    "ppc64": 361,
}
"""uname -m → __NR_bpf (arch/*/…/syscall*.tbl, include/uapi/asm-generic/unistd.h)."""

WAITING = frozenset(
    {
        Cmd.MAP_CREATE,
        Cmd.PROG_LOAD,
        Cmd.BTF_LOAD,
        Cmd.OBJ_PIN,
        Cmd.OBJ_GET,
        Cmd.PROG_TEST_RUN,
        Cmd.MAP_LOOKUP_BATCH,
        Cmd.MAP_LOOKUP_AND_DELETE_BATCH,
        Cmd.MAP_UPDATE_BATCH,
        Cmd.MAP_DELETE_BATCH,
        Cmd.LINK_CREATE,
        Cmd.LINK_DETACH,
    }
)
"""Commands that wait or copy much, and so release the GIL.

The others take about a microsecond. Handing the GIL over for that is no kindness: with one busy
Python thread beside, taking it back costs 700 µs a call (measured: 5 µs when it is kept).
"""


class LinuxBpf:
    """`BpfPort` of the kernel that this process runs on."""

    def __init__(self) -> None:
        machine = os.uname().machine
        number = NUMBERS.get(machine)
        if number is None or os.uname().sysname != "Linux":
            raise Unsupported(
                f"bpf(2) is not known on {os.uname().sysname} {machine}: "
                "look at a recording instead (--on FILE)"
            )
        self._number = number
        self._quick = _syscall(ctypes.PyDLL(None, use_errno=True))
        self._waiting = _syscall(ctypes.CDLL(None, use_errno=True))

    def bpf(self, cmd: int, attr: int, size: int, mem: Memory) -> int:
        call = self._waiting if cmd in WAITING else self._quick
        result: int = call(self._number, cmd, attr, size)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    def close(self, fd: int) -> None:
        os.close(fd)


def _syscall(library: ctypes.CDLL) -> ctypes._NamedFuncPointer:
    function = library.syscall
    function.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_ulong)
    function.restype = ctypes.c_long
    return function
