"""What Linux's verifier takes, the engine takes too: sound programs, and a thousand damaged ones.

The programs are loaded and never run or attached; calls of helpers stay as they are, so that no
helper comes up whose mere use changes the machine (trace_printk turns an event on).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from bpflens.abi.enums import MapType
from bpflens.errors import SyscallError
from bpflens.insn import opcodes as op
from bpflens.insn.code import Insn, decode, encode
from bpflens.testing.bench import Bench, NotOffered
from bpflens.testing.builders import code, map, program
from bpflens.testing.conformance.verifier import BAD, GOOD, LOOKUP

pytest.importorskip("bpflens.engine.engine", exc_type=ImportError)

SEED = 6182017
DAMAGED = 25
"""Damaged copies of each program."""
WITH_A_MAP = {
    "value": LOOKUP + "if r0 == 0 goto a; r0 = *(u64 *)(r0 +0); a: r0 = 0; exit",
    "stored": LOOKUP + "if r0 == 0 goto a; *(u64 *)(r0 +0) = 7; a: r0 = 0; exit",
    "atomic": LOOKUP + "if r0 == 0 goto a; r1 = 1; lock *(u64 *)(r0 +0) += r1; a: r0 = 0; exit",
    "update": """
        *(u32 *)(r10 -4) = 1; *(u64 *)(r10 -16) = 2; r2 = r10; r2 += -4; r3 = r10; r3 += -16
        r4 = 0; r1 = map_fd m; call map_update_elem; r0 = 0; exit
    """,
}


def damaged(insns: list[Insn], chance: random.Random) -> list[Insn]:
    """A copy in which one or two things are different."""
    made = list(insns)
    for _ in range(chance.choice((1, 1, 2))):
        at = chance.randrange(len(made))
        insn = made[at]
        if insn.code == op.HELPER_CALL and insn.src == 0:
            continue
        kind = chance.randrange(7)
        if kind == 0:
            made[at] = insn._replace(dst=chance.randrange(11))
        elif kind == 1:
            made[at] = insn._replace(src=chance.randrange(11))
        elif kind == 2:
            made[at] = insn._replace(off=insn.off + chance.choice((-8, -4, -1, 1, 2, 4, 8)))
        elif kind == 3:
            made[at] = insn._replace(imm=chance.choice((-1, 0, 1, 7, 64, 1 << 20)))
        elif kind == 4 and len(made) > 1:
            del made[at]
        elif kind == 5:
            made.insert(at, insn)
        else:
            made[at] = insn._replace(code=insn.code ^ 1 << chance.randrange(8))
    return made


def corpus(fd: int) -> Iterator[tuple[str, bytes]]:
    """Every program, with a name to find it again; `fd` is a map's."""
    chance = random.Random(SEED)
    texts = GOOD | {name: text for name, (text, _) in BAD.items()} | WITH_A_MAP
    for name, text in texts.items():
        whole = code(text, m=fd)
        yield name, whole
        insns = decode(whole)
        if len(insns) > 100 or name == "loop_of_thousands":
            continue  # they take long, and damaged ones no less
        for number in range(DAMAGED):
            yield f"{name}#{number}", encode(damaged(insns, chance))


def verdicts(bench: Bench) -> dict[str, int]:
    """Program → errno, or 0."""
    found = {}
    fd = map(bench.calls, MapType.HASH)
    for name, insns in corpus(fd):
        try:
            bench.calls.close(program(bench.calls, insns))
            found[name] = 0
        except SyscallError as error:
            found[name] = error.errno or 0
    bench.clean()
    return found


def test_what_linux_takes_the_engine_takes() -> None:
    from bpflens.testing.on_engine import EngineBench
    from bpflens.testing.on_linux import LinuxBench

    try:
        linux = LinuxBench()
    except NotOffered as reason:
        pytest.skip(str(reason))
    release = linux.name.removeprefix("linux ")
    try:
        judge = verdicts(linux)
    finally:
        linux.close()
    if release != "6.18":
        pytest.skip(f"the engine's verifier follows 6.18, not {release}")
    ours = verdicts(EngineBench(release))
    assert len(judge) > 2000
    wrong = {name: ours[name] for name, code in judge.items() if code == 0 and ours[name]}
    assert not wrong
    agreed = Counter((bool(judge[name]), bool(ours[name])) for name in judge)
    print(
        f"{len(judge)} programs: both take {agreed[False, False]}, "
        f"both refuse {agreed[True, True]}, only Linux refuses {agreed[True, False]}"
    )
