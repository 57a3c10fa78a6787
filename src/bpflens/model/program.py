"""`Program`: a BPF program, and the parts of what the kernel knows of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

from bpflens.abi.infos import ProgInfo
from bpflens.abi.record import tells
from bpflens.model.handle import NamedHandle
from bpflens.model.parts import Missing, Part, Reason, attempt, not_asked
from bpflens.port import fdinfo
from bpflens.port.calls import (
    FUNC_INFO,
    JITED,
    JITED_FUNC_LENS,
    JITED_KSYMS,
    JITED_LINE_INFO,
    LINE_INFO,
    MAP_IDS,
    PROG_TAGS,
    XLATED,
    ProgArray,
)

NAME_MAX = 15
"""BPF_OBJ_NAME_LEN - 1: the kernel keeps no more of a name."""


class Jited(NamedTuple):
    """Machine code: all functions one after another, their addresses and their lengths."""

    code: bytes
    ksyms: list[int]
    func_lens: list[int]


class Debug(NamedTuple):
    """Raw BTF records: struct bpf_func_info (8 bytes), bpf_line_info (16), u64 addresses, tags."""

    func_info: bytes
    line_info: bytes
    jited_line_info: bytes
    prog_tags: list[str]


class ProgramParts(NamedTuple):
    """A program as far as it was asked for: each part, or why it is missing."""

    basic: ProgInfo
    full_name: str | Missing
    map_ids: list[int] | Missing
    memlock: int | Missing
    xlated: bytes | Missing
    jited: Jited | Missing
    debug: Debug | Missing


class Program(NamedHandle[ProgInfo]):
    """A loaded program; every method is one question to the kernel."""

    __slots__ = ()

    kind: ClassVar[str] = "program"
    record = ProgInfo

    @property
    def tag(self) -> str:
        """16 hex digits that depend on the instructions alone."""
        return self.basic().tag.hex()

    def info(self, parts: Part = Part.BASIC) -> ProgramParts:
        """The parts that are asked for, and no call for any other.

        A part that cannot be had does not fail the rest. Raises what `basic` raises.
        """
        blank, readers = _plan(parts)
        values = [self.basic(), *blank]
        for at, read in readers:
            values[at] = attempt(read, self)
        return ProgramParts._make(values)

    def map_ids(self) -> list[int]:
        """The IDs of the maps that the program uses, in order of first use. Since: 4.15."""
        if not self.basic().nr_map_ids:
            return []
        return _unpack("I", self._array(MAP_IDS))

    def xlated(self) -> bytes:
        """The instructions, 8 bytes each, after the verifier. Raises Restricted. Since: 4.13."""
        return self._array(XLATED)

    def jited(self) -> Jited:
        """The machine code. Raises Restricted. Since: 4.13 (functions: 4.18)."""
        return Jited(
            self._array(JITED),
            self.ksyms(),
            _unpack("I", self._array(JITED_FUNC_LENS)),
        )

    def ksyms(self) -> list[int]:
        """The addresses of its functions; none where it is interpreted. Since: 4.18."""
        return _unpack("Q", self._array(JITED_KSYMS))

    def debug(self) -> Debug:
        """Func and line records and the tags of subprograms. Since: 5.0."""
        tags = self._array(PROG_TAGS)
        return Debug(
            self.func_info(),
            self.line_info(),
            self.jited_line_info(),
            [tags[at : at + 8].hex() for at in range(0, len(tags), 8)],
        )

    def func_info(self) -> bytes:
        """struct bpf_func_info of each function. Since: 5.0."""
        return self._array(FUNC_INFO)

    def line_info(self) -> bytes:
        """struct bpf_line_info of each source line. Since: 5.0."""
        return self._array(LINE_INFO)

    def jited_line_info(self) -> bytes:
        """The address of each source line's machine code. Raises Restricted. Since: 5.0."""
        return self._array(JITED_LINE_INFO)

    def memlock(self) -> int | Missing:
        """Bytes that the kernel accounts for (fdinfo). Since: 4.13."""
        found = fdinfo.number(self.system.host.fdinfo(self.fd), b"memlock")
        return Missing(Reason.UNSUPPORTED, "no memlock in fdinfo") if found is None else found

    def full_name(self) -> str | Missing:
        """The name, from BTF where the kernel's is cut at 15 characters. Since: 5.0."""
        told = self.basic()
        if len(told.name) < NAME_MAX:
            return self.name
        return self._name_from_btf()

    def _name_from_btf(self) -> str | Missing:
        told = self.basic()
        if not tells(told, "btf_id"):
            return Missing(Reason.UNSUPPORTED, "this kernel tells no BTF of programs")
        if not told.btf_id:
            return Missing(Reason.NONE, "cut at 15 characters, and no BTF to hold the rest")
        records = self._array(FUNC_INFO)
        if len(records) < 8:
            return Missing(Reason.RESTRICTED, "function records need CAP_BPF or CAP_SYS_ADMIN")
        type_id = struct.unpack_from("=4xI", records)[0]
        return self.system.btf_name(told.btf_id, type_id)

    def _array(self, array: ProgArray) -> bytes:
        return self.system.calls.prog_array(self.fd, array, self.basic())


_READERS: tuple[tuple[Part, Callable[[Program], Any]], ...] = (
    (Part.BASIC, Program.full_name),
    (Part.MAPS, Program.map_ids),
    (Part.MEMORY, Program.memlock),
    (Part.INSNS, Program.xlated),
    (Part.JITED, Program.jited),
    (Part.DEBUG, Program.debug),
)
"""The part and the method behind each field of `ProgramParts` after the first."""


@lru_cache
def _plan(parts: Part) -> tuple[list[Any], list[tuple[int, Callable[[Program], Any]]]]:
    """(what stands for a part not asked for, in each field; the fields to read, and how)."""
    blank = [not_asked(part) for part, _ in _READERS]
    wanted = [(at, read) for at, (part, read) in enumerate(_READERS, 1) if part in parts]
    return blank, wanted


def _unpack(code: Literal["I", "Q"], data: bytes) -> list[int]:
    return list(memoryview(data).cast(code)) if data else []
