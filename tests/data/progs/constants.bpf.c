/* What a loader decides before the program runs: branches and functions that are never reached. */
#include "bpf.h"

const volatile __u32 verbose;
const volatile signed char bias = -3;
const volatile __u8 depth = 2;
__u64 total;

NOINLINE int detail(struct __sk_buff *skb)
{
	total += skb->mark;
	return 1;
}

/* global: verified by itself, for any argument */
__attribute__((noinline)) int scale(int number)
{
	if (number == 2)
		return 8;
	return number << depth;
}

SEC("tc")
int quiet(struct __sk_buff *skb)
{
	if (verbose)
		return detail(skb);
	if (bias < 0)
		total += skb->len;
	return scale(2);
}

SEC("tc")
int deeper(struct __sk_buff *skb)
{
	for (int at = 0; at < depth; at++)
		total += scale(at);
	return 0;
}

LICENSE("GPL");
