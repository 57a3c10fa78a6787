"""The doors of the machine that this process runs on."""

from __future__ import annotations

from bpflens.linux.bulk import LinuxBulk
from bpflens.linux.foreign import Foreign
from bpflens.linux.host import LinuxHost
from bpflens.linux.mounts import LinuxMounts
from bpflens.linux.netlink import LinuxNet
from bpflens.linux.syscall import LinuxBpf
from bpflens.port.doors import Doors


def doors() -> Doors:
    """The live kernel's. Raises Unsupported where bpf(2) is not known."""
    host, foreign = LinuxHost(), Foreign()
    mounts = LinuxMounts(foreign, host)
    return Doors(LinuxBpf(), host, LinuxNet(foreign), mounts, LinuxBulk(host))
