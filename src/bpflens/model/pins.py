"""Where objects are pinned in our mount namespace."""

from __future__ import annotations

from errno import EXDEV
from typing import TYPE_CHECKING, NamedTuple

from bpflens import limits
from bpflens.port import mountinfo
from bpflens.port.doors import Unread
from bpflens.port.mountinfo import Mount, below

if TYPE_CHECKING:
    from bpflens.model.system import System


class Pins(NamedTuple):
    """Paths by (kind, id), and what could not be looked at, with the error."""

    paths: dict[tuple[str, int], list[str]]
    errors: list[tuple[str, Exception]]


def mounts(system: System) -> list[Mount]:
    """The bpffs mounts, in order. Raises OSError."""
    text = system.host.read("/proc/self/mountinfo", limits.MOUNTINFO_BYTES.value)
    return mountinfo.mounts(text, "bpf", trusted=mountinfo.root_device(text))


def find(system: System) -> Pins:
    """Every pinned program, map and link that this process can open."""
    pins = Pins({}, [])
    try:
        found = mounts(system)
    except OSError as error:
        pins.errors.append(("/proc/self/mountinfo", error))
        return pins
    shown = {mount.device for mount in found if not mount.closed}
    for mount in found:
        if mount.closed:
            if mount.device not in shown:  # else it is looked at elsewhere
                pins.errors.append((mount.path, OSError(EXDEV, mount.closed)))
            continue
        try:
            read = system.doors.mounts.pins(system.doors.bpf, mount)
        except OSError as error:
            pins.errors.append((mount.path, error))
            continue
        for file in read.found:
            path = below(mount, file.path)
            pins.paths.setdefault((file.kind, file.id), []).append(path)
        pins.errors.extend((below(mount, each.path), failure(each)) for each in read.unread)
    return pins


def failure(unread: Unread) -> OSError:
    """Why a part was not read, as the error that it is."""
    return OSError(unread.errno, unread.why)
