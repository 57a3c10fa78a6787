"""The iterator over programs in assembly, by what it does; `progrows` puts it together.

Registers that last: r6 the seq_file, r7 the struct bpf_prog, r8 its struct bpf_prog_aux; r9 counts.
The words in capitals stand for statements that come often (`progrows`).
"""

from __future__ import annotations

BEGIN = """
    r9 = 0                              // slot 0: the ID after which rows are wanted
    *(u64 *)(r10 +maps) = 0             // slot 1: whether the IDs of maps are
    r7 = *(u64 *)(r1 +8)
    if r7 == 0 goto done                // the end of the walk
    r6 = *(u64 *)(r1 +0)
    r6 = *(u64 *)(r6 +meta_seq)
    r8 = *(u64 *)(r7 +prog_aux)
    r1 = *(u32 *)(r8 +aux_id)
    if r1 <= r9 goto done
"""

# bpf_prog_is_offloaded(), bpf_prog_get_target_btf()
UNSURE = """
    r1 = *(u8 *)(r8 +aux_offload_requested)
    if r1 != 0 goto unsure
    r1 = *(u64 *)(r8 +aux_dst_prog)
    if r1 != 0 goto unsure
"""

FACTS = """
    r1 = *(u8 *)(r7 +prog_gpl_compatible)
    r1 >>= gpl_shift
    r1 &= 1
    *(u32 *)(r10 +gpl_compatible) = r1
    r1 = *(u32 *)(r7 +prog_len)
    r1 <<= 3
    *(u32 *)(r10 +xlated_prog_len) = r1
    r1 = *(pages *)(r7 +prog_pages)
    r1 <<= page_shift
    *(u64 *)(r10 +memlock) = r1
    r1 = *(u64 *)(r8 +aux_user)
    r1 = *(u32 *)(r1 +user_uid)
    *(u32 *)(r10 +created_by_uid) = r1
    r1 = *(u64 *)(r8 +aux_btf)
    if r1 == 0 goto no_btf
    r1 = *(u32 *)(r1 +btf_obj_id)
    *(u32 *)(r10 +btf_id) = r1
no_btf:
    r1 = *(u64 *)(r8 +aux_attach_btf)
    if r1 == 0 goto no_target
    r1 = *(u32 *)(r1 +btf_obj_id)
    *(u32 *)(r10 +attach_btf_obj_id) = r1
no_target:
    r1 = *(u64 *)(r8 +aux_jited_linfo)
    if r1 == 0 goto no_lines
    r1 = *(u32 *)(r8 +aux_nr_linfo)
    *(u32 *)(r10 +nr_jited_line_info) = r1
no_lines:
    *(u32 *)(r10 +told) = sizeof_info
    *(u32 *)(r10 +func_info_rec_size) = 8
    *(u32 *)(r10 +line_info_rec_size) = 16
    *(u32 *)(r10 +jited_line_info_rec_size) = 8
"""

# bpf_prog_get_stats()
COUNTERS = """
    ROOT_GROUP
    r3 = r7
    r3 += prog_stats
    PROBE percpu 8
    r9 = 0
cpu:
    OFFSET
    r1 = *(u64 *)(r10 +percpu)
    r3 += r1
    PROBE stats sizeof_stats
    ADD run_cnt stats_cnt
    ADD run_time_ns stats_nsecs
    ADD recursion_misses stats_misses
    r9 += 1
    if r9 != cpus goto cpu
"""

NAMED = """
    r1 = btf_id cpu_var
    r2 = r9
    call per_cpu_ptr
    if r0 == 0 goto unsure
    r1 = btf_id cpu_var
    r0 -= r1
    r3 = r0
"""
"""The offset of a CPU's memory, by a variable that kallsyms names (CONFIG_KALLSYMS_ALL)."""

ROOT_GROUP = """
    call get_current_task_btf
    r1 = *(u64 *)(r0 +task_group)
    r9 = 0
up:
    r2 = *(u64 *)(r1 +group_parent)
    if r2 == 0 goto root
    r1 = r2
    r9 += 1
    if r9 != 32 goto up
    goto unsure
root:
    r1 = *(u64 *)(r1 +group_cfs_rq)
    *(u64 *)(r10 +groups) = r1
"""

BY_RUN_QUEUE = """
    r3 = *(u64 *)(r10 +groups)
    r1 = r9
    r1 <<= 3
    r3 += r1
    PROBE word 8
    r3 = *(u64 *)(r10 +word)
    r3 += cpu_number
    PROBE stats 4
    r1 = *(u32 *)(r10 +stats)
    if r1 != r9 goto unsure
    r3 = *(u64 *)(r10 +word)
    r3 += this_cpu_off
    PROBE word 8
    r3 = *(u64 *)(r10 +word)
"""
"""The same on x86 where no variable is named: the root task group points at each CPU's run queue
(sched_init()), and from there it is a known distance to the offset that x86 keeps in per-CPU
memory itself. The CPU's number, which lies beside it, tells whether that is so."""

MAPS = """
    r9 = *(u32 *)(r8 +aux_used_map_cnt)
    *(u32 *)(r10 +nr_map_ids) = r9
    r1 = *(u64 *)(r10 +maps)
    if r1 == 0 goto mapped
    r1 = *(u64 *)(r8 +aux_used_maps_owner)
    if r1 != 0 goto unsure
    if r9 == 0 goto mapped
    if r9 > max_maps goto unsure
    *(u32 *)(r10 +ids) = r9
    r1 = *(u64 *)(r8 +aux_used_maps)
    *(u64 *)(r10 +array) = r1
    r9 = 0
map:
    r3 = *(u64 *)(r10 +array)
    r1 = r9
    r1 <<= 3
    r3 += r1
    PROBE word 8
    r3 = *(u64 *)(r10 +word)
    r3 += map_id
    r1 = r10
    r1 += map_ids_at
    r2 = r9
    r2 <<= 2
    r1 += r2
    r2 = 4
    call probe_read_kernel
    if r0 != 0 goto unsure
    r9 += 1
    if r9 == max_maps goto counted
    r1 = *(u32 *)(r10 +ids)
    if r9 < r1 goto map
counted:
    r1 = *(u64 *)(r8 +aux_used_maps)
    r2 = *(u64 *)(r10 +array)
    if r1 != r2 goto unsure
    r1 = *(u32 *)(r8 +aux_used_map_cnt)
    r2 = *(u32 *)(r10 +ids)
    if r1 != r2 goto unsure
    r1 = *(u64 *)(r8 +aux_used_maps_owner)
    if r1 != 0 goto unsure
mapped:
"""

FUNCS = """
    r1 = *(u32 *)(r8 +aux_func_cnt)
    if r1 != 0 goto funcs
    r1 = *(u32 *)(r7 +prog_jited_len)
    *(u32 *)(r10 +jited_prog_len) = r1
    r1 = 1
    goto summed
funcs:
    if r1 > max_funcs goto unsure
    *(u32 *)(r10 +nr_jited_ksyms) = r1
    r1 = *(u64 *)(r8 +aux_func)
    *(u64 *)(r10 +array) = r1
    r9 = 0
func:
    r3 = *(u64 *)(r10 +array)
    r1 = r9
    r1 <<= 3
    r3 += r1
    PROBE word 8
    r3 = *(u64 *)(r10 +word)
    r3 += prog_jited_len
    PROBE word 4
    r1 = *(u32 *)(r10 +word)
    r2 = *(u32 *)(r10 +jited_prog_len)
    r2 += r1
    *(u32 *)(r10 +jited_prog_len) = r2
    r9 += 1
    r1 = *(u32 *)(r10 +nr_jited_ksyms)
    if r9 == max_funcs goto summed
    if r9 < r1 goto func
summed:
    *(u32 *)(r10 +nr_jited_ksyms) = r1
    *(u32 *)(r10 +nr_jited_func_lens) = r1
    *(u32 *)(r10 +nr_prog_tags) = r1
    goto write
"""

END = """
unsure:
    *(u32 *)(r10 +again) = 1
    *(u32 *)(r10 +ids) = 0
write:
    r1 = r6
    r2 = r10
    r2 += row
    r3 = sizeof_row
    call seq_write
    r3 = *(u32 *)(r10 +ids)
    if r3 == 0 goto done
    if r3 > max_maps goto done
    r3 <<= 2
    r1 = r6
    r2 = r10
    r2 += map_ids_at
    call seq_write
done:
    r0 = 0
    exit
"""
