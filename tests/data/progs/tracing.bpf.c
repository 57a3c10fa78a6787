/* Programs at places of the kernel: tracepoints, raw, typed and plain, and an iterator. */
#include "bpf.h"

struct {
	UINT(type, ARRAY);
	UINT(max_entries, 3);
	TYPE(key, __u32);
	TYPE(value, __u64);
} hits SEC(".maps");

INLINE void hit(__u32 index)
{
	__u64 *count = map_lookup(&hits, &index);

	if (count)
		__sync_fetch_and_add(count, 1);
}

SEC("tp/sched/sched_process_exec")
int plain(void *context)
{
	hit(0);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int raw(void *context)
{
	hit(1);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int typed(__u64 *context)
{
	hit(2);
	return 0;
}

SEC("iter/bpf_map")
int maps(void *context)
{
	return 0;
}

LICENSE("GPL");
