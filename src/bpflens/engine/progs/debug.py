"""Debug information given with a program: func_info and line_info, and what it attaches to."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bpflens.btf import types as t
from bpflens.engine.btfs import BtfObject
from bpflens.engine.call import err
from bpflens.engine.progs.prog import FUNC_INFO, LINE_INFO, Prog
from bpflens.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.abi.attrs import ProgLoad
    from bpflens.engine.call import Call
    from bpflens.engine.progs.xlate import Translated
    from bpflens.insn import Insn

_LONGEST_RECORD = 252
"""MAX_FUNCINFO_REC_SIZE, MAX_LINEINFO_REC_SIZE."""
_FUNC_SIZE_AT, _LINE_SIZE_AT = 76, 92
"""Offsets of func_info_rec_size and line_info_rec_size."""
_ON_THROW = "exception_callback:"
_FUNC = struct.Struct("<II")
_LINE = struct.Struct("<IIII")


class Debug:
    """check_btf_info_early(), check_btf_info()."""

    def __init__(self, call: Call, attr: ProgLoad) -> None:
        self._call = call
        self._attr = attr
        self.btf: BtfObject | None = None
        self.funcs: list[tuple[int, int]] = []
        self.lines: list[tuple[int, int, int, int]] = []

    def early(self) -> None:
        """The BTF, and where functions are said to begin."""
        attr = self._attr
        if not attr.func_info_cnt and not attr.line_info_cnt:
            return
        btf = self._call.task.files.get(attr.prog_btf_fd, BtfObject)
        if btf.kernel:
            raise err(errno.EACCES)
        self.btf = btf
        if attr.func_info_cnt:
            _check_record(attr.func_info_rec_size, FUNC_INFO)
            last = -1
            for at in range(attr.func_info_cnt):
                record = self._record(
                    attr.func_info + at * attr.func_info_rec_size,
                    attr.func_info_rec_size, FUNC_INFO, _FUNC_SIZE_AT,
                )  # fmt: skip
                where, type_id = _FUNC.unpack(record)
                if (at == 0 and where) or where <= last:
                    raise err(errno.EINVAL)
                found = self._type(type_id)
                if not isinstance(found, t.Func):
                    raise err(errno.EINVAL)
                last = where
                self.funcs.append((where, type_id))

    def check(self, insns: Sequence[Insn], starts: Sequence[int]) -> None:
        """Functions begin where they are said to; lines are in order."""
        attr = self._attr
        if self.funcs and [where for where, _type in self.funcs] != list(starts):
            raise err(errno.EINVAL)
        if not attr.line_info_cnt:
            return
        _check_record(attr.line_info_rec_size, LINE_INFO)
        last = -1
        pending = list(starts)
        for at in range(attr.line_info_cnt):
            record = self._record(
                attr.line_info + at * attr.line_info_rec_size,
                attr.line_info_rec_size, LINE_INFO, _LINE_SIZE_AT,
            )  # fmt: skip
            where, file, line, column = _LINE.unpack(record)
            if where <= last or where >= len(insns) or not insns[where].code:
                raise err(errno.EINVAL)
            self._string(file)
            self._string(line)
            if pending and where == pending[0]:
                pending.pop(0)
            elif pending and pending[0] < where:
                raise err(errno.EINVAL)
            last = where
            self.lines.append((where, file, line, column))
        if pending:
            raise err(errno.EINVAL)

    def on_throw(self) -> int:
        """The function that a tag of the main one names: bpf_find_exception_callback_insn_off()."""
        if not self.btf or not self.funcs or not self._call.engine.release.exceptions:
            return 0
        types = self.btf.types
        tags = [tag for tag in types.tags(self.funcs[0][1]) if tag.startswith(_ON_THROW)]
        if not tags:
            return 0
        if len(tags) > 1:
            raise err(errno.EEXIST)
        found = types.find(tags[0].removeprefix(_ON_THROW), t.Func)
        if not found:
            raise err(errno.ENOENT)
        places = [where for where, type_id in self.funcs if type_id == found.id]
        if found.linkage != t.Func.GLOBAL or not places or not places[-1]:
            raise err(errno.EINVAL)
        return places[-1]

    def globals(self) -> frozenset[int]:
        """Where functions begin that are verified by themselves: subprog_is_global()."""
        return frozenset(
            where
            for where, type_id in self.funcs
            if where and self._type(type_id).linkage == t.Func.GLOBAL  # type: ignore[attr-defined]
        )

    def _record(self, at: int, size: int, known: int, told_at: int) -> bytes:
        """One record; what is longer than ours must end in zeros, else our size is told.

        bpf_check_uarg_tail_zero().
        """
        data = self._call.mem.read(at, size)
        if any(data[known:]):
            self._call.put_u32(told_at, known)
            raise err(errno.E2BIG)
        return data[:known]

    def _type(self, id: int) -> t.Type:
        assert self.btf
        try:
            return self.btf.types[id]
        except FormatError as bad:
            raise err(errno.EINVAL) from bad

    def _string(self, offset: int) -> None:
        assert self.btf
        try:
            self.btf.types.name(offset)
        except FormatError as bad:
            raise err(errno.EINVAL) from bad


def _check_record(size: int, known: int) -> None:
    if size < known or size > _LONGEST_RECORD or size % 4:
        raise err(errno.EINVAL)


def keep(made: Prog, found: Translated) -> None:
    """Keep the records, moved to where their instructions are now."""
    info, places = found.debug, found.places
    if info.btf:
        info.btf.hold()
        made.btf = info.btf
    made.func_info = _moved(_FUNC, info.funcs, places)
    made.line_info = _moved(_LINE, info.lines, places)


def _moved(layout: struct.Struct, records: Sequence[tuple[int, ...]], places: list[int]) -> bytes:
    """Records where their instructions are now, which begin with that place.

    What is next takes over the last record of what was removed before it, if it has none itself:
    adjust_subprog_starts_after_remove(), bpf_adj_linfo_after_remove().
    """
    kept = {places[where]: rest for where, *rest in records}
    kept.pop(places[-1], None)
    return b"".join(layout.pack(at, *rest) for at, rest in kept.items())
