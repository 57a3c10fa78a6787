"""OBJ_GET_INFO_BY_FD: the part that all kinds of object share."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.attrs import ObjInfo
from bpflens.abi.enums import Cmd
from bpflens.engine.call import Call, command, err
from bpflens.engine.objects import Object
from bpflens.engine.tokens import Token

if TYPE_CHECKING:
    from bpflens.port.memory import Memory

LONGEST = 4096
"""PAGE_SIZE: bpf_check_uarg_tail_zero()."""


@command(Cmd.OBJ_GET_INFO_BY_FD, ObjInfo)
def object_info(call: Call, attr: ObjInfo) -> int:
    """Members that the kernel does not fill echo what the caller's buffer held."""
    file = call.task.files.files.get(attr.bpf_fd)
    if file is None:
        raise err(errno.EBADFD)
    obj = file.node
    if not isinstance(obj, Object | Token) or not obj.info_size:
        raise err(errno.EINVAL)
    length = attr.info_len
    at = attr.info
    if length > obj.info_end:
        check_tail(call, at, length, obj.info_end)
    told = min(length, obj.info_size)
    data = bytearray(obj.info_size)
    data[:told] = call.mem.read(at, told)
    obj.info(call, file, data, told)
    call.mem.write(at, bytes(data[:told]))
    call.put_u32(4, told)
    return 0


def check_tail(call: Call, at: int, length: int, known: int) -> None:
    """bpf_check_uarg_tail_zero(): what is not zero wins over what cannot be read behind it."""
    if length > LONGEST:
        raise err(errno.E2BIG)
    if nonzero(call.mem, at + known, length - known):
        raise err(errno.E2BIG)


def nonzero(mem: Memory, at: int, size: int) -> bool:
    """check_zeroed_user(): looks at one byte after the other."""
    try:
        return any(mem.read(at, size))
    except OSError:
        for n in range(size):
            if mem.read(at + n, 1) != b"\0":
                return True
        raise


def copy_array(call: Call, at: int, capacity: int, data: bytes, item: int) -> None:
    """Copy as many whole items as the caller has room for. NULL with room for some is EFAULT."""
    size = min(len(data), capacity * item)
    if size:
        call.mem.write(at, data[:size])


def copy_name(call: Call, name: bytes, at: int, room: int) -> int:
    """Copy a name cut to `room`; return 0, or ENOSPC where it was cut. bpf_copy_to_user()."""
    if len(name) < room:
        call.mem.write(at, name + b"\0")
        return 0
    call.mem.write(at, name[: room - 1] + b"\0")
    return errno.ENOSPC
