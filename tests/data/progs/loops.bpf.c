/* Loops with a bound: unrolled by nobody, the verifier walks them. */
#include "bpf.h"

__u32 table[64];

SEC("xdp")
int checksum(struct xdp_md *context)
{
	__u8 *at = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 sum = 0;

#pragma nounroll
	for (int i = 0; i < 64; i++) {
		if (at + i + 1 > end)
			break;
		sum += at[i];
	}
	return sum ? 2 : 1;
}

SEC("xdp")
int fill(struct xdp_md *context)
{
#pragma nounroll
	for (int i = 0; i < 64; i++)
		table[i] = i * i;
	return 2;
}

LICENSE("GPL");
