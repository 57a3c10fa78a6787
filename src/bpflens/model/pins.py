"""Where objects are pinned: a walk over the bpffs mounts of our mount namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bpflens.abi.enums import MapFlag
from bpflens.errors import SyscallError
from bpflens.port import fdinfo
from bpflens.port.calls import CallNotFound
from bpflens.port.mountinfo import mounted

if TYPE_CHECKING:
    from bpflens.model.system import System

MAX_DEPTH = 32
MAX_FILES = 100_000


class Pins(NamedTuple):
    """Paths by (kind, id), and what could not be looked at, with the error."""

    paths: dict[tuple[str, int], list[str]]
    errors: list[tuple[str, Exception]]


def mounts(system: System, fstype: str) -> list[str]:
    """Where file systems of a type are mounted, in order, and not covered by another mount."""
    text = system.host.read("/proc/self/mountinfo")
    return list(dict.fromkeys(each.path for each in mounted(text, fstype) if not each.covered))


def find(system: System) -> Pins:
    """Every pinned program, map and link that this process can open."""
    try:
        return walk(system, mounts(system, "bpf"))
    except OSError as error:
        return Pins({}, [("/proc/self/mountinfo", error)])


def walk(system: System, roots: list[str]) -> Pins:
    """The same below these directories, wherever they are reached."""
    pins = Pins({}, [])
    waiting = [(root, 0) for root in reversed(roots)]
    files = 0
    while waiting and files < MAX_FILES:
        directory, depth = waiting.pop()
        try:
            entries = system.host.listdir(directory)
        except OSError as error:
            pins.errors.append((directory, error))
            continue
        inner = []
        for name, is_directory in entries:
            path = f"{directory.rstrip('/')}/{name}"
            if is_directory:
                if depth < MAX_DEPTH:
                    inner.append((path, depth + 1))
                continue
            files += 1
            if _is_symlink(system, path):
                continue  # iproute2 makes some; what they lead to is met by its own path
            try:
                key = _identify(system, path)
            except CallNotFound:
                continue  # unpinned since, or a file of the kernel's own that names no object
            except OSError as error:
                pins.errors.append((path, error))
            else:
                if key and path not in pins.paths.setdefault(key, []):
                    pins.paths[key].append(path)
        waiting += reversed(inner)
    return pins


def _is_symlink(system: System, path: str) -> bool:
    """Whether it is a symbolic link, which holds nothing (bpf_symlink())."""
    try:
        system.host.readlink(path)
    except OSError:
        return False
    return True


def open_fd(system: System, path: str, write: bool = False) -> int:
    """An fd of what is pinned at `path`; only for reading, where nobody wants to write."""
    try:
        return system.calls.obj_get(path, 0 if write else MapFlag.RDONLY)
    except SyscallError as error:
        if error.errno != 22:  # EINVAL: links take no flags (bpf_obj_get_user())
            raise
        return system.calls.obj_get(path)


def _identify(system: System, path: str) -> tuple[str, int] | None:
    fd = open_fd(system, path)
    try:
        return fdinfo.identify(system.host.fdinfo(fd))
    finally:
        system.calls.close(fd)
