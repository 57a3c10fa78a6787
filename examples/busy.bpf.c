/* What examples/busy.cassette.gz was recorded on: a small load balancer and its bookkeeping. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define UINT(name, value) int(*name)[value]

enum map_type { HASH = 1, ARRAY = 2, PROG_ARRAY = 3, PERCPU_ARRAY = 6 };

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static void (*tail_call)(void *ctx, void *map, u32 slot) = (void *)12;

struct backend {
	u32 address;
	u16 port;
	u16 weight;
	u64 packets;
};

struct {
	UINT(type, HASH);
	UINT(max_entries, 64);
	u32 *key;
	struct backend *value;
} backends SEC(".maps");

struct {
	UINT(type, PROG_ARRAY);
	UINT(max_entries, 4);
	UINT(key_size, 4);
	UINT(value_size, 4);
} jumps SEC(".maps");

struct {
	UINT(type, PERCPU_ARRAY);
	UINT(max_entries, 4);
	u32 *key;
	u64 *value;
} counters SEC(".maps");

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

static void count(u32 slot)
{
	u64 *n = map_lookup(&counters, &slot);

	if (n)
		*n += 1;
}

SEC("xdp") int xdp_balance(struct xdp_md *ctx)
{
	count(0);
	tail_call(ctx, &jumps, ctx->rx_queue_index & 3);
	return 2; /* XDP_PASS */
}

SEC("xdp") int xdp_pick_backend(struct xdp_md *ctx)
{
	u32 key = ctx->ingress_ifindex;
	struct backend *chosen = map_lookup(&backends, &key);

	count(1);
	if (!chosen)
		return 1; /* XDP_DROP */
	chosen->packets += 1;
	return 2;
}

SEC("socket") int count_all(void *skb)
{
	count(2);
	return 0;
}

char _license[] SEC("license") = "GPL";
