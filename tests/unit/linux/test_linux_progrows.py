"""The iterator over programs, assembled from a kernel's types: no kernel is needed for that."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest

from bpflens.abi.infos import ProgInfo
from bpflens.btf.build import BtfBuilder
from bpflens.btf.parse import Btf
from bpflens.btf.types import Func
from bpflens.errors import Unsupported
from bpflens.insn.code import decode
from bpflens.linux import bulk, progrows

EDITIONS = {"1": "68437e8f7f30ecbb"}
"""What the text of each edition of the program makes of `kernel()`."""


def kernel(without: Sequence[str] = (), name_size: int = 16) -> Btf:
    """As much of a kernel's types as the iterator needs, but for structs and members left out."""
    made = BtfBuilder()
    sizes = {n: made.add_int(f"u{8 * n}", n) for n in (1, 2, 4, 8)}
    made.add_int("long int", 8)

    def array(size: int) -> int:
        return made.add_array(sizes[1], size, sizes[4])

    def struct(name: str, *members: tuple[str, int, int]) -> int:
        placed, at = [], 0
        for member, type_id, size in members:
            at = -(-at // min(size, 8)) * min(size, 8)
            if f"{name}.{member}" not in without:
                placed.append((member, type_id, 8 * at))
            at += size
        return made.add_struct(name, -(-at // 8) * 8, placed) if name not in without else sizes[8]

    def words(*names: str, size: int = 8) -> list[tuple[str, int, int]]:
        return [(name, sizes[size], size) for name in names]

    mutex = struct("mutex", *words("owner"))
    struct("bpf_iter_meta", *words("seq"))
    struct(
        "bpf_prog",
        *words("pages", size=2),
        *words("gpl_compatible", size=1),
        *words("type", "len", "jited_len", size=4),
        ("tag", array(8), 8),
        *words("stats", "aux"),
    )
    struct(
        "bpf_prog_aux",
        *words("id", "used_map_cnt", "func_cnt", "attach_btf_id", size=4),
        *words("verified_insns", "func_info_cnt", "nr_linfo", size=4),
        *words("offload_requested", size=1),
        *words("dst_prog", "user", "btf", "attach_btf", "jited_linfo", "used_maps", "func"),
        *words("load_time"),
        ("name", array(name_size), name_size),
        ("used_maps_mutex", mutex, 8),
    )
    struct("bpf_prog_stats", *words("cnt", "nsecs", "misses"))
    for name, member, size in (("user_struct", "uid", 4), ("bpf_map", "id", 4), ("btf", "id", 4)):
        struct(name, *words(member, size=size))
    made.add_struct("bpf_prog_info", ProgInfo.__size__, [])
    struct("task_struct", *words("sched_task_group"))
    struct("task_group", *words("cfs_rq", "parent"))
    struct("rq", *words("cfs"))
    names = ("bpf_prog_active", "runqueues", "cpu_number", "this_cpu_off")
    variables = [made.add_var(n, sizes[8]) for n in names if n not in without]
    made.add_datasec(".data..percpu", 64, [(v, 8 * n, 8) for n, v in enumerate(variables)])
    proto = made.add_func_proto(sizes[4])
    made.add_func(progrows.TARGET, proto, linkage=Func.STATIC)
    return Btf.parse(made.build())


def test_there_is_a_program_for_each_way_to_a_cpus_memory() -> None:
    assert len(progrows.ways(kernel(), 2, 12)) == 2
    assert len(progrows.ways(kernel(without=["bpf_prog_active"]), 2, 12)) == 1
    assert len(progrows.ways(kernel(without=["this_cpu_off"]), 2, 12)) == 1
    with pytest.raises(Unsupported, match="memory of a CPU"):
        progrows.ways(kernel(without=["bpf_prog_active", "task_group"]), 2, 12)


@pytest.mark.parametrize(
    "gone",
    [
        "bpf_prog",
        "bpf_prog.pages",
        "bpf_prog_aux.used_maps",
        "mutex.owner",
        "bpf_prog_stats.misses",
    ],
)
def test_a_kernel_without_what_it_reads_is_not_offered_it(gone: str) -> None:
    with pytest.raises(Unsupported):
        progrows.ways(kernel(without=[gone]), 2, 12)


def test_a_field_of_another_size_is_not_copied() -> None:
    with pytest.raises(Unsupported, match="another size"):
        progrows.ways(kernel(name_size=32), 2, 12)


def test_what_is_asked_for_stands_in_the_first_two_slots() -> None:
    (insns, _) = progrows.ways(kernel(), 2, 12)
    asked = bulk.asking(insns, 0x7FFFFFFE, True)
    assert asked[16:] == insns[16:]
    first, second = list(decode(asked))[:2]
    assert (first.imm, second.imm) == (0x7FFFFFFE, 1)
    assert [insn.imm for insn in list(decode(insns))[:2]] == [0, 0]


def test_the_target_is_the_function_that_stands_for_programs() -> None:
    btf = kernel()
    assert btf[progrows.target(btf)].name == progrows.TARGET  # type: ignore[attr-defined]


def test_another_text_is_another_edition() -> None:
    digest = sha256(b"".join(progrows.ways(kernel(), 2, 12))).hexdigest()[:16]
    edition = bulk.EDITIONS["programs"]
    assert {edition: digest} == {edition: EDITIONS[edition]}
