"""The four batch commands."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import MapBatch
from bpflens.abi.enums import Cmd
from bpflens.engine.call import Call, command, err
from bpflens.engine.maps.base import LOCK, Map, p32, u32
from bpflens.engine.maps.elements import check_lock, readable, writable
from bpflens.engine.maps.hash import Hash
from bpflens.errors import ENOTSUPP

_COUNT = 32
"""Offset of `count` in the attr."""


@command(Cmd.MAP_LOOKUP_BATCH, MapBatch)
def lookup_batch(call: Call, attr: MapBatch) -> int:
    """generic_map_lookup_batch(), or __htab_map_lookup_and_delete_batch() without the delete."""
    found = readable(call, attr.map_fd)
    if "L" not in found.batch:
        raise err(ENOTSUPP)
    if isinstance(found, Hash):
        return _hash_batch(call, attr, found, remove=False)
    _check_flags(found, attr)
    return _walk(call, attr, found)


@command(Cmd.MAP_LOOKUP_AND_DELETE_BATCH, MapBatch)
def lookup_and_delete_batch(call: Call, attr: MapBatch) -> int:
    """__htab_map_lookup_and_delete_batch()."""
    found = readable(call, attr.map_fd)
    writable(call, attr.map_fd)
    if not isinstance(found, Hash) or "X" not in found.batch:
        raise err(ENOTSUPP)
    return _hash_batch(call, attr, found, remove=True)


@command(Cmd.MAP_UPDATE_BATCH, MapBatch)
def update_batch(call: Call, attr: MapBatch) -> int:
    """generic_map_update_batch(): stops at the first element that fails."""
    found, file = writable(call, attr.map_fd)
    if "U" not in found.batch:
        raise err(ENOTSUPP)
    _check_flags(found, attr)
    if not attr.count:
        return 0
    room = found.value_room
    call.put_u32(_COUNT, 0)
    done = 0
    try:
        for at in range(attr.count):
            key = call.mem.read(attr.keys + at * found.key_size, found.key_size)
            value = call.mem.read(attr.values + at * room, room)
            found.update(key, value, attr.elem_flags, call.task, file)
            done += 1
    finally:
        call.put_u32(_COUNT, done)
    return 0


@command(Cmd.MAP_DELETE_BATCH, MapBatch)
def delete_batch(call: Call, attr: MapBatch) -> int:
    """generic_map_delete_batch()."""
    found, _file = writable(call, attr.map_fd)
    if "D" not in found.batch:
        raise err(ENOTSUPP)
    _check_flags(found, attr)
    if not attr.count:
        return 0
    call.put_u32(_COUNT, 0)
    done = 0
    try:
        for at in range(attr.count):
            found.delete(call.mem.read(attr.keys + at * found.key_size, found.key_size))
            done += 1
    finally:
        call.put_u32(_COUNT, done)
    return 0


def _check_flags(found: Map, attr: MapBatch) -> None:
    if attr.elem_flags & ~LOCK:
        raise err(errno.EINVAL)
    check_lock(found, attr.elem_flags)


def _walk(call: Call, attr: MapBatch, found: Map) -> int:
    """generic_map_lookup_batch(): the cursor is the key that was looked at last."""
    if not attr.count:
        return 0
    call.put_u32(_COUNT, 0)
    mem, size, room = call.mem, found.key_size, found.value_room
    key = mem.read(attr.in_batch, size) if attr.in_batch else None
    done = 0
    failed = 0
    walked = None
    while done < attr.count:
        try:
            key = found.next_key(key)
        except OSError as end:
            failed = end.errno or errno.ENOENT
            break
        walked = key
        try:
            value = found.lookup(key)
        except OSError as gone:
            if gone.errno == errno.ENOENT:
                continue
            failed = gone.errno or errno.ENOENT
            break
        mem.write(attr.keys + done * size, key)
        mem.write(attr.values + done * room, value)
        done += 1
    call.put_u32(_COUNT, done)
    if done and walked is not None:
        mem.write(attr.out_batch, walked)
    if failed:
        raise err(failed)
    return 0


def _hash_batch(call: Call, attr: MapBatch, found: Hash, remove: bool) -> int:
    """__htab_map_lookup_and_delete_batch(): whole buckets; the cursor is a bucket number."""
    if attr.elem_flags & ~LOCK:
        raise err(errno.EINVAL)
    check_lock(found, attr.elem_flags)
    if attr.flags:
        raise err(errno.EINVAL)
    count = attr.count
    if not count:
        return 0
    call.put_u32(_COUNT, 0)
    mem = call.mem
    bucket = u32(mem.read(attr.in_batch, 4)) if attr.in_batch else 0
    buckets = found.buckets
    if bucket >= buckets.count:
        raise err(errno.ENOENT)
    done, failed = 0, 0
    room = found.value_room
    while not failed:
        bucket = buckets.following(bucket)
        if bucket < 0:
            bucket, failed = buckets.count, errno.ENOENT
            break
        chain = list(reversed(buckets.chains[bucket]))
        if done + len(chain) > count:
            failed = 0 if done else errno.ENOSPC
            break
        values = b"".join([found.lookup(key) for key in chain])
        if remove:  # before the copy: what cannot be copied out is gone all the same
            for key in chain:
                found.delete(key)
        mem.write(attr.keys + done * found.key_size, b"".join(chain))
        mem.write(attr.values + done * room, values)
        done += len(chain)
        bucket += 1
        failed = errno.ENOENT if bucket >= buckets.count else 0
    mem.write(attr.out_batch, p32(bucket))
    call.put_u32(_COUNT, done)
    if failed:
        raise err(failed)
    return 0
