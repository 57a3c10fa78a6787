/* Maps of many kinds, each used once. */
#include "bpf.h"

struct flow {
	__u32 from, to;
	__u16 port;
	__u8 protocol, pad;
};

struct total {
	__u64 packets, bytes;
};

struct {
	UINT(type, HASH);
	UINT(max_entries, 1024);
	TYPE(key, struct flow);
	TYPE(value, struct total);
} flows SEC(".maps");

struct {
	UINT(type, PERCPU_ARRAY);
	UINT(max_entries, 4);
	TYPE(key, __u32);
	TYPE(value, struct total);
} totals SEC(".maps");

struct {
	UINT(type, LRU_HASH);
	UINT(max_entries, 64);
	TYPE(key, __u32);
	TYPE(value, __u64);
} recent SEC(".maps");

struct {
	UINT(type, LPM_TRIE);
	UINT(max_entries, 16);
	UINT(map_flags, NO_PREALLOC);
	TYPE(key, struct { __u32 prefix; __u32 address; });
	TYPE(value, __u32);
} routes SEC(".maps");

struct {
	UINT(type, PERCPU_HASH);
	UINT(max_entries, 32);
	TYPE(key, __u32);
	TYPE(value, __u32);
} marks SEC(".maps");

SEC("tc")
int count(struct __sk_buff *skb)
{
	struct flow flow = { .from = skb->mark, .protocol = 6 };
	struct total first = { 1, skb->len };
	__u32 zero = 0;
	struct total *seen = map_lookup(&flows, &flow);

	if (seen) {
		__sync_fetch_and_add(&seen->packets, 1);
		__sync_fetch_and_add(&seen->bytes, skb->len);
	} else {
		map_update(&flows, &flow, &first, 0);
	}
	seen = map_lookup(&totals, &zero);
	if (seen)
		seen->packets++;
	return 0;
}

SEC("tc")
int mark(struct __sk_buff *skb)
{
	struct { __u32 prefix; __u32 address; } key = { 32, skb->mark };
	__u32 *to = map_lookup(&routes, &key);
	__u32 index = skb->protocol;
	__u64 now = ktime_ns();

	map_update(&recent, &index, &now, 0);
	if (to)
		map_update(&marks, &index, to, 0);
	return 0;
}

LICENSE("GPL");
