"""The commands on one element, and MAP_FREEZE. The order of checks is that of 6.18."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import MapDeleteElem, MapElem, MapFreeze, MapNextKey
from bpflens.abi.enums import Cmd, MapType
from bpflens.engine.call import Call, command, err
from bpflens.engine.creds import Cap
from bpflens.engine.files import File
from bpflens.engine.maps.base import LOCK, Map
from bpflens.errors import ENOTSUPP


def _map(call: Call, fd: int) -> tuple[Map, File]:
    file = call.task.files.file(fd)
    node = file.node
    if not isinstance(node, Map):
        raise err(errno.EINVAL)
    return node, file


def readable(call: Call, fd: int) -> Map:
    """The map behind an fd that may be read: FMODE_CAN_READ."""
    found, file = _map(call, fd)
    if not file.readable:
        raise err(errno.EPERM)
    return found


def writable(call: Call, fd: int) -> tuple[Map, File]:
    """The map behind an fd that may be written, and that is not frozen: map_get_sys_perms()."""
    found, file = _map(call, fd)
    if not file.writable or found.frozen:
        raise err(errno.EPERM)
    return found, file


def check_lock(found: Map, flags: int) -> None:
    """BPF_F_LOCK needs a bpf_spin_lock in the value."""
    if flags & LOCK and not (found.special and found.special.lock):
        raise err(errno.EINVAL)


def read_key(call: Call, found: Map, at: int) -> bytes:
    """__bpf_copy_key(): maps without keys want NULL."""
    if found.key_size:
        return call.mem.read(at, found.key_size)
    if at:
        raise err(errno.EINVAL)
    return b""


@command(Cmd.MAP_LOOKUP_ELEM, MapElem)
def lookup_elem(call: Call, attr: MapElem) -> int:
    """map_lookup_elem()."""
    if attr.flags & ~LOCK:
        raise err(errno.EINVAL)
    found = readable(call, attr.map_fd)
    check_lock(found, attr.flags)
    key = read_key(call, found, attr.key)
    if found.type == MapType.BLOOM_FILTER:
        value = call.mem.read(attr.value, found.value_size)
        found.holds(value)  # type: ignore[attr-defined]
    else:
        value = found.lookup(key)
    call.mem.write(attr.value, value)
    return 0


@command(Cmd.MAP_UPDATE_ELEM, MapElem)
def update_elem(call: Call, attr: MapElem) -> int:
    """map_update_elem()."""
    found, file = writable(call, attr.map_fd)
    check_lock(found, attr.flags)
    key = read_key(call, found, attr.key)
    value = call.mem.read(attr.value, found.value_room)
    found.update(key, value, attr.flags, call.task, file)
    return 0


@command(Cmd.MAP_DELETE_ELEM, MapDeleteElem)
def delete_elem(call: Call, attr: MapDeleteElem) -> int:
    """map_delete_elem()."""
    found, _file = writable(call, attr.map_fd)
    found.delete(read_key(call, found, attr.key))
    return 0


@command(Cmd.MAP_GET_NEXT_KEY, MapNextKey)
def get_next_key(call: Call, attr: MapNextKey) -> int:
    """map_get_next_key(): NULL asks for the first."""
    found = readable(call, attr.map_fd)
    key = read_key(call, found, attr.key) if attr.key else None
    call.mem.write(attr.next_key, found.next_key(key))
    return 0


@command(Cmd.MAP_LOOKUP_AND_DELETE_ELEM, MapElem)
def lookup_and_delete_elem(call: Call, attr: MapElem) -> int:
    """map_lookup_and_delete_elem(): what cannot be copied out is gone all the same."""
    if attr.flags & ~LOCK:
        raise err(errno.EINVAL)
    found, file = _map(call, attr.map_fd)
    if not file.readable or not file.writable or found.frozen:
        raise err(errno.EPERM)
    if attr.flags and found.type in (MapType.QUEUE, MapType.STACK):
        raise err(errno.EINVAL)
    check_lock(found, attr.flags)
    key = read_key(call, found, attr.key)
    if not found.pops or not found.pops_in(call.engine.release):
        raise err(ENOTSUPP)
    call.mem.write(attr.value, found.pop(key))
    return 0


@command(Cmd.MAP_FREEZE, MapFreeze)
def freeze(call: Call, attr: MapFreeze) -> int:
    """map_freeze()."""
    found, file = _map(call, attr.map_fd)
    if found.type == MapType.STRUCT_OPS or found.special:
        raise err(ENOTSUPP)
    if not call.engine.release.freeze_by_mode:
        if found.writers or found.frozen:
            raise err(errno.EBUSY)
        call.task.require(Cap.BPF)
    elif not file.writable or found.frozen:
        raise err(errno.EPERM)
    if found.writers:
        raise err(errno.EBUSY)
    found.frozen = True
    return 0
