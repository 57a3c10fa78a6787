"""Programs, and what OBJ_GET_INFO_BY_FD tells of one."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bpflens.engine.call import Call, err
from bpflens.engine.info import copy_array
from bpflens.engine.objects import Object

if TYPE_CHECKING:
    from bpflens.engine.btfs import BtfObject
    from bpflens.engine.creds import Creds
    from bpflens.engine.engine import Engine
    from bpflens.engine.files import File
    from bpflens.engine.maps.base import Map

_IN = struct.Struct("=16xIIQQ12xIQ20xI16xIIQQ4xIQIIQQIIIIQ")
_HEAD = struct.Struct("=II8sII")
_TIMES = struct.Struct("=QII")
_COUNTS = struct.Struct("=II")
_STATS = struct.Struct("=QQQI")
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_JITED_AT, _XLATED_AT = 24, 32
_KSYMS_AT, _LENS_AT, _JITED_LINES_AT = 112, 120, 160
FUNC_INFO, LINE_INFO, JITED_LINE_INFO = 8, 16, 8
"""Sizes of records in the debug information of 6.18."""


class Prog(Object):
    """A verified program. The engine has no JIT: there is never a jited image."""

    __slots__ = (
        "attach_btf", "attach_btf_id", "attach_type", "btf", "dev_bound", "digest", "enforced",
        "extended", "flags", "func_count", "func_info", "gpl", "leaks", "line_info", "load_time",
        "maps", "name", "prog_tags", "sleepable", "slots", "tag", "target", "type",
        "verified_insns", "xlated", "xlated_hidden",
    )  # fmt: skip

    space = "prog"
    anon = "anon_inode:bpf-prog"

    def __init__(self, engine: Engine, creds: Creds, type: int) -> None:
        super().__init__(engine, creds)
        self.info_size, self.info_end = engine.release.prog_info
        self.type = type
        self.name = b""
        self.attach_type = 0
        self.attach_btf: BtfObject | None = None
        self.attach_btf_id = 0
        self.target: Prog | None = None
        """The program that it was loaded for, until it is attached (aux->dst_prog)."""
        self.flags = 0
        self.gpl = False
        self.leaks = False
        """Whether it may give pointers away (env->allow_ptr_leaks)."""
        self.sleepable = False
        self.extended = False
        """Whether an extension is attached to it."""
        self.slots = 0
        """In how many slots of program arrays it is (prog_array_member_cnt)."""
        self.dev_bound = False
        self.enforced = False
        """Whether only the attach type of the load will do (a CGROUP_SKB that returns 2 or 3)."""
        self.digest = b""
        self.tag = b""
        self.prog_tags = b""
        self.func_count = 0
        """Functions if there are any beside the main one, else 0 (aux->func_cnt)."""
        self.maps: list[Map] = []
        self.btf: BtfObject | None = None
        self.func_info = self.line_info = b""
        self.xlated = b""
        self.xlated_hidden = b""
        """The same as it is shown to one who must not see kernel addresses."""
        self.verified_insns = 0
        self.load_time = engine.clock().boottime

    def free(self) -> None:
        """bpf_prog_free_deferred()."""
        for used in self.maps:
            used.drop()
        if self.btf:
            self.btf.drop()
        self.forget_target()

    def forget_target(self) -> None:
        """Give up the program that this one was loaded for."""
        target, self.target = self.target, None
        if target:
            target.drop()

    def owner_key(self, with_attach_type: bool) -> tuple[object, ...]:
        """What programs in one prog array must have in common. bpf_prog_map_compatible()."""
        frags = bool(self.flags & 0x20)
        attach = self.attach_type if with_attach_type else 0
        return (self.type, frags, self.sleepable, attach, self.attach_btf_id)

    def bind(self, used: Map) -> None:
        """Add a map to those that the program keeps alive."""
        if used not in self.maps:
            used.hold()
            self.maps.append(used)

    def info(self, call: Call, file: File, data: bytearray, told: int) -> None:
        """bpf_prog_get_info_by_fd(), in its order."""
        (
            _jited_len, xlated_room, _jited, xlated_at, map_room, map_at, gpl_bits, ksyms_room,
            lens_room, ksyms_at, lens_at, func_rec, func_at, func_room, line_room, line_at,
            _jited_line, jited_line_room, line_rec, jited_line_rec, tags_room, tags_at,
        ) = _IN.unpack_from(data)  # fmt: skip
        maps, xlated = self.maps, self.xlated
        _HEAD.pack_into(data, 0, self.type, self.id, self.tag, 0, len(xlated))
        _TIMES.pack_into(data, 40, self.load_time, self.uid, len(maps))
        data[64:80] = self.name.ljust(16, b"\0")
        _U32.pack_into(data, 84, gpl_bits & ~1 | self.gpl)
        if maps and map_room:
            ids = b"".join([used.id.to_bytes(4, "little") for used in maps])
            copy_array(call, map_at, map_room, ids, 4)
        # set_info_rec_size(), three times
        if (
            ((func_room or func_rec) and func_rec != FUNC_INFO)
            or ((line_room or line_rec) and line_rec != LINE_INFO)
            or ((jited_line_room or jited_line_rec) and jited_line_rec != JITED_LINE_INFO)
        ):
            raise err(errno.EINVAL)
        _U32.pack_into(data, 132, FUNC_INFO)
        _COUNTS.pack_into(data, 172, LINE_INFO, JITED_LINE_INFO)
        _STATS.pack_into(data, 192, 0, 0, 0, self.verified_insns)
        if self.btf:
            _U32.pack_into(data, 128, self.btf.id)
        policy = call.engine.policy
        if not policy.sees_all(call.task.creds, self):
            _COUNTS.pack_into(data, 16, 0, 0)
            _COUNTS.pack_into(data, 104, 0, 0)
            _COUNTS.pack_into(data, 144, 0, 0)
            _U32.pack_into(data, 168, 0)
            return
        raw = policy.sees_raw(file.creds, self)
        if xlated_room:
            copy_array(call, xlated_at, xlated_room, xlated if raw else self.xlated_hidden, 1)
        functions = self.func_count or 1
        _COUNTS.pack_into(data, 104, functions, functions)
        if raw and ksyms_room:  # code that is nowhere in memory
            copy_array(call, ksyms_at, ksyms_room, bytes(8 * functions), 8)
        if raw and lens_room:
            copy_array(call, lens_at, lens_room, bytes(4 * functions), 4)
        if not raw:
            for at in (_JITED_AT, _KSYMS_AT, _LENS_AT, _JITED_LINES_AT):
                _U64.pack_into(data, at, 0)
        target = self.target.btf if self.target else self.attach_btf
        if target:
            _U32.pack_into(data, 220, target.id)
        _U32.pack_into(data, 224, self.attach_btf_id)
        funcs, lines = self.func_info, self.line_info
        _COUNTS.pack_into(data, 144, len(funcs) // FUNC_INFO, len(lines) // LINE_INFO)
        if funcs and func_room:
            copy_array(call, func_at, func_room, funcs, FUNC_INFO)
        if lines and line_room:
            copy_array(call, line_at, line_room, lines, LINE_INFO)
        _U32.pack_into(data, 168, 0)
        _U32.pack_into(data, 180, len(self.prog_tags) // 8)
        if tags_room:
            copy_array(call, tags_at, tags_room, self.prog_tags, 8)

    def fdinfo(self, file: File) -> str:
        """bpf_prog_show_fdinfo()."""
        size = -(-(96 + len(self.xlated)) // 4096) * 4096
        return (
            f"prog_type:\t{self.type}\nprog_jited:\t0\nprog_tag:\t{self.tag.hex()}\n"
            f"memlock:\t{size}\nprog_id:\t{self.id}\nrun_time_ns:\t0\nrun_cnt:\t0\n"
            f"recursion_misses:\t0\nverified_insns:\t{self.verified_insns}\n"
        )
