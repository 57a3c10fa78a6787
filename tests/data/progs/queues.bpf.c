/* Maps without keys. */
#include "bpf.h"

struct {
	UINT(type, QUEUE);
	UINT(max_entries, 8);
	UINT(value_size, 4);
} waiting SEC(".maps");

struct {
	UINT(type, STACK);
	UINT(max_entries, 8);
	UINT(value_size, 4);
} spare SEC(".maps");

struct {
	UINT(type, RINGBUF);
	UINT(max_entries, 8192);
} events SEC(".maps");

SEC("tc")
int pass_on(struct __sk_buff *skb)
{
	__u32 value = skb->len, *event;

	if (map_pop(&spare, &value))
		map_push(&waiting, &value, 2);
	event = ringbuf_reserve(&events, sizeof(*event), 0);
	if (event) {
		*event = value;
		ringbuf_submit(event, 0);
	}
	return 0;
}

LICENSE("GPL");
