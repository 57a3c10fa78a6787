"""The iterator that writes `abi.rows`: a BPF program over every BPF program, for one kernel.

It is bpf_prog_get_info_by_fd() and bpf_prog_show_fdinfo() (kernel/bpf/syscall.c) once more, with
the offsets of this kernel's structs, which its own BTF tells: no compiler and no headers. Fields
are loaded through typed pointers, so the verifier checks each offset against the BTF; what it has
no type for (arrays of pointers, per-CPU memory) is read with bpf_probe_read_kernel(). What cannot
be read as those two functions do it is marked `again`: offloaded programs (their driver tells),
programs that extend or trace another one (a mutex guards which), more maps than fit the stack, and
a list of maps that is just being replaced (PROG_BIND_MAP).

Pure: from types to bytes.
"""

from __future__ import annotations

import re

from bpflens.abi.infos import ProgInfo
from bpflens.abi.rows import ProgRow
from bpflens.btf import types as t
from bpflens.btf.parse import Btf
from bpflens.errors import Unsupported
from bpflens.insn.asm import assemble
from bpflens.linux import progtext
from bpflens.linux.kerneltypes import Kernel
from bpflens.linux.statements import WORDS, expand, kernel_of, on_stack, zeros

TARGET = "bpf_iter_bpf_prog"
MAX_MAPS = 48
"""What fits the stack."""
MAX_FUNCS = 32
"""The verifier walks every turn of a loop: 256 (BPF_MAX_SUBPROGS) take it 10 ms, 32 take 3.5."""

_ROW = -504
_INFO = _ROW + ProgRow.__size__
_IDS = _INFO + ProgInfo.__size__
_STACK = {
    "word": -8,  # what was probed last
    "stats": -32,  # struct bpf_prog_stats of one CPU
    "percpu": -40,  # the program's stats as a per-CPU pointer
    "groups": -48,  # cfs_rq of the root task_group
    "maps": -56,  # whether the IDs of maps are wanted
    "array": -40,  # used_maps, then func: after the counters
}

_AUX = (
    "id",
    "offload_requested",
    "dst_prog",
    "user",
    "btf",
    "attach_btf",
    "jited_linfo",
    "nr_linfo",
    "used_maps",
    "used_map_cnt",
    "func",
    "func_cnt",
)


def ways(btf: Btf, cpus: int, page_shift: int) -> list[bytes]:
    """The instructions, once for each way to the memory of a CPU, the better way first.

    `cpus` is the number of possible CPUs, which are numbered 0 … cpus - 1. Raises Unsupported
    where no such program can be made for these types.
    """
    kernel = kernel_of(btf)
    symbols = _symbols(kernel) | {"cpus": cpus, "page_shift": page_shift}
    text = _text(kernel)
    found: list[bytes] = []
    for way in (_by_name, _by_run_queue):
        try:
            before, offset, more = way(kernel)
        except Unsupported:
            continue
        whole = text.replace("ROOT_GROUP", before).replace("OFFSET", offset)
        found.append(assemble(_expand(whole), **symbols, **more))
    if not found:
        raise Unsupported("this kernel's BTF tells no way to the memory of a CPU")
    return found


def target(btf: Btf) -> int:
    """What the program attaches to."""
    return Kernel(btf).find(TARGET, t.Func).id


def _text(kernel: Kernel) -> str:
    prog, aux = kernel.struct("bpf_prog"), kernel.struct("bpf_prog_aux")
    # In the order of what is needed: a row that is marked `again` has its ID.
    copies = (
        _copy(kernel, "id", "r8", aux, "id"),
        progtext.UNSURE,
        _copy(kernel, "type", "r7", prog, "type"),
        _copy(kernel, "tag", "r7", prog, "tag"),
        _copy(kernel, "name", "r8", aux, "name"),
        _copy(kernel, "load_time", "r8", aux, "load_time"),
        _copy(kernel, "verified_insns", "r8", aux, "verified_insns"),
        _copy(kernel, "attach_btf_id", "r8", aux, "attach_btf_id"),
        _copy(kernel, "nr_func_info", "r8", aux, "func_info_cnt"),
        _copy(kernel, "nr_line_info", "r8", aux, "nr_linfo"),
    )
    pages = WORDS[kernel.btf.sizeof(kernel.place(prog, "pages").type_id)]
    facts = progtext.FACTS.replace("pages *", f"{pages} *")
    return "".join(
        (
            progtext.BEGIN,
            zeros(_ROW, _IDS + 4 * MAX_MAPS),
            *copies,
            facts,
            progtext.COUNTERS,
            progtext.MAPS,
            progtext.FUNCS,
            progtext.END,
        )
    )


def _copy(kernel: Kernel, field: str, base: str, owner: t.Composite, member: str) -> str:
    """Statements that copy a member as it is, in the largest words that both sides are aligned
    to; it has the size that the field has, or the kernel is none that we know."""
    where = ProgInfo.__layout__[field]
    place = kernel.place(owner, member)
    if kernel.btf.sizeof(place.type_id) != where.size:
        raise Unsupported(f"{owner.name}.{member} of this kernel has another size")
    step = next(n for n in (8, 4, 2, 1) if not (where.offset | place.offset | where.size) % n)
    return "".join(
        f"r1 = *({WORDS[step]} *)({base} +{place.offset + at})\n"
        f"*({WORDS[step]} *)(r10 {_INFO + where.offset + at}) = r1\n"
        for at in range(0, where.size, step)
    )


def _symbols(kernel: Kernel) -> dict[str, int]:
    """Where everything is: on the stack, in the row, and in this kernel's structs."""
    prog, aux = kernel.struct("bpf_prog"), kernel.struct("bpf_prog_aux")
    members = {
        "meta": (kernel.struct("bpf_iter_meta"), ("seq",)),
        "prog": (prog, ("aux", "len", "jited_len", "pages", "stats")),
        "aux": (
            aux,
            _AUX,
        ),
        "stats": (kernel.struct("bpf_prog_stats"), ("cnt", "nsecs", "misses")),
        "user": (kernel.struct("user_struct"), ("uid",)),
        "map": (kernel.struct("bpf_map"), ("id",)),
        "btf_obj": (kernel.struct("btf"), ("id",)),
    }
    found = {
        f"{short}_{name}": kernel.place(owner, name).offset
        for short, (owner, names) in members.items()
        for name in names
    }
    found["aux_used_maps_owner"] = kernel.place(aux, "used_maps_mutex.owner").offset
    gpl = kernel.place(prog, "gpl_compatible")
    found |= {"prog_gpl_compatible": gpl.offset, "gpl_shift": gpl.bits % 8}
    counters = [found[f"stats_{name}"] for name in ("cnt", "nsecs", "misses")]
    if max(counters) > 16:
        raise Unsupported("struct bpf_prog_stats of this kernel is longer than known")
    # `map_ids` and the like are pointers in the info, which stay 0; the IDs follow it.
    return (
        found
        | on_stack(ProgInfo, _INFO)
        | on_stack(ProgRow, _ROW)
        | _STACK
        | {
            "row": _ROW,
            "map_ids_at": _IDS,
            "sizeof_row": _IDS - _ROW,
            "sizeof_info": min(kernel.struct("bpf_prog_info").size, ProgInfo.__size__),
            "sizeof_stats": max(counters) + 8,
            "max_maps": MAX_MAPS,
            "max_funcs": MAX_FUNCS,
        }
    )


def _by_name(kernel: Kernel) -> tuple[str, str, dict[str, int]]:
    return "", progtext.NAMED, {"cpu_var": kernel.percpu("bpf_prog_active")[0]}


def _by_run_queue(kernel: Kernel) -> tuple[str, str, dict[str, int]]:
    group, queue = kernel.struct("task_group"), kernel.struct("rq")
    _, queues_at = kernel.percpu("runqueues")
    inside = queues_at + kernel.place(queue, "cfs").offset
    places = {
        "task_group": kernel.place(kernel.struct("task_struct"), "sched_task_group").offset,
        "group_parent": kernel.place(group, "parent").offset,
        "group_cfs_rq": kernel.place(group, "cfs_rq").offset,
        "cpu_number": kernel.percpu("cpu_number")[1] - inside,
        "this_cpu_off": kernel.percpu("this_cpu_off")[1] - inside,
    }
    return progtext.ROOT_GROUP, progtext.BY_RUN_QUEUE, places


def _expand(text: str) -> str:
    """The statements that come often: PROBE, and ADD to a counter."""
    return re.sub(
        r"ADD (\w+) (\w+)",
        r"r1 = *(u64 *)(r10 +stats+\2)\nr2 = *(u64 *)(r10 +\1)\nr2 += r1\n"
        r"*(u64 *)(r10 +\1) = r2",
        expand(text),
    )
