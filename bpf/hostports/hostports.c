//go:build ignore

// SPDX-License-Identifier: Apache-2.0
/*
 * Connections and datagrams for an address and port of this network namespace are given to
 * a socket that is not bound to it. The kernel asks when it looks for who listens, so never
 * for connections that there are already.
 */
#include <linux/bpf.h>
#include "bpf_endian.h"
#include "bpf_helpers.h"

#define AF_INET 2

/* An address and port that sockets receive for. */
struct lt_place {
	__u32 address[4]; /* IPv6, or IPv4-mapped; ::ffff:0.0.0.0 is every IPv4 address, and :: every IPv6 one */
	__u32 port; /* in the machine's byte order */
	__u32 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
};

/* A socket that is closed by all who have it leaves the map by itself. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 4096);
	__type(key, struct lt_place);
	__type(value, __u64);
} lt_sockets SEC(".maps");

/* The verifier knows fields of the context by their offset alone: no pointer to one may be made. */
#define FIELD(name) ({ __u32 value; asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(value) : "r"(ctx), "i"(__builtin_offsetof(struct bpf_sk_lookup, name))); value; })

SEC("sk_lookup")
int lt_host_ports(struct bpf_sk_lookup *ctx)
{
	struct lt_place place = {};
	struct bpf_sock *sk;

	place.port = FIELD(local_port);
	place.protocol = FIELD(protocol);
	if (FIELD(family) == AF_INET) {
		place.address[2] = bpf_htonl(0xffff);
		place.address[3] = FIELD(local_ip4);
	} else {
		place.address[0] = FIELD(local_ip6[0]);
		place.address[1] = FIELD(local_ip6[1]);
		place.address[2] = FIELD(local_ip6[2]);
		place.address[3] = FIELD(local_ip6[3]);
	}
	sk = bpf_map_lookup_elem(&lt_sockets, &place);
	if (!sk) {
		if (FIELD(family) != AF_INET) {
			place.address[0] = 0;
			place.address[1] = 0;
			place.address[2] = 0;
		}
		place.address[3] = 0;
		sk = bpf_map_lookup_elem(&lt_sockets, &place);
	}
	if (!sk)
		return SK_PASS; /* who is bound to it, if anybody */
	/* Another program may have chosen before: in a handover both choose the same socket. */
	bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
