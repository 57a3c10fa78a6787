"""What instructions refer to: maps by fd or by index of fd_array."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.enums import MapType, ProgType
from bpflens.btf.specialfields import LOCKS, ROOTS
from bpflens.engine.btfs import BtfObject
from bpflens.engine.call import err
from bpflens.engine.maps.base import Map
from bpflens.engine.progs.code import KNOWN
from bpflens.errors import ENOTSUPP
from bpflens.insn import Insn
from bpflens.insn import opcodes as op

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.abi.attrs import ProgLoad
    from bpflens.engine.call import Call
    from bpflens.engine.progs.prog import Prog

_MAX_MAPS = 64
"""MAX_USED_MAPS."""
_MAX_OFFSET = 1 << 29
"""BPF_MAX_VAR_OFF."""
_BY_INDEX = (op.PSEUDO_MAP_IDX, op.PSEUDO_MAP_IDX_VALUE)
_VALUES = (op.PSEUDO_MAP_VALUE, op.PSEUDO_MAP_IDX_VALUE)


class References:
    """Collects the maps of a program in the order in which it names them."""

    def __init__(self, call: Call, attr: ProgLoad, made: Prog) -> None:
        self._call = call
        self._made = made
        self._array = attr.fd_array
        self.maps: list[Map] = []
        self.places: dict[int, Map] = {}
        """Index of an instruction → the map that it loads."""
        if attr.fd_array_cnt:
            self._whole_array(attr)

    def _whole_array(self, attr: ProgLoad) -> None:
        """process_fd_array(): with a count, all of it is bound to the program."""
        if attr.fd_array_cnt > 0x7FFFFFFF // 4:
            raise err(errno.EINVAL)
        for at in range(attr.fd_array_cnt):
            fd = self._fd_at(at)
            file = self._call.task.files.files.get(fd)
            if file is None:
                raise err(errno.EBADF)
            if isinstance(file.node, Map):
                self._use(file.node)
            elif not isinstance(file.node, BtfObject):
                raise err(errno.EINVAL)

    def _fd_at(self, index: int) -> int:
        data = self._call.mem.read(self._array + 4 * index, 4)
        return int.from_bytes(data, "little", signed=True)

    def _use(self, used: Map) -> None:
        if used in self.maps:
            return
        if len(self.maps) >= _MAX_MAPS:
            raise err(errno.E2BIG)
        _check_map(self._made, used, self.maps)
        self.maps.append(used)

    def resolve(self, insns: Sequence[Insn]) -> None:
        """resolve_pseudo_ldimm64(), with the sanity checks that it makes on the way."""
        at, count = 0, len(insns)
        while at < count:
            insn = insns[at]
            if insn.code & 7 == op.LDX and (insn.code & 0xE0 not in (op.MEM, op.MEMSX) or insn.imm):
                raise err(errno.EINVAL)
            if insn.code == op.LD_IMM64:
                if at + 1 == count or insns[at + 1][:4] != (0, 0, 0, 0):
                    raise err(errno.EINVAL)
                if insn.src not in (0, op.PSEUDO_BTF_ID, op.PSEUDO_FUNC):
                    self._map(at, insn, insns[at + 1].imm & 0xFFFFFFFF)
                at += 2
                continue
            if insn.code not in KNOWN:
                raise err(errno.EINVAL)
            at += 1

    def _map(self, at: int, insn: Insn, offset: int) -> None:
        if insn.src > op.PSEUDO_MAP_IDX_VALUE:
            raise err(errno.EINVAL)
        if insn.src not in _VALUES and offset:
            raise err(errno.EINVAL)
        fd = insn.imm
        if insn.src in _BY_INDEX:
            if not self._array:
                raise err(errno.EPROTO)
            fd = self._fd_at(insn.imm)
        used = self._call.task.files.get(fd, Map)
        self._use(used)
        self.places[at] = used
        if insn.src in _VALUES:
            _direct(used, offset)


_TRACING = (
    ProgType.KPROBE,
    ProgType.TRACEPOINT,
    ProgType.PERF_EVENT,
    ProgType.RAW_TRACEPOINT,
    ProgType.RAW_TRACEPOINT_WRITABLE,
)
_T = MapType
_SLEEPABLE = (
    *(_T.HASH, _T.LRU_HASH, _T.ARRAY, _T.PERCPU_HASH, _T.PERCPU_ARRAY, _T.LRU_PERCPU_HASH),
    *(_T.ARRAY_OF_MAPS, _T.HASH_OF_MAPS, _T.RINGBUF, _T.USER_RINGBUF, _T.INODE_STORAGE),
    *(_T.SK_STORAGE, _T.TASK_STORAGE, _T.CGRP_STORAGE, _T.QUEUE, _T.STACK, _T.ARENA),
)
_CGROUP_STORAGE = (_T.CGROUP_STORAGE, _T.PERCPU_CGROUP_STORAGE)


_NOT_TRACED = LOCKS | ROOTS | {"bpf_timer", "bpf_wq"}
"""Fields that programs which trace may not use."""


def _check_map(made: Prog, used: Map, others: list[Map]) -> None:
    """check_map_prog_compatibility()."""
    if used.exclusive and used.exclusive != made.digest:
        raise err(errno.EACCES)
    held = used.special.kinds if used.special else frozenset()
    if made.type in _TRACING and held & _NOT_TRACED:
        raise err(errno.EINVAL)
    if made.type == ProgType.SOCKET_FILTER and held & LOCKS:
        raise err(errno.EINVAL)
    if used.type == MapType.STRUCT_OPS:
        raise err(errno.EINVAL)
    if made.sleepable and used.type not in _SLEEPABLE:
        raise err(errno.EINVAL)
    if used.type in _CGROUP_STORAGE and any(other.type == used.type for other in others):
        raise err(errno.EBUSY)  # bpf_cgroup_storage_assign(): one of each type
    if used.type == MapType.ARENA and not used.extra:
        raise err(errno.EINVAL)  # its address is not known before it is mapped


def _direct(used: Map, offset: int) -> None:
    """map_direct_value_addr()."""
    if offset >= _MAX_OFFSET:
        raise err(errno.EINVAL)
    if used.type == MapType.ARENA:
        if offset // 4096 >= used.max_entries:
            raise err(errno.ERANGE)
        return
    if used.type != MapType.ARRAY:
        raise err(errno.EINVAL)
    if used.max_entries != 1:
        raise err(ENOTSUPP)
    if offset >= used.value_size:
        raise err(errno.EINVAL)
