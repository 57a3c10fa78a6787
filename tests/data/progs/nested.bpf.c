/* A map of maps, two of whose slots the object fills. */
#include "bpf.h"

struct inner {
	UINT(type, ARRAY);
	UINT(max_entries, 2);
	TYPE(key, __u32);
	TYPE(value, __u64);
} first SEC(".maps"), second SEC(".maps");

struct {
	UINT(type, ARRAY_OF_MAPS);
	UINT(max_entries, 3);
	TYPE(key, __u32);
	VALUES(values, struct inner);
} outer SEC(".maps") = {
	.values = { [0] = &first, [2] = &second },
};

struct {
	UINT(type, HASH_OF_MAPS);
	UINT(max_entries, 8);
	TYPE(key, __u64);
	VALUES(values, struct inner);
} by_pid SEC(".maps");

SEC("tp/sched/sched_process_exec")
int on_exec(void *context)
{
	__u32 slot = 2, zero = 0;
	__u64 pid = pid_tgid() >> 32;
	void *map = map_lookup(&outer, &slot);
	__u64 *count;

	if (!map)
		map = map_lookup(&by_pid, &pid);
	if (!map)
		return 0;
	count = map_lookup(map, &zero);
	if (count)
		*count += 1;
	return 0;
}

LICENSE("GPL");
