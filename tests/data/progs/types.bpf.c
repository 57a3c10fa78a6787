/* Types of every kind that C has, as keys, values and globals. */
#include "bpf.h"

enum color { RED, GREEN = 5, BLUE = -1 };

union number {
	__u64 wide;
	struct { __u32 low, high; };
};

typedef struct node {
	struct node *next;
	enum color color : 4;
	__u32 weight : 12;
	union number number;
	const char *name;
	char text[8];
	_Bool set;
} node_t;

struct {
	UINT(type, HASH);
	UINT(max_entries, 16);
	TYPE(key, enum color);
	TYPE(value, node_t);
} nodes SEC(".maps");

node_t root = { .color = GREEN, .weight = 100, .text = "root" };
volatile const union number start = { .wide = 1ull << 40 };

SEC("socket")
int look(struct __sk_buff *skb)
{
	enum color color = RED;
	node_t *found = map_lookup(&nodes, &color);

	if (!found)
		return root.weight;
	found->number.wide = start.wide;
	return found->weight;
}

LICENSE("GPL");
