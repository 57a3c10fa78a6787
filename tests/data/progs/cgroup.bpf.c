/* Hooks of a cgroup, each with the attach type that its section says. */
#include "bpf.h"

__u64 in, out;

SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	in += skb->len;
	return 1;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	out += skb->len;
	return 1;
}

SEC("cgroup/sock_create")
int create(void *context)
{
	return 1;
}

SEC("cgroup/getsockopt")
int options(void *context)
{
	return 1;
}

LICENSE("GPL");
