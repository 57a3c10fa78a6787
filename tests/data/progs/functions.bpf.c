/* Functions: static ones, a global one, one that calls another, shared by two programs. */
#include "bpf.h"

NOINLINE int square(int number)
{
	return number * number;
}

NOINLINE int sum_of_squares(int one, int two)
{
	return square(one) + square(two);
}

__attribute__((noinline)) int clamp(int number)
{
	return number > 255 ? 255 : number;
}

SEC("socket")
int both(struct __sk_buff *skb)
{
	return clamp(sum_of_squares(skb->len, skb->mark));
}

SEC("socket")
int one(struct __sk_buff *skb)
{
	return square(skb->len);
}

LICENSE("GPL");
