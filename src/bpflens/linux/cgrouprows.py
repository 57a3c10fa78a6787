"""The iterator that writes `abi.rows.CgroupRow`: a BPF program over every cgroup, for one kernel.

It is __cgroup_bpf_query() (kernel/bpf/cgroup.c) for all cgroups and attach types at once, and tells
what that one does not: which link, and which programs go first (BPF_F_PREORDER). The kernel holds
cgroup_mutex meanwhile (cgroup_iter_seq_start()), so the lists stand still. They are walked with
bpf_loop(): the verifier would unroll any other loop, for a tenth of a second.

Pure: from types to bytes. Since: Linux 6.1 (iterator over cgroups; lists are hlists since 6.0).
"""

from __future__ import annotations

import sys

from bpflens.abi.rows import CgroupRow
from bpflens.btf import types as t
from bpflens.btf.parse import Btf
from bpflens.errors import Unsupported
from bpflens.insn.asm import assemble
from bpflens.linux.kerneltypes import Kernel

TARGET = "bpf_iter_cgroup"
MOST = 64
"""Programs of one attach type at one cgroup (BPF_CGROUP_MAX_PROGS)."""

_LSM = ("CGROUP_LSM_START", "CGROUP_LSM_END")
"""A slot for each hook of the LSM that has programs somewhere (bpf_lsm_attach_type_get())."""

_TABLE = 80
"""Attach types that there is room for; the kernel has 38 (6.18)."""
_ENTRY = 64
"""Room for a struct bpf_prog_list."""
_FRAME = {
    "seq": 0,
    "cgroup": 8,  # its address, as a number
    "node": 16,  # the entry of the list that is next; 0: the list is at its end
    "index": 24,  # the kernel's number (enum cgroup_bpf_attach_type) of the type that is next
    "word": 32,
    "mode": 40,
    "row": 48,
    "table": 72,  # the attach type of each of the kernel's numbers
    "copy": 72 + _TABLE,  # of an entry, a struct bpf_prog_list
}
"""What main and the steps of its loop share: on the stack, from here on upwards."""
_BASE = -(72 + _TABLE + _ENTRY)

_TEXT = """
    r9 = 1                              // slots 0 and 1: only cgroups whose ID leaves the rest r8
    r8 = 0                              // when it is divided by r9
    r7 = *(u64 *)(r1 +8)
    if r7 == 0 goto done                // the end of the walk
    r6 = *(u64 *)(r1 +0)
    r6 = *(u64 *)(r6 +meta_seq)
    r7 = *(u64 *)(r7 +cgroup_kn)
    r1 = *(u64 *)(r7 +kn_id)
    r1 %= r9
    if r1 != r8 goto done
    r1 = r10                            // zeros, from an address that there is not: the verifier
    r1 += base                          // does not know that, and looks at one turn of the loop
    r2 = sizeof_frame                   // instead of one for each index
    r3 = 0
    call probe_read_kernel
    r1 = *(u64 *)(r7 +kn_id)
    *(u64 *)(r10 +base+row+row_id) = r1
    *(u64 *)(r10 +base+seq) = r6
    r1 = *(u64 *)(r7 +kn_priv)          // not as the cgroup that it is: a loop may add to numbers
    *(u64 *)(r10 +base+cgroup) = r1
    TABLE
    r1 = steps
    r2 = func step
    r3 = r10
    r3 += base
    r4 = 0
    call loop
done:
    r0 = 0
    exit

step:
    r6 = r2
    r3 = *(u64 *)(r6 +node)
    if r3 != 0 goto entry
    r7 = *(u64 *)(r6 +index)
    if r7 >= types goto stop
    r1 = r7
    r1 += 1
    *(u64 *)(r6 +index) = r1
    r8 = *(u64 *)(r6 +cgroup)
    r3 = r7
    r3 <<= 3
    r3 += r8
    r3 += cgroup_progs
    r1 = r6
    r1 += node
    r2 = 8
    call probe_read_kernel
    if r0 != 0 goto stop
    r1 = *(u64 *)(r6 +node)
    if r1 == 0 goto more
    r3 = r8
    r3 += r7
    r3 += cgroup_flags
    r1 = r6
    r1 += mode
    r2 = 1
    call probe_read_kernel
    r1 = r6
    r1 += r7
    r1 = *(u8 *)(r1 +table)
    *(u32 *)(r6 +row+row_attach_type) = r1
more:
    r0 = 0
    exit
stop:
    r0 = 1
    exit

entry:
    r1 = r6
    r1 += copy
    r2 = sizeof_entry
    call probe_read_kernel
    if r0 != 0 goto stop
    *(u32 *)(r6 +row+row_link_id) = 0
    r3 = *(u64 *)(r6 +copy+entry_link)
    if r3 == 0 goto direct
    r3 += link_id
    r1 = r6
    r1 += row
    r1 += row_link_id
    r2 = 4
    call probe_read_kernel
    r3 = *(u64 *)(r6 +copy+entry_link)
    r3 += link_prog
    r1 = r6
    r1 += copy
    r1 += entry_prog
    r2 = 8
    call probe_read_kernel
direct:
    r3 = *(u64 *)(r6 +copy+entry_prog)
    r3 += prog_aux
    r1 = r6
    r1 += word
    r2 = 8
    call probe_read_kernel
    r3 = *(u64 *)(r6 +word)
    r3 += aux_id
    r1 = r6
    r1 += row
    r1 += row_prog_id
    r2 = 4
    call probe_read_kernel
    if r0 != 0 goto stop
    r1 = *(u8 *)(r6 +mode)
    FIRST
    *(u32 *)(r6 +row+row_flags) = r1
    r1 = *(u64 *)(r6 +seq)
    r2 = r6
    r2 += row
    r3 = sizeof_row
    call seq_write
    r1 = *(u64 *)(r6 +copy+entry_next)
    *(u64 *)(r6 +node) = r1
    r0 = 0
    exit
"""

_FIRST = """
    r2 = *(u32 *)(r6 +copy+entry_flags)
    r2 &= preorder
    r1 |= r2
"""
_PREORDER = 64
"""BPF_F_PREORDER. Since: 6.16."""


def target(btf: Btf) -> int:
    """What the program attaches to."""
    return Kernel(btf).find(TARGET, t.Func).id


def program(btf: Btf) -> bytes:
    """The instructions. Raises Unsupported where no such program can be made for these types."""
    if sys.byteorder != "little" or btf.pointer_size != 8:
        raise Unsupported("iterators are made only for 64-bit little-endian kernels")
    kernel = Kernel(btf)
    types = attach_types(kernel)
    cgroup, entry, link = map(kernel.struct, ("cgroup", "bpf_prog_list", "bpf_link"))
    if entry.size > _ENTRY or len(types) > _TABLE:
        raise Unsupported("the lists of programs of this kernel are longer than known")
    if kernel.place(cgroup, "bpf.flags").offset - kernel.place(cgroup, "bpf.progs").offset != 8 * (
        len(types)
    ):
        raise Unsupported("the programs of this kernel's cgroups are no hlists")
    first = _FIRST if any(member.name == "flags" for member in entry.members) else ""
    symbols = _FRAME | {
        "base": _BASE,
        "types": len(types),
        "steps": len(types) * (MOST + 1),
        "preorder": _PREORDER,
        "meta_seq": kernel.place(kernel.struct("bpf_iter_meta"), "seq").offset,
        "cgroup_kn": kernel.place(cgroup, "kn").offset,
        "cgroup_progs": kernel.place(cgroup, "bpf.progs").offset,
        "cgroup_flags": kernel.place(cgroup, "bpf.flags").offset,
        "kn_id": kernel.place(kernel.struct("kernfs_node"), "id").offset,
        "kn_priv": kernel.place(kernel.struct("kernfs_node"), "priv").offset,
        "link_id": kernel.place(link, "id").offset,
        "link_prog": kernel.place(link, "prog").offset,
        "prog_aux": kernel.place(kernel.struct("bpf_prog"), "aux").offset,
        "aux_id": kernel.place(kernel.struct("bpf_prog_aux"), "id").offset,
        "sizeof_frame": -_BASE,
        "sizeof_entry": entry.size,
        "sizeof_row": CgroupRow.__size__,
        "entry_next": kernel.place(entry, "node.next").offset,
    }
    names = ("prog", "link", "flags") if first else ("prog", "link")
    symbols |= {f"entry_{name}": kernel.place(entry, name).offset for name in names}
    symbols |= {f"row_{name}": field.offset for name, field in CgroupRow.__layout__.items()}
    text = _TEXT.replace("TABLE", _table(types)).replace("FIRST", first)
    return assemble(text, **symbols)


def attach_types(kernel: Kernel) -> list[int]:
    """The attach type (enum bpf_attach_type) of each of the kernel's own numbers for cgroups."""
    own, known = (
        kernel.find("cgroup_bpf_attach_type", t.Enum),
        kernel.find("bpf_attach_type", t.Enum),
    )
    assert isinstance(own, t.Enum)
    assert isinstance(known, t.Enum)
    numbers = {name.removeprefix("BPF_"): value for name, value in known.values}
    there = dict(own.values)
    first, last = (there.pop(name, -1) for name in _LSM)
    found = {value: numbers[name] for name, value in there.items() if name in numbers}
    if first >= 0 and "LSM_CGROUP" in numbers:
        found |= dict.fromkeys(range(first, last + 1), numbers["LSM_CGROUP"])
    if (
        sorted(found) != list(range(len(found)))
        or len(found) != there["MAX_CGROUP_BPF_ATTACH_TYPE"]
    ):
        raise Unsupported("this kernel has attach types of cgroups that are not known")
    return [found[number] for number in range(len(found))]


def _table(types: list[int]) -> str:
    padded = bytes(types).ljust(_TABLE, b"\0")
    return "".join(
        f"*(u32 *)(r10 {_BASE + _FRAME['table'] + at}) = "
        f"{int.from_bytes(padded[at : at + 4], 'little')}\n"
        for at in range(0, _TABLE, 4)
    )
