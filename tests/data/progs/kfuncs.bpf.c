/* Calls of functions of the kernel that are not helpers. */
#include "bpf.h"

KSYM void bpf_rcu_read_lock(void);
KSYM void bpf_rcu_read_unlock(void);

__u64 sections;

SEC("tc")
int guarded(struct __sk_buff *skb)
{
	bpf_rcu_read_lock();
	sections++;
	bpf_rcu_read_unlock();
	return 0;
}

LICENSE("GPL");
