//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Service addresses become endpoints inside the system call that names them, so that no
 * packet ever has to be rewritten: connect() and sendmsg() replace the address that they
 * were given; recvmsg() and getpeername() put it back, so that the application sees what
 * it asked for. Sockets of TCP and UDP, addresses of IPv4, IPv6, and IPv4 in IPv6.
 *
 * The user's side writes a list of endpoints, under a number that was never used before,
 * then the Service that names it, and then removes the list that the Service named before.
 * A program copies what it reads, and reads the Service once more: if it still names the
 * same list, what was copied in between belongs together; else it starts again.
 */
#include <linux/bpf.h>
#include <bpf_endian.h>
#include <bpf_helpers.h>

char _license[] SEC("license") = "Apache-2.0";

#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_MPTCP 262
#define ECONNREFUSED 111

/* How often a Service may change under one connect(). */
#define ATTEMPTS 4

/* Verdicts of programs. */
#define REFUSE 0
#define GO_ON 1

/* Whether the kernel has bpf_set_retval (Linux 5.18): refusals are EPERM without. */
const volatile __u8 has_set_retval = 0;

/* An address with a port, in network byte order. IPv4 is ::ffff:a.b.c.d. */
struct endpoint {
	__u32 ip[4];
	__be16 port;
	__u16 pad;
};

struct service_key {
	__u32 ip[4];
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct service {
	__u64 list;     /* of endpoints */
	__u32 count;    /* of these; 0 refuses */
	__u32 affinity; /* seconds that a client stays with an endpoint; 0 does not keep it */
};

struct slot_key {
	__u64 list;
	__u32 slot;
	__u32 pad;
};

/* Where an endpoint is in a list whose clients stay. */
struct place_key {
	__u64 list;
	struct endpoint endpoint;
	__u32 pad;
};

/* A client is a network namespace, which is a Pod, or the node. */
struct client_key {
	__u64 netns;
	struct service_key service;
	__u32 pad;
};

struct stay {
	__u64 used; /* nanoseconds since boot */
	struct endpoint endpoint;
	__u32 pad;
};

/* Which Service a connected socket meant. */
struct peer {
	struct endpoint endpoint;
	struct endpoint origin;
};

/* Which Service a socket that is not connected meant by an endpoint. */
struct origin_key {
	__u64 socket;
	struct endpoint endpoint;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct service_key);
	__type(value, struct service);
} lb_services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct slot_key);
	__type(value, struct endpoint);
} lb_endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct place_key);
	__type(value, __u32);
} lb_places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct client_key);
	__type(value, struct stay);
} lb_affinity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct peer);
} lb_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct origin_key);
	__type(value, struct endpoint);
} lb_origins SEC(".maps");

static __always_inline int same(const struct endpoint *a, const struct endpoint *b)
{
	return a->ip[0] == b->ip[0] && a->ip[1] == b->ip[1] && a->ip[2] == b->ip[2] && a->ip[3] == b->ip[3] && a->port == b->port;
}

static __always_inline int refuse(void)
{
	if (has_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

static __always_inline struct client_key client_of(void *ctx, const struct service_key *key)
{
	struct client_key client = {.netns = bpf_get_netns_cookie(ctx), .service = *key};
	return client;
}

/* Where the endpoint is in the list that the client stays with, or else count. */
static __always_inline __u32 kept(void *ctx, const struct service_key *key, const struct service *service)
{
	struct client_key client = client_of(ctx, key);
	struct stay *stay = bpf_map_lookup_elem(&lb_affinity, &client);
	if (!stay || bpf_ktime_get_ns() - stay->used > (__u64)service->affinity * 1000000000ULL)
		return service->count;
	struct place_key place = {.list = service->list, .endpoint = stay->endpoint};
	__u32 *slot = bpf_map_lookup_elem(&lb_places, &place);
	return slot ? *slot : service->count;
}

static __always_inline void keep(void *ctx, const struct service_key *key, const struct endpoint *endpoint)
{
	struct client_key client = client_of(ctx, key);
	struct stay stay = {.used = bpf_ktime_get_ns(), .endpoint = *endpoint};
	bpf_map_update_elem(&lb_affinity, &client, &stay, BPF_ANY);
}

static __always_inline __u32 choose(void *ctx, const struct service *service, __u8 protocol)
{
	__u32 chance;
	if (protocol == PROTOCOL_UDP) /* a socket stays where it is while the list is the same */
		chance = (bpf_get_socket_cookie(ctx) * 0x9e3779b97f4a7c15ULL) >> 32;
	else
		chance = bpf_get_prandom_u32();
	return ((__u64)chance * service->count) >> 32;
}

enum outcome { NO_SERVICE, NO_ENDPOINT, CHOSEN };

/* Finds an endpoint of the Service that has the address. */
static __always_inline enum outcome resolve(void *ctx, const struct service_key *key, struct endpoint *endpoint)
{
	for (int i = 0; i < ATTEMPTS; i++) {
		struct service *found = bpf_map_lookup_elem(&lb_services, key);
		if (!found)
			return NO_SERVICE;
		struct service service = *found;
		__u32 slot = service.count;
		if (service.count && service.affinity)
			slot = kept(ctx, key, &service);
		if (service.count && slot >= service.count)
			slot = choose(ctx, &service, key->protocol);
		struct slot_key at = {.list = service.list, .slot = slot};
		struct endpoint *chosen = bpf_map_lookup_elem(&lb_endpoints, &at);
		if (chosen)
			*endpoint = *chosen;
		else if (service.count)
			continue;
		found = bpf_map_lookup_elem(&lb_services, key);
		if (!found || *(volatile __u64 *)&found->list != service.list)
			continue;
		if (!service.count)
			return NO_ENDPOINT;
		if (service.affinity)
			keep(ctx, key, endpoint);
		return CHOSEN;
	}
	return NO_ENDPOINT;
}

/* Notes which Service a socket means by an endpoint, as long as the socket lives. */
static __always_inline void remember_peer(struct bpf_sock_addr *ctx, const struct service_key *key, const struct endpoint *endpoint)
{
	struct peer *peer = 0;
	if (ctx->sk)
		peer = bpf_sk_storage_get(&lb_peers, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!peer)
		return;
	peer->endpoint = *endpoint;
	peer->origin.ip[0] = key->ip[0];
	peer->origin.ip[1] = key->ip[1];
	peer->origin.ip[2] = key->ip[2];
	peer->origin.ip[3] = key->ip[3];
	peer->origin.port = key->port;
}

/* The same of one that is not connected, and may mean several, as long as it sends now and
 * then. */
static __always_inline void remember_origin(void *ctx, const struct service_key *key, const struct endpoint *endpoint)
{
	struct endpoint origin = {.ip = {key->ip[0], key->ip[1], key->ip[2], key->ip[3]}, .port = key->port};
	struct origin_key socket = {.socket = bpf_get_socket_cookie(ctx), .endpoint = *endpoint};
	struct endpoint *known = bpf_map_lookup_elem(&lb_origins, &socket);
	if (!known || !same(known, &origin))
		bpf_map_update_elem(&lb_origins, &socket, &origin, BPF_ANY);
}

static __always_inline __u8 protocol_of(const struct bpf_sock_addr *ctx)
{
	switch (ctx->protocol) {
	case PROTOCOL_TCP:
	case PROTOCOL_MPTCP:
		return PROTOCOL_TCP;
	case PROTOCOL_UDP:
		return PROTOCOL_UDP;
	}
	return 0;
}

enum call { CONNECT, SEND };

static __always_inline int forward(struct bpf_sock_addr *ctx, enum call call, struct service_key *key, struct endpoint *endpoint)
{
	key->protocol = protocol_of(ctx);
	if (!key->protocol)
		return NO_SERVICE;
	key->port = ctx->user_port;
	enum outcome outcome = resolve(ctx, key, endpoint);
	if (outcome != CHOSEN)
		return outcome;
	if (call == CONNECT)
		remember_peer(ctx, key, endpoint);
	else
		remember_origin(ctx, key, endpoint);
	return outcome;
}

static __always_inline int forward4(struct bpf_sock_addr *ctx, enum call call)
{
	struct service_key key = {.ip = {0, 0, bpf_htonl(0xffff), ctx->user_ip4}};
	struct endpoint endpoint = {};
	switch (forward(ctx, call, &key, &endpoint)) {
	case CHOSEN:
		ctx->user_ip4 = endpoint.ip[3];
		ctx->user_port = endpoint.port;
		return GO_ON;
	case NO_ENDPOINT:
		return refuse();
	}
	return GO_ON;
}

static __always_inline int forward6(struct bpf_sock_addr *ctx, enum call call)
{
	struct service_key key = {.ip = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
	struct endpoint endpoint = {};
	switch (forward(ctx, call, &key, &endpoint)) {
	case CHOSEN:
		ctx->user_ip6[0] = endpoint.ip[0];
		ctx->user_ip6[1] = endpoint.ip[1];
		ctx->user_ip6[2] = endpoint.ip[2];
		ctx->user_ip6[3] = endpoint.ip[3];
		ctx->user_port = endpoint.port;
		return GO_ON;
	case NO_ENDPOINT:
		return refuse();
	}
	return GO_ON;
}

static __always_inline struct endpoint *origin(struct bpf_sock_addr *ctx, struct endpoint sender)
{
	struct peer *peer = 0;
	if (ctx->sk)
		peer = bpf_sk_storage_get(&lb_peers, ctx->sk, 0, 0);
	if (peer && same(&peer->endpoint, &sender))
		return &peer->origin;
	if (ctx->protocol != PROTOCOL_UDP)
		return 0;
	struct origin_key socket = {.socket = bpf_get_socket_cookie(ctx), .endpoint = sender};
	return bpf_map_lookup_elem(&lb_origins, &socket);
}

static __always_inline int back4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = {.ip = {0, 0, bpf_htonl(0xffff), ctx->user_ip4}, .port = ctx->user_port};
	struct endpoint *was = origin(ctx, peer);
	if (was) {
		ctx->user_ip4 = was->ip[3];
		ctx->user_port = was->port;
	}
	return GO_ON;
}

static __always_inline int back6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = {.ip = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}, .port = ctx->user_port};
	struct endpoint *was = origin(ctx, peer);
	if (was) {
		ctx->user_ip6[0] = was->ip[0];
		ctx->user_ip6[1] = was->ip[1];
		ctx->user_ip6[2] = was->ip[2];
		ctx->user_ip6[3] = was->ip[3];
		ctx->user_port = was->port;
	}
	return GO_ON;
}

SEC("cgroup/connect4")
int lb_connect4(struct bpf_sock_addr *ctx) { return forward4(ctx, CONNECT); }

SEC("cgroup/connect6")
int lb_connect6(struct bpf_sock_addr *ctx) { return forward6(ctx, CONNECT); }

SEC("cgroup/sendmsg4")
int lb_sendmsg4(struct bpf_sock_addr *ctx) { return forward4(ctx, SEND); }

SEC("cgroup/sendmsg6")
int lb_sendmsg6(struct bpf_sock_addr *ctx) { return forward6(ctx, SEND); }

SEC("cgroup/recvmsg4")
int lb_recvmsg4(struct bpf_sock_addr *ctx) { return back4(ctx); }

SEC("cgroup/recvmsg6")
int lb_recvmsg6(struct bpf_sock_addr *ctx) { return back6(ctx); }

SEC("cgroup/getpeername4")
int lb_getpeername4(struct bpf_sock_addr *ctx) { return back4(ctx); }

SEC("cgroup/getpeername6")
int lb_getpeername6(struct bpf_sock_addr *ctx) { return back6(ctx); }
