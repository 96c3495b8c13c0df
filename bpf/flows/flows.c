//go:build ignore

// SPDX-License-Identifier: Apache-2.0
/*
 * One record for each TCP connection of a cgroup, when it ends. The kernel calls for every
 * attempt to connect and every connection that was established, and for changes of state of
 * those that were asked for; nothing runs for a packet.
 */
#include <linux/bpf.h>
#include "bpf_endian.h"
#include "bpf_helpers.h"

#define AF_INET 2

/* What is known of a connection while it lasts. */
struct lt_connection {
	__u64 established; /* nanoseconds of the monotonic clock; 0 before */
	__u64 received; /* when the other side had confirmed the end of our sending */
	__u8 outgoing;
	__u8 timed_out; /* what we sent was never confirmed */
	__u8 pad[6];
};

/* A record, as flow_linux.go reads it. Addresses are IPv6, or IPv4-mapped. */
struct lt_flow {
	__u64 ended; /* nanoseconds of the monotonic clock */
	__u64 established; /* likewise; 0 if it never was, or before we looked */
	__u64 received; /* bytes by sequence numbers, so with the other side's FIN */
	__u64 confirmed; /* likewise, with our SYN and FIN */
	__u64 received_before; /* lt_connection's received */
	__u32 local[4];
	__u32 remote[4];
	__u32 rtt; /* microseconds, times 8; 0 for none */
	__u32 min_rtt; /* microseconds; 0 or all ones for none */
	__u32 retransmits;
	__u32 segments_in;
	__u16 local_port;
	__u16 remote_port;
	__u8 state; /* that it was in before it ended */
	__u8 outgoing;
	__u8 timed_out;
	__u8 all_confirmed; /* nothing that was sent waits */
	__u8 pad[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct lt_connection);
} lt_flow_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} lt_flow_ring SEC(".maps");

/* Connections without a record: the ring was full, or there was no memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lt_flows_lost SEC(".maps");

static __always_inline void lost(void)
{
	__u32 first = 0;
	__u64 *count = bpf_map_lookup_elem(&lt_flows_lost, &first);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline struct lt_connection *connection(struct bpf_sock_ops *ctx, __u64 flags)
{
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return 0;
	return bpf_sk_storage_get(&lt_flow_sockets, sk, 0, flags);
}

/* Keeps in mind that this connection, or an attempt at one, began. */
static __always_inline void begin(struct bpf_sock_ops *ctx, __u64 established, __u8 outgoing)
{
	struct lt_connection *c = connection(ctx, BPF_SK_STORAGE_GET_F_CREATE);

	if (!c) {
		if (established)
			lost();
		return;
	}
	c->established = established;
	c->received = 0;
	c->outgoing = outgoing;
	c->timed_out = 0;
	/* Other programs keep what they asked for. */
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG);
}

/* The verifier knows fields of the context by their offset alone: no pointer to one may be made. */
#define FIELD(name) ({ __u32 value; asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(value) : "r"(ctx), "i"(__builtin_offsetof(struct bpf_sock_ops, name))); value; })

static __always_inline void addresses(struct bpf_sock_ops *ctx, struct lt_flow *f)
{
	if (ctx->family == AF_INET) {
		f->local[0] = f->local[1] = f->remote[0] = f->remote[1] = 0;
		f->local[2] = f->remote[2] = bpf_htonl(0xffff);
		f->local[3] = FIELD(local_ip4);
		f->remote[3] = FIELD(remote_ip4);
	} else {
		f->local[0] = FIELD(local_ip6[0]);
		f->local[1] = FIELD(local_ip6[1]);
		f->local[2] = FIELD(local_ip6[2]);
		f->local[3] = FIELD(local_ip6[3]);
		f->remote[0] = FIELD(remote_ip6[0]);
		f->remote[1] = FIELD(remote_ip6[1]);
		f->remote[2] = FIELD(remote_ip6[2]);
		f->remote[3] = FIELD(remote_ip6[3]);
	}
	f->local_port = FIELD(local_port);
	f->remote_port = bpf_ntohl(FIELD(remote_port));
}

static __always_inline void end(struct bpf_sock_ops *ctx, __u32 state)
{
	struct lt_connection *c = connection(ctx, 0);
	struct lt_flow *f;

	f = bpf_ringbuf_reserve(&lt_flow_ring, sizeof(*f), 0);
	if (!f) {
		lost();
		return;
	}
	f->ended = bpf_ktime_get_ns();
	f->established = c ? c->established : 0;
	f->received = ctx->bytes_received;
	f->confirmed = ctx->bytes_acked;
	f->received_before = c ? c->received : 0;
	addresses(ctx, f);
	f->rtt = ctx->srtt_us;
	f->min_rtt = ctx->rtt_min;
	f->retransmits = ctx->total_retrans;
	f->segments_in = ctx->segs_in;
	f->state = state;
	f->outgoing = c ? c->outgoing : 0;
	f->timed_out = c ? c->timed_out : 0;
	f->all_confirmed = ctx->snd_una == ctx->snd_nxt;
	/* It is looked for several times a second: a wake-up each costs more than all of this. */
	bpf_ringbuf_submit(f, BPF_RB_NO_WAKEUP);
}

static __always_inline void change(struct bpf_sock_ops *ctx)
{
	__u32 from = ctx->args[0], to = ctx->args[1];
	struct lt_connection *c;

	if (to == BPF_TCP_FIN_WAIT2) {
		c = connection(ctx, BPF_SK_STORAGE_GET_F_CREATE); /* we may not have seen it begin */
		if (c)
			c->received = ctx->bytes_received;
		return;
	}
	if (to != BPF_TCP_CLOSE)
		return;
	switch (from) {
	case BPF_TCP_LISTEN:
	case BPF_TCP_CLOSE:
	case BPF_TCP_SYN_RECV: /* it inherited the wish of a listener, and was never established */
		return;
	}
	end(ctx, from);
}

SEC("sockops")
int lt_flows(struct bpf_sock_ops *ctx)
{
	struct lt_connection *c;

	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		begin(ctx, 0, 1);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		begin(ctx, bpf_ktime_get_ns(), 1);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		begin(ctx, bpf_ktime_get_ns(), 0);
		break;
	case BPF_SOCK_OPS_RTO_CB:
		c = connection(ctx, 0);
		if (c && ctx->args[2])
			c->timed_out = 1;
		break;
	case BPF_SOCK_OPS_STATE_CB:
		change(ctx);
		break;
	}
	return 1; /* and no reply, which would take that of others */
}

/* So that the object says how a record is laid out. */
const struct lt_flow *lt_layout __attribute__((unused));

char _license[] SEC("license") = "Apache-2.0";
