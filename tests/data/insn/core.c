// Compiled by tests with clang -target bpf: instructions that the loader adapts to the kernel.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct task_struct {
	int pid, tgid;
	struct task_struct *real_parent;
	char comm[16];
} __attribute__((preserve_access_index));

enum bpf_map_type___here { BPF_MAP_TYPE_LPM_TRIE___here = 99 };

__u64 parents, sizes;
int last;

SEC("raw_tp/sched_switch")
int on_switch(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task(), *parent = 0;

	if (!task)
		return 0;
	bpf_probe_read_kernel(&parent, sizeof(parent), &task->real_parent);
	bpf_probe_read_kernel(&last, sizeof(last), &task->tgid);
	if (parent)
		parents++;
	sizes += bpf_core_type_size(struct task_struct);
	if (bpf_core_field_exists(task->comm))
		sizes += bpf_core_field_size(task->comm);
	sizes += bpf_core_enum_value(enum bpf_map_type___here, BPF_MAP_TYPE_LPM_TRIE___here);
	return 0;
}

char _license[] SEC("license") = "GPL";
