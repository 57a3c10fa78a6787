/* Global data: set, unset, constant, and shared by two programs. */
#include "bpf.h"

const volatile __u32 limit = 100;
const volatile char greeting[16] = "hello";
__u64 packets = 7;
static volatile __u32 hidden = 3;
__u64 bytes;
struct { __u32 last, worst; } seen;

SEC("tc")
int count(struct __sk_buff *skb)
{
	packets++;
	bytes += skb->len;
	seen.last = skb->len;
	if (skb->len > limit)
		seen.worst = skb->len;
	return 0;
}

SEC("tc")
int reset(struct __sk_buff *skb)
{
	packets = hidden + greeting[0];
	bytes = 0;
	return 0;
}

LICENSE("Dual BSD/GPL");
