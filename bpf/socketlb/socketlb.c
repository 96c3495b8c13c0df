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
 *
 * To programs of those who have no CAP_PERFMON the kernel adds a barrier after each write
 * to the stack that is the first there, or replaces a whole word. So on the way of a
 * connect() things are held in registers, and keys written in whole words; what few need
 * is in functions that are not inlined.
 */
#include <linux/bpf.h>
#include <bpf_endian.h>
#include <bpf_helpers.h>

char _license[] SEC("license") = "Apache-2.0";

#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_MPTCP 262
#define ECONNREFUSED 111

/* Verdicts of programs. */
#define REFUSE 0
#define GO_ON 1

/* Whether the kernel has bpf_set_retval (Linux 5.18): refusals are EPERM without. */
const volatile __u8 has_set_retval = 0;

/* Of lb_cells; their number is a power of 2. */
const volatile __u32 last_cell = 0;

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

/* The same, to be written a word at a time. */
union service_words {
	struct service_key key;
	__u64 words[3];
};

struct service {
	__u64 list;            /* of endpoints */
	__u32 count;           /* of these; 0 refuses */
	__u32 affinity;        /* seconds that a client stays with an endpoint; 0 does not keep it */
	struct endpoint first; /* of the list, so that those who want it need not look for it */
	__u32 pad;
};

struct slot_key {
	__u64 list;
	__u64 slot;
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

/* The peer of one socket, which claims the cell when it connects, until it is closed. */
struct cell {
	__u64 socket; /* that has it, or had it last */
	__u32 claims; /* 0 is free */
	__u32 pad;
	struct peer peer;
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
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cell);
} lb_cells SEC(".maps");

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

static __noinline int refuse(void)
{
	if (has_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

enum family { IPV4, IPV6 };

/* An address with a port in registers: IPv4 has both in low. */
struct held {
	__u64 high, low, port;
};

static __always_inline __u64 word(__u32 first, __u32 second) { return (__u64)second << 32 | first; }

/* What the system call names, or in the case of recvmsg() and getpeername() returns. */
static __always_inline struct held named(const struct bpf_sock_addr *ctx, enum family family)
{
	__be16 port = ctx->user_port;
	if (family == IPV4)
		return (struct held){.low = word(ctx->user_ip4, port)};
	return (struct held){word(ctx->user_ip6[0], ctx->user_ip6[1]), word(ctx->user_ip6[2], ctx->user_ip6[3]), port};
}

static __always_inline void rename(struct bpf_sock_addr *ctx, enum family family, struct held to)
{
	if (family == IPV4) {
		ctx->user_ip4 = to.low;
		ctx->user_port = to.low >> 32;
		return;
	}
	ctx->user_ip6[0] = to.high;
	ctx->user_ip6[1] = to.high >> 32;
	ctx->user_ip6[2] = to.low;
	ctx->user_ip6[3] = to.low >> 32;
	ctx->user_port = to.port;
}

static __always_inline struct held read(const struct endpoint *from, enum family family)
{
	if (family == IPV4)
		return (struct held){.low = word(from->ip[3], from->port)};
	return (struct held){word(from->ip[0], from->ip[1]), word(from->ip[2], from->ip[3]), from->port};
}

/* What has IPv4 in low as IPv6. */
static __always_inline struct held mapped(enum family family, struct held a)
{
	return family == IPV4 ? (struct held){0, word(bpf_htonl(0xffff), a.low), a.low >> 32} : a;
}

static __always_inline void write(struct endpoint *to, struct held from)
{
	to->ip[0] = from.high;
	to->ip[1] = from.high >> 32;
	to->ip[2] = from.low;
	to->ip[3] = from.low >> 32;
	to->port = from.port;
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

static __always_inline struct client_key client_of(struct bpf_sock_addr *ctx, const struct service_key *key)
{
	struct client_key client = {.netns = bpf_get_netns_cookie(ctx), .service = *key};
	return client;
}

/* Where the endpoint is in the list that the client stays with, or else count. */
static __noinline __u32 kept(struct bpf_sock_addr *ctx, const struct service_key *key, __u64 list, __u32 count, __u32 affinity)
{
	struct client_key client = client_of(ctx, key);
	struct stay *stay = bpf_map_lookup_elem(&lb_affinity, &client);
	if (!stay || bpf_ktime_get_ns() - stay->used > (__u64)affinity * 1000000000ULL)
		return count;
	struct place_key place = {.list = list, .endpoint = stay->endpoint};
	__u32 *slot = bpf_map_lookup_elem(&lb_places, &place);
	return slot ? *slot : count;
}

static __noinline int keep(struct bpf_sock_addr *ctx, const struct service_key *key, __u64 high, __u64 low, __u64 port)
{
	struct client_key client = client_of(ctx, key);
	struct stay stay = {.used = bpf_ktime_get_ns()};
	write(&stay.endpoint, (struct held){high, low, port});
	bpf_map_update_elem(&lb_affinity, &client, &stay, BPF_ANY);
	return 0;
}

static __always_inline __u32 choose(struct bpf_sock_addr *ctx, __u32 count)
{
	__u32 chance;
	if (count == 1)
		return 0;
	if (ctx->protocol == PROTOCOL_UDP) /* a socket stays where it is while the list is the same */
		chance = (bpf_get_socket_cookie(ctx) * 0x9e3779b97f4a7c15ULL) >> 32;
	else
		chance = bpf_get_prandom_u32();
	return ((__u64)chance * count) >> 32;
}

/* Whether the Service still names the list, so that what was read before belongs to it. */
static __always_inline struct service *still(const struct service_key *key, __u64 list)
{
	struct service *service = bpf_map_lookup_elem(&lb_services, key);
	return service && *(volatile __u64 *)&service->list == list ? service : 0;
}

enum outcome { AGAIN, NO_SERVICE, NO_ENDPOINT, CHOSEN };

/* Finds an endpoint of a Service, if that does not change meanwhile. */
static __always_inline enum outcome attempt(struct bpf_sock_addr *ctx, enum family family, const struct service_key *key, struct held *endpoint)
{
	struct service *found = bpf_map_lookup_elem(&lb_services, key);
	if (!found)
		return NO_SERVICE;
	__u64 list = found->list;
	__u32 count = found->count, affinity = found->affinity, slot = count;
	if (!count)
		return still(key, list) ? NO_ENDPOINT : AGAIN;
	if (affinity)
		slot = kept(ctx, key, list, count, affinity);
	if (slot >= count)
		slot = choose(ctx, count);
	struct endpoint *chosen = &found->first;
	if (slot) {
		struct slot_key at = {list, slot};
		chosen = bpf_map_lookup_elem(&lb_endpoints, &at);
	}
	if (!chosen)
		return AGAIN;
	*endpoint = read(chosen, family);
	found = still(key, list);
	if (!found)
		return AGAIN;
	if (found->affinity) {
		struct held it = mapped(family, *endpoint);
		keep(ctx, key, it.high, it.low, it.port);
	}
	return CHOSEN;
}

/* The same of one that may change three times meanwhile. */
static __always_inline enum outcome resolve(struct bpf_sock_addr *ctx, enum family family, const struct service_key *key, struct held *endpoint)
{
	/* The verifier can't tell that a loop ends, where its counter may be mispredicted. */
	enum outcome outcome = attempt(ctx, family, key, endpoint);
	if (outcome == AGAIN)
		outcome = attempt(ctx, family, key, endpoint);
	if (outcome == AGAIN)
		outcome = attempt(ctx, family, key, endpoint);
	if (outcome == AGAIN)
		outcome = attempt(ctx, family, key, endpoint);
	return outcome;
}

/* The cell of a socket, which may be another one's. */
static __always_inline struct cell *cell_of(__u64 socket)
{
	__u32 at = socket & last_cell;
	return bpf_map_lookup_elem(&lb_cells, &at);
}

/* Takes a cell that nobody has: until the claim is taken back nobody else gets it. That of
 * a socket of the kernel's own, such as one under MPTCP, never is, as nobody closes it:
 * whose cell is the same is remembered with the socket. Of two claims at once both fail. */
static __always_inline int claim(struct cell *cell, __u64 socket)
{
	if (cell->socket == socket) /* it connects once more */
		return 1;
	__sync_fetch_and_add(&cell->claims, 1);
	if (*(volatile __u32 *)&cell->claims == 1) {
		cell->socket = socket;
		return 1;
	}
	__sync_fetch_and_add(&cell->claims, -1);
	return 0;
}

/* Notes which Service a socket means by an endpoint, as long as the socket lives: in its
 * cell, or else with the socket, which takes longer than all else that connect() is made
 * to do here. */
static __always_inline void remember_peer(struct bpf_sock_addr *ctx, enum family family, struct held endpoint)
{
	__u64 socket = bpf_get_socket_cookie(ctx);
	struct cell *cell = cell_of(socket);
	struct peer *peer = 0;
	if (cell && claim(cell, socket))
		peer = &cell->peer;
	else if (ctx->sk)
		peer = bpf_sk_storage_get(&lb_peers, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!peer)
		return;
	write(&peer->endpoint, mapped(family, endpoint));
	write(&peer->origin, mapped(family, named(ctx, family)));
}

/* The same of one that is not connected, and may mean several, as long as it sends now and
 * then. */
static __always_inline void remember_origin(struct bpf_sock_addr *ctx, enum family family, struct held endpoint)
{
	struct endpoint origin = {};
	struct origin_key socket = {.socket = bpf_get_socket_cookie(ctx)};
	write(&origin, mapped(family, named(ctx, family)));
	write(&socket.endpoint, mapped(family, endpoint));
	struct endpoint *known = bpf_map_lookup_elem(&lb_origins, &socket);
	if (!known || !same(known, &origin))
		bpf_map_update_elem(&lb_origins, &socket, &origin, BPF_ANY);
}

enum call { CONNECT, SEND };

static __always_inline int forward(struct bpf_sock_addr *ctx, enum family family, enum call call)
{
	union service_words name;
	struct held service = mapped(family, named(ctx, family)), endpoint;
	__u64 protocol = protocol_of(ctx);
	if (!protocol)
		return GO_ON;
	name.words[0] = service.high;
	name.words[1] = service.low;
	name.words[2] = protocol << 16 | service.port;
	switch (resolve(ctx, family, &name.key, &endpoint)) {
	case NO_SERVICE:
		break;
	case NO_ENDPOINT:
	case AGAIN:
		return refuse();
	case CHOSEN:
		if (call == CONNECT)
			remember_peer(ctx, family, endpoint);
		else
			remember_origin(ctx, family, endpoint);
		rename(ctx, family, endpoint);
	}
	return GO_ON;
}

/* Puts back what the socket means. */
static __always_inline int back(struct bpf_sock_addr *ctx, enum family family)
{
	struct origin_key key = {.socket = bpf_get_socket_cookie(ctx)};
	write(&key.endpoint, mapped(family, named(ctx, family)));
	struct cell *cell = cell_of(key.socket);
	struct peer *peer = 0;
	if (cell && cell->socket == key.socket)
		peer = &cell->peer;
	else if (ctx->sk)
		peer = bpf_sk_storage_get(&lb_peers, ctx->sk, 0, 0);
	struct endpoint *origin = 0;
	if (peer && same(&peer->endpoint, &key.endpoint))
		origin = &peer->origin;
	else if (ctx->protocol == PROTOCOL_UDP)
		origin = bpf_map_lookup_elem(&lb_origins, &key);
	if (origin)
		rename(ctx, family, read(origin, family));
	return GO_ON;
}

SEC("cgroup/connect4")
int lb_connect4(struct bpf_sock_addr *ctx) { return forward(ctx, IPV4, CONNECT); }

SEC("cgroup/connect6")
int lb_connect6(struct bpf_sock_addr *ctx) { return forward(ctx, IPV6, CONNECT); }

SEC("cgroup/sendmsg4")
int lb_sendmsg4(struct bpf_sock_addr *ctx) { return forward(ctx, IPV4, SEND); }

SEC("cgroup/sendmsg6")
int lb_sendmsg6(struct bpf_sock_addr *ctx) { return forward(ctx, IPV6, SEND); }

SEC("cgroup/recvmsg4")
int lb_recvmsg4(struct bpf_sock_addr *ctx) { return back(ctx, IPV4); }

SEC("cgroup/recvmsg6")
int lb_recvmsg6(struct bpf_sock_addr *ctx) { return back(ctx, IPV6); }

SEC("cgroup/getpeername4")
int lb_getpeername4(struct bpf_sock_addr *ctx) { return back(ctx, IPV4); }

SEC("cgroup/getpeername6")
int lb_getpeername6(struct bpf_sock_addr *ctx) { return back(ctx, IPV6); }

/* A socket is closed: another one may have its cell. */
SEC("cgroup/sock_release")
int lb_release(struct bpf_sock *ctx)
{
	__u64 socket = bpf_get_socket_cookie(ctx);
	struct cell *cell = cell_of(socket);
	if (cell && cell->socket == socket)
		__sync_fetch_and_add(&cell->claims, -1);
	return GO_ON;
}
