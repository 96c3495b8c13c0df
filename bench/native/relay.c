// The least that can be done between clients and the upstream by reading from sockets and
// writing to them: it passes bytes on, and looks at none.
//
//   relay PORT UPSTREAM
//
// Both are ports of 127.0.0.1. Each client gets a connection to the upstream of its own, and the
// end of either is the end of both. No proxy that makes a send and a receive each way can need
// less, so what it takes is the kernel's part of what they take.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "files.h"

enum { EVENTS = 256, PIECE = 256 * 1024 };

// end is one of the two sockets of a pair.
struct end {
    int fd, readable, ended; // ended: the peer sends no more than is there
    struct end *other, *next; // next: of those to free
    char *kept;               // what the kernel had no room for
    size_t from, to;          // in kept
};

static int epoll_fd;
static struct end *closed; // one end of each closed pair: events of this batch may name them
static char piece[PIECE];

static void fatal(const char *what) {
    perror(what);
    exit(2);
}

static int tcp(int port, int (*use)(int, const struct sockaddr *, socklen_t)) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || use(fd, (struct sockaddr *)&a, sizeof a) < 0)
        fatal("socket");
    return fd;
}

static void watch(int fd, struct end *e) {
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = e};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        fatal("epoll_ctl");
}

static struct end *join(int fd, struct end *other) {
    struct end *e = calloc(1, sizeof *e);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *e = (struct end){.fd = fd, .other = other};
    return e;
}

static void take(int listener, int upstream) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return; // it is gone already
    struct end *client = join(fd, NULL);
    client->other = join(tcp(upstream, connect), client);
    watch(client->other->fd, client->other);
    watch(client->fd, client);
}

static void drop(struct end *e) {
    close(e->fd);
    close(e->other->fd);
    e->fd = e->other->fd = -1;
    e->next = closed;
    closed = e;
}

// sweep frees the closed pairs.
static void sweep(void) {
    while (closed) {
        struct end *e = closed;
        closed = e->next;
        free(e->other->kept);
        free(e->other);
        free(e->kept);
        free(e);
    }
}

// put writes to e, keeps what there is no room for, and returns -1 when the pair is gone.
static int put(struct end *e, const char *p, size_t n) {
    ssize_t sent = send(e->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        drop(e);
        return -1;
    }
    sent = sent < 0 ? 0 : sent;
    if (p == e->kept + e->from) {
        e->from += sent;
    } else if ((size_t)sent < n) {
        if (!e->kept && !(e->kept = malloc(PIECE)))
            fatal("malloc");
        e->from = 0;
        e->to = n - sent;
        memcpy(e->kept, p + sent, n - sent);
    }
    return 0;
}

// pump passes on what comes from e, as long as the other end takes it.
static void pump(struct end *e) {
    while (e->readable && e->other->from == e->other->to) {
        ssize_t n = recv(e->fd, piece, PIECE, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            e->readable = 0;
            return;
        }
        if (n <= 0) {
            drop(e);
            return;
        }
        e->readable = n == PIECE || e->ended; // the next event tells of more
        if (put(e->other, piece, n) < 0)
            return;
    }
}

static void act(struct end *e, unsigned events) {
    if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))
        e->ended = 1;
    if (events & EPOLLIN || e->ended)
        e->readable = 1;
    if (events & EPOLLOUT && e->from != e->to) {
        if (put(e, e->kept + e->from, e->to - e->from) < 0)
            return;
        pump(e->other);
    }
    if (e->fd >= 0)
        pump(e);
}

int main(int argc, char **argv) {
    if (argc != 3 || atoi(argv[1]) < 1 || atoi(argv[2]) < 1) {
        fprintf(stderr, "usage: relay PORT UPSTREAM\n");
        return 2;
    }
    raise_files();
    int listener = tcp(atoi(argv[1]), bind), upstream = atoi(argv[2]);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (listen(listener, SOMAXCONN) < 0)
        fatal("listen");
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &ev) < 0)
        fatal("epoll_ctl");
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct end *e = events[i].data.ptr;
            if (!e)
                take(listener, upstream);
            else if (e->fd >= 0)
                act(e, events[i].events);
        }
        sweep();
    }
}
