"""The iterator over processes, assembled from a kernel's types: no kernel is needed for that."""

from __future__ import annotations

from hashlib import sha256

import pytest

from bpflens.btf.build import BtfBuilder
from bpflens.btf.parse import Btf
from bpflens.btf.types import Func
from bpflens.errors import Unsupported
from bpflens.linux import bulk, taskrows

EDITIONS = {"1": "86c52dcbcdda7ca0"}
"""What the text of each edition of the program makes of `kernel()`."""

STRUCTS = {
    "bpf_iter__task": ("meta", "task"),
    "bpf_iter_meta": ("seq",),
    "nsproxy": ("count", "mnt_ns", "net_ns"),
    "task_struct": ("group_leader", "thread_pid", "pid", "tgid", "nsproxy"),
    "pid": ("level", "numbers"),
    "upid": ("nr",),
}


def kernel(without: str = "") -> Btf:
    """As much of a kernel's types as the iterator needs, but for a struct left out."""
    made = BtfBuilder()
    word = made.add_int("long int", 8)
    for name, members in STRUCTS.items():
        if name != without:
            placed = [(member, word, 64 * at) for at, member in enumerate(members)]
            made.add_struct(name, 64, placed)
    common = made.add_struct("ns_common", 24, [("stashed", word, 0), ("inum", word, 128)])
    for at, name in enumerate(("net", "mnt_namespace")):
        if name != without:
            made.add_struct(name, 64, [("ns", common, 64 * at)])
    made.add_func(taskrows.TARGET, made.add_func_proto(word), linkage=Func.STATIC)
    return Btf.parse(made.build())


@pytest.mark.parametrize("name", [*STRUCTS, "net", "mnt_namespace"])
def test_a_kernel_without_one_of_its_structs_has_no_iterator(name: str) -> None:
    with pytest.raises(Unsupported, match=f"this kernel's BTF has no {name}"):
        taskrows.program(kernel(without=name))


def test_it_attaches_to_the_function_of_the_walk() -> None:
    types = kernel()
    assert types.type_name(taskrows.target(types)) == "bpf_iter_task"


def test_another_text_is_another_edition() -> None:
    digest = sha256(taskrows.program(kernel())).hexdigest()[:16]
    edition = bulk.EDITIONS["tasks"]
    assert {edition: digest} == {edition: EDITIONS[edition]}
