"""Functions of the kernel and where they are: what probes name, and what /proc/kallsyms lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpflens.btf.types import Func
from bpflens.errors import FormatError
from bpflens.insn.helpers import HELPERS

if TYPE_CHECKING:
    from bpflens.engine.btfs import BtfObject

_CALL_BASE = 0xFFFFFFFF81000000
_NAMED = 0xFFFFFFFF82000000
_TYPED = 0xFFFFFFFF84000000
_STEP = 16

FEW = (
    "do_sys_openat2", "vfs_open", "vfs_read", "vfs_write", "vfs_unlink", "do_exit",
    "wake_up_new_task", "tcp_v4_connect", "tcp_v6_connect", "tcp_sendmsg", "tcp_recvmsg",
    "tcp_close", "security_file_open", "security_bprm_check",
)  # fmt: skip
"""Functions that there are also where the kernel's BTF is not given."""


class Symbols:
    """Helpers lie N bytes from __bpf_call_base, as a dump shows their calls; functions behind them:
    those of `names`, and those of the kernel's BTF."""

    def __init__(self, vmlinux: BtfObject) -> None:
        self._vmlinux = vmlinux
        self.names = list(FEW)

    def find(self, name: str) -> int:
        """The address of a function; 0 if there is none. kallsyms_lookup_name()."""
        if name in self.names:
            return _NAMED + _STEP * self.names.index(name)
        found = self._vmlinux.types.find(name, Func)
        return _TYPED + _STEP * found.id if found else 0

    def at(self, address: int) -> str:
        """The function that begins at an address; empty if none does."""
        if address % _STEP:
            return ""
        if _NAMED <= address < _NAMED + _STEP * len(self.names):
            return self.names[(address - _NAMED) // _STEP]
        try:
            found = self._vmlinux.types[(address - _TYPED) // _STEP]
        except FormatError:
            return ""
        return found.name if isinstance(found, Func) else ""

    def __iter__(self) -> Iterator[tuple[int, str]]:
        yield _CALL_BASE, "__bpf_call_base"
        for id, name in HELPERS.items():
            if id:
                yield _CALL_BASE + id, f"bpf_{name}"
        for at, name in enumerate(self.names):
            yield _NAMED + _STEP * at, name
        types = self._vmlinux.types
        for id in types.ids_of(Func):
            name = types.type_name(id)
            if name not in self.names:
                yield _TYPED + _STEP * id, name
