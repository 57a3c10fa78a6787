"""What a program tells of its code: tags, instructions, functions and lines."""

from __future__ import annotations

import hashlib
import struct

from bpflens.abi.enums import MapFlag
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import MapInfo, ProgInfo
from bpflens.insn import Insn, encode
from bpflens.insn import opcodes as op
from bpflens.port.calls import FUNC_INFO, LINE_INFO, PROG_TAGS, XLATED, Calls
from bpflens.port.memory import Memory
from bpflens.testing.builders import RETURN_0, Types, btf, code, map, program, types, u32
from bpflens.testing.conformance.suite import cases, same
from bpflens.testing.kernel_types import function_id

# --- tags and instructions


def digest(insns: bytes) -> bytes:
    """The tag of Linux 6.18: the first 8 bytes of SHA-256 over the instructions."""
    return hashlib.sha256(insns).digest()[:8]


def check_tag(calls: Calls) -> None:
    """The tag is the beginning of the SHA-256 of the instructions as they were given."""
    fd = program(calls)
    same(calls.info(fd, ProgInfo).tag, digest(code(RETURN_0)))
    same(calls.info(fd, ProgInfo).tag.hex(), "59f4a931744dcdc6")


@cases(
    type=(RETURN_0, {"type": P.XDP}), name=(RETURN_0, {"name": "x"}),
    license=(RETURN_0, {"license": "MIT"}),
)  # fmt: skip
def check_tag_is_of_the_code(calls: Calls, text: str, other: dict[str, str]) -> None:
    """Type, name and license are not in the tag."""
    first, second = program(calls, text), program(calls, text, **other)  # type: ignore[arg-type]
    same(calls.info(first, ProgInfo).tag, calls.info(second, ProgInfo).tag)


@cases(map_fd="r1 = map_fd m; r0 = 0; exit", map_value="r1 = map_value m + 4; r0 = 0; exit")
def check_tag_without_map_fds(calls: Calls, text: str) -> None:
    """Two programs that differ only in the map that they name have the same tag."""
    first = program(calls, text, m=map(calls, max_entries=1))
    second = program(calls, text, m=map(calls, max_entries=1))
    same(calls.info(first, ProgInfo).tag, calls.info(second, ProgInfo).tag)
    bare = bytearray(code(text, m=0))
    bare[12:16] = bytes(4)
    same(calls.info(first, ProgInfo).tag, digest(bytes(bare)))


def check_tag_of_plain_wide_loads(calls: Calls) -> None:
    """The value of a wide load that names no map is in the tag."""
    text = "r1 = 0x123456789abcdef0 ll; r0 = 0; exit"
    same(calls.info(program(calls, text), ProgInfo).tag, digest(code(text)))


def check_tags_of_one_function(calls: Calls) -> None:
    """A program of one function has one tag in the list: its own."""
    fd = program(calls)
    told = calls.info(fd, ProgInfo)
    same(calls.prog_array(fd, PROG_TAGS, told), told.tag)


def check_tags_of_functions(calls: Calls) -> None:
    """Each function has a tag; that of a function without calls is that of its code."""
    fd = program(calls, "call sub; exit; sub: r0 = 1; exit")
    told = calls.info(fd, ProgInfo)
    tags = calls.prog_array(fd, PROG_TAGS, told)
    same(len(tags), 16)
    same(tags[8:], digest(code("r0 = 1; exit")))
    assert tags[:8] != told.tag


DUMPS: dict[str, tuple[str, str]] = {
    "plain": ("r0 = 0; r0 += 5; r0 <<= 3; w0 = w0; exit", ""),
    "wide": ("r0 = 0x1122334455667788 ll; exit", ""),
    "jump": ("r0 = 1; if r1 == 0 goto out; r0 = 2; out: exit", ""),
    "nop": ("r0 = 1; goto +0; exit", "r0 = 1; exit"),
    "never": ("r0 = 1; if r0 == 2 goto +1; exit; r0 = 7; exit", "r0 = 1; exit"),
}


@cases(**DUMPS)
def check_xlated(calls: Calls, text: str, dumped: str) -> None:
    """The instructions are told as the kernel keeps them: without what can never run."""
    fd = program(calls, text)
    same(calls.prog_array(fd, XLATED, calls.info(fd, ProgInfo)), code(dumped or text))


@cases(
    u32=("r0 = *(u32 *)(r1 +0); if w0 == -2 goto out", True),
    u8=("r0 = *(u8 *)(r1 +0); if r0 == 0xfe goto out", True),
    computed=("r0 = *(u16 *)(r1 +2); r0 += 1; if r0 > 0xffff goto out", True),
    other=("r0 = *(u32 *)(r1 +0); if r0 == 7 goto out", False),
)  # fmt: skip
def check_xlated_constants(calls: Calls, text: str, taken: bool) -> None:
    """What is in a frozen map that programs cannot write is known: one of two ways is removed."""
    text = f"r1 = map_value m + 0; {text}; r0 = 1; exit; out: r0 = 2; exit"
    fd = map(calls, max_entries=1, flags=MapFlag.RDONLY_PROG)
    calls.map_update(fd, u32(0), u32(-2, 0))
    before = program(calls, text, m=fd)
    whole = calls.prog_array(before, XLATED, calls.info(before, ProgInfo))
    calls.map_freeze(fd)
    after = program(calls, text, m=fd)
    left = calls.prog_array(after, XLATED, calls.info(after, ProgInfo))
    same(len(whole) - len(left), 24)
    same(left[-16:], code("r0 = 2; exit" if taken else "r0 = 1; exit"))


def check_xlated_throw(calls: Calls) -> None:
    """What is behind a throw is removed; a program without a function for exceptions gets one."""
    throw = Insn(op.HELPER_CALL, src=op.PSEUDO_KFUNC_CALL, imm=function_id(calls, "bpf_throw"))
    text = code("r1 = 7") + encode([throw]) + code("r0 = 0; exit")
    fd = program(calls, text, P.SCHED_CLS)
    left = calls.prog_array(fd, XLATED, calls.info(fd, ProgInfo))
    same(left[:8] + left[16:], code("r1 = 7; r0 = r1; exit"))


def check_xlated_maps(calls: Calls) -> None:
    """In the dump a map is named by its id, not by the fd or address."""
    one, two = map(calls), map(calls, max_entries=1)
    fd = program(calls, "r1 = map_fd a; r2 = map_value b + 4; r0 = 0; exit", a=one, b=two)
    ids = {"a": calls.info(one, MapInfo).id, "b": calls.info(two, MapInfo).id}
    expected = code("r1 = map_fd a; r2 = map_value b + 4; r0 = 0; exit", **ids)
    same(calls.prog_array(fd, XLATED, calls.info(fd, ProgInfo)), expected)


def check_xlated_call(calls: Calls) -> None:
    """In the dump a call names the function by number, and the distance is in `off`."""
    fd = program(calls, "call sub; exit; sub: r0 = 1; exit")
    got = calls.prog_array(fd, XLATED, calls.info(fd, ProgInfo))
    same(struct.unpack_from("=BBhi", got), (0x85, 0x10, 1, 1))


def check_xlated_cut(calls: Calls) -> None:
    """A buffer that is too short for the instructions gets what fits, to the byte."""
    fd = program(calls)
    mem = Memory()
    buffer = bytearray(b"\xee" * 16)
    asked = ProgInfo(xlated_prog_len=5, xlated_prog_insns=mem.pin(buffer))
    same(calls.fill_info(fd, asked, mem).xlated_prog_len, 16)
    same(bytes(buffer), code(RETURN_0)[:5] + b"\xee" * 11)


@cases(straight=("r0 = 0; exit", 2), wide=("r0 = 5 ll; exit", 2),
       branch=("r0 = 1; if r1 == 0 goto out; r0 = 2; out: exit", 5))  # fmt: skip
def check_verified_insns(calls: Calls, text: str, count: int) -> None:
    """The verifier tells how many instructions it went through, on all paths together."""
    told = calls.info(program(calls, text), ProgInfo)
    assert told.verified_insns == count, told.verified_insns


# --- functions and lines


def with_btf(calls: Calls, text: str = "call sub; exit; sub: r0 = 1; exit") -> tuple[int, Types]:
    """A program of two functions with the types and lines of both."""
    found = types(["main", "sub"], ["a.c", "int main"])
    file, line = found.strings["a.c"], found.strings["int main"]
    fd = program(
        calls,
        text,
        btf=btf(calls, found.data),
        funcs=[(0, found.funcs[0]), (2, found.funcs[1])],
        lines=[(0, file, line, 1 << 10 | 3), (1, file, line, 2 << 10), (2, file, line, 9 << 10)],
    )
    return fd, found


def check_func_info(calls: Calls) -> None:
    """The functions of a program are told as they were loaded."""
    fd, found = with_btf(calls)
    told = calls.info(fd, ProgInfo)
    same(told.nr_func_info, 2)
    funcs = found.funcs
    same(calls.prog_array(fd, FUNC_INFO, told), u32(0, funcs[0], 2, funcs[1]))
    assert told.btf_id


def check_line_info(calls: Calls) -> None:
    """The source lines of a program are told as they were loaded."""
    fd, _ = with_btf(calls)
    told = calls.info(fd, ProgInfo)
    rows = list(struct.iter_unpack("=4I", calls.prog_array(fd, LINE_INFO, told)))
    same([(row[0], row[3]) for row in rows], [(0, 1 << 10 | 3), (1, 2 << 10), (2, 9 << 10)])
