"""bpf(2) with types: one method for each thing that we ask, over any `BpfPort`.

A failing call raises `SyscallError`, as one of three kinds where the errno says so, with the
errno kept: refused (`Denied`), nothing there (`NotFound`), not offered (`Unsupported`).
"""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple, TypeVar

from bpflens import limits
from bpflens.abi.attrs import (
    BtfLoad,
    EnableStats,
    LinkCreate,
    LinkDetach,
    MapBatch,
    MapCreate,
    MapDeleteElem,
    MapElem,
    MapFreeze,
    MapNextKey,
    ObjInfo,
    ObjPath,
    ProgAttach,
    ProgLoad,
    RawTracepointOpen,
)
from bpflens.abi.enums import Cmd, MapFlag
from bpflens.abi.infos import BtfInfo, ProgInfo
from bpflens.abi.record import Record
from bpflens.errors import ENOTSUPP, Denied, Limited, NotFound, SyscallError, Unsupported
from bpflens.port.doors import BpfPort
from bpflens.port.memory import Memory

R = TypeVar("R", bound=Record)


class CallDenied(SyscallError, Denied):
    """EPERM or EACCES."""


class CallNotFound(SyscallError, NotFound):
    """ENOENT."""


class CallUnsupported(SyscallError, Unsupported):
    """ENOSYS, EOPNOTSUPP or the kernel's own ENOTSUPP."""


class Restricted(Denied):
    """The kernel tells how long an array is, but hides its content from this caller.

    Raw instructions hold kernel addresses: bpf_dump_raw_ok() asks for kallsyms rights of the
    credential with which the fd was opened.
    """

    def __init__(self, field: str) -> None:
        super().__init__(f"the kernel hides {field} from this caller", "CAP_SYSLOG")


_KINDS: dict[int, type[SyscallError]] = {
    errno.EPERM: CallDenied,
    errno.EACCES: CallDenied,
    errno.ENOENT: CallNotFound,
    errno.ENOSYS: CallUnsupported,
    errno.EOPNOTSUPP: CallUnsupported,
    ENOTSUPP: CallUnsupported,
}


def failure(cmd: int, error: OSError) -> SyscallError:
    """The error to raise for a call that failed."""
    code = error.errno or 0
    return _KINDS.get(code, SyscallError)(code, f"bpf({Cmd(cmd).name})")


class ProgArray(NamedTuple):
    """A side array of `ProgInfo`: which fields ask for it, and the bytes of one item."""

    total: str
    pointer: str
    size: int
    rec_size: str = ""


MAP_IDS = ProgArray("nr_map_ids", "map_ids", 4)
XLATED = ProgArray("xlated_prog_len", "xlated_prog_insns", 1)
JITED = ProgArray("jited_prog_len", "jited_prog_insns", 1)
JITED_KSYMS = ProgArray("nr_jited_ksyms", "jited_ksyms", 8)
JITED_FUNC_LENS = ProgArray("nr_jited_func_lens", "jited_func_lens", 4)
FUNC_INFO = ProgArray("nr_func_info", "func_info", 8, "func_info_rec_size")
LINE_INFO = ProgArray("nr_line_info", "line_info", 16, "line_info_rec_size")
JITED_LINE_INFO = ProgArray("nr_jited_line_info", "jited_line_info", 8, "jited_line_info_rec_size")
PROG_TAGS = ProgArray("nr_prog_tags", "prog_tags", 8)


_INFO_ROOM = 512
"""More than any info struct of today (prog: 232 bytes); the kernel says how much it wrote."""

_U32 = struct.Struct("=I")
_OBJ_INFO = struct.Struct("=iIQ")
_BY_ID = struct.Struct("=III")
_ZEROS = bytes(_INFO_ROOM)


class Calls:
    """Typed calls on one kernel. Not for two threads at once: small calls share one buffer."""

    def __init__(self, port: BpfPort) -> None:
        self.port = port
        self.opened: set[int] = set()
        """The fds of objects that were there already: what we hold because we look at it."""
        self._mem = Memory()
        self._attr = bytearray(16)
        self._info = bytearray(_INFO_ROOM)
        self._attr_at = self._mem.pin(self._attr)
        self._info_at = self._mem.pin(self._info)

    def call(self, cmd: Cmd, attr: Record, mem: Memory | None = None) -> int:
        """Make any call; what the kernel writes into the attr is then in `attr`, also on failure.

        `mem` must hold every buffer that the attr points at.
        """
        mem = mem or Memory()
        buffer = bytearray(attr.encode())
        try:
            return self.port.bpf(cmd, mem.pin(buffer), len(buffer), mem)
        except OSError as error:
            raise failure(cmd, error) from error
        finally:
            attr.__fill__(type(attr).__struct__.unpack(buffer), len(buffer))

    # --- ids and info: called thousands of times for a list, so on a buffer that stays

    def next_id(self, cmd: Cmd, start: int) -> int | None:
        """The smallest id above `start`, or None at the end. *_GET_NEXT_ID. Since: 4.13."""
        _U32.pack_into(self._attr, 0, start)
        _U32.pack_into(self._attr, 4, 0)
        try:
            self.port.bpf(cmd, self._attr_at, 8, self._mem)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise failure(cmd, error) from error
        found: int = _U32.unpack_from(self._attr, 4)[0]
        return found

    def fd_by_id(self, cmd: Cmd, id: int, flags: int = 0) -> int:
        """A new fd of the object with this id. *_GET_FD_BY_ID. Since: 4.13.

        `flags` are for maps alone: RDONLY or WRONLY.
        """
        _BY_ID.pack_into(self._attr, 0, id, 0, flags)
        try:
            fd = self.port.bpf(cmd, self._attr_at, 12 if flags else 4, self._mem)
        except OSError as error:
            raise failure(cmd, error) from error
        self.opened.add(fd)
        return fd

    def info(self, fd: int, record: type[R]) -> R:
        """What the kernel tells of an object without side buffers. OBJ_GET_INFO_BY_FD.

        The buffer is zero and longer than any info we know: the kernel answers how many bytes
        it has, which becomes the record's `__told__`.
        """
        return record.decode(self._info, self._tell(fd, record.__size__))

    def raw_info(self, fd: int) -> bytes:
        """The same as bytes, as many as the kernel has: for what no record is known."""
        told = self._tell(fd, _INFO_ROOM)
        return bytes(self._info[:told])

    def _tell(self, fd: int, room: int) -> int:
        self._info[:] = _ZEROS
        _OBJ_INFO.pack_into(self._attr, 0, fd, room, self._info_at)
        try:
            self.port.bpf(Cmd.OBJ_GET_INFO_BY_FD, self._attr_at, 16, self._mem)
        except OSError as error:
            raise failure(Cmd.OBJ_GET_INFO_BY_FD, error) from error
        told: int = _U32.unpack_from(self._attr, 4)[0]
        return told

    def fill_info(self, fd: int, record: R, mem: Memory) -> R:
        """The same for a record whose pointers and counts ask for side buffers in `mem`."""
        buffer = bytearray(record.encode())
        return type(record).decode(buffer, self.info_into(fd, buffer, mem))

    def info_into(self, fd: int, buffer: bytearray, mem: Memory) -> int:
        """The same for bytes, which the kernel fills as far as it returns."""
        attr = ObjInfo(bpf_fd=fd, info_len=len(buffer), info=mem.pin(buffer))
        self.call(Cmd.OBJ_GET_INFO_BY_FD, attr, mem)
        return attr.info_len

    def prog_array(self, fd: int, array: ProgArray, told: ProgInfo) -> bytes:
        """One side array of a program whose info is `told`; empty where the kernel has none.

        The array may have grown since (PROG_BIND_MAP): the kernel says the true length also when
        the buffer is too small, so the read is repeated until it fits. Raises `Restricted`, and
        `Limited` for an array that has no end.
        """
        count: int = getattr(told, array.total)
        if not count:
            return b""
        for _ in range(limits.GROWTHS.value):
            if count * array.size > limits.ARRAY_BYTES.value:
                raise Limited(f"{array.pointer} of {count} items: {limits.ARRAY_BYTES}")
            mem = Memory()
            buffer = bytearray(count * array.size)
            asked = ProgInfo()
            setattr(asked, array.total, count)
            setattr(asked, array.pointer, mem.pin(buffer))
            if array.rec_size:
                setattr(asked, array.rec_size, array.size)
            told = self.fill_info(fd, asked, mem)
            total: int = getattr(told, array.total)
            if total and not getattr(told, array.pointer):
                raise Restricted(array.pointer)
            if total <= count:
                return bytes(buffer[: total * array.size])
            count = total
        raise Limited(f"{array.pointer} of {count} items: {limits.GROWTHS}")

    def btf_name(self, fd: int) -> bytes:
        """The name of a BTF object: `vmlinux` or a module's; empty for a program's. Since: 5.11."""
        mem = Memory()
        name = bytearray(64)  # more than any: MODULE_NAME_LEN is 56
        self.fill_info(fd, BtfInfo(name=mem.pin(name), name_len=len(name)), mem)
        return bytes(name).partition(b"\0")[0]

    def btf_data(self, fd: int, size: int = 0) -> bytes:
        """The raw BTF of a BTF object; `size` is what it was told to have, if it was asked."""
        size = size or self.info(fd, BtfInfo).btf_size
        for _ in range(limits.GROWTHS.value):
            if size > limits.ARRAY_BYTES.value:
                raise Limited(f"BTF of {size} bytes: {limits.ARRAY_BYTES}")
            mem = Memory()
            buffer = bytearray(size)
            told = self.fill_info(fd, BtfInfo(btf=mem.pin(buffer), btf_size=size), mem)
            if told.btf_size <= size:
                return bytes(buffer[: told.btf_size])
            size = told.btf_size
        raise Limited(f"BTF of {size} bytes: {limits.GROWTHS}")

    # --- maps

    def map_create(self, attr: MapCreate, mem: Memory | None = None) -> int:
        """A new map's fd. MAP_CREATE."""
        return self.call(Cmd.MAP_CREATE, attr, mem)

    def map_lookup(self, fd: int, key: bytes, value_size: int, flags: int = 0) -> bytes:
        """A copy of one value, `value_size` bytes. An empty key is the NULL of keyless maps."""
        mem = Memory()
        value = bytearray(value_size)
        attr = MapElem(map_fd=fd, key=mem.pin(bytearray(key)), value=mem.pin(value), flags=flags)
        self.call(Cmd.MAP_LOOKUP_ELEM, attr, mem)
        return bytes(value)

    def map_update(self, fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store a value. MAP_UPDATE_ELEM."""
        mem = Memory()
        attr = MapElem(
            map_fd=fd, key=mem.pin(bytearray(key)), value=mem.pin(bytearray(value)), flags=flags
        )
        self.call(Cmd.MAP_UPDATE_ELEM, attr, mem)

    def map_delete(self, fd: int, key: bytes) -> None:
        """Remove an element. MAP_DELETE_ELEM."""
        mem = Memory()
        self.call(Cmd.MAP_DELETE_ELEM, MapDeleteElem(map_fd=fd, key=mem.pin(bytearray(key))), mem)

    def map_lookup_and_delete(self, fd: int, key: bytes, value_size: int, flags: int = 0) -> bytes:
        """Take an element out. MAP_LOOKUP_AND_DELETE_ELEM. Since: 4.20 (hashes: 5.14)."""
        mem = Memory()
        value = bytearray(value_size)
        attr = MapElem(map_fd=fd, key=mem.pin(bytearray(key)), value=mem.pin(value), flags=flags)
        self.call(Cmd.MAP_LOOKUP_AND_DELETE_ELEM, attr, mem)
        return bytes(value)

    def map_next_key(self, fd: int, key: bytes | None, key_size: int) -> bytes | None:
        """The key after `key` (None: the first), or None at the end. MAP_GET_NEXT_KEY."""
        mem = Memory()
        following = bytearray(key_size)
        at = mem.pin(bytearray(key)) if key else 0
        try:
            self.call(
                Cmd.MAP_GET_NEXT_KEY,
                MapNextKey(map_fd=fd, key=at, next_key=mem.pin(following)),
                mem,
            )
        except CallNotFound:
            return None
        return bytes(following)

    def map_lookup_batch(
        self, fd: int, cursor: bytes | None, keys: bytearray, values: bytearray, count: int
    ) -> tuple[int, bytes, bool]:
        """Fill `keys` and `values` with up to `count` elements from `cursor` (None: the start).

        Returns (elements, next cursor, whether this was the end). Since: 5.6.
        """
        mem = Memory()
        # Room for a key or for the hash's u32 bucket number, whichever the map type uses.
        room = max(len(keys) // count, 4)
        after = bytearray(room)
        attr = MapBatch(
            in_batch=mem.pin(bytearray(cursor)) if cursor else 0,
            out_batch=mem.pin(after),
            keys=mem.pin(keys),
            values=mem.pin(values),
            count=count,
            map_fd=fd,
        )
        try:
            self.call(Cmd.MAP_LOOKUP_BATCH, attr, mem)
        except CallNotFound:
            return attr.count, bytes(after), True
        return attr.count, bytes(after), False

    def map_freeze(self, fd: int) -> None:
        """Forbid writes from user space. MAP_FREEZE. Since: 5.2."""
        self.call(Cmd.MAP_FREEZE, MapFreeze(map_fd=fd))

    # --- programs, links, BTF, pins

    def prog_load(
        self, attr: ProgLoad, insns: bytes, license: str = "GPL", mem: Memory | None = None
    ) -> int:
        """A new program's fd; `attr` says everything but instructions and license. PROG_LOAD."""
        mem = mem or Memory()
        attr.insns = mem.pin(bytearray(insns))
        attr.insn_cnt = len(insns) // 8
        attr.license = mem.pin(bytearray(license.encode() + b"\0"))
        return self.call(Cmd.PROG_LOAD, attr, mem)

    def btf_load(self, data: bytes) -> int:
        """A new BTF object's fd. BTF_LOAD. Since: 4.18."""
        mem = Memory()
        return self.call(
            Cmd.BTF_LOAD, BtfLoad(btf=mem.pin(bytearray(data)), btf_size=len(data)), mem
        )

    def obj_pin(self, fd: int, path: str) -> None:
        """Pin an object at a path of a bpffs. OBJ_PIN."""
        mem = Memory()
        name = bytearray(path.encode(errors="surrogateescape") + b"\0")
        self.call(Cmd.OBJ_PIN, ObjPath(pathname=mem.pin(name), bpf_fd=fd), mem)

    def obj_get(self, path: str, flags: int = 0) -> int:
        """The fd of what is pinned at a path. OBJ_GET."""
        mem = Memory()
        name = bytearray(path.encode(errors="surrogateescape") + b"\0")
        fd = self.call(Cmd.OBJ_GET, ObjPath(pathname=mem.pin(name), file_flags=flags), mem)
        self.opened.add(fd)
        return fd

    def pinned(self, path: str, write: bool = False) -> int:
        """An fd of what is pinned at a path; only for reading, unless `write`."""
        try:
            return self.obj_get(path, 0 if write else MapFlag.RDONLY)
        except SyscallError as error:
            if error.errno != errno.EINVAL:  # links take no flags (bpf_obj_get_user())
                raise
            return self.obj_get(path)

    def prog_attach(self, attr: ProgAttach) -> None:
        """Attach a program. PROG_ATTACH."""
        self.call(Cmd.PROG_ATTACH, attr)

    def link_create(self, attr: LinkCreate | Record, mem: Memory | None = None) -> int:
        """A new link's fd; the record is the variant of the link's kind. Since: 5.7."""
        return self.call(Cmd.LINK_CREATE, attr, mem)

    def raw_tracepoint_open(self, prog_fd: int, name: str) -> int:
        """A link of a program to a raw tracepoint. RAW_TRACEPOINT_OPEN. Since: 4.17."""
        mem = Memory()
        at = mem.pin(bytearray(name.encode() + b"\0"))
        return self.call(Cmd.RAW_TRACEPOINT_OPEN, RawTracepointOpen(name=at, prog_fd=prog_fd), mem)

    def link_detach(self, fd: int) -> None:
        """Take a link's program off. LINK_DETACH. Since: 5.9."""
        self.call(Cmd.LINK_DETACH, LinkDetach(link_fd=fd))

    def enable_stats(self) -> int:
        """An fd while which is open, run time and count are kept. Since: 5.8."""
        return self.call(Cmd.ENABLE_STATS, EnableStats())

    def close(self, fd: int) -> None:
        """Close an fd that one of these calls returned."""
        self.opened.discard(fd)
        self.port.close(fd)
