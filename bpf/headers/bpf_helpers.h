/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections and maps as loaders read them, and the kernel's functions that our programs
 * call: each has the number that linux/bpf.h gives it, and is described there.
 */
#ifndef LINTEL_BPF_HELPERS_H
#define LINTEL_BPF_HELPERS_H

#define SEC(name) __attribute__((section(name), used))

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif

/* Fields of a map's definition: values are lengths of arrays, types are pointed to. */
#define __uint(name, value) int(*name)[value]
#define __type(name, of) typeof(of) *name
#define __array(name, of) typeof(of) *name[]
enum libbpf_pin_type { LIBBPF_PIN_NONE, LIBBPF_PIN_BY_NAME };

#define LINTEL_HELPER(result, name, ...) static result (*const bpf_##name)(__VA_ARGS__) = (void *)BPF_FUNC_##name

/* Maps. */
LINTEL_HELPER(void *, map_lookup_elem, void *map, const void *key);
LINTEL_HELPER(long, map_update_elem, void *map, const void *key, const void *value, __u64 flags);
LINTEL_HELPER(long, map_delete_elem, void *map, const void *key);
LINTEL_HELPER(void *, sk_storage_get, void *map, void *sk, void *value, __u64 flags);
LINTEL_HELPER(long, sk_storage_delete, void *map, void *sk);
LINTEL_HELPER(long, ringbuf_output, void *ring, void *data, __u64 size, __u64 flags);
LINTEL_HELPER(void *, ringbuf_reserve, void *ring, __u64 size, __u64 flags);
LINTEL_HELPER(void, ringbuf_submit, void *data, __u64 flags);
LINTEL_HELPER(void, ringbuf_discard, void *data, __u64 flags);
LINTEL_HELPER(__u64, ringbuf_query, void *ring, __u64 flags);

/* The clock, chance, and where we are. */
LINTEL_HELPER(__u64, ktime_get_ns, void);
LINTEL_HELPER(__u32, get_prandom_u32, void);
LINTEL_HELPER(__u32, get_smp_processor_id, void);
LINTEL_HELPER(__u64, get_current_pid_tgid, void);
LINTEL_HELPER(__u64, get_current_cgroup_id, void);
LINTEL_HELPER(long, set_retval, int value); /* what the system call answers to a refusal, negative */

/* Sockets. */
LINTEL_HELPER(__u64, get_socket_cookie, void *ctx);
LINTEL_HELPER(__u64, get_netns_cookie, void *ctx);
LINTEL_HELPER(long, getsockopt, void *ctx, int level, int name, void *value, int length);
LINTEL_HELPER(long, setsockopt, void *ctx, int level, int name, void *value, int length);
LINTEL_HELPER(long, sock_ops_cb_flags_set, struct bpf_sock_ops *ops, int flags);
LINTEL_HELPER(struct bpf_sock *, sk_fullsock, struct bpf_sock *sk);
LINTEL_HELPER(struct bpf_tcp_sock *, tcp_sock, struct bpf_sock *sk);
LINTEL_HELPER(struct bpf_sock *, sk_lookup_tcp, void *ctx, struct bpf_sock_tuple *tuple, __u32 size, __u64 netns, __u64 flags);
LINTEL_HELPER(struct bpf_sock *, sk_lookup_udp, void *ctx, struct bpf_sock_tuple *tuple, __u32 size, __u64 netns, __u64 flags);
LINTEL_HELPER(long, sk_assign, void *ctx, void *sk, __u64 flags);
LINTEL_HELPER(long, sk_release, void *sk);
LINTEL_HELPER(__u64, sk_cgroup_id, void *sk);

#undef LINTEL_HELPER

#endif
