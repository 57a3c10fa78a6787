"""The one place that knows every kernel: from a name to its doors."""

from __future__ import annotations

import os

from bpflens.errors import UsageError
from bpflens.model.system import System
from bpflens.port.doors import Doors

KERNELS = "linux (this machine), or the path of a recording"


def doors(on: str = "linux") -> Doors:
    """The doors of a kernel by its name. Raises UsageError, Unsupported, FormatError."""
    if on == "linux":
        from bpflens.linux.host import LinuxHost
        from bpflens.linux.netlink import LinuxNet
        from bpflens.linux.syscall import LinuxBpf

        return Doors(LinuxBpf(), LinuxHost(), LinuxNet())
    if os.path.exists(on):
        from bpflens.port.cassette import Replay

        return Replay(on).doors
    raise UsageError(f"there is no kernel {on!r}: give {KERNELS}")


def open(on: str = "linux") -> System:
    """The BPF objects of a kernel: `linux`, or the path of a recording."""
    return System(doors(on))
