"""MAP_CREATE, and what OBJ_GET_INFO_BY_FD tells of a map."""

from __future__ import annotations

import errno
import string

from bpflens.abi.attrs import MapCreate
from bpflens.abi.enums import Cmd, MapFlag, MapType
from bpflens.btf.specialfields import LOCKS, POINTERS, ROOTS
from bpflens.engine.btfmeta import LATIN
from bpflens.engine.btfs import BtfObject
from bpflens.engine.call import Call, command, err
from bpflens.engine.creds import Cap, UserNs
from bpflens.engine.maps.base import KINDS, Map
from bpflens.engine.objects import access_mode, install
from bpflens.engine.tokens import token_userns

_NAME = frozenset((string.ascii_letters + string.digits + "_.").encode()) | LATIN
_HASH = 32
"""SHA256_DIGEST_SIZE."""


def object_name(raw: bytes) -> bytes:
    """bpf_obj_name_cpy(): up to 15 of [A-Za-z0-9_.] and a NUL; raises EINVAL."""
    name, nul, _rest = raw.partition(b"\0")
    if not nul or not _NAME.issuperset(name):
        raise err(errno.EINVAL)
    return name


@command(Cmd.MAP_CREATE, MapCreate)
def map_create(call: Call, attr: MapCreate) -> int:
    """map_create(), its checks in its order."""
    task, engine = call.task, call.engine
    if attr.btf_vmlinux_value_type_id:
        if attr.map_type != MapType.STRUCT_OPS or attr.btf_key_type_id or attr.btf_value_type_id:
            raise err(errno.EINVAL)
    elif attr.btf_key_type_id and not attr.btf_value_type_id:
        raise err(errno.EINVAL)
    if attr.map_extra and attr.map_type not in (MapType.BLOOM_FILTER, MapType.ARENA):
        raise err(errno.EINVAL)
    mode = access_mode(attr.map_flags)
    if attr.map_flags & MapFlag.NUMA_NODE and attr.numa_node not in (0, 0xFFFFFFFF):
        raise err(errno.EINVAL)  # node 0 is the only one that is online
    cls = KINDS.get(attr.map_type) if attr.map_type < engine.release.map_types else None
    if cls is None:
        raise err(errno.EINVAL)
    token = int(attr.map_flags & MapFlag.TOKEN_FD) if engine.release.map_tokens else 0
    attr.map_flags &= ~token
    cls.check(attr, task)
    if attr.map_ifindex:
        _check_offload(attr, call)
    userns = None
    if token:
        userns = token_userns(call, attr.map_token_fd, Cmd.MAP_CREATE, map=attr.map_type)
    task.require(Cap.BPF, userns)  # the gate of sysctl kernel.unprivileged_bpf_disabled
    if cls.cap:
        task.require(cls.cap, userns)
    made = cls(engine, task, attr)
    made.allocate(attr, task)
    try:
        made.name = object_name(call.raw[28:44])
        bind_btf(made, attr, call, userns)
        made.exclusive = _exclusive(attr, call)
    except OSError:
        made.free()
        raise
    return install(task, made, mode)


def _check_offload(attr: MapCreate, call: Call) -> None:
    """bpf_map_offload_map_alloc(): no device here takes maps."""
    call.task.require(Cap.SYS_ADMIN)
    if attr.map_type not in (MapType.ARRAY, MapType.HASH):
        raise err(errno.EINVAL)
    device = call.task.netns.devices.get(attr.map_ifindex)
    # a driver that takes programs may take maps; here none does
    raise err(errno.EOPNOTSUPP if device and not device.native else errno.EINVAL)


def bind_btf(made: Map, attr: MapCreate, call: Call, userns: UserNs | None) -> None:
    """The end of map_create(), and map_check_btf()."""
    key, value = attr.btf_key_type_id, attr.btf_value_type_id
    if attr.btf_vmlinux_value_type_id and attr.btf_fd:
        pass  # struct_ops: the fd is looked at below
    elif not (key or value or attr.btf_vmlinux_value_type_id):
        return
    btf = call.task.files.get(attr.btf_fd, BtfObject)
    if btf.kernel:
        raise err(errno.EACCES)
    if value:
        if key:
            if btf.size_of(key) != made.key_size:
                raise err(errno.EINVAL)
        elif not made.checks_btf:
            raise err(errno.EINVAL)
        if btf.size_of(value) != made.value_size:
            raise err(errno.EINVAL)
        made.special = btf.special(value)
        if made.special:
            _check_special(made, call, userns)
        if made.checks_btf:
            made.check_btf(btf, key, value)
    btf.hold()
    made.btf, made.btf_key, made.btf_value = btf, key, value


def _check_special(made: Map, call: Call, userns: UserNs | None) -> None:
    """The part of map_check_btf() for bpf_spin_lock and its like."""
    call.task.require(Cap.BPF, userns)
    if made.flags & (MapFlag.RDONLY_PROG | MapFlag.WRONLY_PROG):
        raise err(errno.EACCES)
    if made.special and any(made.type not in _ALLOWED[kind] for kind in made.special.kinds):
        raise err(errno.EOPNOTSUPP)


_STORAGES = {
    MapType.SK_STORAGE, MapType.INODE_STORAGE, MapType.TASK_STORAGE, MapType.CGRP_STORAGE,
}  # fmt: skip
_LOCKED = {MapType.HASH, MapType.ARRAY, MapType.CGROUP_STORAGE, *_STORAGES}
_TIMED = {MapType.HASH, MapType.LRU_HASH, MapType.ARRAY}
_POINTED = {
    *_TIMED, *_STORAGES, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH, MapType.PERCPU_ARRAY,
}  # fmt: skip
_ALLOWED = {
    **dict.fromkeys(LOCKS, _LOCKED),
    **dict.fromkeys(("bpf_timer", "bpf_wq", "bpf_task_work", *ROOTS), _TIMED),
    **dict.fromkeys((*POINTERS, "bpf_refcount"), _POINTED),
}
"""Which types of map may hold which fields: map_check_btf()."""


def _exclusive(attr: MapCreate, call: Call) -> bytes:
    """The digest of the one program that may use this map. Since: 6.18."""
    if attr.excl_prog_hash:
        if attr.excl_prog_hash_size != _HASH:
            raise err(errno.EINVAL)
        return call.mem.read(attr.excl_prog_hash, _HASH)
    if attr.excl_prog_hash_size:
        raise err(errno.EINVAL)
    return b""
