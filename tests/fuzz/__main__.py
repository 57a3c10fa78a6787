"""The big run: as many inputs as one likes at one target, from random ones that get far.

    python -m tests.fuzz TARGET RUNS [SEED]
    python -m tests.fuzz TARGET --atheris [options of libFuzzer]

Targets are btf, ext, cache, elf, insn and recording. It ends with the input in hex when something
else than a FormatError comes out, and reports each input that takes longer than a second of CPU
time. The second form is guided by coverage and needs atheris (`pip install atheris`); libFuzzer
stops after `-runs=N` or `-max_total_time=SECONDS`.
"""

from __future__ import annotations

import gc
import importlib
import random
import sys
import time
from collections.abc import Callable
from types import FunctionType
from typing import NamedTuple

from tests.fuzz import test_btf_fuzz as btf
from tests.fuzz import test_elf_fuzz as elf
from tests.fuzz import test_insn_fuzz as insn
from tests.fuzz import test_recordings_fuzz as recording


class Target(NamedTuple):
    """What reads an input, and what makes one."""

    check: Callable[[bytes], object]
    make: Callable[[random.Random], bytes]


TARGETS = {
    "btf": Target(btf.check_btf, btf.random_types),
    "ext": Target(btf.check_ext, btf.random_ext),
    "cache": Target(btf.check_cache, btf.random_index),
    "elf": Target(elf.check_elf, elf.random_object),
    "insn": Target(insn.check_bytes, insn.random_program),
    "recording": Target(recording.check, recording.random_recording),
}


def guided(target: Target, options: list[str]) -> None:
    """Inputs by the coverage of what reads them. Does not return."""
    atheris = importlib.import_module("atheris")
    for found in gc.get_objects():
        if isinstance(found, FunctionType) and (found.__module__ or "").startswith("bpflens."):
            atheris.instrument_func(found)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        # From nothing, it would not find the way past a header in a day.
        chance = random.Random(seed)
        made = target.make(chance) if chance.random() < 0.2 else data
        changed: bytes = atheris.Mutate(made[:most], most)
        return changed

    options = ["-max_len=4096", "-len_control=0", *options]
    atheris.Setup([sys.argv[0], *options], target.check, custom_mutator=mutate)
    atheris.Fuzz()


def many(name: str, runs: int, seed: int) -> None:
    """So many inputs of one seed."""
    target, chance = TARGETS[name], random.Random(seed)
    slowest = 0.0
    for done in range(runs):
        data = target.make(chance)
        start = time.process_time()
        try:
            target.check(data)
        except BaseException:
            print(f"{name}, input {done} of seed {seed}: {data.hex()}", flush=True)
            raise
        took = time.process_time() - start
        if took > max(1.0, slowest):
            print(f"{name}, input {done} took {took:.1f} s: {data.hex()}", flush=True)
        slowest = max(slowest, took)
    print(f"{name}: {runs} inputs of seed {seed}, the slowest took {slowest:.3f} s")


def main(arguments: list[str]) -> None:
    if len(arguments) < 2 or arguments[0] not in TARGETS:
        raise SystemExit(__doc__)
    name, how, *rest = arguments
    if how == "--atheris":
        guided(TARGETS[name], rest)
    else:
        many(name, int(how), int(rest[0]) if rest else random.getrandbits(32))


if __name__ == "__main__":
    main(sys.argv[1:])
