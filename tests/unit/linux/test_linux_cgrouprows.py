"""The iterator over cgroups, assembled from a kernel's types: no kernel is needed for that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bpflens.abi.enums import AttachType
from bpflens.btf.build import BtfBuilder
from bpflens.btf.parse import Btf
from bpflens.btf.types import Func
from bpflens.errors import Unsupported
from bpflens.insn.code import decode
from bpflens.linux import bulk, cgrouprows, iterators
from bpflens.linux.kerneltypes import Kernel

OWN = ("CGROUP_INET_EGRESS", "CGROUP_UNIX_CONNECT", "CGROUP_DEVICE")
"""In the kernel's own order, which is another than that of bpf(2)."""


def kernel(
    without: Sequence[str] = (), own: Sequence[str] = OWN, lsm: int = 2, head: int = 8
) -> Btf:
    """As much of a kernel's types as the iterator needs, but for structs and members left out.

    `head` is the size of the head of a list: 16 where it is no hlist.
    """
    made = BtfBuilder()
    word, half = made.add_int("u64", 8), made.add_int("u32", 4)
    byte = made.add_int("u8", 1)

    def struct(name: str, size: int, *members: tuple[str, int, int]) -> int:
        placed = [(m, t, 8 * at) for m, t, at in members if f"{name}.{m}" not in without]
        return made.add_struct(name, size, placed) if name not in without else word

    many = len(own) + lsm
    node = struct("hlist_node", 16, ("next", word, 0), ("pprev", word, 8))
    heads = made.add_array(struct("hlist_head", head, ("first", word, 0)), many, half)
    flags = made.add_array(byte, many, half)
    inner = struct("cgroup_bpf", 1024, ("progs", heads, 0), ("flags", flags, head * many))
    struct("cgroup", 2048, ("kn", word, 0), ("bpf", inner, 64))
    struct(
        "bpf_prog_list", 56, ("node", node, 0), ("prog", word, 16), ("link", word, 24),
        ("flags", half, 48),
    )  # fmt: skip
    struct("bpf_link", 64, ("id", half, 8), ("prog", word, 24))
    struct("bpf_prog", 64, ("aux", word, 56))
    struct("bpf_prog_aux", 64, ("id", half, 32))
    struct("bpf_iter_meta", 24, ("seq", word, 0))
    struct("kernfs_node", 128, ("id", word, 96), ("priv", word, 104))
    names = {name: number for number, name in enumerate(own)}
    if lsm:
        names |= {"CGROUP_LSM_START": len(own), "CGROUP_LSM_END": many - 1}
    names["MAX_CGROUP_BPF_ATTACH_TYPE"] = many
    made.add_enum("cgroup_bpf_attach_type", list(names.items()))
    made.add_enum("bpf_attach_type", [(f"BPF_{t.name}", int(t)) for t in AttachType])
    made.add_func(cgrouprows.TARGET, made.add_func_proto(half), linkage=Func.STATIC)
    return Btf.parse(made.build())


def test_the_kernels_numbers_are_those_of_attach_types() -> None:
    assert cgrouprows.attach_types(Kernel(kernel())) == [
        AttachType.CGROUP_INET_EGRESS,
        AttachType.CGROUP_UNIX_CONNECT,
        AttachType.CGROUP_DEVICE,
        AttachType.LSM_CGROUP,
        AttachType.LSM_CGROUP,
    ]
    assert len(cgrouprows.attach_types(Kernel(kernel(lsm=0)))) == 3


def test_a_program_with_one_callback() -> None:
    insns = cgrouprows.program(kernel())
    assert len(iterators._callbacks(insns)) == 1
    assert [insn.imm for insn in list(decode(insns))[:2]] == [1, 0]
    asked = bulk.asking(insns, 16, 3)
    assert [insn.imm for insn in list(decode(asked))[:2]] == [16, 3]
    assert asked[16:] == insns[16:]


def test_older_kernels_have_no_flags_of_a_single_program() -> None:
    old = cgrouprows.program(kernel(without=["bpf_prog_list.flags"]))
    assert len(old) < len(cgrouprows.program(kernel()))


@pytest.mark.parametrize(
    "gone",
    ["cgroup.bpf", "cgroup_bpf.progs", "bpf_prog_list.link", "kernfs_node.priv", "bpf_link.id"],
)
def test_a_kernel_without_what_it_reads_is_not_offered_it(gone: str) -> None:
    with pytest.raises(Unsupported):
        cgrouprows.program(kernel(without=[gone]))


def test_what_is_not_known_is_not_guessed() -> None:
    with pytest.raises(Unsupported, match="not known"):
        cgrouprows.program(kernel(own=(*OWN, "CGROUP_OF_TOMORROW")))
    with pytest.raises(Unsupported, match="no hlists"):
        cgrouprows.program(kernel(head=16))


def test_the_target_is_the_function_that_stands_for_cgroups() -> None:
    btf = kernel()
    assert btf[cgrouprows.target(btf)].name == cgrouprows.TARGET  # type: ignore[attr-defined]
