"""The iterator that writes `abi.rows.TaskRow`: a BPF program over every process, for one kernel.

/proc/PID/ns shows nothing of a process that has a capability which we lack, or that an LSM keeps
from us (proc_ns_readlink()): there, who may load a tracing program sees it nevertheless.

Pure: from types to bytes. Since: Linux 5.11 (bpf_get_current_task_btf()).
"""

from __future__ import annotations

from bpflens.abi.rows import TaskRow
from bpflens.btf import types as t
from bpflens.btf.parse import Btf
from bpflens.insn.asm import assemble
from bpflens.linux.kerneltypes import Kernel
from bpflens.linux.statements import NUMBER, NUMBER_MEMBERS, expand, kernel_of, on_stack, zeros

TARGET = "bpf_iter_task"

_ROW = -32
_STACK = {"word": -8, "more": -16, "row": _ROW}

# r6 the seq_file, r7 the struct nsproxy, r8 the struct task_struct. The namespaces are probed
# without task_lock(): they are told where the process has the same set of them afterwards.
_TEXT = """
    r8 = *(u64 *)(r1 +ctx_task)
    if r8 == 0 goto done                // the end of the walk
    r6 = *(u64 *)(r1 +0)
    r6 = *(u64 *)(r6 +meta_seq)
    r1 = *(u32 *)(r8 +task_pid)
    r2 = *(u32 *)(r8 +task_tgid)
    if r1 != r2 goto done               // another thread of a process
ZEROS
    r3 = r8
    NEXT task_nsproxy
    r7 = r3
    if r7 == 0 goto number              // exit_task_namespaces()
    NEXT nsproxy_net
    TAKE netns net_inum 4
    r3 = r7
    NEXT nsproxy_mnt
    TAKE mntns mnt_inum 4
    r3 = r8
    NEXT task_nsproxy
    if r3 != r7 goto unsure
number:
NUMBER
    r1 = r6
    r2 = r10
    r2 += row
    r3 = sizeof_row
    call seq_write
unsure:                                 // then nothing is told of it
done:
    r0 = 0
    exit
"""

_MEMBERS = {
    "ctx": ("bpf_iter__task", {"task": "task"}),
    "meta": ("bpf_iter_meta", {"seq": "seq"}),
    "nsproxy": ("nsproxy", {"net": "net_ns", "mnt": "mnt_ns"}),
    "net": ("net", {"inum": "ns.inum"}),
    "mnt": ("mnt_namespace", {"inum": "ns.inum"}),
    "pid": NUMBER_MEMBERS["pid"],
    "task": (
        "task_struct",
        {**NUMBER_MEMBERS["task"][1], "pid": "pid", "tgid": "tgid", "nsproxy": "nsproxy"},
    ),
}


def target(btf: Btf) -> int:
    """What the program attaches to."""
    return Kernel(btf).find(TARGET, t.Func).id


def program(btf: Btf) -> bytes:
    """The instructions. Raises Unsupported where no such program can be made for these types."""
    kernel = kernel_of(btf)
    sizes = {"sizeof_upid": kernel.struct("upid").size, "sizeof_row": TaskRow.__size__}
    symbols = kernel.places(_MEMBERS) | sizes | _STACK | on_stack(TaskRow, _ROW)
    text = _TEXT.replace("ZEROS", zeros(_ROW, -16)).replace("NUMBER", NUMBER)
    return assemble(expand(text), **symbols)
