"""What a dump shows of a program, and that no sound program is refused."""

from __future__ import annotations

import pytest

from bpflens.abi.attrs import MapCreate, ProgLoad
from bpflens.abi.enums import MapType, ProgType
from bpflens.abi.infos import ProgInfo
from bpflens.engine import Engine
from bpflens.engine.maps.jhash import jhash
from bpflens.insn import Insn, decode, encode
from bpflens.insn import opcodes as op
from bpflens.insn.build import (
    R0,
    R1,
    R2,
    R6,
    R9,
    R10,
    call,
    call_relative,
    exit_,
    jump,
    jump_if,
    ld_map_fd,
    load,
    mov,
    store,
)  # fmt: skip
from bpflens.port.calls import PROG_TAGS, XLATED, Calls


@pytest.fixture
def calls() -> Calls:
    return Calls(Engine().task())


def dump(calls: Calls, insns: list[Insn]) -> list[Insn]:
    fd = calls.prog_load(ProgLoad(prog_type=ProgType.SOCKET_FILTER), encode(insns))
    return decode(calls.prog_array(fd, XLATED, calls.info(fd, ProgInfo)))


def test_maps_are_shown_by_id(calls: Calls) -> None:
    attr = MapCreate(map_type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)
    fd = calls.map_create(attr)
    assert fd != 1
    shown = dump(calls, [*ld_map_fd(R2, fd), mov(R0, 0), exit_()])
    assert shown[:2] == [*ld_map_fd(R2, 1)]


def test_calls_of_functions_are_shown_by_number(calls: Calls) -> None:
    shown = dump(calls, [call_relative(1), exit_(), mov(R0, 3), exit_()])
    assert shown[0] == Insn(op.HELPER_CALL, src=op.PSEUDO_CALL, off=1, imm=1)


def test_what_is_never_run_is_taken_out(calls: Calls) -> None:
    code = [mov(R0, 5), jump_if(op.JEQ, R0, 5, 1), mov(R0, 6), jump(0), exit_()]
    assert dump(calls, code) == [mov(R0, 5), exit_()]


@pytest.mark.parametrize(
    ("release", "tag"), [("6.18", "59f4a931744dcdc6"), ("6.12", "a04f5eef06a7f555")]
)
def test_the_tag_is_of_the_releases_hash(release: str, tag: str) -> None:
    calls = Calls(Engine(release).task())
    fd = calls.prog_load(ProgLoad(prog_type=1), encode([mov(R0, 0), exit_()]))
    info = calls.info(fd, ProgInfo)
    assert info.tag.hex() == tag
    assert calls.prog_array(fd, PROG_TAGS, info).hex() == tag


SOUND = {
    "a branch that is never taken": [mov(R0, 1), jump_if(op.JEQ, R0, 1, 1), mov(R0, R9), exit_()],
    "a branch that arithmetic excludes": [
        call(7), Insn(op.ALU64 | op.AND | op.K, 0, 0, 0, 7), jump_if(op.JLE, R0, 7, 1),
        mov(R0, R9), exit_(),
    ],
    "a pointer through the stack": [
        store(op.DW, R10, -8, R1), load(op.DW, R6, R10, -8), load(op.W, R0, R6, 0), exit_(),
    ],
    "a comparison of two registers": [
        call(7), mov(R6, R0), call(7), jump_if(op.JGT, R0, R6, 1), mov(R0, 1), exit_(),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_what_linux_takes_is_taken(calls: Calls, name: str) -> None:
    dump(calls, SOUND[name])


def test_the_hash_of_keys_is_that_of_the_kernel() -> None:
    # the vectors that Bob Jenkins gave with lookup3.c
    assert jhash(b"", 0) == 0xDEADBEEF
    assert jhash(b"Four score and seven years ago", 0) == 0x17770551
    assert jhash(b"Four score and seven years ago", 1) == 0xCD628161
