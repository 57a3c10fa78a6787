/* What the programs here need of BPF, so that they compile without any system header. */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#define KSYM extern __attribute__((section(".ksyms")))
#define LICENSE(text) char _license[] SEC("license") = text

/* Maps are described by the types of a struct's members; no byte of it is ever loaded. */
#define UINT(name, number) int(*name)[number]
#define TYPE(name, type) __typeof__(type) *name
#define VALUES(name, type) __typeof__(type) *name[]

enum {
	HASH = 1, ARRAY, PROG_ARRAY, PERF_EVENT_ARRAY, PERCPU_HASH, PERCPU_ARRAY, STACK_TRACE,
	CGROUP_ARRAY, LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE, ARRAY_OF_MAPS, HASH_OF_MAPS,
	QUEUE = 22, STACK = 23, DEVMAP_HASH = 25, RINGBUF = 27, BLOOM_FILTER = 30,
};
enum { NO_PREALLOC = 1 };

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*map_delete)(void *map, const void *key) = (void *)3;
static __u64 (*ktime_ns)(void) = (void *)5;
static long (*tail_call)(void *ctx, void *map, __u32 index) = (void *)12;
static __u64 (*pid_tgid)(void) = (void *)14;
static long (*map_push)(void *map, const void *value, __u64 flags) = (void *)87;
static long (*map_pop)(void *map, void *value) = (void *)88;
static void *(*ringbuf_reserve)(void *ring, __u64 size, __u64 flags) = (void *)131;
static void (*ringbuf_submit)(void *data, __u64 flags) = (void *)132;
static long (*loop)(__u32 count, void *callback, void *context, __u64 flags) = (void *)181;

struct __sk_buff {
	__u32 len, pkt_type, mark, queue_mapping, protocol;
};

struct xdp_md {
	__u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};
