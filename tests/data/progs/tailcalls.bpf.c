/* A dispatcher with its stages in a program array that the object fills. */
#include "bpf.h"

int stage_one(struct __sk_buff *skb);
int stage_two(struct __sk_buff *skb);

struct {
	UINT(type, PROG_ARRAY);
	UINT(max_entries, 4);
	UINT(key_size, 4);
	VALUES(values, int(struct __sk_buff *));
} stages SEC(".maps") = {
	.values = { [0] = stage_one, [2] = stage_two },
};

SEC("tc")
int stage_one(struct __sk_buff *skb)
{
	tail_call(skb, &stages, 2);
	return 1;
}

SEC("tc")
int stage_two(struct __sk_buff *skb)
{
	return 2;
}

SEC("tc")
int dispatch(struct __sk_buff *skb)
{
	tail_call(skb, &stages, skb->mark & 3);
	return 0;
}

LICENSE("GPL");
