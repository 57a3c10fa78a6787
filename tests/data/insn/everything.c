// Compiled by tests with clang -target bpf: one of each thing that a listing has to name.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct value {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct value);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

volatile const __u32 sampling = 3;
__u64 seen;
static struct value last;

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;

static long visit(void *map, const __u32 *key, struct value *value, __u64 *sum)
{
	*sum += value->bytes;
	return 0;
}

static long step(__u32 index, __u64 *sum)
{
	*sum += index;
	return 0;
}

__attribute__((noinline)) int account(struct __sk_buff *skb)
{
	__u32 key = skb->ifindex;
	struct value *value = bpf_map_lookup_elem(&flows, &key);

	if (!value) {
		struct value fresh = { .packets = 1, .bytes = skb->len };

		bpf_map_update_elem(&flows, &key, &fresh, BPF_NOEXIST);
		return 0;
	}
	__sync_fetch_and_add(&value->packets, 1);
	__sync_fetch_and_add(&value->bytes, skb->len);
	return skb->len % 7;
}

SEC("tc")
int classify(struct __sk_buff *skb)
{
	__u64 sum = 0, *total, *event;
	__u32 zero = 0;

	bpf_rcu_read_lock();
	seen++;
	bpf_rcu_read_unlock();
	if (sampling && seen % sampling)
		return 0;
	if (account(skb) == 3)
		bpf_tail_call(skb, &next, 1);
	bpf_for_each_map_elem(&flows, visit, &sum, 0);
	bpf_loop(4, step, &sum, 0);
	total = bpf_map_lookup_elem(&totals, &zero);
	if (total)
		*total += sum;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (event) {
		*event = bpf_get_prandom_u32();
		bpf_ringbuf_submit(event, 0);
	}
	last.bytes = bpf_ktime_get_ns();
	bpf_skb_store_bytes(skb, 0, &sum, 4, 0);
	return bpf_redirect(1, 0);
}

SEC("xdp")
int drop_some(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 14 > end)
		return XDP_ABORTED;
	return *(__u8 *)(data + 13) == 6 ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
