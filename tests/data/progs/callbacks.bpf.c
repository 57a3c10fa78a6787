/* A loop whose body is a function that the helper calls. */
#include "bpf.h"

struct state {
	__u32 sum, limit;
};

static long add(__u32 index, struct state *state)
{
	state->sum += index;
	return state->sum > state->limit;
}

SEC("tc")
int sum(struct __sk_buff *skb)
{
	struct state state = { 0, 1000 };

	loop(skb->len & 127, add, &state, 0);
	return state.sum & 1;
}

LICENSE("GPL");
